/**
 * A command's words: options before or after its arguments, long ones by any unambiguous beginning as the original's
 * parser had it, and negative numbers, which are arguments.
 */
import { parseArgs } from 'node:util';
import { nearest } from '../config/nearest.ts';
import { argumentCount, type Command, optionsOf, UserError } from './command.ts';

export interface Parsed {
  readonly args: string[];
  readonly flags: Record<string, string | boolean | undefined>;
}

/** Stands before a word that looks like an option and is none, until parseArgs has seen it. */
const SHIELD = '\0';

export function parseCommandLine(command: Command, words: readonly string[]): Parsed {
  const options = optionsOf(command);
  const complain = (what: string): never => {
    throw new UserError(`${command.name}: ${what}`);
  };
  const [own, rest] = split(command, words);
  const args = own.map((word) => (/^-\d/.test(word) ? SHIELD + word : fullName(word, Object.keys(options), complain)));
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args: [...args, ...(rest ?? [])], options, allowPositionals: true, strict: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const option = /'(-[^' ,]*)/.exec(message)?.[1] ?? '';
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION')
      return complain(`option ${option} not recognized${meant(option, Object.keys(options))}`);
    return complain(message.split('\n')[0]!);
  }
  const bare = (word: string) => (word.startsWith(SHIELD) ? word.slice(1) : word);
  const flags = Object.fromEntries(
    Object.entries(parsed.values as Parsed['flags']).map(([key, value]) => [
      key,
      typeof value === 'string' ? bare(value) : value,
    ]),
  );
  for (const [one, other] of command.exclusive ?? []) {
    if (flags[one] !== undefined && flags[other] !== undefined)
      throw new UserError(`Can't specify ${one} and ${other}`);
  }
  if (flags.format !== undefined && command.layouts && flags.format !== 'xm' && flags.format !== 'xl') {
    complain(`Invalid value: ${flags.format}: --format is xm or xl`);
  }
  const positionals = parsed.positionals.map(bare);
  const { least, most } = argumentCount(command);
  if (positionals.length < least) complain(missing(command, positionals.length));
  if (positionals.length > most) complain('Invalid argument(s)');
  return { args: positionals, flags };
}

function meant(option: string, names: readonly string[]): string {
  const near = option.startsWith('--') ? nearest(option.slice(2), names) : undefined;
  return near ? ` (is --${near} meant?)` : '';
}

/** The words that are ours, and `--` with what follows it. */
function split(command: Command, words: readonly string[]): [own: readonly string[], rest?: readonly string[]] {
  const dashes = words.indexOf('--');
  let end = dashes < 0 ? words.length : dashes;
  if (command.passesRest) {
    // Its arguments end our part: what follows the last of them is another program's command line.
    const { least } = argumentCount(command);
    let seen = 0;
    for (let at = 0; at < end; at++) {
      if (words[at]!.startsWith('-')) at += takesNext(command, words[at]!) ? 1 : 0;
      else seen++;
      if (seen > least) end = at;
    }
  }
  const rest = words.slice(end);
  if (rest.length === 0) return [words.slice(0, end)];
  return [words.slice(0, end), rest[0] === '--' ? rest : ['--', ...rest]];
}

/** Is the word behind this option its value? */
function takesNext(command: Command, word: string): boolean {
  const options = optionsOf(command);
  if (word.startsWith('--')) {
    const matching = Object.keys(options).filter((name) => name.startsWith(word.slice(2)));
    return matching.length > 0 && matching.every((name) => options[name]!.type === 'string');
  }
  const at = [...word].slice(1).findIndex((letter) => stringOption(options, letter));
  return at >= 0 && at === word.length - 2;
}

const stringOption = (options: ReturnType<typeof optionsOf>, letter: string): boolean =>
  Object.values(options).some(({ short, type }) => short === letter && type === 'string');

/** `--def` is `--defconfig` where nothing else begins so. */
function fullName(word: string, names: readonly string[], complain: (what: string) => never): string {
  const match = /^--([^=]+)(=.*)?$/s.exec(word);
  if (!match) return word;
  const [, typed, value = ''] = match;
  const matching = names.filter((name) => name.startsWith(typed!));
  if (names.includes(typed!) || matching.length === 0) return word;
  if (matching.length > 1) complain(`option --${typed} is not unique: it may be ${list(matching)}`);
  return `--${matching[0]}${value}`;
}

const list = (names: readonly string[]): string => names.map((name) => `--${name}`).join(' or ');

function missing({ params = [] }: Command, given: number): string {
  const first = params.filter((param) => !param.startsWith('['))[given];
  return first?.replace('...', '') === 'DOM' ? 'Missing domain' : 'Missing arguments';
}

/** Does this command line ask for help rather than for work? Words behind `--` are not ours to look at. */
export function asksForHelp(command: Command, words: readonly string[]): boolean {
  const [own] = split(command, words);
  return own.some((word) => word === '-h' || word === '--help');
}

/** A whole number in an argument or option value: `Error: CMD: Invalid value: WORD: WHAT ...` otherwise. */
export function wholeNumber(
  command: string,
  word: string,
  what: string,
  least = 0,
  most = Number.MAX_SAFE_INTEGER,
): number {
  const value = /^[+-]?\d+$/.test(word.trim()) ? Number(word) : Number.NaN;
  if (value >= least && value <= most) return value;
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new UserError(`${command}: Invalid value: ${word}: ${what} is a whole number ${range}`);
}
