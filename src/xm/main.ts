/**
 * The command `xm`: finds the command by name or unambiguous beginning, parses its options (parse.ts), runs it, and turns
 * whatever goes wrong into one line `Error: ...` and exit code 1. Called as `xl` it prints that tool's tables.
 */
import { existsSync } from 'node:fs';
import { styleText } from 'node:util';
import { nearest } from '../config/nearest.ts';
import { apiSocket, findPaths, type Paths } from '../host/paths.ts';
import { domusVersion } from '../host/version.ts';
import { ApiError, XendClient } from '../sdk/client.ts';
import { type Command, type Context, type Dialect, UserError } from './command.ts';
import { allCommands, ENTRIES } from './commands/index.ts';
import { NOT_IMPLEMENTED } from './commands/not-implemented.ts';
import { commandHelp, overview, xlOverview } from './help.ts';
import { asksForHelp, parseCommandLine } from './parse.ts';

/** Exact names win; otherwise a beginning that only one command has. */
export async function findCommand(typed: string): Promise<Command | undefined> {
  if (typed === '') return undefined;
  const exact = ENTRIES.find(({ names }) => names.includes(typed));
  if (exact) return exact.load();
  const matching = ENTRIES.filter(({ names }) => names.some((name) => name.startsWith(typed)));
  return matching.length === 1 ? matching[0]!.load() : undefined;
}

/** A command that is not here, by its name or by a beginning that no command that is here has. */
function notImplemented(typed: string): readonly [name: string, instead: string] | undefined {
  const rows = [...NOT_IMPLEMENTED];
  const exact = rows.find(([name]) => name === typed);
  if (exact || ENTRIES.some(({ names }) => names.some((name) => name.startsWith(typed)))) return exact;
  const matching = rows.filter(([name]) => name.startsWith(typed));
  return matching.length === 1 ? matching[0] : undefined;
}

function unknown(typed: string, io: Io): number {
  const missing = notImplemented(typed);
  if (missing) {
    const [name, instead] = missing;
    io.err(`Error: ${name} is not implemented in Domus${instead ? `: ${instead}` : ''}\n`);
  } else if (io.dialect === 'xl') io.err('command not implemented\n');
  else io.err(`Error: Unknown command: ${typed}${meant(typed)}\nTry 'xm help' for more information.\n`);
  return 1;
}

/** What somebody may have meant who typed what no command is called. */
function meant(typed: string): string {
  const all = ENTRIES.flatMap(({ names }) => names);
  const beginning = typed === '' ? [] : all.filter((name) => name.startsWith(typed));
  if (beginning.length > 0) return ` (${beginning.sort().join(' or ')}?)`;
  const near = nearest(typed, all);
  return near ? ` (is ${near} meant?)` : '';
}

/** Where a command's words go, and which xend it speaks to. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
  readonly paths: Paths;
  readonly dialect?: Dialect;
  /** Standard error is a terminal: progress can be shown in place. */
  readonly errIsTerminal?: boolean;
  /** Standard output is one that shows colour. */
  readonly colour?: boolean;
}

/** Run a command line; whatever goes wrong is printed and becomes exit code 1. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    return await dispatch(argv, io);
  } catch (error) {
    io.err(`${inWordsOf(io.dialect, argv, error) ?? `Error: ${describe(error)}`}\n`);
    return 1;
  }
}

/** How xl says that there is no such domain: scripts look for it (xm-xend 1.10). */
function inWordsOf(dialect: Dialect | undefined, [command]: readonly string[], error: unknown): string | undefined {
  if (dialect !== 'xl' || !(error instanceof ApiError) || error.code !== 'domain-not-found') return undefined;
  const name = /^invalid domain:(.*)$/s.exec(error.message)?.[1] ?? '';
  if (command === 'domid') return `Can't get domid of domain name '${name}', maybe this domain does not exist.`;
  return `${name} is an invalid domain identifier (rc=-6)`;
}

