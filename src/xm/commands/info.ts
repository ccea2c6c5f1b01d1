/** `xm info`. */
import { command } from '../command.ts';
import { infoText } from '../table.ts';

export const info = command({
  name: 'info',
  group: 'node',
  json: true,
  summary: 'Print facts about this machine',
  async run({ xend, show }) {
    const node = await xend.call('GET /node', {});
    show(node, () => infoText(node));
  },
});
