import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { BLKIF_OP, BLKIF_RSP } from '../abi/rings.ts';
import { Frontend, MemoryDisk, TestGuest } from '../devices/blk/blk-for-tests.ts';
import { type BlockStore, SECTOR_SIZE } from '../devices/blk/block-store.ts';
import { INDIRECT_SEGMENTS_MAX } from '../devices/blk/request.ts';
import { chance } from '../store/testing.ts';
import { DiskError } from './disk-error.ts';
import { diskPath, FileBlockStore, remainingParts } from './file-block-store.ts';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'domus-disk-'));
after(() => fs.rmSync(folder, { recursive: true }));
let files = 0;

function newFile(size: number): string {
  const file = path.join(folder, `disk${++files}`);
  fs.writeFileSync(file, '');
  fs.truncateSync(file, size);
  return file;
}

const log: string[] = [];
const openFile = (file: string, mode: 'r' | 'w' = 'w') =>
  FileBlockStore.open({
    uname: `file:${file}`,
    mode,
    owner: { domid: 1, name: 'test' },
    log: (text) => log.push(text),
  });
const allocated = (file: string) => fs.statSync(file).blocks * 512;

/** Parts of one memory that is shared, as guest memory is. */
function shared(...lengths: number[]): Uint8Array[] {
  const memory = new SharedArrayBuffer(lengths.reduce((sum, length) => sum + length + 512, 0));
  let at = 0;
  return lengths.map((length) => {
    const part = new Uint8Array(memory, at, length);
    at += length + 512;
    return part;
  });
}

// Every store passes the same tests.
for (const [kind, make] of [
  ['memory', async (sectors: number): Promise<BlockStore> => new MemoryDisk(sectors)],
  ['file', async (sectors: number): Promise<BlockStore> => openFile(newFile(sectors * SECTOR_SIZE))],
] as const) {
  test(`a ${kind} disk reads what was written, in parts of any length`, async () => {
    const disk = await make(1000);
    assert.equal(disk.sectors, 1000);
    const written = shared(512, 4096, 1024);
    for (const [i, part] of written.entries()) part.fill(i + 1);
    assert.equal(await disk.write(989, written), 'okay');
    assert.equal(await disk.flush(), 'okay');
    const read = shared(1536, 512, 3584);
    assert.equal(await disk.read(989, read), 'okay');
    assert.deepEqual(Buffer.concat(read), Buffer.concat(written));
    const before = shared(512);
    assert.equal(await disk.read(988, before), 'okay');
    assert.deepEqual(before[0], new Uint8Array(shared(512)[0]!));
  });

  test(`a ${kind} disk takes more parts than the system does at once`, async () => {
    const disk = await make(3000);
    const parts = shared(...Array.from({ length: 2500 }, () => 512));
    for (const [i, part] of parts.entries()) part.fill(i % 251);
    assert.equal(await disk.write(100, parts), 'okay');
    const whole = shared(2500 * 512);
    assert.equal(await disk.read(100, whole), 'okay');
    assert.deepEqual(Buffer.from(whole[0]!), Buffer.concat(parts));
  });
}

test('after a short transfer the rest goes on inside a part', () => {
  const parts = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5), Uint8Array.of(6)];
  const rest = (done: number) => remainingParts(parts, done).map((part) => [...part]);
  assert.deepEqual(rest(1), [[2, 3], [4, 5], [6]]);
  assert.deepEqual(rest(3), [[4, 5], [6]]);
  assert.deepEqual(rest(4), [[5], [6]]);
  assert.deepEqual(rest(6), []);
});

test('the sectors of a file are the whole ones, and follow its size', async () => {
  const file = newFile(10_000);
  const disk = await openFile(file);
  assert.equal(disk.sectors, 19);
  fs.truncateSync(file, 20_480);
  assert.equal(disk.refresh(), true);
  assert.equal(disk.sectors, 40);
  assert.equal(disk.refresh(), false);
  await disk.close();
});

