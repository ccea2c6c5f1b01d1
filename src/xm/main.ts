/**
 * The command `xm`: finds the command by name or unambiguous beginning, parses its options (before or after its arguments),
 * runs it, and turns whatever goes wrong into one line `Error: ...` and exit code 1.
 */
import { parseArgs } from 'node:util';
import { apiSocket, findPaths } from '../host/paths.ts';
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

function unknown(typed: string): number {
  process.stderr.write(`Error: Unknown command: ${typed}\nTry 'xm help' for more information.\n`);
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

export async function run([typed, ...rest]: readonly string[]): Promise<number> {
  if (typed === undefined || typed === '-h' || typed === '--help') {
    process.stdout.write(overview(COMMANDS));
    return 0;
  }
  if (typed === 'help') {
    if (rest[0] === undefined) process.stdout.write(overview(COMMANDS));
    const about = rest[0] === undefined ? undefined : findCommand(rest[0]);
    if (rest[0] !== undefined && !about) return unknown(rest[0]);
    if (about) process.stdout.write(commandHelp(about, rest[0]!));
    return 0;
  }
  const command = findCommand(typed);
  if (!command) return unknown(typed);
  if (rest.some((arg) => arg === '-h' || arg === '--help')) {
    process.stdout.write(commandHelp(command, typed));
    return 0;
  }
  const { values, positionals } = parse(command, rest);
  if (positionals.length < command.args[0])
    throw new UserError(`${command.name}: ${command.missing ?? 'Missing arguments'}`);
  if (positionals.length > command.args[1]) throw new UserError(`${command.name}: Invalid argument(s)`);
  const paths = findPaths();
  const xend = new XendClient(apiSocket(paths));
  try {
    const code = await command.run({
      args: positionals,
      flags: values as Record<string, string | boolean | undefined>,
      xend,
      paths,
      out: (text) => process.stdout.write(text),
      note: (text) => process.stderr.write(`${text}\n`),
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

// `xm log | head` closes our output early: that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
if (import.meta.main) {
  const failed = (error: unknown) => {
    process.stderr.write(`Error: ${describe(error)}\n`);
    process.exitCode = 1;
  };
  process.on('uncaughtException', (error) => {
    failed(error);
    process.exit(1);
  });
  run(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
  }, failed);
}
