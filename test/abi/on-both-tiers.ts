/**
 * A test whose kernel runs on the interpreter alone and with every region translated at once, to the same end; with `stress`,
 * or where DOMUS_ENGINE names a mode, in that mode too (host/engine-mode.ts).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENGINE_MODES, type EngineMode, engineMode } from '../../src/host/engine-mode.ts';
import { buildFastExits } from '../../src/hypervisor/fast/index.ts';
import { Machine, type MachineOptions, type TrapRecord } from './machine.ts';
import { shutdown } from './runtime.ts';

/** The exits go both ways too: through TypeScript, and at once. */
const TIERS: readonly [string, EngineMode][] = [
  ['interpreter', { engine: { tier1: false } }],
  ['regions', { engine: { tier1: { threshold: 1 }, exitPaths: buildFastExits } }],
];
const WANTED = process.env.DOMUS_ENGINE;
const withFastExits = ({ engine, ...rest }: EngineMode): EngineMode => ({
  engine: { ...engine, exitPaths: buildFastExits },
  ...rest,
});

export function onBothTiers(
  name: string,
  source: string,
  check: (m: Machine) => void,
  options: MachineOptions & { readonly stress?: boolean } = {},
): void {
  const tiers = [...TIERS];
  if (WANTED) tiers.push([WANTED, withFastExits(engineMode(process.env))]);
  else if (options.stress) tiers.push(['stress', withFastExits(ENGINE_MODES.stress!)]);
  for (const [tier, { engine, slices }] of tiers) {
    test(`${name} (${tier})`, () => {
      const m = new Machine(`${source}\n${shutdown()}`, {
        ...options,
        engine,
        ...(slices && { sliceBranches: slices() }),
      });
      m.runToEnd(options.slices);
      check(m);
    });
  }
}

/** The one trap that there was. */
export const only = (m: Machine): TrapRecord => {
  assert.equal(m.traps().length, 1, `traps: ${m.traps().map((trap) => trap.vector)}`);
  return m.traps()[0]!;
};
