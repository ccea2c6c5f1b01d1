/** The index of records against a Map, under the operations of chance. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
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
    const index = new RecordIndex();
    const map = new Map<number, number>();
    // Few pages with much code, so that slots collide and runs are long; addresses up to the end of a 4 GiB memory.
    const address = (): number => 0xffff_0000 - 4096 * next(16) + next(4096);
    for (let step = 0; step < 200_000; step++) {
      const at = address();
      switch (next(3)) {
        case 0:
          assert.equal(index.delete(at), map.delete(at));
          break;
        case 1:
          assert.equal(index.get(at), map.get(at) ?? 0);
          break;
        default:
          index.set(at, step + 1);
          map.set(at, step + 1);
      }
    }
    assert.equal(index.size, map.size);
    for (const [at, record] of map) assert.equal(index.get(at), record);
    index.clear();
    assert.equal(index.size, 0);
    for (const at of map.keys()) assert.equal(index.get(at), 0);
  });
}
