/** Memory and virtual CPUs of a domain: 2.0's balloon and maxmem, and what later tools call them (xm-xend 1.3, 1.8, 8). */
import { command, UserError } from '../command.ts';
import { wholeNumber } from '../parse.ts';

const KIB_PER_MIB = 1024;
/** KiB of each unit. A bare number is MiB, whatever xl's manual says. */
// biome-ignore format: a table
const UNITS: Readonly<Record<string, number>> = { b: 1 / 1024, k: 1, m: KIB_PER_MIB, g: KIB_PER_MIB ** 2, t: KIB_PER_MIB ** 3 };

/** 96, 96m, 98304k: MiB. */
function mebibytes(name: string, word: string): number {
  const [, digits, unit] = /^(\d{1,15})([bkmgt]?)$/i.exec(word) ?? [];
  const mib = (Number(digits) * UNITS[(unit || 'm').toLowerCase()]!) / KIB_PER_MIB;
  if (Number.isInteger(mib) && mib >= 1) return mib;
  throw new UserError(
    `${name}: Invalid value: ${word}: MB is a whole number of MiB, or one with b, k, m, g or t behind it`,
  );
}

export const balloon = command({
  name: 'balloon',
  aliases: ['mem-set'],
  successor: 'mem-set',
  group: 'domain',
  params: ['DOM', 'MB'],
  summary: 'Ask a domain to have so much memory',
  details: `
MB is a number of MiB, or one with a unit (512m, 1g). Ballooning is not implemented: a domain keeps the memory that it was made
with, and any other amount is refused.`,
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/memory', { name: args[0]!, memoryMiB: mebibytes('balloon', args[1]!) });
  },
});

export const maxmem = command({
  name: 'maxmem',
  aliases: ['mem-max'],
  successor: 'mem-max',
  group: 'domain',
  params: ['DOM', 'MB'],
  summary: 'Say how far the memory of a domain may grow',
  details: `
MB as for balloon; not less than what the domain has. Its kernel hears of it when it boots the next time.`,
  async run({ args, xend }) {
    await xend.call('POST /domains/:name/maxmem', { name: args[0]!, maxmemMiB: mebibytes('maxmem', args[1]!) });
  },
});

export const vcpuSet = command({
  name: 'vcpu-set',
  group: 'domain',
  params: ['DOM', 'COUNT'],
  summary: 'Say how many virtual CPUs a domain is to have',
  details: `
CPUs are not added to a running domain or taken from it: any other number than it has is refused.`,
  options: {
    ignore: { type: 'boolean', short: 'i', help: 'more than this machine has CPUs; makes no difference here' },
  },
  async run({ args, xend }) {
    const vcpus = wholeNumber('vcpu-set', args[1]!, 'COUNT', 1);
    await xend.call('POST /domains/:name/vcpus', { name: args[0]!, vcpus });
  },
});
