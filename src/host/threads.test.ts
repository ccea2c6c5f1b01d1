import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { test } from 'node:test';
import { compilersYield, cpuList, niceOf, pinThread, SchedulingError, threadFacts } from './threads.ts';

const skip = process.platform === 'linux' ? false : 'Linux only';

test('a weight becomes the niceness with the nearest share: twice the weight is three steps of 1.25', () => {
  assert.deepEqual([256, 512, 128, 1024, 1, 65535].map(niceOf), [0, -3, 3, -6, 19, -20]);
});

test('a thread that computed has more CPU time than before, on a CPU that there is', { skip }, () => {
  const before = threadFacts(process.pid)!;
  for (let i = 0; i < 1e7; i++) Math.sqrt(i);
  const after = threadFacts(process.pid)!;
  assert.ok(after.cpuTimeNs > before.cpuTimeNs);
  assert.ok(after.cpu >= 0);
});

test('a pinned thread may use the CPUs named and no others; a CPU that there is not is refused', { skip }, () => {
  const allowed = () => /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  const before = allowed()!;
  const first = Number(/^\d+/.exec(before)![0]);
  try {
    pinThread(process.pid, [first]);
    assert.equal(allowed(), String(first));
    assert.throws(() => pinThread(process.pid, [4095]), SchedulingError);
  } finally {
    pinThread(process.pid, cpuList(before));
  }
});

test("V8's compilers give way to the other threads", { skip }, () => {
  const niceness = (): Record<string, number[]> => {
    const found: Record<string, number[]> = { compilers: [], others: [] };
    for (const thread of readdirSync('/proc/self/task')) {
      const name = readFileSync(`/proc/self/task/${thread}/comm`, 'latin1');
      found[name.startsWith('node-V8Worker') ? 'compilers' : 'others']!.push(os.getPriority(Number(thread)));
    }
    return found;
  };
  const before = os.getPriority();
  compilersYield();
  const { compilers, others } = niceness();
  assert.ok(compilers!.length > 0, 'no thread of this process is named as V8 names its compilers');
  assert.ok(
    compilers!.every((nice) => nice === Math.min(before + 6, 19)),
    `${compilers}`,
  );
  assert.ok(
    others!.every((nice) => nice === before),
    `${others}`,
  );
  compilersYield();
  assert.deepEqual(niceness().compilers, compilers);
});
