import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Course, operation, perform, step, undo } from './operation.ts';

type Log = string[];
const plain = (name: string) =>
  step<Log>(
    name,
    (log) => void log.push(`do ${name}`),
    (log) => void log.push(`undo ${name}`),
  );
const failing = (name: string) =>
  step<Log>(
    name,
    () => {
      throw new Error(`${name} broke`);
    },
    (log) => void log.push(`undo ${name}`),
  );
const course = (told: string[] = [], signal = new AbortController().signal): Course => ({
  signal,
  step: (name, at, of) => void told.push(`${at}/${of} ${name}`),
  note: (text) => void told.push(text),
});

test('steps run in order', async () => {
  const log: Log = [];
  await perform(operation('make', [plain('a'), plain('b')]), log, course());
  assert.deepEqual(log, ['do a', 'do b']);
});

test('a failing step is undone with those before it, last first, and its error is told', async () => {
  const log: Log = [];
  const make = operation('make', [plain('a'), step<Log>('no undo', () => {}), failing('b'), plain('c')]);
  await assert.rejects(perform(make, log, course()), /b broke/);
  assert.deepEqual(log, ['do a', 'undo b', 'undo a']);
});

test('an undo that fails is reported and does not stop the others', async () => {
  const log: Log = [];
  const told: string[] = [];
  const bad = step<Log>(
    'bad',
    () => {},
    () => Promise.reject(new Error('stuck')),
  );
  await undo(operation('end', [plain('a'), bad, plain('c')]), log, course(told));
  assert.deepEqual(log, ['undo c', 'undo a']);
  assert.deepEqual(told, ['1/3 undo: c', '2/3 undo: bad', 'undoing "bad" failed: stuck', '3/3 undo: a']);
});

test('work that is to give up begins no further step and is undone', async () => {
  const log: Log = [];
  const told: string[] = [];
  const giveUp = new AbortController();
  const make = operation('make', [
    plain('a'),
    step<Log>(
      'b',
      () => giveUp.abort(new Error('enough')),
      (all) => void all.push('undo b'),
    ),
    plain('c'),
  ]);
  await assert.rejects(perform(make, log, course(told, giveUp.signal)), /enough/);
  assert.deepEqual(log, ['do a', 'undo c', 'undo b', 'undo a']);
  assert.deepEqual(told.slice(0, 3), ['1/3 a', '2/3 b', 'c failed: enough']);
});
