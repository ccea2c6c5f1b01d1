import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLKIF_OP, BLKIF_RSP } from '../../abi/rings.ts';
import { backOf, Frontend, frontOf, MemoryDisk, type Response, type SegmentSpec, TestGuest } from './blk-for-tests.ts';
import { INDIRECT_SEGMENTS_MAX } from './request.ts';

const VDEV = 51712;
const { okay, error, eopnotsupp } = BLKIF_RSP;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Until `count` responses have come. */
async function answers(front: Frontend, count: number): Promise<Response[]> {
  const all: Response[] = [];
  for (let turns = 0; all.length < count; turns++) {
    assert.ok(turns < 10_000, `only ${all.length} of ${count} responses came`);
    await turn();
    all.push(...front.responses());
  }
  return all;
}

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn();
}

async function setUp(options: { sectors?: number; order?: number; disk?: MemoryDisk } = {}) {
  const guest = new TestGuest((run) => setImmediate(run));
  const disk = options.disk ?? new MemoryDisk(options.sectors ?? 1024);
  let gone = false;
  const vbd = await guest.addDisk(VDEV, disk, () => {
    gone = true;
  });
  const front = new Frontend(guest, VDEV, options.order);
  const back = (key: string) => guest.client.read(`${backOf(VDEV)}/${key}`);
  return { guest, disk, vbd, front, back, isGone: () => gone };
}

async function setUpOpen(options: Parameters<typeof setUp>[0] = {}) {
  const all = await setUp(options);
  await all.front.open();
  return all;
}

/** A granted frame with its bytes. */
function buffer(guest: TestGuest, fill?: number): SegmentSpec & { bytes: Uint8Array } {
  const frame = guest.newFrame();
  const bytes = guest.memory.frame(frame);
  if (fill !== undefined) bytes.fill(fill);
  return { gref: guest.grant(frame), bytes };
}

async function one(front: Frontend): Promise<number> {
  front.push();
  return (await answers(front, 1))[0]!.status;
}

test('the handshake announces the ring, connects, and describes the disk in 512-byte sectors', async () => {
  const { guest, front, back } = await setUp({ sectors: 4096 });
  assert.equal(await back('state'), '2');
  assert.equal(await back('max-ring-page-order'), '2');
  assert.equal(await back('sectors'), undefined);
  await front.open();
  assert.equal(await back('sectors'), '4096');
  assert.equal(await back('sector-size'), '512');
  assert.equal(await back('info'), '0');
  assert.equal(await back('feature-flush-cache'), '1');
  assert.equal(await back('feature-discard'), '0');
  assert.equal(await back('feature-persistent'), '0');
  assert.equal(await back('feature-max-indirect-segments'), `${INDIRECT_SEGMENTS_MAX}`);
  assert.deepEqual(guest.log, []);
});

test('what was written is read back, from parts of frames', async () => {
  const { guest, disk, front } = await setUpOpen();
  const data = buffer(guest);
  for (let i = 0; i < 4096; i++) data.bytes[i] = i * 7;
  const id = front.rw(BLKIF_OP.write, 10, [{ ...data, first: 2, last: 5 }]);
  front.push();
  assert.deepEqual(await answers(front, 1), [{ id, operation: BLKIF_OP.write, status: okay }]);
  assert.deepEqual(disk.bytes.slice(10 * 512, 14 * 512), data.bytes.slice(1024, 3072));

  const [left, right] = [buffer(guest, 0xee), buffer(guest, 0xee)];
  front.rw(BLKIF_OP.read, 9, [
    { ...left, first: 7 },
    { ...right, last: 1 },
  ]);
  assert.equal(await one(front), okay);
  assert.deepEqual(left.bytes.slice(0, 3584), new Uint8Array(3584).fill(0xee));
  assert.deepEqual(left.bytes.slice(3584), new Uint8Array(512));
  assert.deepEqual(right.bytes.slice(0, 1024), data.bytes.slice(1024, 2048));
  assert.deepEqual(right.bytes.slice(1024), new Uint8Array(3072).fill(0xee));
  assert.ok(guest.grantIsFree(left.gref) && guest.grantIsFree(data.gref));
});

