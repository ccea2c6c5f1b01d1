/** Commands that are one request: pause, unpause, destroy, domid, domname, info, log, dmesg. */
import { command } from '../command.ts';
import { infoText } from '../table.ts';

const DOMAIN = { args: [1, 1], missing: 'Missing domain', usage: 'DOM' } as const;

export const pause = command({
  name: 'pause',
  group: 'domain',
  ...DOMAIN,
  summary: 'Stop executing a domain; its memory and devices stay',
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/pause', { name: args[0]! });
  },
});

export const unpause = command({
  name: 'unpause',
  group: 'domain',
  ...DOMAIN,
  summary: 'Go on executing a paused domain',
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/unpause', { name: args[0]! });
  },
});

export const destroy = command({
  name: 'destroy',
  group: 'domain',
  ...DOMAIN,
  summary: 'End a domain now, without asking its guest',
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/destroy', { name: args[0]! });
  },
});

export const domid = command({
  name: 'domid',
  group: 'domain',
  ...DOMAIN,
  summary: 'Print the id of a domain',
  async run({ args, xend, out }) {
    out(`${(await xend.call('GET /domains/:name', { name: args[0]! })).domid}\n`);
  },
});

export const domname = command({
  name: 'domname',
  group: 'domain',
  ...DOMAIN,
  summary: 'Print the name of a domain',
  async run({ args, xend, out }) {
    out(`${(await xend.call('GET /domains/:name', { name: args[0]! })).name}\n`);
  },
});

const JSON_OPTION = { json: { type: 'boolean', help: 'print JSON' } } as const;

export const info = command({
  name: 'info',
  group: 'node',
  args: [0, 0],
  usage: '[--json]',
  summary: 'Print facts about this machine',
  options: JSON_OPTION,
  async run({ xend, out, flags }) {
    const node = await xend.call('GET /node', {});
    out(flags.json ? `${JSON.stringify(node, null, 2)}\n` : infoText(node));
  },
});

export const log = command({
  name: 'log',
  group: 'node',
  args: [0, 0],
  usage: '',
  summary: "Print xend's log file",
  async run({ xend, out }) {
    out(`${(await xend.call('GET /node/log', {})).text}\n`);
  },
});

export const dmesg = command({
  name: 'dmesg',
  group: 'node',
  args: [0, 0],
  usage: '[-c|--clear]',
  summary: "Print the hypervisor's messages",
  options: { clear: { type: 'boolean', short: 'c', help: 'forget them instead, printing nothing' } },
  async run({ xend, out, flags }) {
    if (flags.clear) await xend.call('POST /node/dmesg/clear', {});
    else out(`${(await xend.call('GET /node/dmesg', {})).text}\n`);
  },
});
