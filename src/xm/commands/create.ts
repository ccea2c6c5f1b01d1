/** `xm create`, xm-xend 1.6: a configuration file and variables become a domain. */
import type { DomainConfig } from '../../config/domain-config.ts';
import { EXAMPLES_DIR } from '../../config/examples.ts';
import type { LoadOptions } from '../../config/load.ts';
import { imagesDir } from '../../host/paths.ts';
import type { DomainView } from '../../xend/view.ts';
import { type Context, command, UserError } from '../command.ts';
import { Interrupts } from '../interrupts.ts';
import { attach } from '../terminal.ts';
import { watchConsole } from './console.ts';

const DEFAULT_FILE = 'xmdefconfig';

/** The words of the command line that say which configuration is meant. */
async function configWords({ args, flags, paths, note }: Context): Promise<LoadOptions> {
  const variables: [string, string][] = [];
  if (flags.config !== undefined && flags.defconfig !== undefined)
    throw new UserError(`create: one configuration file at a time: ${flags.defconfig} and ${flags.config}`);
  let file = (flags.defconfig ?? flags.config) as string | undefined;
  const { assignments } = await import('../../config/command-line.ts');
  for (const arg of args) {
    const set = assignments(arg);
    if (set) variables.push(...set);
    else if (file === undefined) file = arg;
    else throw new UserError(`create: one configuration file at a time: ${file} and ${arg}`);
  }
  return {
    file: file ?? DEFAULT_FILE,
    sxp: flags.config !== undefined,
    search: (flags.path as string | undefined)?.split(':') ?? ['.', paths.etc, EXAMPLES_DIR],
    variables,
    constants: { domus_images: imagesDir(paths) },
    warn: (text) => note(`Warning: ${text}`),
    print: note,
  };
}

/** `--help_config`: what the file wants to be told. */
async function printDeclared(options: LoadOptions, out: Context['out']): Promise<number> {
  const { declaredVariables, readConfig } = await import('../../config/load.ts');
  const { path, text } = readConfig(options.file, options.search);
  const declared = declaredVariables(text, { ...options, file: path });
  if (declared.length === 0) out(`${path} declares no variables of its own.\n`);
  for (const { name, use } of declared) out(`${name.padEnd(12)} ${use.trim().replaceAll(/\s*\n\s*/g, ' ')}\n`);
  return 0;
}

async function printConfig(config: DomainConfig, { dialect, show }: Context): Promise<number> {
  if (dialect === 'xl') {
    const { xlDryRun } = await import('../xl-json.ts');
    show(config, () => `${JSON.stringify(xlDryRun(config), null, 4)}\n`);
    return 0;
  }
  const [{ printPretty }, { vmSxp }] = await Promise.all([
    import('../../config/sxp.ts'),
    import('../../config/vm-sxp.ts'),
  ]);
  show(config, () => printPretty(vmSxp(config)));
  return 0;
}

/** So long a domain waits for xm to attach to its console; then, should xm be dead, it runs without. */
const CONSOLE_WAIT_S = 30;

/** Make it, and let it run where nobody is to be attached before. Who interrupts this has no domain: the exit code of that. */
async function make(config: DomainConfig, { flags, xend, progress }: Context): Promise<DomainView | number> {
  const start = flags.paused ? {} : { startAfterS: wantsConsole(flags) ? CONSOLE_WAIT_S : 0 };
  using interrupts = new Interrupts();
  progress(`making domain ${config.name} ...`);
  const domain = await xend.call('POST /domains', { config, ...start });
  progress(undefined);
  if (interrupts.exitCode === undefined) return domain;
  await xend.call('POST /domains/:name/destroy', { name: domain.uuid });
  return interrupts.exitCode;
}

const wantsConsole = (flags: Context['flags']): boolean => Boolean(flags.console || flags.console_autoconnect);

/** Make it, attach to its console when that is wanted, let it run. Returns the exit code. */
async function start(config: DomainConfig, context: Context): Promise<number> {
  const { flags, xend, out, note, dialect } = context;
  const made = await make(config, context);
  if (typeof made === 'number') return made;
  const { uuid, name, domid, consolePort } = made;
  // Before any console: the guest's words must not be torn apart by ours.
  if (flags.json) out(`${JSON.stringify({ name, domid, uuid })}\n`);
  else if (!flags.quiet) {
    const port = consolePort === undefined ? '' : `, console on port ${consolePort}`;
    out(`Started domain ${name}${dialect === 'xl' ? ` (id=${domid})` : port}\n`);
  }
  if (!wantsConsole(flags)) return 0;
  const { socket } = await xend.call('GET /domains/:name/console', { name: uuid });
  const attachment = await attach(socket, { quiet: flags.quiet === true });
  if (!flags.paused) {
    try {
      await xend.call('POST /domains/:name/unpause', { name: uuid });
    } catch (error) {
      await xend.call('POST /domains/:name/destroy', { name: uuid }).catch(() => {});
      throw new UserError(`Failed to unpause domain ${name}: ${(error as Error).message}`);
    }
  }
  return watchConsole(attachment, uuid, xend, note);
}

export const create = command({
  name: 'create',
  group: 'domain',
  params: ['[CONFIG]', '[VAR=VALUE...]'],
  summary: 'Make a domain from a configuration file and start it',
  details: `
CONFIG is looked for as it is named, then in the folders of --path; without one, ${DEFAULT_FILE} is. It is a file in Python as
Xen 2.0's, in xl's grammar, or JSON (see xm help schema). VAR=VALUE sets a configuration variable, stronger than the file, or
a variable of the file's own (vmid=1).`,
  options: {
    console: { type: 'boolean', short: 'c', help: 'attach to the console from the first line on' },
    console_autoconnect: { type: 'boolean', help: 'the same' },
    dryrun: {
      type: 'boolean',
      short: 'n',
      help: "print the resulting configuration as SXP, as xl in that tool's JSON; make nothing",
    },
    paused: { type: 'boolean', short: 'p', help: 'leave it paused before its first instruction' },
    quiet: { type: 'boolean', short: 'q', help: 'print no information' },
    defconfig: { type: 'string', short: 'f', value: 'CONFIG', help: 'the configuration file' },
    config: { type: 'string', short: 'F', value: 'FILE', help: 'a ready configuration in SXP' },
    load: { type: 'string', short: 'L', value: 'FILE', help: 'a saved domain: saving and restoring are not there yet' },
    path: { type: 'string', value: 'PATH', help: 'folders to look in, separated by ":"' },
    help_config: { type: 'boolean', help: 'print the variables that the file declares for itself' },
  },
  json: true,
  async run(context) {
    const { flags, out } = context;
    if (flags.load !== undefined) throw new UserError('create: saved domains are not implemented in Domus (--load)');
    const options = await configWords(context);
    if (flags.help_config) return printDeclared(options, out);
    const { loadConfig } = await import('../../config/load.ts'); // Other commands need no evaluator.
    const { config, path } = await loadConfig(options);
    if (!flags.quiet && !flags.json) {
      if (context.dialect === 'xl') context.note(`Parsing config from ${path}`);
      else out(`Using config file "${path}".\n`);
    }
    if (flags.dryrun) return printConfig(config, context);
    return start(config, context);
  },
});
