/**
 * How the engine of a domain runs, for those who look for mistakes in it: DOMUS_ENGINE in the environment of the monitor, which is
 * that of the xend that starts it. Nobody else needs it.
 */
import type { EngineOptions } from './wasm-engine.ts';

export interface EngineMode {
  readonly engine: EngineOptions;
  /** Are its regions for other domains too? */
  readonly keepsRegions?: boolean;
  /** Does the guest wait while its code is translated, so that it is alike in every run where that happens? */
  readonly waits?: boolean;
  /** For one vCPU: says each time how many taken branches come before the next look at the clock and at events, if not as many as usual. */
  readonly slices?: () => () => number;
}

/**
 * Taken branches, from 2 to `most`, now few, now many: as often from 2 to 4 as from 2000 to 4000. Alike in every run. Interrupting
 * always after a few would meet the same loops' ends, but a boot of Linux takes a thousand million branches.
 */
const byChance = (most: number) => (): (() => number) => {
  let state = 2463534242;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.floor(2 * (most / 2) ** ((state >>> 0) / 2 ** 32));
  };
};

/**
 * `forgetful`: nothing that was translated for one domain is used for another. `stress`: every piece of code is translated when it is first reached, with what its branches name around it; there is little
 * room for code, so that all of it is soon forgotten and made again; and now after a few taken branches, now after many, the
 * hypervisor is returned to, as if an event had come. Linux takes many minutes to boot so. `stress-every`: regions as large as
 * usual, still less room, and back after every taken branch, at each loop's end that is: for small kernels. `stress-joins`: regions are
 * made of others all the time, after short looks at how control goes.
 */
// biome-ignore format: a table
export const ENGINE_MODES: Readonly<Record<string, EngineMode>> = {
  'normal':       { engine: {}, keepsRegions: true },
  'forgetful':    { engine: {} },
  'interpreter':  { engine: { tier1: false } },
  'stress':       { engine: { tier1: { threshold: 1, unseen: true, instructions: 100 }, records: 60_000, moduleBytes: 4 << 20 }, slices: byChance(8000), waits: true },
  'stress-joins': { engine: { tier1: { threshold: 40, trail: { least: 1, most: 2, steps: 64 } }, moduleBytes: 4 << 20 }, slices: byChance(8000), waits: true },
  'stress-every': { engine: { tier1: { threshold: 1, unseen: true }, records: 4_000,  moduleBytes: 1 << 18 }, slices: () => () => 2, waits: true },
};

export function engineMode(env: Readonly<Record<string, string | undefined>>): EngineMode {
  const name = env.DOMUS_ENGINE || 'normal';
  const mode = Object.hasOwn(ENGINE_MODES, name) ? ENGINE_MODES[name] : undefined;
  if (!mode) throw new Error(`DOMUS_ENGINE=${name}: it is one of ${Object.keys(ENGINE_MODES).join(', ')}`);
  return mode;
}