test('frames that are neighbours in memory are one part to the disk', async () => {
  const { guest, disk, front } = await setUpOpen();
  const [a, b, c] = [buffer(guest), buffer(guest), buffer(guest)];
  front.rw(BLKIF_OP.write, 0, [a, b, c]);
  front.rw(BLKIF_OP.write, 0, [{ ...a, first: 4 }, { ...b, last: 3 }, c]);
  front.rw(BLKIF_OP.write, 0, [b, a, { ...b, first: 1, last: 1 }]);
  front.push();
  await answers(front, 3);
  assert.deepEqual(disk.calls, ['write 0 12288', 'write 0 4096+4096', 'write 0 4096+4096+512']);
});

for (const order of [0, 1, 2]) {
  test(`requests go round a ring of ${1 << order} frames many times`, async () => {
    const { guest, disk, front } = await setUpOpen({ order, sectors: 4096 });
    const data = Array.from({ length: 16 }, (_, i) => buffer(guest, i + 1));
    const rounds = 5 * front.slots;
    for (let done = 0; done < rounds; ) {
      const batch = Math.min(front.slots, rounds - done);
      const ids = Array.from({ length: batch }, (_, i) =>
        front.rw(BLKIF_OP.write, (done + i) % 4096, [{ ...data[(done + i) % 16]!, last: 0 }]),
      );
      front.push();
      const got = await answers(front, batch);
      assert.deepEqual(got.map(({ id }) => id).sort(), ids.sort());
      assert.ok(got.every(({ status }) => status === okay));
      done += batch;
    }
    for (let sector = 0; sector < rounds; sector++) assert.equal(disk.bytes[sector * 512], (sector % 16) + 1);
  });
}

test('indices wrap at 2^32, and a ring is taken up where its answers end', async () => {
  const { guest, front } = await setUp();
  const start = 0xffff_fff0;
  front.reqProd = start;
  front.rspCons = start;
  front.setIndex('req_prod', start);
  front.setIndex('rsp_prod', start);
  front.setIndex('req_event', start + 1);
  front.setIndex('rsp_event', start + 1);
  await front.open();
  const data = buffer(guest, 1);
  for (let i = 0; i < 32; i++) front.rw(BLKIF_OP.write, i, [{ ...data, last: 0 }]);
  front.push();
  assert.equal((await answers(front, 32)).filter(({ status }) => status === okay).length, 32);
  assert.equal(front.index('rsp_prod'), 0x10);
});

test('the guest gets an event only for the response it waits for, and is asked for one only when the ring is empty', async () => {
  const { guest, front } = await setUpOpen();
  const data = buffer(guest, 1);
  const pending = () => {
    const was = guest.events.isPending(front.port);
    const word = (guest.memory.at(guest.memory.layout.pages) + 0x800) >>> 2;
    guest.memory.i32[word] = 0;
    return was;
  };
  pending();
  front.setIndex('rsp_event', 3);
  for (let i = 0; i < 2; i++) front.rw(BLKIF_OP.write, i, [data]);
  front.push();
  await settle();
  assert.equal(front.index('rsp_prod'), 2);
  assert.equal(pending(), false);
  assert.equal(front.index('req_event'), 3);
  front.rw(BLKIF_OP.write, 2, [data]);
  front.push();
  await settle();
  assert.equal(pending(), true);
});

test('a large request comes through indirect segments, and its answer names the operation inside', async () => {
  const { guest, disk, front } = await setUpOpen();
  const parts = Array.from({ length: 40 }, (_, i) => buffer(guest, i + 1));
  const id = front.indirect(BLKIF_OP.write, 8, parts);
  front.push();
  assert.deepEqual(await answers(front, 1), [{ id, operation: BLKIF_OP.write, status: okay }]);
  for (let i = 0; i < 40; i++) assert.equal(disk.bytes[4096 * (i + 1)], i + 1);
  assert.deepEqual(disk.calls, [`write 8 ${40 * 4096}`]);
});

