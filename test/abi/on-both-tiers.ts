/** A test whose kernel runs on the interpreter alone and with every region translated at once, to the same end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EngineOptions } from '../../src/host/wasm-engine.ts';
import { buildFastExits } from '../../src/hypervisor/fast/index.ts';
import { Machine, type MachineOptions, type TrapRecord } from './machine.ts';
import { shutdown } from './runtime.ts';

/** Both tiers: every region translated at once, and none. The exits go both ways too: through TypeScript, and at once. */
const TIERS: readonly [string, EngineOptions][] = [
  ['interpreter', { tier1: false }],
  ['regions', { tier1: { threshold: 1 }, exitPaths: buildFastExits }],
];

export function onBothTiers(
  name: string,
  source: string,
  check: (m: Machine) => void,
  options: MachineOptions = {},
): void {
  for (const [tier, engine] of TIERS) {
    test(`${name} (${tier})`, () => {
      const m = new Machine(`${source}\n${shutdown()}`, { ...options, engine });
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
