/**
 * Changing one page-table entry by hypercall: what is checked depends on what the frame is typed as, and references follow.
 * Entries are pairs of 32-bit halves. Follows pv-abi 2.2 and 3.3.
 */
import { Errno } from '../../abi/errno.ts';
import { PTE } from '../../abi/numbers.ts';
import type { Vcpu } from '../vcpu.ts';
import { HOLE_END, HOLE_FIRST } from './walk.ts';

/** What the caller still has to flush after `updateEntry`: an entry of level 3 or 4 was taken away or replaced. */
export const TABLE_CHANGED = 1;

/**
 * Store an entry so that no other thread sees a present one that is half old and half new: the frame number and P are in
 * the low half.
 */
function storeEntry(vcpu: Vcpu, slot: number, lo: number, hi: number, preserveAd: boolean): void {
  const { i32, u32 } = vcpu.memory;
  const at = slot / 4;
  if (!(lo & PTE.P)) {
    Atomics.store(i32, at, lo | 0);
    u32[at + 1] = hi;
    return;
  }
  u32[at + 1] = hi;
  if (!preserveAd) {
    Atomics.store(i32, at, lo | 0);
    return;
  }
  // Another vCPU's walk may be setting A or D now; they must not get lost.
  let old = Atomics.load(i32, at);
  for (;;) {
    const seen = Atomics.compareExchange(i32, at, old, lo | (old & (PTE.A | PTE.D)));
    if (seen === old) return;
    old = seen;
  }
}

/** Store a level 1 entry that may exist, and tell the engine when it replaces one that was present. */
export function storeLeaf(
  vcpu: Vcpu,
  frame: number,
  offset: number,
  lo: number,
  hi: number,
  preserveAd: boolean,
): void {
  const slot = vcpu.memory.at(frame) + offset;
  const present = vcpu.memory.u32[slot / 4]! & PTE.P;
  storeEntry(vcpu, slot, lo, hi, preserveAd);
  if (present) vcpu.engine.entryChanged(frame, offset >>> 3);
  vcpu.frameTouched(frame);
}

/** mmu_update's store of an entry: 0, TABLE_CHANGED or a negative errno. `maddr` is frame * 4096 + offset, multiple of 8. */
export function updateEntry(
  vcpu: Vcpu,
  frame: number,
  offset: number,
  lo: number,
  hi: number,
  preserveAd: boolean,
): number {
  const { memory } = vcpu;
  const { types } = vcpu.domain;
  // Frames above RAM are ours; none of them is a page table.
  if (frame >= memory.layout.pages) return -Errno.EINVAL;
  const slot = memory.at(frame) + offset;
  const level = types.level(frame);
  if (level <= 1) {
    if (level === 1 && !types.leafAllowed(lo, hi)) return -Errno.EINVAL;
    storeLeaf(vcpu, frame, offset, lo, hi, preserveAd);
    return 0;
  }
  const index = offset >>> 3;
  if (level === 4 && index >= HOLE_FIRST && index < HOLE_END) return -Errno.EINVAL;
  if (!types.linkAllowed(lo, hi)) return -Errno.EINVAL;
  const oldLo = memory.u32[slot / 4]!;
  const oldHi = memory.u32[slot / 4 + 1]!;
  const sameTarget = (oldLo & PTE.P) !== 0 && (lo & PTE.P) !== 0 && oldLo >>> 12 === lo >>> 12;
  if (!sameTarget && lo & PTE.P && !types.acquire(lo >>> 12, level - 1)) return -Errno.EINVAL;
  storeEntry(vcpu, slot, lo, hi, preserveAd);
  vcpu.frameTouched(frame);
  if (!(oldLo & PTE.P)) return 0;
  const old = oldLo >>> 12;
  // What a guest wrote behind our back may name any frame.
  if (!types.linkAllowed(oldLo, oldHi) || old >= memory.layout.pages) return TABLE_CHANGED;
  // Before the table is released: the engine knows by its frame what was translated through it.
  if (level === 2) vcpu.engine.tableDetached(old);
  if (!sameTarget) types.release(old, level - 1);
  return level === 2 ? 0 : TABLE_CHANGED;
}