test('a bad request is answered with an error, touches nothing, and the next one works', async () => {
  const { guest, disk, front } = await setUpOpen({ sectors: 1024 });
  const data = buffer(guest, 0x55);
  const readOnly = { gref: guest.grant(guest.newFrame(), true) };
  const many = (count: number) => Array.from({ length: count }, () => ({ ...data, last: 0 }));
  const { read, write, write_barrier: barrier, flush_diskcache: flush } = BLKIF_OP;
  // biome-ignore format: a table
  const rows: [string, () => void, number][] = [
    ['no segments',                      () => front.rw(read, 0, []), error],
    ['twelve segments',                  () => front.rw(read, 0, many(11), 12), error],
    ['255 segments',                     () => front.rw(write, 0, many(11), 255), error],
    ['first after last',                 () => front.rw(write, 0, [{ ...data, first: 5, last: 4 }]), error],
    ['last beyond the frame',            () => front.rw(write, 0, [{ ...data, first: 0, last: 8 }]), error],
    ['first and last 255',               () => front.rw(write, 0, [{ ...data, first: 255, last: 255 }]), error],
    ['a sector beyond the end',          () => front.rw(read, 1024, many(1)), error],
    ['a range across the end',           () => front.rw(read, 1023, many(2)), error],
    ['sector 2^64 - 1',                  () => front.rw(write, 2n ** 64n - 1n, many(2)), error],
    ['sector 2^63',                      () => front.rw(write, 2n ** 63n, many(1)), error],
    ['a reference that is free',         () => front.rw(write, 0, [{ gref: 400 }]), error],
    ['a reference beyond the table',     () => front.rw(write, 0, [{ gref: 0xffff_ffff }]), error],
    ['a bad reference after a good one', () => front.rw(write, 0, [data, { gref: 401 }]), error],
    ['reading into a read-only grant',   () => front.rw(read, 0, [readOnly]), error],
    ['an unknown operation',             () => front.rw(77, 0, many(1)), eopnotsupp],
    ['the packet operation',             () => front.rw(4, 0, many(1)), eopnotsupp],
    ['flush with segments',              () => front.rw(flush, 0, many(1)), error],
    ['a barrier beyond the end',         () => front.rw(barrier, 1024, many(1)), error],
    ['a discard, which is not offered',  () => front.discard(0, 8), eopnotsupp],
    ['indirect with no segments',        () => front.indirect(write, 0, many(1), { count: 0 }), error],
    ['indirect with too many',           () => front.indirect(write, 0, many(1), { count: INDIRECT_SEGMENTS_MAX + 1 }), error],
    ['indirect with 65535',              () => front.indirect(write, 0, many(1), { count: 65535 }), error],
    ['indirect with a bad frame',        () => front.indirect(write, 0, many(1), { gref: 402 }), error],
    ['indirect with a bad segment',      () => front.indirect(write, 0, [{ ...data, first: 3, last: 2 }]), error],
    ['indirect inside indirect',         () => front.indirect(BLKIF_OP.indirect, 0, many(1)), error],
    ['indirect discard',                 () => front.indirect(BLKIF_OP.discard, 0, many(1)), error],
  ];
  for (const [what, submit, status] of rows) {
    submit();
    assert.equal(await one(front), status, what);
  }
  assert.deepEqual(disk.calls, []);
  assert.ok(guest.grantIsFree(data.gref));
  front.rw(write, 1023, many(1));
  assert.equal(await one(front), okay);
  assert.deepEqual(guest.log, []);
});

test('bad requests that are answered at once do not keep the device thread from everything else', async () => {
  const { guest, front } = await setUpOpen();
  let answered = 0;
  // A guest on another thread fills the ring as fast as it is emptied; here the ring's own event does it.
  const refill = guest.events.notifyGuest.bind(guest.events);
  let busy = true;
  guest.events.notifyGuest = (port) => {
    if (!busy) return false;
    answered += front.responses().length;
    front.rw(77, 0, []);
    front.setIndex('req_prod', front.reqProd);
    return refill(port);
  };
  front.rw(77, 0, []);
  front.push();
  for (let i = 0; i < 5; i++) await turn();
  busy = false;
  assert.ok(answered > 500 && answered < 5000, `${answered} answers in 5 turns`);
});

