import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENGINE_MODES, engineMode } from './engine-mode.ts';

test('slices under stress are short and long by chance, and the same in every run', () => {
  const [next, again] = [ENGINE_MODES.stress!.slices!(), ENGINE_MODES.stress!.slices!()];
  const lengths = Array.from({ length: 10_000 }, () => next());
  assert.ok(lengths.every((length) => Number.isInteger(length) && length >= 2 && length <= 8000));
  const between = (low: number, high: number) => lengths.filter((length) => length >= low && length < high).length;
  for (const [low, high] of [
    [2, 4],
    [30, 60],
    [2000, 4000],
  ] as const)
    assert.ok(between(low, high) > 500, `${low}`);
  assert.deepEqual(
    lengths.slice(0, 100),
    Array.from({ length: 100 }, () => again()),
  );
});

test('an unknown engine mode is told with the ones that there are', () => {
  assert.throws(() => engineMode({ DOMUS_ENGINE: 'hard' }), /DOMUS_ENGINE=hard: it is one of normal, .*stress/);
  assert.equal(engineMode({}), ENGINE_MODES.normal);
});
