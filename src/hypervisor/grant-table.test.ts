import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../abi/errno.ts';
import {
  GnttabCopy,
  GnttabCopySide,
  GnttabMapGrantRef,
  GnttabQuerySize,
  GnttabSetupTable,
  GnttabUnmapGrantRef,
  GrantEntryV1,
} from '../abi/grants.ts';
import { DOMID, GNTCOPY, GNTMAP, GNTST, GNTTABOP, GTF } from '../abi/numbers.ts';
import { grantTableOp } from './grant-table-op.ts';
import { newGuest, SCRATCH, type TestGuest, VIRT_BASE, words } from './guest-for-tests.ts';
import { FrameFlag, SPECIAL } from './memory.ts';

const SELF = DOMID.self;
const OWN = 5;
const GREF = 8;

function entryAt(guest: TestGuest, gref: number): number {
  return guest.memory.at(guest.memory.layout.pages + SPECIAL.grantTable) + gref * GrantEntryV1.size;
}

function grant(guest: TestGuest, gref: number, frame: number, flags: number, domid: number = DOMID.dom0): void {
  const at = entryAt(guest, gref);
  GrantEntryV1.frame.set(guest.memory.view, at, frame);
  GrantEntryV1.domid.set(guest.memory.view, at, domid);
  GrantEntryV1.flags.set(guest.memory.view, at, flags);
}

const flagsOf = (guest: TestGuest, gref: number) => GrantEntryV1.flags.get(guest.memory.view, entryAt(guest, gref));

test('a use shows in the entry until it is released, and overlapping uses until the last one is', () => {
  const guest = newGuest();
  grant(guest, GREF, 0x30, GTF.permit_access);
  assert.equal(guest.grants.resolve(GREF), 0x30);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access | GTF.reading);
  assert.equal(guest.grants.resolve(GREF, 0, true), 0x30);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access | GTF.reading | GTF.writing);
  guest.grants.release(GREF);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access | GTF.reading | GTF.writing);
  guest.grants.release(GREF, true);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access);
  assert.equal(guest.grants.inUse(GREF), false);
});

test('using a read-only grant for writing returns GNTST_general_error', () => {
  const guest = newGuest();
  grant(guest, GREF, 0x30, GTF.permit_access | GTF.readonly);
  assert.equal(guest.grants.resolve(GREF, 0, true), GNTST.general_error);
  assert.equal(guest.grants.resolve(GREF, 0, false), 0x30);
});

test('what is no grant to domain 0 of a frame that the domain owns is refused and leaves no trace', () => {
  const guest = newGuest({ pages: 0x700, maxPages: 0x800 });
  const { pages, frames } = guest.memory.layout;
  assert.equal(guest.grants.resolve(GREF), GNTST.general_error);
  grant(guest, GREF, 0x30, GTF.permit_access, 3);
  assert.equal(guest.grants.resolve(GREF), GNTST.general_error);
  grant(guest, GREF, 0x30, GTF.accept_transfer);
  assert.equal(guest.grants.resolve(GREF), GNTST.general_error);
  for (const frame of [0x700, pages, pages + SPECIAL.sharedInfo, frames, 0x7fffffff, 0xffffffff]) {
    grant(guest, GREF, frame, GTF.permit_access);
    assert.equal(guest.grants.resolve(GREF, 0, true), GNTST.bad_page);
    assert.equal(flagsOf(guest, GREF), GTF.permit_access);
  }
  for (const gref of [512, 512 * 64, 0xffffffff, -1, Number.NaN])
    assert.equal(guest.grants.resolve(gref), GNTST.bad_gntref);
});

test('setup_table hands out frames above RAM and grows to 64', () => {
  const guest = newGuest();
  const setup = (frames: number, domid: number = SELF) => {
    const op = new DataView(new ArrayBuffer(GnttabSetupTable.size));
    GnttabSetupTable.dom.set(op, 0, domid);
    GnttabSetupTable.nr_frames.set(op, 0, frames);
    GnttabSetupTable.frame_list.set(op, 0, SCRATCH + 0x100n);
    const at = guest.put(new Uint8Array(op.buffer));
    assert.equal(guest.call(grantTableOp, GNTTABOP.setup_table, at, 1), 0);
    return GnttabSetupTable.status.get(guest.view, 0);
  };
  const first = BigInt(guest.memory.layout.pages + SPECIAL.grantTable);
  assert.equal(setup(2), GNTST.okay);
  assert.deepEqual(
    [0x100, 0x108].map((at) => guest.view.getBigUint64(at, true)),
    [first, first + 1n],
  );
  assert.equal(guest.grants.frames, 2);
  assert.equal(guest.grants.resolve(512 + 5), GNTST.general_error);
  assert.equal(setup(65), GNTST.general_error);
  assert.equal(setup(0xffffffff), GNTST.general_error);
  assert.equal(setup(2, 0), GNTST.bad_domain);
  assert.equal(setup(64), GNTST.okay);
  assert.equal(setup(1), GNTST.okay);
  assert.equal(guest.grants.frames, 64);
  guest.put(words(SELF, 0, 0, 0));
  assert.equal(guest.call(grantTableOp, GNTTABOP.query_size, SCRATCH, 1), 0);
  assert.deepEqual(
    [GnttabQuerySize.nr_frames.get(guest.view, 0), GnttabQuerySize.max_nr_frames.get(guest.view, 0)],
    [64, 64],
  );
});

