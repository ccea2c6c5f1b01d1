import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Running, WorkQueue } from './work-queue.ts';

function watched() {
  const told: string[] = [];
  let ids = 0;
  const queue = new WorkQueue({
    now: () => 5,
    begun: (name) => {
      told.push(`${name} begun`);
      return ++ids;
    },
    step: ({ name, step, at, of }) => void told.push(`${name}: ${step} ${at}/${of}`),
    note: () => {},
    ended: ({ name }, error) => void told.push(`${name} ended${error ? `: ${error.message}` : ''}`),
  });
  return { queue, told };
}

/** Work that lasts until it is let go, or until it is to give up. */
function lasting() {
  let letGo = () => {};
  const gate = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  return { gate, letGo };
}

test('work runs one after another and shows how far it is', async () => {
  const { queue, told } = watched();
  const { gate, letGo } = lasting();
  const first = queue.enqueue('first', async (course) => {
    course.step('half', 1, 2);
    await gate;
    return 'a';
  });
  const second = queue.enqueue('second', async () => 'b');
  await new Promise(setImmediate);
  assert.deepEqual(queue.current, { id: 1, name: 'first', startedAtMs: 5, step: 'half', at: 1, of: 2 } as Running);
  assert.equal(queue.waiting, 1);
  letGo();
  assert.deepEqual([await first, await second], ['a', 'b']);
  assert.deepEqual(told, ['first begun', 'first: half 1/2', 'first ended', 'second begun', 'second ended']);
  assert.equal(queue.current, undefined);
});

test('work that fails is told so, and the next runs', async () => {
  const { queue, told } = watched();
  await assert.rejects(
    queue.enqueue('bad', () => Promise.reject(new Error('broke'))),
    /broke/,
  );
  assert.equal(await queue.enqueue('good', async () => 1), 1);
  assert.deepEqual(told.slice(0, 2), ['bad begun', 'bad ended: broke']);
});

test('what overtakes makes the present work give up, refuses the rest and is the last', async () => {
  const { queue, told } = watched();
  const present = queue.enqueue(
    'present',
    ({ signal }) =>
      new Promise<void>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      }),
  );
  const waiting = queue.enqueue('waiting', async () => assert.fail('it must not run'));
  const results = Promise.allSettled([present, waiting]);
  await new Promise(setImmediate);
  let hurried = false;
  const last = queue.overtake(
    'last',
    new Error('overtaken'),
    async () => {
      hurried = true;
    },
    async () => 'done',
  );
  assert.equal(await last, 'done');
  assert.ok(hurried);
  for (const result of await results) assert.match(String((result as PromiseRejectedResult).reason), /overtaken/);
  await assert.rejects(
    queue.enqueue('late', async () => {}),
    /overtaken/,
  );
  assert.deepEqual(told, ['present begun', 'present ended: overtaken', 'last begun', 'last ended']);
});
