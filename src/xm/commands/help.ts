/** `xm help`: the runner answers it, because it is about all the others. Here for its row in the overview. */
import { command } from '../command.ts';

export const help = command({
  name: 'help',
  group: 'general',
  params: ['[CMD]'],
  summary: 'Print help, of all commands or of one',
  async run() {},
});
