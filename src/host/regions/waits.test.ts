import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Waits } from './waits.ts';

test('waits are counted and added up, with the longest; one within another is part of it', () => {
  let now = 100;
  const waits = new Waits(() => now);
  const work = (ms: number): number => waits.during(() => (now += ms));
  assert.equal(work(2), 102);
  waits.during(() => {
    work(3);
    work(4);
  });
  now += 50;
  work(1);
  assert.deepEqual(waits.stats, { regionWaits: 3, regionMs: 10, regionMsLongest: 7, regionWaitsLong: 1 });
});

test('work that fails has been waited for, and what follows is a wait of its own', () => {
  let now = 0;
  const waits = new Waits(() => now);
  const fail = (): never => {
    now += 6;
    throw new Error('no memory');
  };
  assert.throws(() => waits.during(fail), /no memory/);
  waits.during(() => (now += 1));
  assert.deepEqual(waits.stats, { regionWaits: 2, regionMs: 7, regionMsLongest: 6, regionWaitsLong: 1 });
});
