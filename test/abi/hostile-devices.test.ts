/**
 * A guest that writes anything at any time into the pages it shares with backends: the console's ring, xenstore's, a block
 * ring. The backends throw nothing, use only what was granted, come to rest, and work again where the protocol has a way back.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as later } from 'node:timers/promises';
import {
  BlkifRequest,
  CONSOLE_RING_BYTES,
  ConsoleRing,
  SharedRing,
  XENSTORE_RING_BYTES,
  XenstoreHeader,
  XenstoreRing,
} from '../../src/abi/rings.ts';
import { Frontend, MemoryDisk, TestGuest } from '../../src/devices/blk/blk-for-tests.ts';
import { ConsoleBackend } from '../../src/devices/console/console.ts';
import { connectGuestStore } from '../../src/devices/xenstore.ts';
import type { GuestMemory } from '../../src/hypervisor/memory.ts';
import { serveConnection } from '../../src/store/connection.ts';
import { Store } from '../../src/store/store.ts';
import { createPipe } from '../../src/store/stream.ts';
import { guest as guestIdentity } from '../../src/store/testing.ts';
import { integer32, Random } from '../cpu/random.ts';

const SEED = 20041105;

/** A pattern in every frame but those of `except`, and whether it is still there. */
function watchFrames(memory: GuestMemory, except: ReadonlySet<number>): () => void {
  const { layout } = memory;
  const special = layout.pages;
  const watched: number[] = [];
  for (let frame = 0; frame < special; frame++) {
    if (except.has(frame)) continue;
    memory.frame(frame).fill(0xa5);
    watched.push(frame);
  }
  return () => {
    for (const frame of watched) {
      if (memory.frame(frame).some((byte) => byte !== 0xa5))
        assert.fail(`frame ${frame} was written, which the guest did not grant`);
    }
  };
}

/** An index near another, or anywhere. */
const nearby = (random: Random, index: number): number =>
  random.chance(3) ? integer32(random) : (index + random.below(40) - 4) >>> 0;

test('a console ring full of nonsense leaves the backend alive, and its output bounded', () => {
  const random = new Random(SEED);
  const buffer = new SharedArrayBuffer(3 * 4096);
  const bytes = new Uint8Array(buffer);
  bytes.fill(0xa5);
  const view = new DataView(buffer, 4096, 4096);
  new Uint8Array(buffer, 4096, 4096).fill(0);
  let output = 0;
  let room = 1 << 20;
  const backend = new ConsoleBackend({
    memory: { buffer, at: (frame) => frame * 4096 },
    frame: 1,
    notify: () => {
      // The guest answers at once, and badly.
      if (random.chance(3)) ConsoleRing.in_cons.set(view, 0, integer32(random));
    },
    output(chunk) {
      assert.ok(chunk.length <= CONSOLE_RING_BYTES.out.size);
      const taken = Math.min(chunk.length, random.pick([room, 1, 0, 100]));
      room -= taken;
      output += taken;
      return taken;
    },
    log: () => {},
  });
  for (let i = 0; i < 20_000; i++) {
    for (const field of [
      ConsoleRing.out_prod,
      ConsoleRing.in_cons,
      ConsoleRing.out_cons,
      ConsoleRing.in_prod,
    ] as const) {
      if (random.chance(2)) field.set(view, 0, nearby(random, field.get(view, 0)));
    }
    const before = output;
    if (random.chance(4)) backend.input(new Uint8Array(random.below(3000)));
    else if (random.chance(3)) backend.drain();
    else backend.onEvent();
    assert.ok(output - before <= 2 * CONSOLE_RING_BYTES.out.size, `step ${i}, seed ${SEED}`);
  }
  for (const at of [0, 8192]) assert.ok(bytes.subarray(at, at + 4096).every((byte) => byte === 0xa5));
});

