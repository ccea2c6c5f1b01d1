import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlkStatus, BlockStore } from './block-store.ts';
import { countIo } from './count-io.ts';

test('requests that were done are counted, with their bytes; those that failed are not', async () => {
  let answer: BlkStatus = 'okay';
  let sectors = 8;
  const disk: BlockStore = {
    get sectors() {
      return sectors;
    },
    readOnly: false,
    physicalSectorSize: 512,
    discardGranularity: 0,
    read: async () => answer,
    write: async () => answer,
    flush: async () => answer,
    discard: async () => answer,
  };
  const counts = { reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 };
  const counted = countIo(disk, counts);
  await counted.read(0, [new Uint8Array(512), new Uint8Array(1024)]);
  await counted.write(0, [new Uint8Array(4096)]);
  await counted.flush();
  answer = 'error';
  assert.equal(await counted.read(0, [new Uint8Array(512)]), 'error');
  assert.equal(await counted.write(0, [new Uint8Array(512)]), 'error');
  assert.deepEqual(counts, { reads: 1, writes: 1, readBytes: 1536, writtenBytes: 4096 });
  sectors = 9;
  assert.equal(counted.sectors, 9, 'a disk that grows is seen to');
});
