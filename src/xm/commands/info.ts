/** `xm info`. */
import { command } from '../command.ts';
import { infoText } from '../table.ts';

export const info = command({
  name: 'info',
  group: 'node',
  json: true,
  layouts: true,
  summary: 'Print facts about this machine',
  async run({ xend, show, dialect }) {
    const node = await xend.call('GET /node', {});
    show(node, () => infoText(node, dialect));
  },
});