test('a file that was cut short under a domain is an error, said once', async () => {
  const file = newFile(1 << 20);
  const disk = await openFile(file);
  fs.truncateSync(file, 4096);
  log.length = 0;
  for (let i = 0; i < 3; i++) assert.equal(await disk.read(7, shared(1024)), 'error');
  assert.deepEqual(log, [`file:${file}: read failed: the file is shorter than it was`]);
});

test('a sparse file stays sparse under zeros, and data there is overwritten by zeros', async () => {
  const file = newFile(64 << 20);
  const disk = await openFile(file);
  const zeros = shared(1 << 20);
  for (let i = 0; i < 64; i++) assert.equal(await disk.write(i * 2048, zeros), 'okay');
  await disk.flush();
  assert.equal(allocated(file), 0);
  const one = shared(4096);
  one[0]!.fill(5);
  await disk.write(2048, one);
  await disk.write(2048, zeros);
  const got = shared(4096);
  await disk.read(2048, got);
  assert.ok(got[0]!.every((byte) => byte === 0));
  // The last byte counts as much as the first.
  const last = shared(4096);
  last[0]![4095] = 1;
  await disk.write(4096, last);
  await disk.read(4096, got);
  assert.equal(got[0]![4095], 1);
  await disk.close();
});

test('discard gives blocks back to the host and leaves zeros', async (context) => {
  const file = newFile(8 << 20);
  const disk = await openFile(file);
  if (disk.discardGranularity === 0) {
    context.skip('no koffi, or a file system without holes');
    return;
  }
  const data = shared(4 << 20);
  data[0]!.fill(0xaa);
  await disk.write(0, data);
  await disk.flush();
  const full = allocated(file);
  assert.equal(await disk.discard(2048, 4096), 'okay');
  assert.ok(allocated(file) <= full - (2 << 20), `${allocated(file)} of ${full}`);
  assert.equal(fs.statSync(file).size, 8 << 20);
  const got = shared(4 << 20);
  await disk.read(0, got);
  assert.ok(got[0]!.subarray(1 << 20, 3 << 20).every((byte) => byte === 0));
  assert.equal(got[0]![(1 << 20) - 1], 0xaa);
  assert.equal(got[0]![3 << 20], 0xaa);
  await disk.close();
});

test('a read-only disk is opened without the right to write, and cannot discard', async () => {
  const file = newFile(4096);
  fs.chmodSync(file, 0o400);
  const disk = await openFile(file, 'r');
  assert.equal(disk.readOnly, true);
  assert.equal(await disk.discard(0, 8), 'unsupported');
  // Even if somebody asked: the descriptor itself cannot write.
  const data = shared(512);
  data[0]!.fill(1);
  assert.equal(await disk.write(0, data), 'error');
  await disk.close();
});

test('closing writes back, gives the lock up, and can be done twice', async () => {
  const file = newFile(4096);
  const disk = await openFile(file);
  await assert.rejects(openFile(file, 'r'), DiskError);
  await Promise.all([disk.close(), disk.close()]);
  const again = await openFile(file, 'r');
  await again.close();
});

test('what cannot be a disk is refused in one line that says why', async () => {
  const text = newFile(4096);
  // biome-ignore format: a table
  const rows: [string, string][] = [
    [`file:${folder}/nothing`, `vbd: Segment not found: uname=file:${folder}/nothing (there is no ${folder}/nothing)`],
    [`file:${text}/below`,     `vbd: Segment not found: uname=file:${text}/below (there is no ${text}/below)`],
    [`file:${folder}`,         `vbd: Segment not found: uname=file:${folder} (it is a folder)`],
    [`file:${newFile(0)}`,     `vbd: file:${folder}/disk${files} is empty: it has no whole sector of 512 bytes`],
    ['file:relative',          'vbd: file:relative: the path of an image must be absolute'],
    ['phy:no/such/device',     'vbd: Segment not found: uname=phy:no/such/device (there is no /dev/no/such/device)'],
    [`phy:${text}`,            `vbd: phy:${text} is no block device; an image file is named file:${text}`],
    ['file:/dev/null',         'vbd: file:/dev/null is neither a file nor a block device'],
    ['nbd:host:1',             'vbd: nbd:host:1 is neither file:PATH nor phy:DEVICE'],
    ['disk.img',               'vbd: disk.img is neither file:PATH nor phy:DEVICE'],
    ['phy:',                   'vbd: phy: is neither file:PATH nor phy:DEVICE'],
  ];
  for (const [uname, message] of rows) {
    await assert.rejects(FileBlockStore.open({ uname, mode: 'w', owner: { domid: 1, name: 'x' }, log: () => {} }), {
      name: 'DiskError',
      message,
    });
  }
});

