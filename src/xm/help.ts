/** `xm help` and `xm help COMMAND`, made from the commands themselves (xm-xend 1.2). */
import { type Command, GROUPS, type Option, optionsOf } from './command.ts';

const row = (left: string, right: string, width: number): string =>
  left.length > width ? `${left}\n${' '.repeat(width)} ${right}\n` : `${left.padEnd(width)} ${right}\n`;

export function overview(commands: readonly Command[]): string {
  let text = '';
  for (const [group, title] of Object.entries(GROUPS)) {
    const members = commands.filter((one) => one.group === group).sort((a, b) => (a.name < b.name ? -1 : 1));
    if (members.length === 0) continue;
    if (title) text += `\n${title}\n\n`;
    for (const { name, summary } of members) text += row(name, summary, 14);
  }
  return `${text}\nTry 'xm help CMD' for help on CMD\n`;
}

/**
 * The same called as xl, in that tool's form: four lines, then a command a line behind a blank, in the order of their names.
 * The completion that it brings for bash reads it (xm-xend 11.2).
 */
export function xlOverview(commands: readonly Command[]): string {
  const sorted = commands.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const rows = sorted.map(({ name, summary }) => ` ${name.padEnd(19)} ${summary}\n`);
  return `Usage xl <subcommand> [args]\n\nxl full list of subcommands:\n\n${rows.join('')}`;
}

/** `[-a] [-H|-R] [--path PATH] DOM`: everything behind the command's name. */
export function usage(command: Command): string {
  const options = optionsOf(command);
  const one = (name: string): string => {
    const { short, value, type } = options[name]!;
    return `${short ? `-${short}` : `--${name}`}${type === 'string' ? ` ${value ?? 'VALUE'}` : ''}`;
  };
  const pairs = command.exclusive ?? [];
  const partner = (name: string) =>
    pairs.find(
      ([first, second], at) => first === name && pairs.findLastIndex((pair) => pair[1] === second) === at,
    )?.[1];
  const seconds = new Set(pairs.map(([, second]) => second));
  const words: string[] = [];
  for (const name of Object.keys(options)) {
    if (seconds.has(name)) continue;
    const other = partner(name);
    words.push(other ? `[${one(name)}|${one(other)}]` : `[${one(name)}]`);
  }
  return [...words, ...(command.params ?? [])].join(' ');
}

/** `-q`, `--quiet`. */
export const optionWords = (name: string, { short }: Option): string[] => [
  ...(short ? [`-${short}`] : []),
  `--${name}`,
];

export const optionNames = (name: string, option: Option): string =>
  `${optionWords(name, option).join(', ')}${option.type === 'string' ? ` ${option.value ?? 'VALUE'}` : ''}`;

export function commandHelp(command: Command, typed: string): string {
  let text = `${[typed, usage(command)].filter((part) => part !== '').join(' ')}\n\n${command.summary}.\n`;
  if (command.details) text += `\n${command.details.trim()}\n`;
  if (command.aliases) text += `\nAlso called ${command.aliases.join(', ')}.\n`;
  const options = Object.entries(optionsOf(command));
  if (options.length > 0) text += '\nOptions:\n';
  for (const [name, option] of options) text += row(`  ${optionNames(name, option)}`, option.help, 32);
  return text;
}
