import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextStep, type XenbusStep } from './xenbus.ts';

// biome-ignore format: a table
const ONLINE: [ours: number, steps: Record<number, XenbusStep>][] = [
  // The frontend's state:  unknown            initialising       initialised         connected         closing          closed
  [1, { 0: 'announce',     1: 'announce',     3: 'announce',      4: 'announce',    5: 'closing',    6: 'closed' }],
  [2, {                                       3: 'connect',       4: 'connect',     5: 'closing',    6: 'closed' }],
  [4, { 0: 'closed',       1: 'announce',                                           5: 'closing',    6: 'closed' }],
  [5, {                    1: 'announce',                                                            6: 'closed' }],
  [6, {                    1: 'announce'                                                                         }],
];

test('the next step of the handshake follows from both states', () => {
  for (const [ours, steps] of ONLINE) {
    for (let front = 0; front <= 9; front++) {
      assert.equal(nextStep(ours as 1, front, true, false), steps[front], `ours ${ours}, front ${front}`);
    }
  }
});

test('state 3 after state 4 is a new ring', () => {
  assert.equal(nextStep(4, 3, true, true), 'reconnect');
});

test('a guest that did not let go of a device can have it back, as long as its ring was not given up', () => {
  assert.equal(nextStep(5, 4, true, true, true), 'reopen');
  assert.equal(nextStep(5, 4, true, true, false), undefined);
});

test('an unplugged device asks a connected guest to close, and is closed when the guest is apart', () => {
  for (const ours of [1, 2, 4, 5] as const) {
    for (const front of [0, 1, 2, 6]) assert.equal(nextStep(ours, front, false, true), 'closed');
    for (const front of [3, 4, 5]) assert.equal(nextStep(ours, front, false, true), ours === 5 ? undefined : 'closing');
  }
  for (let front = 0; front <= 9; front++) assert.equal(nextStep(6, front, false, true), undefined);
});
