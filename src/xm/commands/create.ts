/** `xm create`, xm-xend 1.6: a configuration file and variables become a domain. */
import { loadConfig } from '../../config/load.ts';
import { printPretty } from '../../config/sxp.ts';
import { vmSxp } from '../../config/vm-sxp.ts';
import { command, UserError } from '../command.ts';
import { attach } from '../terminal.ts';
import { watchConsole } from './console.ts';

/** VAR=VALUE; one pair of quotes around the value is taken away (a shell that was given too many). */
const ASSIGNMENT = /^([A-Za-z_]\w*)=(.*)$/s;

export const create = command({
  name: 'create',
  group: 'domain',
  params: ['[CONFIG]', '[VAR=VALUE...]'],
  summary: 'Make a domain from a configuration file and start it',
  details: `
CONFIG is looked for as it is named, then in the folders of --path. VAR=VALUE sets a configuration variable, stronger than
the file, or a variable of the file's own (vmid=1).`,
  options: {
    console: { type: 'boolean', short: 'c', help: 'attach to the console from the first line on' },
    console_autoconnect: { type: 'boolean', help: 'the same' },
    dryrun: { type: 'boolean', short: 'n', help: 'print the resulting configuration, make nothing' },
    paused: { type: 'boolean', short: 'p', help: 'leave it paused before its first instruction' },
    quiet: { type: 'boolean', short: 'q', help: 'print no information' },
    defconfig: { type: 'string', short: 'f', value: 'CONFIG', help: 'the configuration file' },
    path: { type: 'string', value: 'PATH', help: 'folders to look in, separated by ":"' },
  },
  async run({ args, flags, xend, paths, out, note }) {
    const variables: [string, string][] = [];
    let file = flags.defconfig as string | undefined;
    for (const arg of args) {
      const assignment = ASSIGNMENT.exec(arg);
      if (assignment) variables.push([assignment[1]!, assignment[2]!.replace(/^(["'])(.*)\1$/s, '$2')]);
      else if (file === undefined) file = arg;
      else throw new UserError(`create: one configuration file at a time: ${file} and ${arg}`);
    }
    const { config, path } = loadConfig({
      file: file ?? 'xmdefconfig',
      search: (flags.path as string | undefined)?.split(':') ?? ['.', paths.etc],
      variables,
      warn: (text) => note(`Warning: ${text}`),
      print: (text) => note(text),
    });
    if (!flags.quiet) out(`Using config file "${path}".\n`);
    if (flags.dryrun) {
      out(printPretty(vmSxp(config)));
      return;
    }
    const { uuid, name } = await xend.call('POST /domains', { config });
    // With a console to follow, the guest's words must not be torn apart by ours.
    const started = () => flags.quiet || out(`Started domain ${name}\n`);
    const wantsConsole = flags.console || flags.console_autoconnect;
    if (wantsConsole) started();
    const attachment = wantsConsole
      ? await attach((await xend.call('GET /domains/:name/console', { name: uuid })).socket, {
          quiet: flags.quiet === true,
        })
      : undefined;
    if (!flags.paused) {
      try {
        await xend.call('POST /domains/:name/unpause', { name: uuid });
      } catch (error) {
        await xend.call('POST /domains/:name/destroy', { name: uuid }).catch(() => {});
        throw new UserError(`Failed to unpause domain ${name}: ${(error as Error).message}`);
      }
    }
    if (!attachment) started();
    if (attachment) return watchConsole(attachment, uuid, xend, note);
  },
});