test('set_version is not there, so guests use version 1', () => {
  const guest = newGuest();
  assert.equal(guest.call(grantTableOp, GNTTABOP.set_version, guest.put(words(2)), 1), -Errno.ENOSYS);
  guest.put(words(SELF, 0));
  assert.equal(guest.call(grantTableOp, GNTTABOP.get_version, SCRATCH, 1), 0);
  assert.equal(guest.view.getUint32(4, true), 1);
});

interface Side {
  ref?: number;
  gmfn?: number;
  offset?: number;
  domid?: number;
}

function copy(guest: TestGuest, source: Side, dest: Side, length: number): number {
  const op = new DataView(new ArrayBuffer(GnttabCopy.size));
  let flags = 0;
  for (const [side, at, bit] of [
    [source, 0, GNTCOPY.source_gref],
    [dest, 16, GNTCOPY.dest_gref],
  ] as const) {
    if (side.ref !== undefined) {
      flags |= bit;
      GnttabCopySide.ref.set(op, at, side.ref);
    } else GnttabCopySide.gmfn.set(op, at, BigInt(side.gmfn!));
    GnttabCopySide.offset.set(op, at, side.offset ?? 0);
    GnttabCopySide.domid.set(op, at, side.domid ?? SELF);
  }
  GnttabCopy.flags.set(op, 0, flags);
  GnttabCopy.len.set(op, 0, length);
  const at = guest.put(new Uint8Array(op.buffer));
  assert.equal(guest.call(grantTableOp, GNTTABOP.copy, at, 1), 0);
  return GnttabCopy.status.get(guest.view, 0);
}

test('copy moves bytes between a frame and a grant, tells the engine of code, and stays within its pages', () => {
  const guest = newGuest();
  const { memory } = guest;
  memory.u8.fill(0xaa, memory.at(0x30), memory.at(0x31));
  grant(guest, GREF, 0x31, GTF.permit_access, OWN);
  memory.frameFlags[0x31] = FrameFlag.code;
  assert.equal(copy(guest, { gmfn: 0x30, offset: 4000 }, { ref: GREF, offset: 16 }, 96), GNTST.okay);
  assert.deepEqual(
    [15, 16, 111, 112].map((i) => memory.u8[memory.at(0x31) + i]),
    [0, 0xaa, 0xaa, 0],
  );
  assert.deepEqual(guest.engine.framesWritten, [0x31]);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access);
  assert.equal(copy(guest, { gmfn: 0x30, offset: 4000 }, { ref: GREF }, 97), GNTST.bad_copy_arg);
  assert.equal(copy(guest, { gmfn: 0x30 }, { ref: GREF, offset: 0xffff }, 1), GNTST.bad_copy_arg);
  assert.equal(copy(guest, { gmfn: memory.layout.pages }, { ref: GREF }, 1), GNTST.bad_page);
  assert.equal(copy(guest, { gmfn: 0x30, domid: 0 }, { ref: GREF }, 1), GNTST.bad_domain);
  grant(guest, GREF, 0x31, GTF.permit_access | GTF.readonly, OWN);
  assert.equal(copy(guest, { gmfn: 0x30 }, { ref: GREF }, 1), GNTST.general_error);
  assert.equal(copy(guest, { gmfn: 0x30 }, { gmfn: guest.built.pinned.mfn }, 8), GNTST.general_error);
});

const WINDOW = VIRT_BASE + 0x60n * 4096n;

function map(
  guest: TestGuest,
  flags: number,
  hostAddr = WINDOW,
  domid: number = SELF,
): { status: number; handle: number; bus: bigint } {
  const op = new DataView(new ArrayBuffer(GnttabMapGrantRef.size));
  GnttabMapGrantRef.host_addr.set(op, 0, hostAddr);
  GnttabMapGrantRef.flags.set(op, 0, flags);
  GnttabMapGrantRef.ref.set(op, 0, GREF);
  GnttabMapGrantRef.dom.set(op, 0, domid);
  const at = guest.put(new Uint8Array(op.buffer));
  assert.equal(guest.call(grantTableOp, GNTTABOP.map_grant_ref, at, 1), 0);
  return {
    status: GnttabMapGrantRef.status.get(guest.view, 0),
    handle: GnttabMapGrantRef.handle.get(guest.view, 0),
    bus: GnttabMapGrantRef.dev_bus_addr.get(guest.view, 0),
  };
}

