/** CPUs and shares of them: vcpu-list, pincpu and its successor vcpu-pin, sched-credit (xm-xend 1.8, 1.9). */
import { parseCpus, printCpus } from '../../config/cpus.ts';
import { everyCpu } from '../../host/threads.ts';
import type { XendClient } from '../../sdk/client.ts';
import { command, UserError } from '../command.ts';
import { wholeNumber } from '../parse.ts';
import { line, POOL } from '../table.ts';

/** Those named, or all. */
async function chosen(xend: XendClient, names: readonly string[]): Promise<{ name: string; domid: number }[]> {
  if (names.length === 0) return xend.call('GET /domains', {});
  return Promise.all(names.map((name) => xend.call('GET /domains/:name', { name })));
}

const LETTERS = { running: 'r--', blocked: '-b-', paused: '--p', offline: '--p' } as const;

export const vcpuList = command({
  name: 'vcpu-list',
  group: 'domain',
  params: ['[DOM...]'],
  summary: 'List virtual CPUs: where they run, what they do, which CPUs they may use',
  json: true,
  layouts: true,
  async run({ args, xend, show, dialect }) {
    const domains = await chosen(xend, args);
    const rows = await Promise.all(
      domains.map(async ({ name, domid }) =>
        (await xend.call('GET /domains/:name/vcpus', { name: String(domid) })).map((vcpu) => ({
          name,
          domid,
          ...vcpu,
        })),
      ),
    );
    show(rows.flat(), () => {
      const template = '%-32s %5s %5s %5s %5s %9s %s';
      const title = dialect === 'xl' ? 'Affinity (Hard / Soft)' : 'CPU Affinity';
      const affinity = (cpus: readonly number[]) =>
        dialect === 'xl' ? `${printCpus(cpus, 'all')} / all` : printCpus(cpus);
      return (
        line(template, 'Name', 'ID', 'VCPU', 'CPU', 'State', 'Time(s)', title) +
        rows
          .flat()
          .map(({ name, domid, vcpu, cpu, state, cpuTimeS, affinity: cpus }) =>
            line(template, name, domid, vcpu, cpu ?? '-', LETTERS[state], cpuTimeS.toFixed(1), affinity(cpus)),
          )
          .join('')
      );
    });
  },
});

export const pincpu = command({
  name: 'pincpu',
  group: 'domain',
  params: ['DOM', 'CPU'],
  successor: 'vcpu-pin',
  summary: 'Let a domain run on one CPU only; -1 lets it run on any',
  async run({ args, xend }) {
    const [name, word] = args;
    const cpu = wholeNumber('pincpu', word!, 'CPU', -1);
    await xend.call('POST /domains/:name/vcpus/pin', { name: name!, cpus: cpu < 0 ? [] : [cpu] });
  },
});

export const vcpuPin = command({
  name: 'vcpu-pin',
  group: 'domain',
  params: ['DOM', 'VCPU', 'CPUS', '[SOFT]'],
  summary: 'Let a virtual CPU run on some CPUs only',
  details: `
VCPU is a number or "all"; CPUS are numbers, ranges and exceptions (0-3,5,^1), or "all". What xl calls the soft affinity,
CPUs to prefer, is left to this machine's kernel: SOFT can only be "all" or "-".`,
  async run({ args, xend }) {
    const [name, which, cpus, soft = 'all'] = args;
    if (soft !== 'all' && soft !== '-') throw new UserError('vcpu-pin: CPUs to prefer cannot be set: SOFT is "all"');
    if (cpus === '-') return;
    const vcpu = which === 'all' ? undefined : wholeNumber('vcpu-pin', which!, 'VCPU');
    await xend.call('POST /domains/:name/vcpus/pin', {
      name: name!,
      ...(vcpu !== undefined && { vcpu }),
      cpus: parseCpus(cpus!, everyCpu()),
    });
  },
});

/** The credit scheduler's usual parameters. It is this machine's kernel that hands out its CPUs. */
const POOL_LINE = `Cpupool ${POOL}: tslice=30ms ratelimit=1000us migration-delay=0us\n`;

export const schedCredit = command({
  name: 'sched-credit',
  group: 'scheduler',
  params: ['[DOM]'],
  summary: "Show or change domains' shares of the CPUs",
  details: `
Under contention CPU time is shared by weight: a domain of weight 512 gets twice what one of 256 gets. A domain never uses
more than its cap, in percent of one CPU. Raising a weight above what a domain had takes root.`,
  options: {
    domain: { type: 'string', short: 'd', value: 'DOM', help: 'the domain' },
    weight: { type: 'string', short: 'w', value: 'N', help: 'its weight, 1 to 65535; 256 is usual' },
    cap: { type: 'string', short: 'c', value: 'N', help: 'its cap in percent of one CPU; 0 is none' },
    schedparam: { type: 'boolean', short: 's', help: "print the scheduler's own parameters, as xl does" },
    cpupool: {
      type: 'string',
      short: 'p',
      value: 'POOL',
      help: `only the pool of CPUs of this name; there is ${POOL}`,
    },
    tslice: { type: 'string', short: 't', value: 'MS', help: "the scheduler's time slice, which cannot be set here" },
    ratelimit: {
      type: 'string',
      short: 'r',
      value: 'US',
      help: "the scheduler's rate limit, which cannot be set here",
    },
  },
  exclusive: [
    ['schedparam', 'weight'],
    ['schedparam', 'cap'],
    ['schedparam', 'domain'],
    ['cpupool', 'domain'],
  ],
  json: true,
  layouts: true,
  async run({ args, flags, xend, show, dialect, out }) {
    if (flags.cpupool !== undefined && flags.cpupool !== POOL)
      throw new UserError(`sched-credit: unknown cpupool '${flags.cpupool}': there is ${POOL}`);
    if (flags.tslice !== undefined || flags.ratelimit !== undefined)
      throw new UserError(
        "sched-credit: it is this machine's kernel that hands out CPUs: no time slice or rate limit to set",
      );
    if (flags.schedparam) return out(POOL_LINE);
    const number = (flag: 'weight' | 'cap', least: number, most: number) =>
      flags[flag] === undefined
        ? {}
        : { [flag]: wholeNumber('sched-credit', String(flags[flag]).replace(/^=/, ''), flag, least, most) };
    const change = { ...number('weight', 1, 65535), ...number('cap', 0, 100_000) };
    const name = (flags.domain as string | undefined) ?? args[0];
    if (Object.keys(change).length > 0) {
      if (name === undefined) throw new UserError('sched-credit: Missing domain');
      await xend.call('POST /domains/:name/scheduling', { name, ...change });
      return;
    }
    const domains = await chosen(xend, name === undefined ? [] : [name]);
    const rows = await Promise.all(
      domains.map(async (one) => ({
        name: one.name,
        domid: one.domid,
        ...(await xend.call('GET /domains/:name/scheduling', { name: String(one.domid) })),
      })),
    );
    show(rows, () => {
      const header = line('%-33s %4s %6s %4s', 'Name', 'ID', 'Weight', 'Cap');
      const pool = dialect === 'xl' && name === undefined ? POOL_LINE : '';
      return (
        pool + header + rows.map((row) => line('%-33s %4d %6d %4d', row.name, row.domid, row.weight, row.cap)).join('')
      );
    });
  },
});
