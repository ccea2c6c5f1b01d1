import assert from 'node:assert/strict';
import { test } from 'node:test';
import { threadCpuMs } from './thread-cpu.ts';

/** How many of a thousand readings of `clock` in turn are later than the one before. */
function advances(clock: () => number): number {
  let count = 0;
  let before = clock();
  for (let n = 0; n < 1000; n++) {
    const now = clock();
    if (now > before) count++;
    before = now;
  }
  return count;
}

test('CPU time of a thread advances from reading to reading, not by the ticks of the system', () => {
  assert.ok(advances(threadCpuMs) > 500);
});
