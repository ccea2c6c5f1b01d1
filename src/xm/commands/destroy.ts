/** `xm destroy`. */
import { command } from '../command.ts';

export const destroy = command({
  name: 'destroy',
  group: 'domain',
  params: ['DOM'],
  summary: 'End a domain now, without asking its guest',
  options: {
    reboot: { type: 'boolean', short: 'R', help: 'start it again at once' },
    force: { type: 'boolean', short: 'f', help: 'accepted: it never asks' },
  },
  async run({ args, flags, xend }) {
    const route = flags.reboot ? 'POST /domains/:name/reset' : 'POST /domains/:name/destroy';
    await xend.call(route, { name: args[0]! });
  },
});