async function dispatch([typed, ...words]: readonly string[], io: Io): Promise<number> {
  const bare = typed === 'help' && words[0] === undefined;
  if (typed === undefined || typed === '-h' || typed === '--help' || bare) {
    const all = await allCommands();
    io.out(io.dialect === 'xl' ? xlOverview(all) : overview(all));
    return 0;
  }
  if (typed === '--version' || typed === '-V') {
    io.out(`Domus ${domusVersion()}\n`);
    return 0;
  }
  if (typed === 'help') {
    if (words.length > 1) throw new UserError('help: Invalid argument(s)');
    const about = await findCommand(words[0]!);
    if (!about) return unknown(words[0]!, io);
    io.out(commandHelp(about, words[0]!));
    return 0;
  }
  const command = await findCommand(typed);
  if (!command) return unknown(typed, io);
  if (asksForHelp(command, words)) {
    io.out(commandHelp(command, typed));
    return 0;
  }
  const { args, flags } = parseCommandLine(command, words);
  if (io.dialect === 'xl' && command.successor && typed === command.name) {
    io.err(`Command ${typed} is deprecated.  Please use xl ${command.successor} instead.\n`);
  }
  const xend = new XendClient(apiSocket(io.paths));
  const { progress, screen } = progressLine(io);
  try {
    return (
      (await command.run({ ...outputs(screen, command, flags), args, flags, xend, paths: io.paths, progress })) ?? 0
    );
  } finally {
    progress(undefined);
    xend.close();
  }
}

function outputs(io: Io, command: Command, flags: Context['flags']) {
  // What a stream answers to being written to is nobody's exit code.
  const out = (text: string): void => void io.out(text);
  const dialect = (command.layouts && (flags.format as Dialect)) || io.dialect || 'xm';
  return {
    dialect,
    out,
    note: (text: string) => io.err(`${text}\n`),
    show: (value: unknown, text: () => string) => out(flags.json ? `${JSON.stringify(value, null, 2)}\n` : text()),
    paint: ((style, text) => {
      if (!io.colour) return text;
      const [, inner, end] = /^(.*?)(\n?)$/s.exec(text)!;
      return styleText(style, inner!, { validateStream: false }) + end;
    }) satisfies Context['paint'],
  };
}

/** One line on the terminal, written over and over; `screen` is for everything else, which makes it step aside. */
function progressLine(io: Io): { progress: Context['progress']; screen: Io } {
  if (!io.errIsTerminal) return { progress: () => {}, screen: io };
  let shown = '';
  const draw = (text: string) => io.err(`\r\x1b[K${text}`);
  const progress = (text: string | undefined) => {
    if (shown !== (text ?? '')) draw((shown = text ?? ''));
  };
  const aside = (print: (text: string) => void) => (text: string) => {
    if (shown) draw('');
    print(text);
    if (shown && text.endsWith('\n')) draw(shown);
  };
  return { progress, screen: { ...io, out: aside(io.out), err: aside(io.err) } };
}

/** Somebody who has no xend may have seen root's run. */
function rootsIsMeant({ env, getuid }: Pick<NodeJS.Process, 'env' | 'getuid'> = process): boolean {
  return getuid?.() !== 0 && !env.DOMUS_HOME && existsSync(findPaths({}, 0).run);
}

/** One line for people; whatever it is, never a stack. */
export function describe(error: unknown): string {
  if (error instanceof ApiError && error.code === 'no-xend') {
    if (/\bEACCES\b/.test(error.message)) return `Error connecting to xend: it is another user's (${error.message})`;
    const root = rootsIsMeant() ? ", or speak to root's: sudo xm" : '';
    return `Error connecting to xend, is xend running? (${error.message}; start it with: xend start${root})`;
  }
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0]!;
}

if (import.meta.main) {
  // `xm log | head` closes our output early: that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  process.on('uncaughtException', (error) => {
    process.stderr.write(`Error: ${describe(error)}\n`);
    process.exit(1);
  });
  process.exitCode = await run(process.argv.slice(2), {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    paths: findPaths(),
    dialect: process.env.DOMUS_CALLED_AS === 'xl' ? 'xl' : 'xm',
    errIsTerminal: process.stderr.isTTY,
    // NO_COLOR and FORCE_COLOR are looked at by Node.
    colour: process.stdout.isTTY && process.stdout.hasColors(),
  });
}
