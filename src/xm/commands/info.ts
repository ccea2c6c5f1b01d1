/** `xm info`. */
import { command } from '../command.ts';
import { infoText, numaText } from '../table.ts';

export const info = command({
  name: 'info',
  group: 'node',
  json: true,
  layouts: true,
  summary: 'Print facts about this machine',
  options: { numa: { type: 'boolean', short: 'n', help: 'and about its nodes of memory, of which xend tells one' } },
  async run({ xend, show, dialect, flags }) {
    const node = await xend.call('GET /node', {});
    show(node, () => infoText(node, dialect) + (flags.numa ? numaText(node) : ''));
  },
});
