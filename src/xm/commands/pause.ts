/** `xm pause` and `xm unpause`. */
import { command } from '../command.ts';

export const pause = command({
  name: 'pause',
  group: 'domain',
  params: ['DOM'],
  summary: 'Stop executing a domain; its memory and devices stay',
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/pause', { name: args[0]! });
  },
});

export const unpause = command({
  name: 'unpause',
  group: 'domain',
  params: ['DOM'],
  summary: 'Go on executing a paused domain',
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/unpause', { name: args[0]! });
  },
});
