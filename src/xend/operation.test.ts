import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operation, perform, step, undo } from './operation.ts';

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
const quiet = () => {};

test('steps run in order', async () => {
  const log: Log = [];
  await perform(operation('make', [plain('a'), plain('b')]), log, quiet);
  assert.deepEqual(log, ['do a', 'do b']);
});

test('a failing step is undone with those before it, last first, and its error is told', async () => {
  const log: Log = [];
  const make = operation('make', [plain('a'), step<Log>('no undo', () => {}), failing('b'), plain('c')]);
  await assert.rejects(perform(make, log, quiet), /b broke/);
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
  await undo(operation('end', [plain('a'), bad, plain('c')]), log, (text) => told.push(text));
  assert.deepEqual(log, ['undo c', 'undo a']);
  assert.deepEqual(told, ['end: undoing "bad" failed: stuck']);
});