test('a xenstore ring full of nonsense harms neither the store nor its other users', async () => {
  for (let round = 0; round < 6; round++) {
    const random = new Random(SEED + round);
    const system = new TestGuest((run) => setImmediate(run));
    const { memory } = system;
    const RING = 3;
    const check = watchFrames(memory, new Set([RING]));
    memory.frame(RING).fill(0);
    const store = new Store();
    const failures: unknown[] = [];
    const connection = connectGuestStore(
      { memory, frame: RING, notify: () => {} },
      {
        connect: async () => {
          const [ours, theirs] = createPipe();
          serveConnection(store, guestIdentity(5), theirs);
          return ours;
        },
        after: (_, run) =>
          void later()
            .then(run)
            .catch((error: unknown) => failures.push(error)),
      },
    );
    const view = new DataView(memory.buffer, memory.at(RING), 4096);
    const fields = [
      XenstoreRing.req_prod,
      XenstoreRing.rsp_cons,
      XenstoreRing.req_cons,
      XenstoreRing.rsp_prod,
      XenstoreRing.connection,
      XenstoreRing.error,
    ];
    for (let i = 0; i < 1500; i++) {
      // Headers of messages, more or less, and texts.
      const at = random.below(XENSTORE_RING_BYTES.req.size / 16) * 16;
      if (random.chance(2)) {
        XenstoreHeader.type.set(view, at, random.below(25));
        XenstoreHeader.req_id.set(view, at, integer32(random));
        XenstoreHeader.tx_id.set(view, at, random.below(4));
        if (at + 16 <= 1024) XenstoreHeader.len.set(view, at, random.chance(4) ? integer32(random) : random.below(64));
      } else {
        const text = random.pick(['/local/domain/5/a\0', 'data\0', '@releaseDomain\0', '../../x\0', 'T\0', '\0\0\0']);
        for (let k = 0; k < text.length && at + k < 1024; k++) view.setUint8(at + k, text.charCodeAt(k));
      }
      if (random.chance(6)) {
        const field = random.pick(fields);
        field.set(view, 0, field === XenstoreRing.connection ? random.below(3) : nearby(random, field.get(view, 0)));
      } else {
        // As a driver would go on, so that messages get through.
        XenstoreRing.req_prod.set(view, 0, (XenstoreRing.req_prod.get(view, 0) + random.below(48)) >>> 0);
        XenstoreRing.rsp_cons.set(view, 0, XenstoreRing.rsp_prod.get(view, 0));
        if (XenstoreRing.error.get(view, 0) !== 0 && random.chance(3)) XenstoreRing.connection.set(view, 0, 1);
      }
      connection.onEvent();
      if (random.chance(5)) await later();
    }
    await later();
    connection.close();
    assert.deepEqual(failures, []);
    check();
    // The store still works for who behaves.
    await system.client.write('/alive', 'yes');
    assert.equal(await system.client.read('/alive'), 'yes');
  }
});

test('a block ring full of nonsense never makes the disk or foreign frames suffer', async () => {
  for (let round = 0; round < 8; round++) {
    const random = new Random(SEED + 100 + round);
    const system = new TestGuest((run) => setImmediate(run));
    const disk = new MemoryDisk(64);
    disk.discardGranularity = 512;
    const before = new Uint8Array(disk.bytes.length).fill(0x11);
    disk.bytes.set(before);
    disk.readOnly = round % 2 === 0;
    await system.addDisk(51712, disk);
    const front = new Frontend(system, 51712, round % 3);
    const granted = [0, 0, 0, 0].map(() => system.newFrame());
    const grefs = granted.map((frame, i) => system.grant(frame, i === 3));
    const check = watchFrames(system.memory, new Set([...front.frames, ...granted.slice(0, 3)]));
    await front.open();
    const head = system.memory.at(front.frames[0]!);
    for (let i = 0; i < 400; i++) {
      const slot = new Uint8Array(112);
      for (let k = 0; k < 112; k++) slot[k] = random.chance(3) ? random.u32() : 0;
      const view = new DataView(slot.buffer);
      BlkifRequest.operation.set(view, 0, random.pick([0, 0, 1, 1, 2, 3, 5, 6, 6, random.below(256)]));
      BlkifRequest.nr_segments.set(view, 0, random.chance(5) ? random.below(256) : random.below(5));
      if (random.chance(2)) BlkifRequest.sector_number.set(view, 0, BigInt(random.below(70)));
      for (let k = 24; k + 8 <= 112; k += 8) {
        if (random.chance(3)) view.setUint32(k, random.pick(grefs), true);
        if (random.chance(2)) view.setUint16(k + 4, random.pick([0x0700, 0x0000, 0x0302, 0xffff]), true);
      }
      front.put(slot);
      if (random.chance(8)) {
        const field = random.pick([
          SharedRing.req_prod,
          SharedRing.req_event,
          SharedRing.rsp_prod,
          SharedRing.rsp_event,
        ]);
        field.set(system.memory.view, head, nearby(random, field.get(system.memory.view, head)));
        system.events.send(front.port);
      } else front.push();
      // Entries of the grant table change while requests are under way.
      if (random.chance(10)) {
        const entry = system.memory.at(system.grants.mfn(0)) + 8 * random.pick(grefs.slice(0, 3));
        system.memory.view.setUint16(entry, random.pick([0, 1, 1, 2, 3, 5, 0x19]), true);
      }
      if (random.chance(4)) await later();
      if (random.chance(50)) {
        await front.setState(random.below(9));
        await later();
      }
    }
    for (let turns = 0; turns < 20; turns++) await later();
    check();
    if (disk.readOnly) assert.deepEqual(disk.bytes, before, `round ${round}, seed ${SEED}`);
    assert.ok(system.log.length < 200);
    // A device that comes after works.
    const disk2 = new MemoryDisk(8);
    await system.addDisk(51728, disk2);
    const second = new Frontend(system, 51728);
    await second.open();
    const id = second.rw(0, 0, [{ gref: system.grant(system.newFrame()) }]);
    second.push();
    let answers = second.responses();
    for (let turns = 0; turns < 50 && answers.length === 0; turns++) {
      await later();
      answers = second.responses();
    }
    assert.deepEqual(answers, [{ id, operation: 0, status: 0 }]);
  }
});
