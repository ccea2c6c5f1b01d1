/**
 * How the engine of a domain runs, for those who look for mistakes in it: DOMUS_ENGINE in the environment of the monitor, which is
 * that of the xend that starts it. Nobody else needs it.
 */
import type { EngineOptions } from './wasm-engine.ts';

export interface EngineMode {
  readonly engine: EngineOptions;
  /** Taken branches between two looks at the clock and at events, if not as many as usual. */
  readonly sliceBranches?: number;
}

/**
 * `stress`: every piece of code is translated when it is first reached, with all that its branches name; there is little room
 * for code, so that all of it is soon forgotten and made again; and after every few taken branches the hypervisor is returned
 * to, as if an event had come. `stress-every`: still less room, and after every taken branch, at each loop's end that is.
 */
// biome-ignore format: a table
export const ENGINE_MODES: Readonly<Record<string, EngineMode>> = {
  'normal':       { engine: {} },
  'interpreter':  { engine: { tier1: false } },
  'stress':       { engine: { tier1: { threshold: 1, unseen: true }, records: 20_000, moduleBytes: 2 << 20 }, sliceBranches: 31 },
  'stress-every': { engine: { tier1: { threshold: 1, unseen: true }, records: 4_000,  moduleBytes: 1 << 18 }, sliceBranches: 2 },
};

export function engineMode(env: Readonly<Record<string, string | undefined>>): EngineMode {
  const name = env.DOMUS_ENGINE || 'normal';
  const mode = Object.hasOwn(ENGINE_MODES, name) ? ENGINE_MODES[name] : undefined;
  if (!mode) throw new Error(`DOMUS_ENGINE=${name}: it is one of ${Object.keys(ENGINE_MODES).join(', ')}`);
  return mode;
}
