/** `xm profile`: where a running domain spends its time, by its kernel's symbols and by what its monitor does. */
import type { Profile } from '../../xend/view.ts';
import { command, UserError } from '../command.ts';
import { line } from '../table.ts';

const SECONDS = 5;
const LINES = 40;
const REGIONS_MAX = 100;

export const profile = command({
  name: 'profile',
  group: 'domain',
  params: ['DOM', '[SECONDS]'],
  summary: 'Watch for some seconds where a domain spends its time',
  details: `
Looks a thousand times a second where the guest is, and prints its kernel's functions by how often they were found, and its
programs' as far as they are linked by name (LIBRARY:NAME, or user NAME); the others have addresses only. Then the same for the thread that runs it: generated code of hot regions, the interpreter, and
what the monitor does for the guest. The guest goes on meanwhile, a little slower. ${SECONDS} seconds when none are given.
With --regions the translated code is forgotten, and made, joined or taken from other domains again, and counted; told is what took
most time: a region's code in the guest ('>' where it is entered) with the functions that it comes from, and its WebAssembly.`,
  options: {
    lines: { type: 'string', short: 'n', value: 'N', help: `of each table; ${LINES} when not given` },
    regions: { type: 'string', short: 'r', value: 'N', help: `of hot code to tell of, at most ${REGIONS_MAX}` },
    addresses: { type: 'boolean', short: 'a', help: 'instruction by instruction, not by function' },
  },
  json: true,
  async run({ args, flags, xend, show }) {
    const seconds = args[1] === undefined ? SECONDS : Number(args[1]);
    if (!(seconds >= 0.1 && seconds <= 600))
      throw new UserError(`profile: Invalid value: ${args[1]}: 0.1 to 600 seconds`);
    const lines = flags.lines === undefined ? LINES : Number(flags.lines);
    if (!(lines >= 1)) throw new UserError(`profile: Invalid value: ${flags.lines}: the number of lines`);
    const regions = flags.regions === undefined ? 0 : Number(flags.regions);
    if (!(Number.isInteger(regions) && regions >= 0 && regions <= REGIONS_MAX))
      throw new UserError(`profile: Invalid value: ${flags.regions}: the number of regions, at most ${REGIONS_MAX}`);
    const found = await xend.call('POST /domains/:name/profile', { name: args[0]!, seconds, regions });
    show(found, () => text(found, lines, flags.addresses === true));
  },
});

function text(found: Profile, lines: number, byAddress: boolean): string {
  const { samples, idle, guest, monitor, engine } = found;
  const busy = Math.max(1, samples - idle);
  const counts = new Map<string, number>();
  for (const one of guest) {
    const name = place(one, byAddress);
    counts.set(name, (counts.get(name) ?? 0) + one.samples);
  }
  const places = [...counts].sort((a, b) => b[1] - a[1]);
  const kernel = guest.reduce((sum, one) => sum + (one.kernel ? one.samples : 0), 0);
  const total = monitor.reduce((sum, { ms }) => sum + ms, 0) || 1;
  const share = (part: number, whole: number): string => ((100 * part) / whole).toFixed(1);
  return [
    `${samples} samples in ${found.seconds.toFixed(1)} s: ${share(idle, Math.max(1, samples))} % idle; of the others ${share(kernel, busy)} % in the guest's kernel\n`,
    'Guest      %  Where\n',
    ...places.slice(0, lines).map(([name, count]) => line('%5d %6s  %s', count, share(count, busy), name)),
    'vCPU ms    %  Function of the monitor\n',
    ...monitor
      .slice(0, lines)
      .map(({ name, where, ms, symbol }) =>
        line('%7.1f %4s  %s', ms, share(ms, total), [name, symbol ?? where].filter(Boolean).join('  ')),
      ),
    'Engine, since the domain was built: ',
    Object.entries(engine)
      .map(([name, value]) => `${name} ${Number.isInteger(value) ? value : value.toFixed(1)}`)
      .join(', '),
    '\n',
    ...found.regions.flatMap(regionLines),
  ].join('');
}

const HOW = {
  made: 'made here',
  joined: 'several that were joined here',
  kept: 'kept from another domain or an earlier time',
} as const;

function regionLines(region: Profile['regions'][number]): string[] {
  const { address, symbol, how, instructions, blocks, entries, executions, ms, parts, guest, wasm } = region;
  return [
    `\nregion ${[address, symbol].filter(Boolean).join('  ')}: ${instructions} instructions in ${blocks} blocks, ${entries} entries; `,
    `entered ${executions} times, ${ms.toFixed(1)} ms; ${HOW[how]}\n`,
    ...(parts.length > 1
      ? parts.map((part) => line('%6d of %s  %s', part.instructions, part.address, part.symbol ?? ''))
      : []),
    ...guest.map((text) => `${text}\n`),
    '\n',
    ...wasm.map((text) => `    ${text}\n`),
  ];
}

function place({ address, kernel, symbol, offset }: Profile['guest'][number], exact: boolean): string {
  const name = symbol === undefined || kernel || symbol.includes(':') ? symbol : `user ${symbol}`;
  if (name !== undefined) return exact ? `${name}+0x${offset!.toString(16)}` : name;
  if (exact) return `${kernel ? 'kernel' : 'user'} 0x${address}`;
  return `${kernel ? 'kernel' : 'user'} 0x${address.slice(0, -3)}___`;
}
