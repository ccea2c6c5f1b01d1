/** Disks for the length of a copy, from their first node in the store to their last, with a guest in the test's hands. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLKIF_OP } from '../abi/rings.ts';
import { backOf, DOMID, Frontend, frontOf, TestGuest } from '../devices/blk/blk-for-tests.ts';
import { SECTOR_SIZE } from '../devices/blk/block-store.ts';
import { InputDisk, STREAM_START } from '../devices/blk/stream-disk.ts';
import { guestDisk } from '../devices/blk/vdev.ts';
import { StreamDisks } from './stream-disks.ts';

const XVDZ = guestDisk('xvdz')!.vdev;

function setUp(patienceMs?: number) {
  const guest = new TestGuest((run) => setImmediate(run));
  const { pages, backends: events, client: store } = guest;
  const disks = new StreamDisks({
    domid: DOMID,
    guest: pages,
    events,
    store,
    log() {},
    ...(patienceMs === undefined ? {} : { patienceMs }),
  });
  const nodes = async (vdev: number) => [await store.read(backOf(vdev)), await store.read(frontOf(vdev))];
  return { guest, disks, nodes, store };
}

/** Linux's half: connects as soon as there is something, lets go when it is to. */
async function connectTo(guest: TestGuest, vdev: number): Promise<Frontend> {
  const front = new Frontend(guest, vdev);
  while ((await guest.client.read(`${backOf(vdev)}/state`)) !== '2') await new Promise((run) => setImmediate(run));
  await front.open();
  return front;
}

const GONE = [undefined, undefined];

test('it is there while it is wanted, as a read-only disk, and leaves nothing behind', async () => {
  const { guest, disks, nodes, store } = setUp();
  const disk = new InputDisk(() => {});
  const [plugged, front] = await Promise.all([disks.plug(disk), connectTo(guest, XVDZ)]);
  assert.equal(plugged?.name, 'xvdz');
  assert.ok(disks.holds(XVDZ));
  assert.equal(await store.read(`${backOf(XVDZ)}/mode`), 'r');
  disk.feed(new Uint8Array(SECTOR_SIZE).fill(7));
  const frame = guest.newFrame();
  front.rw(BLKIF_OP.read, STREAM_START / SECTOR_SIZE, [{ gref: guest.grant(frame), last: 0 }]);
  front.push();
  while (front.responses().length === 0) await new Promise((run) => setImmediate(run));
  assert.equal(guest.memory.frame(frame)[SECTOR_SIZE - 1], 7);
  const [first, second] = [plugged!.unplug(), plugged!.unplug()];
  await guest.backIs(XVDZ, 5);
  await front.setState(6);
  await Promise.all([first, second]);
  assert.deepEqual(await nodes(XVDZ), GONE);
  assert.ok(!disks.holds(XVDZ));
});

test('a guest that does not connect has none, and one that does not let go loses it', async () => {
  const deaf = setUp(20);
  assert.equal(await deaf.disks.plug(new InputDisk(() => {})), undefined);
  while (deaf.disks.holds(XVDZ)) await new Promise((run) => setImmediate(run));
  assert.deepEqual(await deaf.nodes(XVDZ), GONE);
  const stubborn = setUp(1000);
  const [plugged] = await Promise.all([stubborn.disks.plug(new InputDisk(() => {})), connectTo(stubborn.guest, XVDZ)]);
  await plugged!.unplug();
  assert.deepEqual(await stubborn.nodes(XVDZ), GONE);
});

test('a disk of the domain under that name is left alone', async () => {
  const { disks, store, nodes } = setUp(20);
  await store.write(frontOf(XVDZ), 'somebody');
  assert.equal(await disks.plug(new InputDisk(() => {})), undefined);
  assert.deepEqual(await nodes(XVDZ), [undefined, 'somebody']);
});

test('when the domain ends, what waits on a disk ends, and the store is not asked any more', async () => {
  const { guest, disks } = setUp();
  const disk = new InputDisk(() => {});
  const [plugged, front] = await Promise.all([disks.plug(disk), connectTo(guest, XVDZ)]);
  front.rw(BLKIF_OP.read, STREAM_START / SECTOR_SIZE, [{ gref: guest.grant(guest.newFrame()), last: 0 }]);
  front.push();
  await new Promise((run) => setImmediate(run));
  await disks.close();
  guest.client.close();
  await plugged!.unplug();
  assert.equal(await disks.plug(new InputDisk(() => {})), undefined);
});