test('a read-only disk says so and refuses whatever changes it', async () => {
  const disk = new MemoryDisk(64);
  disk.readOnly = true;
  disk.discardGranularity = 512;
  const { guest, front, back } = await setUpOpen({ disk });
  const data = buffer(guest, 9);
  assert.equal(await back('info'), '4');
  assert.equal(await back('feature-discard'), '0');
  for (const submit of [
    () => front.rw(BLKIF_OP.write, 0, [data]),
    () => front.rw(BLKIF_OP.write_barrier, 0, [data]),
    () => front.indirect(BLKIF_OP.write, 0, [data]),
    () => front.discard(0, 8),
  ]) {
    submit();
    assert.equal(await one(front), error);
  }
  front.rw(BLKIF_OP.read, 0, [data]);
  assert.equal(await one(front), okay);
  assert.deepEqual(disk.calls, ['read 0 4096']);
});

test('a discard reaches a disk that can, within its bounds', async () => {
  const disk = new MemoryDisk(1024);
  disk.discardGranularity = 4096;
  disk.bytes.fill(1);
  const { front, back } = await setUpOpen({ disk });
  assert.equal(await back('feature-discard'), '1');
  assert.equal(await back('discard-granularity'), '4096');
  const rows: [() => void, number][] = [
    [() => front.discard(8, 1000), okay],
    [() => front.discard(0, 1025), error],
    [() => front.discard(1024, 1), error],
    [() => front.discard(2n ** 64n - 8n, 16n), error],
    [() => front.discard(1, 2n ** 64n - 1n), error],
    [() => front.discard(0, 0), okay],
    [() => front.discard(0, 8, 1), eopnotsupp], // Secure discard is not offered.
  ];
  for (const [submit, status] of rows) {
    submit();
    assert.equal(await one(front), status);
  }
  assert.deepEqual(disk.calls, ['discard 8 1000']);
});

test('requests are under way together; a barrier waits for those before it and holds back those after it', async () => {
  const { guest, disk, front } = await setUpOpen();
  let open = () => {};
  disk.gate = new Promise((resolve) => {
    open = resolve;
  });
  const data = { ...buffer(guest, 3), last: 0 };
  front.rw(BLKIF_OP.write, 1, [data]);
  front.rw(BLKIF_OP.read, 2, [data]);
  front.rw(BLKIF_OP.write_barrier, 3, [data]);
  front.rw(BLKIF_OP.write, 4, [data]);
  front.push();
  await settle();
  assert.deepEqual(disk.calls, ['write 1 512', 'read 2 512']);
  open();
  await answers(front, 4);
  assert.deepEqual(disk.calls, ['write 1 512', 'read 2 512', 'flush', 'write 3 512', 'flush', 'write 4 512']);
});

test('a flush without data reaches the disk', async () => {
  const { disk, front } = await setUpOpen();
  front.rw(BLKIF_OP.flush_diskcache, 0, []);
  assert.equal(await one(front), okay);
  assert.deepEqual(disk.calls, ['flush']);
});

test('reading into frames with decoded code is reported before the guest hears of it; writing from them is not', async () => {
  const { guest, front } = await setUpOpen();
  const frame = guest.newFrame();
  const gref = guest.grant(frame);
  guest.memory.frameFlags[frame] = 1;
  const reported: number[] = [];
  const take = () =>
    guest.code.take(
      (mfn) => reported.push(mfn),
      () => {},
    );
  front.rw(BLKIF_OP.write, 0, [{ gref }]);
  assert.equal(await one(front), okay);
  take();
  assert.deepEqual(reported, []);
  front.rw(BLKIF_OP.read, 0, [{ gref }]);
  assert.equal(await one(front), okay);
  take();
  assert.deepEqual(reported, [frame]);
});

test('a frame stays in use until its request is done', async () => {
  const { guest, disk, front } = await setUpOpen();
  let open = () => {};
  disk.gate = new Promise((resolve) => {
    open = resolve;
  });
  const data = buffer(guest);
  front.rw(BLKIF_OP.read, 0, [data]);
  front.push();
  await settle();
  assert.equal(guest.grantIsFree(data.gref), false);
  open();
  await answers(front, 1);
  assert.equal(guest.grantIsFree(data.gref), true);
});