test('names of phy: disks are below /dev', () => {
  assert.equal(diskPath('phy:vg/lvm1'), '/dev/vg/lvm1');
  assert.equal(diskPath('phy:/dev/sda'), '/dev/sda');
});

for (const seed of [1, 2, 3]) {
  test(`random requests through a ring agree with a plain array (seed ${seed})`, async () => {
    const sectors = 4096;
    const pick = chance(seed).next;
    const file = newFile(sectors * SECTOR_SIZE);
    const disk = await openFile(file);
    const model = new Uint8Array(sectors * SECTOR_SIZE);
    const guest = new TestGuest((run) => setImmediate(run));
    const vbd = await guest.addDisk(51712, disk);
    const front = new Frontend(guest, 51712, seed - 1);
    await front.open();
    const frames = Array.from({ length: 64 }, () => guest.newFrame());
    const grefs = frames.map((frame) => guest.grant(frame));
    const indirectFrame = guest.newFrame();
    const indirectGref = guest.grant(indirectFrame);
    const turn = () => new Promise((resolve) => setImmediate(resolve));

    for (let round = 0; round < 150; round++) {
      // One request at a time decides what the model must hold; that several go together is the ring's own test.
      const count = pick(4) === 0 ? 1 + pick(64) : 1 + pick(11);
      const segments = Array.from({ length: count }, (_, i) => {
        const first = pick(8);
        return { gref: grefs[(round + i) % 64]!, first, last: first + pick(8 - first) };
      });
      const parts = segments.map(({ first, last }, i) =>
        guest.memory.frame(frames[(round + i) % 64]!).subarray(first * 512, (last + 1) * 512),
      );
      const length = parts.reduce((sum, part) => sum + part.length, 0);
      const sector = pick(sectors - length / 512);
      const at = sector * 512;
      const kind = pick(10);
      if (kind < 5) {
        const byte = pick(3) === 0 ? 0 : pick(256);
        for (const part of parts) part.fill(byte);
      }
      const operation = kind < 5 ? BLKIF_OP.write : BLKIF_OP.read;
      if (kind === 9 && disk.discardGranularity > 0) {
        front.discard(sector, length / 512);
        model.fill(0, at, at + length);
      } else if (count > 11) {
        assert.ok(count <= INDIRECT_SEGMENTS_MAX);
        const view = new DataView(guest.memory.buffer, guest.memory.at(indirectFrame), 4096);
        for (const [i, { gref, first, last }] of segments.entries()) {
          view.setUint32(i * 8, gref, true);
          view.setUint8(i * 8 + 4, first);
          view.setUint8(i * 8 + 5, last);
        }
        front.indirect(operation, sector, segments, { gref: indirectGref });
      } else front.rw(operation, sector, segments);
      if (kind < 5) model.set(Buffer.concat(parts), at);
      front.push();
      let answers = front.responses();
      while (answers.length === 0) {
        await turn();
        answers = front.responses();
      }
      assert.equal(answers[0]!.status, BLKIF_RSP.okay, `round ${round}`);
      if (kind >= 5 && kind < 9) {
        assert.ok(Buffer.concat(parts).equals(model.subarray(at, at + length)), `round ${round}: read of ${sector}`);
      }
    }
    await vbd.close();
    await disk.close();
    assert.ok(fs.readFileSync(file).equals(model));
  });
}
