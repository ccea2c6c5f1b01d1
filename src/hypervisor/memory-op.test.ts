import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryReservation } from '../abi/calls.ts';
import { Errno } from '../abi/errno.ts';
import { DOMID, XENMEM } from '../abi/numbers.ts';
import { E820Entry } from '../abi/start-info.ts';
import { allocatedPages, isAllocated } from './allocation.ts';
import { NOWHERE, newGuest, SCRATCH, type TestGuest, words } from './guest-for-tests.ts';
import { FrameFlag, SPECIAL } from './memory.ts';
import { memoryOp } from './memory-op.ts';

interface Reservation {
  order?: number;
  domid?: number;
  count?: bigint;
  list?: bigint;
}

/** Call with the given extents; the result is the number done. The list comes back from the scratch page. */
function reserve(guest: TestGuest, op: number, extents: bigint[], options: Reservation = {}): number | bigint {
  const list = BigUint64Array.from(extents);
  guest.put(new Uint8Array(list.buffer), 0x100);
  const view = new DataView(new ArrayBuffer(MemoryReservation.size));
  MemoryReservation.extent_start.set(view, 0, options.list ?? SCRATCH + 0x100n);
  MemoryReservation.nr_extents.set(view, 0, options.count ?? BigInt(extents.length));
  MemoryReservation.extent_order.set(view, 0, options.order ?? 0);
  MemoryReservation.domid.set(view, 0, options.domid ?? DOMID.self);
  return guest.call(memoryOp, op, guest.put(new Uint8Array(view.buffer)));
}

const m2p = (guest: TestGuest, mfn: number) =>
  guest.memory.view.getBigUint64(guest.memory.at(guest.memory.layout.pages + SPECIAL.m2p) + 8 * mfn, true);

test('a page given back is counted out, reads as zeros, is gone from the M2P, and comes back under its own number', () => {
  const guest = newGuest();
  const { memory } = guest;
  memory.u8[memory.at(0x300)] = 1;
  memory.frameFlags[0x301] = FrameFlag.code;
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n, 0x301n]), 2);
  assert.equal(allocatedPages(memory), 0x7fe);
  assert.equal(memory.u8[memory.at(0x300)], 0);
  assert.deepEqual(guest.engine.framesWritten, [0x301]);
  assert.ok(guest.engine.flushes > 0);
  assert.equal(m2p(guest, 0x300), 0xffffffffffffffffn);
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n]), 0);
  assert.equal(reserve(guest, XENMEM.populate_physmap, [0x300n]), 1);
  assert.equal(guest.view.getBigUint64(0x100, true), 0x300n);
  assert.equal(m2p(guest, 0x300), 0x300n);
  assert.equal(allocatedPages(memory), 0x7ff);
});

test('populate grows the domain to its maximum, and stops where a frame is present or there is none', () => {
  const guest = newGuest({ pages: 0x700, maxPages: 0x800 });
  assert.equal(reserve(guest, XENMEM.populate_physmap, [0x700n, 0x7ffn, 0x6ffn, 0x701n]), 2);
  assert.equal(reserve(guest, XENMEM.populate_physmap, [0x800n]), 0);
  assert.equal(reserve(guest, XENMEM.populate_physmap, [(1n << 63n) + 0x702n]), 0);
  assert.equal(reserve(guest, XENMEM.populate_physmap, [0x702n, 0x703n, 0x704n]), 3);
  assert.equal(isAllocated(guest.memory, 0x704), true);
});

test('more than maxPages is not to be had although the frames exist', () => {
  const guest = newGuest({ pages: 0x700, maxPages: 0x800 });
  Object.assign(guest.domain, { maxPages: 0x701 });
  assert.equal(reserve(guest, XENMEM.populate_physmap, [0x700n, 0x701n]), 1);
});

test('extents of an order are done whole or not at all', () => {
  const guest = newGuest();
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n], { order: 4 }), 1);
  assert.equal(allocatedPages(guest.memory), 0x7f0);
  assert.equal(reserve(guest, XENMEM.populate_physmap, [0x308n], { order: 4 }), 0);
  assert.equal(reserve(guest, XENMEM.increase_reservation, [0n], { order: 3 }), 1);
  assert.equal(guest.view.getBigUint64(0x100, true), 0x300n);
  assert.equal(reserve(guest, XENMEM.increase_reservation, [0n, 0n], { order: 3 }), 1);
  assert.equal(allocatedPages(guest.memory), 0x800);
});

test('page tables cannot be given back, nor frames of nobody', () => {
  const guest = newGuest();
  const root = BigInt(guest.built.pinned.mfn);
  const { pages, frames } = guest.memory.layout;
  for (const mfn of [root, BigInt(pages), BigInt(frames), 0xffffffffn, 1n << 63n]) {
    assert.equal(reserve(guest, XENMEM.decrease_reservation, [mfn]), 0);
  }
  assert.equal(allocatedPages(guest.memory), 0x800);
});

test('errors in the structure give the number done, never a negative errno', () => {
  const guest = newGuest();
  assert.equal(guest.call(memoryOp, XENMEM.decrease_reservation, NOWHERE), 0);
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n], { domid: 3 }), 0);
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n], { order: 64 }), 0);
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n], { count: 1n << 63n }), 0);
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n], { list: NOWHERE }), 0);
  // The scratch page is followed by zeros: frame 0 goes once, then it is not there.
  assert.equal(reserve(guest, XENMEM.decrease_reservation, [0x300n], { count: 1n << 40n }), 2);
});

test('the memory map is one entry of RAM up to the maximum', () => {
  const guest = newGuest({ pages: 0x700, maxPages: 0x800 });
  guest.put(words(128, 0));
  guest.view.setBigUint64(8, SCRATCH + 0x200n, true);
  assert.equal(guest.call(memoryOp, XENMEM.memory_map, SCRATCH), 0);
  assert.equal(guest.view.getUint32(0, true), 1);
  assert.equal(E820Entry.addr.get(guest.view, 0x200), 0n);
  assert.equal(E820Entry.length.get(guest.view, 0x200), 0x800000n);
  assert.equal(E820Entry.type.get(guest.view, 0x200), 1);
});

test('what the guest may know about its memory', () => {
  const guest = newGuest({ pages: 0x700, maxPages: 0x800 });
  const self = guest.put(words(DOMID.self));
  assert.equal(guest.call(memoryOp, XENMEM.maximum_ram_page, 0), 0x7ff);
  assert.equal(guest.call(memoryOp, XENMEM.current_reservation, self), 0x700);
  assert.equal(guest.call(memoryOp, XENMEM.maximum_reservation, self), 0x800);
  assert.equal(guest.call(memoryOp, XENMEM.current_reservation, guest.put(words(9))), -Errno.ESRCH);
  assert.equal(guest.call(memoryOp, XENMEM.machphys_mapping, SCRATCH), 0);
  assert.equal(guest.view.getBigUint64(0, true), 0xffff800000c00000n);
  assert.equal(guest.view.getBigUint64(16, true), 0x7ffn);
  assert.equal(guest.call(memoryOp, XENMEM.exchange, SCRATCH), -Errno.ENOSYS);
  assert.equal(guest.call(memoryOp, XENMEM.add_to_physmap, SCRATCH), -Errno.EINVAL);
});
