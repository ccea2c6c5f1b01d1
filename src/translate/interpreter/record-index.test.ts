/** The index of records against a Map, under the operations of chance. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory, planLayout } from '../../hypervisor/memory.ts';
import { RecordIndex } from './record-index.ts';

/** xorshift32 */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

for (const seed of [1, 20041105, 77]) {
  test(`the index holds what a Map holds, seed ${seed}`, () => {
    const next = random(seed);
    const layout = planLayout(64, 1);
    const memory = new GuestMemory(new SharedArrayBuffer(layout.bytes), layout);
    const index = new RecordIndex(memory, memory.vcpuBase(0));
    const { room } = index;
    const map = new Map<number, number>();
    const address = (): number => memory.at(next(16)) + next(4096);
    for (let step = 0; step < 200_000; step++) {
      const at = address();
      switch (next(3)) {
        case 0:
          index.delete(at);
          map.delete(at);
          break;
        case 1:
          assert.equal(index.get(at), map.get(at) ?? 0);
          break;
        default:
          index.set(at, step + 1);
          map.set(at, step + 1);
      }
    }
    const [base, from] = [memory.at(next(16)), next(4096)];
    const to = from + next(4097 - from);
    const seen: [number, number][] = [];
    index.each(base, from, to, (offset, record) => seen.push([base + offset, record]));
    const inRange = [...map].filter(([at]) => at >= base + from && at < base + to);
    assert.deepEqual(
      seen,
      inRange.sort(([a], [b]) => a - b),
    );
    assert.ok(seen.length > 0, 'the range has records');

    // 16 pages, and their lines.
    assert.ok(index.room >= room - 16 * 65);
    index.clear();
    assert.equal(index.room, room);
    for (const at of map.keys()) assert.equal(index.get(at), 0);
  });
}