test('pausing waits for what is under way and takes nothing more until resumed', async () => {
  const { guest, disk, front, vbd } = await setUpOpen();
  let open = () => {};
  disk.gate = new Promise((resolve) => {
    open = resolve;
  });
  const data = buffer(guest);
  front.rw(BLKIF_OP.read, 0, [data]);
  front.push();
  await settle();
  let paused = false;
  const pausing = vbd.pause().then(() => {
    paused = true;
  });
  front.rw(BLKIF_OP.read, 8, [data]);
  front.push();
  await settle();
  assert.equal(paused, false);
  open();
  await pausing;
  assert.equal(front.responses().length, 1);
  assert.deepEqual(disk.calls, ['read 0 4096']);
  vbd.resume();
  await answers(front, 1);
});

test('indices that make no sense close this device, with one line, and not another one', async () => {
  const { guest, disk, front } = await setUpOpen();
  const otherDisk = new MemoryDisk(64);
  await guest.addDisk(51728, otherDisk);
  const other = new Frontend(guest, 51728);
  await other.open();
  for (const claim of [33, 0x8000_0000, 0xffff_ffff]) {
    front.setIndex('req_prod', claim);
    guest.events.send(front.port);
    await settle();
  }
  assert.equal(await guest.client.read(`${backOf(VDEV)}/state`), '5');
  assert.deepEqual(disk.calls, []);
  assert.deepEqual(guest.log, [`error disk ${VDEV}: the guest's ring claims 33 open requests in 32 slots`]);
  assert.ok(guest.grantIsFree(front.grefs[0]!));

  const data = buffer(guest, 7);
  other.rw(BLKIF_OP.write, 0, [data]);
  assert.equal(await one(other), okay);

  // The guest may begin anew.
  await front.setState(6);
  await guest.backIs(VDEV, 6);
  await front.setState(1);
  await guest.backIs(VDEV, 2);
  const again = new Frontend(guest, VDEV);
  await again.open();
  again.rw(BLKIF_OP.write, 0, [data]);
  assert.equal(await one(again), okay);
});

test('a guest that changes slots and indices of ours harms only its own answers', async () => {
  const { guest, disk, front } = await setUpOpen();
  const data = buffer(guest, 1);
  let open = () => {};
  disk.gate = new Promise((resolve) => {
    open = resolve;
  });
  const id = front.rw(BLKIF_OP.write, 0, [data]);
  front.push();
  await settle();
  // While the request is under way: another operation, another sector, and an index that is not the guest's to change.
  guest.memory.frame(front.frames[0]!).fill(0xff, 64, 64 + 112);
  front.setIndex('rsp_prod', 0x7777_7777);
  open();
  await settle();
  assert.deepEqual(disk.calls, ['write 0 4096']);
  assert.deepEqual(front.responses(), [{ id, operation: BLKIF_OP.write, status: okay }]);
});

for (const [what, keys, line] of [
  ['a reference that is not granted', { 'ring-ref': 300 }, 'ring-ref 300 is not granted to domain 0 for writing'],
  ['a reference that is no number', { 'ring-ref': '-1' }, 'ring-ref is missing or not a number'],
  ['a port of somebody else', { 'event-channel': 4000 }, 'event-channel 4000 is not a port that waits for domain 0'],
  ['a port beyond all ports', { 'event-channel': '99999999999' }, 'event-channel is missing or not a number'],
  ['a ring that is too large', { 'ring-page-order': 9 }, 'ring-page-order is not a number up to 2'],
  ['a ring of missing frames', { 'ring-page-order': 1 }, 'ring-ref0 is missing or not a number'],
  ['the 32-bit protocol', { protocol: 'x86_32-abi' }, 'protocol "x86_32-abi" is not x86_64-abi'],
] as const) {
  test(`keys with ${what} close the device with one line, and good keys open it afterwards`, async () => {
    const { guest, front } = await setUp();
    await front.connect(keys);
    await guest.backIs(VDEV, 5);
    assert.deepEqual(guest.log, [`error disk ${VDEV}: ${line}`]);
    assert.ok(guest.grantIsFree(front.grefs[0]!));
    await front.setState(6);
    await guest.backIs(VDEV, 6);
    await front.setState(1);
    await guest.backIs(VDEV, 2);
    await guest.client.remove(`${frontOf(VDEV)}/ring-page-order`);
    await front.open();
    const data = buffer(guest, 1);
    front.rw(BLKIF_OP.write, 0, [data]);
    assert.equal(await one(front), okay);
  });
}

