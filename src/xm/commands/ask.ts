/** Small things asked of one domain: rename, sysrq, trigger, dump-core (xm-xend 1.3, 1.8). */
import path from 'node:path';
import { command, UserError } from '../command.ts';

export const rename = command({
  name: 'rename',
  group: 'domain',
  params: ['DOM', 'NEWNAME'],
  summary: 'Give a domain another name',
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/rename', { name: args[0]!, newName: args[1]! });
  },
});

export const sysrq = command({
  name: 'sysrq',
  group: 'domain',
  params: ['DOM', 'LETTER'],
  summary: "Send a SysRq key to a domain's kernel",
  details: "What the letters do is the guest's affair: in Linux, h prints them all on the console.",
  async run({ args, xend }) {
    const [name, key] = args;
    if (!/^[0-9a-zA-Z]$/.test(key!)) throw new UserError(`sysrq: Invalid value: ${key}: LETTER is one letter or digit`);
    await xend.call('POST /domains/:name/sysrq', { name: name!, key: key! });
  },
});

/** What is pressed or pulled, and what does the same to a PV domain. */
const TRIGGERS = ['nmi', 'reset', 'power'] as const;

export const trigger = command({
  name: 'trigger',
  group: 'domain',
  params: ['DOM', 'TRIGGER', '[VCPU]'],
  summary: 'Press a button of a domain: nmi, reset or power',
  details: `
nmi sends a non-maskable interrupt, reset restarts the domain without asking its guest, power asks the guest to shut down.
init, s3resume and sleep are of full virtualisation and do not exist here.`,
  async run({ args, xend }) {
    const [name, what, vcpu = '0'] = args;
    if (!(TRIGGERS as readonly string[]).includes(what!))
      throw new UserError(`trigger: Invalid value: ${what}: TRIGGER is ${TRIGGERS.join(', ')}`);
    if (vcpu !== '0') throw new UserError(`trigger: Invalid value: ${vcpu}: only vCPU 0 has buttons`);
    if (what === 'nmi') await xend.call('POST /domains/:name/nmi', { name: name! });
    else if (what === 'reset') await xend.call('POST /domains/:name/reset', { name: name! });
    else await xend.call('POST /domains/:name/shutdown', { name: name!, reason: 'poweroff' });
  },
});

export const dumpCore = command({
  name: 'dump-core',
  group: 'domain',
  params: ['DOM', '[FILE]'],
  summary: "Write a domain's memory and registers to a core file",
  details: `
The file is read by gdb and crash, and by tools for Xen's core files. Without FILE it goes to the folder of cores, and its path
is printed. The guest does not run while it is written.`,
  options: {
    live: { type: 'boolean', short: 'L', help: 'accepted: the domain goes on afterwards in any case' },
    crash: { type: 'boolean', short: 'C', help: 'destroy the domain afterwards' },
    reset: { type: 'boolean', short: 'R', help: 'restart the domain afterwards' },
  },
  exclusive: [
    ['crash', 'reset'],
    ['live', 'crash'],
  ],
  async run({ args, flags, xend, out, progress }) {
    const [name, file] = args;
    progress(`writing the core of ${name}`);
    const input = { name: name!, ...(file !== undefined && { file: path.resolve(file) }) };
    const written = await xend.call('POST /domains/:name/core', input).finally(() => progress(undefined));
    if (file === undefined) out(`${written.file}\n`);
    if (flags.crash) await xend.call('POST /domains/:name/destroy', { name: name! });
    if (flags.reset) await xend.call('POST /domains/:name/reset', { name: name! });
  },
});
