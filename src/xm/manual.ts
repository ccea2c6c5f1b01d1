/** The manual of xm as Markdown, made from the command values and the table of configuration variables: docs/xm.md. */
import { VARIABLES } from '../config/variables.ts';
import { type Command, GROUPS, optionsOf } from './command.ts';
import { optionNames, usage } from './help.ts';

const HEAD = `# xm

<!-- Made by \`npm run docs\` from src/xm/commands and src/config/variables.ts: change those. -->

    xm COMMAND [OPTION...] [ARGUMENT...]

A command may be shortened to any beginning that only it has; so may a long option. Options stand before or after arguments. DOM is
a domain's name, id or uuid. What goes wrong is one line on standard error that begins with \`Error:\`, and exit code 1; everything
else ends with exit code 0. \`xm --version\` tells which Domus it is. \`xl\` is the same program and prints today's tables where they differ; \`--format\` chooses by hand.

| environment | |
|---|---|
| \`DOMUS_HOME\` | folder of a xend of one's own: its sockets, records and logs |
| \`NO_COLOR\`, \`FORCE_COLOR\` | no colour, or colour always |
`;

const VARIABLES_HEAD = `## Configuration variables

A configuration file is Python, with everything that such files use and nothing that could do harm: no files are written, no
programs run. Besides the variables it may define and use names of its own. \`os\`, \`re\`, \`sys\`, \`string\`, \`math\` and \`socket\` are
there in part, and \`domus_images\` is the folder that \`npm run examples\` fills. JSON by the schema that \`xm schema\` prints is taken as
well.

| variable | meaning |
|---|---|
`;

const cell = (text: string): string => text.replaceAll('|', '\\|');

export function manual(commands: readonly Command[]): string {
  let text = HEAD;
  for (const [group, title] of Object.entries(GROUPS)) {
    const members = commands.filter((one) => one.group === group).sort((a, b) => (a.name < b.name ? -1 : 1));
    if (members.length === 0) continue;
    text += `\n## ${title.replace(/:$/, '') || 'General commands'}\n`;
    for (const command of members) text += section(command);
  }
  text += `\n${VARIABLES_HEAD}`;
  for (const { name, standing, help } of VARIABLES) {
    if (standing === 'used') text += `| \`${name}\` | ${cell(help)} |\n`;
  }
  const rest = (standing: string) =>
    VARIABLES.filter((one) => one.standing === standing)
      .map(({ name }) => `\`${name}\``)
      .join(', ');
  text += `\nKnown, and warned of because they have no effect yet: ${rest('later')}.\n`;
  return `${text}\nAccepted in silence, because they mean nothing to a paravirtual domain or to this version: ${rest('accepted')}.\n`;
}

function section(command: Command): string {
  const { name, aliases, summary, details } = command;
  let text = `\n### ${name}\n\n    xm ${[name, usage(command)].filter(Boolean).join(' ')}\n\n${summary}.`;
  if (aliases) text += ` Also called ${aliases.map((alias) => `\`${alias}\``).join(', ')}.`;
  // Short lines are lines of their own, long ones are a paragraph's.
  if (details) text += `\n\n${details.trim().replace(/^.{1,90}$(?=\n.)/gm, '$&  ')}`;
  const options = Object.entries(optionsOf(command));
  if (options.length > 0) text += '\n\n| option | |\n|---|---|\n';
  for (const [long, option] of options) text += `| \`${cell(optionNames(long, option))}\` | ${cell(option.help)} |\n`;
  return `${text.trimEnd()}\n`;
}
