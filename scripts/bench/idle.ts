/** What a domain costs that does nothing: host CPU time, and the monitor's memory besides the guest's own. Linux only. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { planLayout } from '../../src/hypervisor/memory.ts';
import { cpuMsSince, residentMiB, threadsCpuMs } from '../lib/process-cost.ts';
import { TTYLINUX_MEMORY_MIB } from '../lib/ttylinux.ts';
import { bootDomain } from './boot.ts';
import type { Row } from './report.ts';
import type { TablePlaces } from './tabled.ts';

/** A monitor frees what only a busy one needs in the first half minute; what is measured is the idleness behind it. */
const SETTLE_MS = 30_000;
const WATCH_MS = 20_000;
const PAGE = 4096;
const MIB = 1 << 20;
/** Where the domain's memory begins in the process: the one mapping that is as long as the layout says. */
function findMemory(pid: number, bytes: number): number {
  const found = readFileSync(`/proc/${pid}/maps`, 'latin1')
    .split('\n')
    .flatMap((line) => {
      const range = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
      if (!range) return [];
      const [start, end] = [Number.parseInt(range[1]!, 16), Number.parseInt(range[2]!, 16)];
      return end - start === bytes ? [start] : [];
    });
  if (found.length !== 1) throw new Error(`process ${pid} has ${found.length} mappings of ${bytes} bytes`);
  return found[0]!;
}

/** Bytes of a range that are in memory: bit 63 of each page's word in pagemap. */
function residentIn(pid: number, start: number, bytes: number): number {
  const file = openSync(`/proc/${pid}/pagemap`, 'r');
  try {
    const words = new BigUint64Array(Math.ceil(bytes / PAGE));
    const read = readSync(file, new Uint8Array(words.buffer), 0, words.byteLength, (start / PAGE) * 8);
    return words.subarray(0, read / 8).reduce((sum, word) => sum + (word >> 63n === 1n ? PAGE : 0), 0);
  } finally {
    closeSync(file);
  }
}

export async function idleRows(places: TablePlaces, progress: (text: string) => void): Promise<Row[]> {
  const before = new Set(places.xend.monitors().map(({ pid }) => pid));
  await bootDomain(places, 'idle', true);
  const monitor = places.xend.monitors().find(({ pid }) => !before.has(pid));
  if (!monitor) throw new Error('the idle domain has no monitor process');
  const { pid } = monitor;
  progress(`watching an idle domain for ${WATCH_MS / 1000} s`);
  await sleep(SETTLE_MS);
  const [cpu, clock] = [threadsCpuMs(pid), performance.now()];
  await sleep(WATCH_MS);
  const percent = (100 * cpuMsSince(pid, cpu)) / (performance.now() - clock);

  const layout = planLayout((TTYLINUX_MEMORY_MIB * MIB) / PAGE, 1);
  const start = findMemory(pid, layout.bytes);
  const guest = residentIn(pid, start + layout.ramBase, layout.frames * PAGE);
  const tables = residentIn(pid, start, layout.ramBase);
  // Of the rest, pages of files are the Node binary's and libraries': all monitors share them.
  const resident = residentMiB(pid);
  const own = resident.all - guest / MIB;
  // biome-ignore format: a table
  return [
    { id: 'idle.cpu',    what: 'an idle domain: host CPU',                                unit: '%',   value: percent },
    { id: 'idle.memory', what: 'an idle domain: the monitor besides the guest\'s memory', unit: 'MiB', value: own,
      beside: { what: `of files ${resident.files.toFixed(0)}, engine tables`, value: tables / MIB } },
    { id: 'idle.guest',  what: `an idle domain: resident of its ${TTYLINUX_MEMORY_MIB} MiB`, unit: 'MiB', value: guest / MIB },
  ];
}
