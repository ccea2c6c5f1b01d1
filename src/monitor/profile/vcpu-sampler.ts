/**
 * The vCPU thread's side of a profile. At each look that the device thread asks for, its registers are in the state block, so
 * that RIP can be noted; meanwhile V8's own sampling profiler watches the thread. Neither exists while nobody asks.
 */
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { fileURLToPath } from 'node:url';
import { WatchedRegions } from '../../host/regions/watched.ts';
import type { WasmEngine } from '../../host/wasm-engine.ts';
import type { GuestMemory } from '../../hypervisor/memory.ts';
import { STATE } from '../../x86/state.ts';
import type { MonitorFunction, VcpuProfile } from './types.ts';

const V8_INTERVAL_US = 500;
/** Functions that are told, those with most time first. */
const FUNCTIONS_MAX = 400;

/** How regions' functions are called (host/regions/planner.ts): where they were made, perhaps in another domain, and their originId. */
const REGION = /^region ([0-9a-f]+) ([0-9a-f]+)$/;

type WatchedEngine = Pick<WasmEngine, 'statistics' | 'watchRegions' | 'regionAddresses'>;

interface V8Node {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}
interface V8Profile {
  readonly nodes: readonly V8Node[];
  readonly samples?: readonly number[];
  readonly timeDeltas?: readonly number[];
}

export class VcpuSampler {
  readonly #memory: GuestMemory;
  readonly #base: number;
  readonly #engine: WatchedEngine;
  readonly #regions: number;
  readonly #watched: WatchedRegions | undefined;
  readonly #session = new Session();
  /** RIP and page tables as text → samples, as in VcpuProfile. */
  readonly #guest = new Map<string, [lo: number, hi: number, root: number, count: number]>();

  /** `base`: the vCPU's state block. `regions`: how many regions are to be told of. */
  constructor(memory: GuestMemory, base: number, engine: WatchedEngine, regions: number) {
    this.#memory = memory;
    this.#base = base;
    this.#engine = engine;
    this.#regions = regions;
    if (regions > 0) {
      this.#watched = new WatchedRegions(() => this.#root());
      engine.watchRegions(this.#watched);
    }
    // A session with one's own thread answers before `post` returns.
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.setSamplingInterval', { interval: V8_INTERVAL_US });
    this.#session.post('Profiler.start');
  }

  sample(): void {
    const { view } = this.#memory;
    const lo = view.getUint32(this.#base + STATE.rip, true);
    const hi = view.getUint32(this.#base + STATE.rip + 4, true);
    const root = this.#root();
    const key = `${lo} ${hi} ${root}`;
    const known = this.#guest.get(key);
    if (known) known[3]++;
    else this.#guest.set(key, [lo, hi, root, 1]);
  }

  /** The frame of the page tables of the process that runs, or 0 in the guest's kernel. */
  #root(): number {
    const { view } = this.#memory;
    const isKernel = view.getUint32(this.#base + STATE.kernelMode, true) !== 0;
    return isKernel ? 0 : view.getUint32(this.#base + STATE.userRoot, true);
  }

  end(): VcpuProfile {
    let monitor: MonitorFunction[] = [];
    this.#session.post('Profiler.stop', (error, result) => {
      if (!error) monitor = functionsOf(result.profile as V8Profile);
    });
    this.#session.disconnect();
    const engine = { ...this.#engine.statistics };
    const msById = new Map<number, number>();
    for (const { name, ms } of monitor) {
      const id = idOf(name);
      if (id !== undefined) msById.set(id, (msById.get(id) ?? 0) + ms);
    }
    const msOf = (id: number): number => msById.get(id) ?? 0;
    const views = this.#watched?.views(this.#regions, msOf) ?? [];
    const regions = views.map(({ id, ...region }) => ({ ...region, ms: msOf(id) }));
    const functions = atTheirPlaces(monitor, this.#engine.regionAddresses());
    if (this.#watched) this.#engine.watchRegions(undefined);
    return { guest: [...this.#guest.values()].flat(), monitor: functions, engine, regions };
  }
}

function idOf(name: string): number | undefined {
  const id = REGION.exec(name)?.[2];
  return id === undefined ? undefined : Number.parseInt(id, 16);
}

/** Regions are called `region ADDRESS`: where they are in this domain, or, if they are no more, where they were made. */
export function atTheirPlaces(
  functions: readonly MonitorFunction[],
  addresses: ReadonlyMap<number, bigint>,
): MonitorFunction[] {
  return functions.map((one) => {
    const [, made, id] = REGION.exec(one.name) ?? [];
    if (made === undefined) return one;
    return { ...one, name: `region ${addresses.get(Number.parseInt(id!, 16))?.toString(16) ?? made}` };
  });
}

/**
 * Where a line is, counted from 0: file of src/ and line or, in a joined program (xend/monitor-program.ts), only the file that
 * it came from, as its name stands above. `lines` keeps what was read.
 */
function placeOf(url: string, line: number, lines: Map<string, string[]>): string {
  if (/\/vcpu-worker\.m?js$/.test(url)) {
    let all = lines.get(url);
    if (all === undefined) lines.set(url, (all = readFileSync(fileURLToPath(url), 'utf8').split('\n')));
    for (let k = Math.min(line, all.length) - 1; k >= 0; k--) {
      if (all[k]!.startsWith('// src/')) return all[k]!.slice('// src/'.length);
    }
  }
  return `${url.replace(/^.*\/src\//, '')}:${line + 1}`;
}

/** Time of each function itself, without what it called. */
function functionsOf({ nodes, samples = [], timeDeltas = [] }: V8Profile): MonitorFunction[] {
  const times = new Map<number, number>();
  samples.forEach((id, k) => {
    // The time up to the next sample was spent where this one was.
    times.set(id, (times.get(id) ?? 0) + (timeDeltas[k + 1] ?? 0));
  });
  const functions = new Map<string, { name: string; where: string; us: number }>();
  const lines = new Map<string, string[]>();
  for (const { id, callFrame: frame } of nodes) {
    const us = times.get(id);
    if (us === undefined) continue;
    const where = frame.url === '' ? '' : placeOf(frame.url, frame.lineNumber, lines);
    const key = `${frame.functionName} ${where}`;
    const known = functions.get(key) ?? { name: frame.functionName || '(anonymous)', where, us: 0 };
    known.us += us;
    functions.set(key, known);
  }
  return [...functions.values()]
    .sort((a, b) => b.us - a.us)
    .slice(0, FUNCTIONS_MAX)
    .map(({ name, where, us }) => ({ name, where, ms: us / 1000 }));
}
