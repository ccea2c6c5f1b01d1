/** `xm channel-list`, xl's (xm-xend 1.8): consoles of a domain with a name, by which a program in the guest finds them. */
import { command } from '../command.ts';
import { line } from '../table.ts';

const TEMPLATE = '%-3s %-2s %-5s %-6s %-8s %-10s %-30s ';

export const channelList = command({
  name: 'channel-list',
  group: 'console',
  params: ['DOM...'],
  summary: 'List the channels of domains',
  details: `
A channel is a console with a name. Each domain has one, domus.agent, for xm exec and xm cp; state 4 is one that the guest's
kernel has connected. The socket is where this machine's side of it is served.`,
  json: true,
  async run({ args, xend, show }) {
    const of = (name: string) => xend.call('GET /domains/:name/channels', { name });
    const channels = (await Promise.all(args.map(of))).flat();
    show(channels, () => {
      const header = line(
        '%-3s %-2s %-5s %-6s %8s %-10s %-30s',
        'Idx',
        'BE',
        'state',
        'evt-ch',
        'ring-ref',
        'connection',
        '',
      );
      const rows = channels.map(({ id, state, eventChannel, ringRef, socket }) =>
        line(TEMPLATE, id, 0, state, eventChannel ?? -1, ringRef ?? -1, 'socket', socket),
      );
      return header + rows.join('');
    });
  },
});
