/** `xm info`. */
import { command } from '../command.ts';
import { infoText, numaText, settingsText } from '../table.ts';

export const info = command({
  name: 'info',
  group: 'node',
  json: true,
  layouts: true,
  summary: 'Print facts about this machine',
  options: {
    numa: { type: 'boolean', short: 'n', help: 'and about its nodes of memory, of which xend tells one' },
    config: { type: 'boolean', short: 'c', help: "xend's settings instead, as xm 4.0 lists them" },
  },
  exclusive: [['config', 'numa']],
  async run({ xend, show, dialect, flags }) {
    if (flags.config) {
      const settings = await xend.call('GET /node/config', {});
      return show(settings, () => settingsText(settings));
    }
    const node = await xend.call('GET /node', {});
    show(node, () => infoText(node, dialect) + (flags.numa ? numaText(node) : ''));
  },
});
