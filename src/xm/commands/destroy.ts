/** `xm destroy`. */
import { command } from '../command.ts';

export const destroy = command({
  name: 'destroy',
  group: 'domain',
  params: ['DOM'],
  summary: 'End a domain now, without asking its guest',
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/destroy', { name: args[0]! });
  },
});
