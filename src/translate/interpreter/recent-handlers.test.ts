import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentHandlers } from './recent-handlers.ts';

const ROWS = 1300;
const SHAPES = 60;
const handlerOf = (row: number, shape: number): number => 1 + ((row * 31 + shape) % 60_000);

test('a handler is found by row and shape together until another takes its place', () => {
  const recent = new RecentHandlers();
  // Far more than there is room for.
  for (let row = 0; row < ROWS; row++) {
    for (let shape = 4; shape < 4 + SHAPES; shape++) recent.set(row, shape, handlerOf(row, shape));
  }
  let found = 0;
  for (let row = 0; row < ROWS; row++) {
    for (let shape = 4; shape < 4 + SHAPES; shape++) {
      const handler = recent.get(row, shape);
      if (handler === 0) continue;
      found++;
      assert.equal(handler, handlerOf(row, shape), `row ${row}, shape ${shape}`);
    }
  }
  assert.ok(found > 1000, `${found} are still known`);
});

test('nothing is known of what was never set, nor after clear', () => {
  const recent = new RecentHandlers();
  assert.equal(recent.get(0, 4), 0);
  recent.set(3, 4, 99);
  assert.equal(recent.get(3, 4), 99);
  assert.equal(recent.get(4, 3), 0);
  recent.clear();
  assert.equal(recent.get(3, 4), 0);
});
