/** When an idle thread collects its garbage, with a clock and a heap of the test's own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import v8 from 'node:v8';
import { heapTrimmer, thisThread } from './trim-heap.ts';

const MIB = 1 << 20;

function idleThread() {
  const thread = { ms: 0, cpu: 0, heap: 80 * MIB, collections: 0 };
  const trim = heapTrimmer({
    now: () => thread.ms,
    cpuMs: () => thread.cpu,
    heapBytes: () => thread.heap,
    collect: () => {
      thread.collections++;
      thread.heap = 20 * MIB;
    },
  });
  const wait = (ms: number, cpuMs: number): number => {
    thread.ms += ms;
    thread.cpu += cpuMs;
    trim();
    return thread.collections;
  };
  return { thread, wait };
}

test('a guest that boots is not held up by collecting garbage in the moments in which it waits', () => {
  const { wait } = idleThread();
  for (let second = 0; second < 20; second++) assert.equal(wait(1000, 900), 0);
});

test('garbage is collected once the thread has been idle, and again only when there is more', () => {
  const { thread, wait } = idleThread();
  assert.equal(wait(1000, 5), 0);
  assert.equal(wait(3000, 5), 1);
  for (let second = 0; second < 20; second++) assert.equal(wait(1000, 5), 1);
  thread.heap += 17 * MIB;
  assert.equal(wait(4000, 5), 2);
});

test('collecting garbage leaves the flags of V8 as they were, on which code in files depends', () => {
  const tag = v8.cachedDataVersionTag();
  thisThread.collect();
  thisThread.collect();
  assert.equal(v8.cachedDataVersionTag(), tag);
});

/** Keeps one object of twenty, which lie all over the heap, and prints how many times as much memory as they need is left. */
const SCATTERED = `
  import v8 from 'node:v8';
  import { thisThread } from '${new URL('./trim-heap.ts', import.meta.url)}';
  const kept = [];
  let all = Array.from({ length: 400_000 }, (_, k) => [k]);
  for (let k = 0; k < all.length; k += 20) kept.push(all[k]);
  all = undefined;
  const tag = v8.cachedDataVersionTag();
  thisThread.collect();
  const { total_physical_size, used_heap_size } = v8.getHeapStatistics();
  console.log(total_physical_size / used_heap_size, tag === v8.cachedDataVersionTag(), kept.length);
`;

test('an idle thread moves what is left together, as collections while a guest runs do not', () => {
  const flags = ['--no-compact-with-stack', '--input-type=module'];
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, '--eval', SCATTERED], { encoding: 'utf8' });
  const [times, isAsBefore] = stdout.split(' ');
  assert.ok(Number(times) < 1.5, `${stdout}${stderr}`);
  assert.equal(isAsBefore, 'true');
});
