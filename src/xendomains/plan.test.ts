import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Entry, PlanError, readWishes, startOrder, stopWaves } from './plan.ts';

const entry = (file: string, wishes: Partial<Entry> = {}): Entry => ({
  file,
  name: `dom-${file}`,
  order: 50,
  delayS: 0,
  after: [],
  ...wishes,
});
const files = (entries: readonly Entry[]) => entries.map(({ file }) => file).join(' ');

test('the comment in a configuration file', () => {
  assert.deepEqual(readWishes('name = "x"\n'), { order: 50, delayS: 0, after: [] });
  const text = 'kernel = "/k"\n# xendomains: order=10 delay=2.5\n#xendomains: after=db,nfs\n';
  assert.deepEqual(readWishes(text), { order: 10, delayS: 2.5, after: ['db', 'nfs'] });
  for (const word of ['order=x', 'delay=-1', 'color=red', 'order'])
    assert.throws(() => readWishes(`# xendomains: ${word}`), PlanError, word);
});

const turns = (entries: readonly Entry[]) =>
  startOrder(entries).map(({ entry: { file }, problem }) => (problem ? `${file}: ${problem}` : file));

test('by order, then by file name; what is needed first, whatever its order', () => {
  assert.deepEqual(turns([entry('b'), entry('a'), entry('c', { order: 1 })]), ['c', 'a', 'b']);
  const needy = [entry('a', { after: ['c'], order: 1 }), entry('b'), entry('c', { after: ['dom-b'] })];
  assert.deepEqual(turns(needy), ['b', 'c', 'a']);
});

test('who waits for himself, or for somebody who is not there, does not start; the others do', () => {
  const circle = [
    entry('a', { after: ['b'] }),
    entry('b', { after: ['a'] }),
    entry('c', { after: ['ghost'] }),
    entry('d'),
  ];
  assert.deepEqual(turns(circle), [
    'c: ghost, which it needs, is not there',
    'd',
    'a: these wait for each other: a, b',
    'b: these wait for each other: a, b',
  ]);
});

test('they stop the other way round, together where nothing is between them', () => {
  const entries = [entry('db'), entry('web', { after: ['db'] }), entry('cache', { after: ['db'] }), entry('mail')];
  assert.deepEqual(stopWaves(entries).map(files), ['web cache mail', 'db']);
});
