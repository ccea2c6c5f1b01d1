/**
 * Mapping granted frames into the guest's page tables, and unmapping them. Backends live in the monitor and need no mapping, so
 * the only grants that a guest can map are those it gave to itself. Follows pv-abi 8.6 (with the rules of XSA-224, 227, 234).
 */
import { GnttabMapGrantRef, GnttabUnmapGrantRef } from '../abi/grants.ts';
import { GNTMAP, GNTST, PTE } from '../abi/numbers.ts';
import { CONTROL } from './control.ts';
import { updateEntry } from './mmu/entries.ts';
import type { Vcpu } from './vcpu.ts';

/** Words of a record; `gref` is one more than the reference, 0 in a free record. `kinds` are GNTMAP flags still in force. */
const TRACK = { gref: 0, kinds: 1, frame: 2, words: 4 } as const;
const HANDLES = (CONTROL.free - CONTROL.maptrack) / (4 * TRACK.words);
const NX_HIGH = 0x8000_0000;
/** Software bits of an entry that the guest chooses: flags 16–18 become bits 9–11. */
const AVAILABLE = 0xe00;

const wordIndex = (handle: number) => (CONTROL.maptrack >>> 2) + handle * TRACK.words;

/** Where the page-table entry is that a mapping is about. */
interface EntryPlace {
  readonly frame: number;
  readonly offset: number;
}

/** The entry that `hostAddr` names: the machine address of an L1 entry, or a linear address whose L1 exists. */
function findEntry(vcpu: Vcpu, hostAddr: bigint, containsPte: boolean): EntryPlace | undefined {
  if (containsPte) {
    const frame = Number(hostAddr >> 12n);
    if (hostAddr % 8n !== 0n || vcpu.domain.types.level(frame) !== 1) return undefined;
    return { frame, offset: Number(hostAddr & 0xfffn) };
  }
  const lo = Number(hostAddr & 0xffff_ffffn);
  const hi = Number(hostAddr >> 32n);
  const { walker } = vcpu;
  if (!walker.find(vcpu.kernelRoot, lo, hi)) return undefined;
  return { frame: walker.table, offset: (walker.slot - vcpu.memory.at(walker.table)) & 0xff8 };
}

/** Put an entry in place and drop the old translation: the entry may be any virtual address's, so all of them go. */
function putEntry(vcpu: Vcpu, place: EntryPlace, lo: number, hi: number): boolean {
  const done = updateEntry(vcpu, place.frame, place.offset, lo, hi, false) >= 0;
  if (done) vcpu.engine.flushTlb();
  return done;
}

/** One map_grant_ref: fills handle, bus address and status. */
export function mapGrantRef(vcpu: Vcpu, op: DataView): void {
  const handle = map(vcpu, op);
  if (handle >= 0) {
    GnttabMapGrantRef.handle.set(op, 0, handle);
    const frame = vcpu.memory.i32[wordIndex(handle) + TRACK.frame]!;
    GnttabMapGrantRef.dev_bus_addr.set(op, 0, BigInt(frame) << 12n);
  }
  GnttabMapGrantRef.status.set(op, 0, Math.min(handle, GNTST.okay));
}

function map(vcpu: Vcpu, op: DataView): number {
  const { grants } = vcpu.domain;
  const { i32 } = vcpu.memory;
  const flags = GnttabMapGrantRef.flags.get(op, 0);
  const gref = GnttabMapGrantRef.ref.get(op, 0);
  const write = (flags & GNTMAP.readonly) === 0;
  if (!grants.isOwner(GnttabMapGrantRef.dom.get(op, 0))) return GNTST.general_error;
  if ((flags & (GNTMAP.host_map | GNTMAP.device_map)) === 0) return GNTST.bad_gntref;
  let handle = 0;
  while (handle < HANDLES && i32[wordIndex(handle) + TRACK.gref] !== 0) handle++;
  if (handle === HANDLES) return GNTST.no_device_space;

  // Each kind of mapping is a use of its own, given back on its own.
  let frame = 0;
  let kinds = 0;
  for (const kind of [GNTMAP.host_map, GNTMAP.device_map]) {
    if ((flags & kind) === 0) continue;
    frame = grants.resolve(gref, grants.owner, write);
    if (frame >= 0) kinds |= kind;
    const mapped = kind === GNTMAP.host_map && frame >= 0 ? mapHost(vcpu, op, flags, frame) : frame;
    if (mapped >= 0) continue;
    // Only the host mapping, which comes first, can fail with a use taken.
    if (kinds !== 0) grants.release(gref, write);
    return mapped;
  }
  i32[wordIndex(handle) + TRACK.gref] = gref + 1;
  i32[wordIndex(handle) + TRACK.kinds] = kinds | (flags & (GNTMAP.readonly | GNTMAP.contains_pte));
  i32[wordIndex(handle) + TRACK.frame] = frame;
  return handle;
}

function mapHost(vcpu: Vcpu, op: DataView, flags: number, frame: number): number {
  const place = findEntry(vcpu, GnttabMapGrantRef.host_addr.get(op, 0), (flags & GNTMAP.contains_pte) !== 0);
  if (place === undefined) return GNTST.general_error;
  const rights = (flags & GNTMAP.readonly ? 0 : PTE.RW) | (flags & GNTMAP.application_map ? PTE.US : 0);
  const lo = ((frame << 12) | PTE.P | PTE.A | PTE.D | rights | ((flags >>> 7) & AVAILABLE)) >>> 0;
  return putEntry(vcpu, place, lo, NX_HIGH) ? frame : GNTST.general_error;
}

/** One unmap_grant_ref: the status. A kind of mapping that is not found as it was made stays, with its use. */
export function unmapGrantRef(vcpu: Vcpu, op: DataView): number {
  const { grants } = vcpu.domain;
  const { i32, u32 } = vcpu.memory;
  const handle = GnttabUnmapGrantRef.handle.get(op, 0);
  if (handle >= HANDLES || i32[wordIndex(handle) + TRACK.gref] === 0) return GNTST.bad_handle;
  const at = wordIndex(handle);
  const gref = i32[at + TRACK.gref]! - 1;
  const frame = i32[at + TRACK.frame]!;
  const flags = i32[at + TRACK.kinds]!;
  const write = (flags & GNTMAP.readonly) === 0;
  const hostAddr = GnttabUnmapGrantRef.host_addr.get(op, 0);
  const busAddr = GnttabUnmapGrantRef.dev_bus_addr.get(op, 0);

  let ended = 0;
  if (hostAddr !== 0n && flags & GNTMAP.host_map) {
    const place = findEntry(vcpu, hostAddr, (flags & GNTMAP.contains_pte) !== 0);
    if (place === undefined) return GNTST.general_error;
    const entry = u32[(vcpu.memory.at(place.frame) + place.offset) >>> 2]!;
    const rights = PTE.P | (write ? PTE.RW : 0);
    if ((entry & (PTE.P | PTE.RW)) !== rights || entry >>> 12 !== frame) return GNTST.general_error;
    if (!putEntry(vcpu, place, 0, 0)) return GNTST.general_error;
    grants.release(gref, write);
    ended |= GNTMAP.host_map;
  }
  if (busAddr !== 0n && flags & GNTMAP.device_map) {
    if (busAddr !== BigInt(frame) << 12n) return GNTST.general_error;
    grants.release(gref, write);
    ended |= GNTMAP.device_map;
  }
  i32[at + TRACK.kinds] = flags & ~ended;
  if ((flags & ~ended & (GNTMAP.host_map | GNTMAP.device_map)) === 0) i32[at + TRACK.gref] = 0;
  return GNTST.okay;
}
