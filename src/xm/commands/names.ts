/** `xm domid` and `xm domname`: either takes a name or an id. */
import { command } from '../command.ts';

export const domid = command({
  name: 'domid',
  group: 'domain',
  params: ['DOM'],
  summary: 'Print the id of a domain',
  async run({ args, xend, out }) {
    out(`${(await xend.call('GET /domains/:name', { name: args[0]! })).domid}\n`);
  },
});

export const domname = command({
  name: 'domname',
  group: 'domain',
  params: ['DOM'],
  summary: 'Print the name of a domain',
  async run({ args, xend, out }) {
    out(`${(await xend.call('GET /domains/:name', { name: args[0]! })).name}\n`);
  },
});