function unmap(guest: TestGuest, handle: number, hostAddr: bigint, bus = 0n): number {
  const op = new DataView(new ArrayBuffer(GnttabUnmapGrantRef.size));
  GnttabUnmapGrantRef.host_addr.set(op, 0, hostAddr);
  GnttabUnmapGrantRef.dev_bus_addr.set(op, 0, bus);
  GnttabUnmapGrantRef.handle.set(op, 0, handle);
  const at = guest.put(new Uint8Array(op.buffer));
  assert.equal(guest.call(grantTableOp, GNTTABOP.unmap_grant_ref, at, 1), 0);
  return GnttabUnmapGrantRef.status.get(guest.view, 0);
}

test('a domain maps its own grant at an address, sees the granted frame there, and unmaps it', () => {
  const guest = newGuest();
  grant(guest, GREF, 0x31, GTF.permit_access, OWN);
  guest.memory.u8[guest.memory.at(0x31)] = 0x77;
  const { status, handle, bus } = map(guest, GNTMAP.host_map);
  assert.deepEqual([status, bus], [GNTST.okay, 0x31000n]);
  assert.equal(guest.vcpu.readGuest(WINDOW, 1)?.[0], 0x77);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access | GTF.reading | GTF.writing);
  assert.equal(unmap(guest, handle, WINDOW), GNTST.okay);
  assert.equal(guest.vcpu.readGuest(WINDOW, 1), undefined);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access);
  assert.equal(unmap(guest, handle, WINDOW), GNTST.bad_handle);
});

test('host and device mappings of one handle end independently, each with its own use (xsa-224)', () => {
  const guest = newGuest();
  grant(guest, GREF, 0x31, GTF.permit_access, OWN);
  const { handle, bus } = map(guest, GNTMAP.host_map | GNTMAP.device_map);
  assert.equal(unmap(guest, handle, 0n, bus), GNTST.okay);
  assert.equal(unmap(guest, handle, 0n, bus), GNTST.okay);
  assert.equal(guest.grants.inUse(GREF), true);
  assert.equal(unmap(guest, handle, WINDOW), GNTST.okay);
  assert.equal(guest.grants.inUse(GREF), false);
});

test('a machine address is taken only when it is an aligned entry of an L1 table (xsa-227)', () => {
  const guest = newGuest();
  grant(guest, GREF, 0x31, GTF.permit_access, OWN);
  const flags = GNTMAP.host_map | GNTMAP.contains_pte;
  const { walker, kernelRoot } = guest.vcpu;
  walker.find(kernelRoot, Number(WINDOW & 0xffffffffn), Number(WINDOW >> 32n));
  const pte = BigInt(walker.table) * 4096n + 0x60n * 8n;
  for (const bad of [pte + 1n, pte + 4n, 0x31000n, BigInt(guest.built.pinned.mfn) * 4096n, (1n << 64n) - 8n]) {
    assert.equal(map(guest, flags, bad).status, GNTST.general_error);
    assert.equal(guest.grants.inUse(GREF), false);
  }
  const { status, handle } = map(guest, flags, pte);
  assert.equal(status, GNTST.okay);
  assert.equal(unmap(guest, handle, pte), GNTST.okay);
});

test('unmapping finds the entry as it was mapped, or nothing changes (xsa-234)', () => {
  const guest = newGuest();
  grant(guest, GREF, 0x31, GTF.permit_access, OWN);
  const { handle } = map(guest, GNTMAP.host_map | GNTMAP.readonly);
  assert.equal(flagsOf(guest, GREF), GTF.permit_access | GTF.reading);
  assert.equal(unmap(guest, handle, WINDOW + 4096n), GNTST.general_error);
  assert.equal(unmap(guest, handle, 0x1000n), GNTST.general_error);
  assert.equal(guest.grants.inUse(GREF), true);
  assert.equal(unmap(guest, handle, WINDOW), GNTST.okay);
});

test('mapping for a wrong domid gives status general_error, the call itself 0 (xsa-316)', () => {
  const guest = newGuest();
  grant(guest, GREF, 0x31, GTF.permit_access, OWN);
  for (const domid of [0, 6, 0x7ff4])
    assert.equal(map(guest, GNTMAP.host_map, WINDOW, domid).status, GNTST.general_error);
});