test('a guest that closes and opens the disk again finds it as it was', async () => {
  const { guest, front } = await setUpOpen();
  const data = buffer(guest, 0x77);
  front.rw(BLKIF_OP.write, 3, [data]);
  assert.equal(await one(front), okay);
  await front.setState(5);
  await guest.backIs(VDEV, 5);
  await front.setState(6);
  await guest.backIs(VDEV, 6);
  assert.ok(guest.grantIsFree(front.grefs[0]!));
  await front.setState(1);
  await guest.backIs(VDEV, 2);
  const again = new Frontend(guest, VDEV, 1);
  await again.open();
  data.bytes.fill(0);
  again.rw(BLKIF_OP.read, 3, [data]);
  assert.equal(await one(again), okay);
  assert.equal(data.bytes[4095], 0x77);
});

test('a resumed guest that goes from state 4 to 3 with a new ring is connected to it', async () => {
  const { guest, front } = await setUpOpen();
  await settle();
  const again = new Frontend(guest, VDEV);
  await again.connect();
  await settle();
  assert.ok(guest.grantIsFree(front.grefs[0]!));
  const data = buffer(guest, 1);
  again.rw(BLKIF_OP.write, 0, [data]);
  assert.equal(await one(again), okay);
});

test('a disk that changes its size tells the guest', async () => {
  const { guest, disk, vbd, back } = await setUpOpen({ sectors: 100 });
  await settle();
  let events = 0;
  await guest.client.watch(`${backOf(VDEV)}/state`, () => events++);
  await settle();
  events = 0;
  disk.bytes = new Uint8Array(200 * 512);
  await vbd.resized();
  assert.equal(await back('sectors'), '200');
  await settle();
  assert.equal(events, 1);
});

test('unplugging lets the guest finish, then gives everything back', async () => {
  const { guest, front, vbd, isGone } = await setUpOpen();
  await guest.client.write(`${backOf(VDEV)}/online`, 0);
  await guest.backIs(VDEV, 5);
  const data = buffer(guest, 1);
  front.rw(BLKIF_OP.write, 0, [data]);
  assert.equal(await one(front), okay);
  assert.equal(isGone(), false);
  await front.setState(5);
  await front.setState(6);
  await guest.backIs(VDEV, 6);
  await settle();
  assert.equal(isGone(), true);
  assert.ok(guest.grantIsFree(front.grefs[0]!));
  await vbd.close();
});

test('a disk that no guest opened is unplugged at once, and a removed folder is not brought back', async () => {
  const { guest, isGone } = await setUp();
  await guest.client.write(`${backOf(VDEV)}/online`, 0);
  await guest.backIs(VDEV, 6);
  await settle();
  assert.equal(isGone(), true);

  const other = await setUpOpen();
  await other.guest.client.remove(backOf(VDEV));
  await settle();
  assert.equal(other.isGone(), true);
  assert.equal(await other.back('state'), undefined);
  assert.ok(other.guest.grantIsFree(other.front.grefs[0]!));
});

test('the end of the domain waits for requests, not for the store', async () => {
  const { guest, disk, front, vbd } = await setUpOpen();
  let open = () => {};
  disk.gate = new Promise((resolve) => {
    open = resolve;
  });
  const data = buffer(guest);
  front.rw(BLKIF_OP.read, 0, [data]);
  front.push();
  await settle();
  guest.client.close();
  let closed = false;
  const closing = vbd.close().then(() => {
    closed = true;
  });
  await settle();
  assert.equal(closed, false);
  open();
  await closing;
  assert.ok(guest.grantIsFree(data.gref) && guest.grantIsFree(front.grefs[0]!));
});
