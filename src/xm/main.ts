/**
 * The command `xm`: finds the command by name or unambiguous beginning, parses its options (before or after its arguments),
 * runs it, and turns whatever goes wrong into one line `Error: ...` and exit code 1.
 */
import { parseArgs } from 'node:util';
import { apiSocket, findPaths, type Paths } from '../host/paths.ts';
import { ApiError, XendClient } from '../sdk/client.ts';
import { type Command, UserError } from './command.ts';
import { COMMANDS } from './commands/index.ts';
import { commandHelp, overview } from './help.ts';

/** Exact names win; otherwise a beginning that only one command has. */
export function findCommand(typed: string): Command | undefined {
  const exact = COMMANDS.find(({ name }) => name === typed);
  if (exact) return exact;
  const matching = COMMANDS.filter(({ name }) => name.startsWith(typed));
  return typed !== '' && matching.length === 1 ? matching[0] : undefined;
}

function unknown(typed: string, io: Io): number {
  io.err(`Error: Unknown command: ${typed}\nTry 'xm help' for more information.\n`);
  return 1;
}

function parse(command: Command, args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: command.options ?? {}, allowPositionals: true, strict: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const option = /'(--?[^' ,]+)/.exec(message)?.[1] ?? '';
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION')
      throw new UserError(`${command.name}: option ${option} not recognized`);
    throw new UserError(`${command.name}: ${message.split('\n')[0]}`);
  }
}

/** Where a command's words go, and which xend it speaks to. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
  readonly paths: Paths;
}

/** Run a command line; whatever goes wrong is printed and becomes exit code 1. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    return await dispatch(argv, io);
  } catch (error) {
    io.err(`Error: ${describe(error)}\n`);
    return 1;
  }
}

async function dispatch([typed, ...rest]: readonly string[], io: Io): Promise<number> {
  if (typed === undefined || typed === '-h' || typed === '--help') {
    io.out(overview(COMMANDS));
    return 0;
  }
  if (typed === 'help') {
    if (rest[0] === undefined) io.out(overview(COMMANDS));
    const about = rest[0] === undefined ? undefined : findCommand(rest[0]);
    if (rest[0] !== undefined && !about) return unknown(rest[0], io);
    if (about) io.out(commandHelp(about, rest[0]!));
    return 0;
  }
  const command = findCommand(typed);
  if (!command) return unknown(typed, io);
  if (rest.some((arg) => arg === '-h' || arg === '--help')) {
    io.out(commandHelp(command, typed));
    return 0;
  }
  const { values, positionals } = parse(command, rest);
  if (positionals.length < command.args[0])
    throw new UserError(`${command.name}: ${command.missing ?? 'Missing arguments'}`);
  if (positionals.length > command.args[1]) throw new UserError(`${command.name}: Invalid argument(s)`);
  const { paths, out } = io;
  const xend = new XendClient(apiSocket(paths));
  try {
    const code = await command.run({
      args: positionals,
      flags: values as Record<string, string | boolean | undefined>,
      xend,
      paths,
      out,
      note: (text) => io.err(`${text}\n`),
    });
    return code ?? 0;
  } finally {
    xend.close();
  }
}

/** One line for people; whatever it is, never a stack. */
export function describe(error: unknown): string {
  if (error instanceof ApiError && error.code === 'no-xend') {
    return `Error connecting to xend, is xend running? (${error.message}; start it with: xend start)`;
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
  });
}
