/** `xm log` and `xm dmesg`. */
import { command } from '../command.ts';

export const log = command({
  name: 'log',
  group: 'node',
  summary: "Print xend's log file",
  async run({ xend, out }) {
    out(`${(await xend.call('GET /node/log', {})).text}\n`);
  },
});

export const dmesg = command({
  name: 'dmesg',
  group: 'node',
  summary: "Print the hypervisor's messages",
  options: {
    clear: { type: 'boolean', short: 'c', help: 'forget them instead; xm prints nothing then, xl prints them' },
  },
  async run({ xend, out, flags, dialect }) {
    const route = flags.clear ? 'POST /node/dmesg/clear' : 'GET /node/dmesg';
    const { text } = await xend.call(route, {});
    if (!flags.clear || dialect === 'xl') out(`${text}\n`);
  },
});
