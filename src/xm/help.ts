/** `xm help` and `xm help COMMAND`, made from the commands themselves. */
import { type Command, GROUPS } from './command.ts';

const row = (left: string, right: string, width: number): string => `${left.padEnd(width)} ${right}\n`;

export function overview(commands: readonly Command[]): string {
  let text = '';
  for (const [group, title] of Object.entries(GROUPS)) {
    const members = commands.filter((one) => one.group === group).sort((a, b) => (a.name < b.name ? -1 : 1));
    if (title) text += `\n${title}\n\n`;
    for (const { name, summary } of members) text += row(name, summary, 14);
  }
  return `${text}\nTry 'xm help CMD' for help on CMD\n`;
}

export function commandHelp(command: Command, typed: string): string {
  const usage = [typed, command.usage].filter((part) => part !== '').join(' ');
  let text = `${usage}\n\n${command.summary}.\n`;
  if (command.details) text += `\n${command.details.trim()}\n`;
  const options = Object.entries(command.options ?? {});
  if (options.length > 0) text += '\nOptions:\n';
  for (const [name, { short, value, help }] of options) {
    const names = [short && `-${short}`, `--${name}`].filter(Boolean).join(', ');
    text += row(`  ${names}${value ? ` ${value}` : ''}`, help, 32);
  }
  return text;
}
