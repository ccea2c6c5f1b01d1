/**
 * Walking the guest's page tables for the hypervisor's own accesses: hypercall pointers, bounce frames, finding an L1 entry.
 * The engine has its own walk for what guest instructions touch. Virtual addresses come as two 32-bit halves, because
 * hypercalls are too frequent for BigInt. Follows pv-abi 3.2.
 *
 * The guest may write its tables while we read them, and may have put anything there: each entry is read once per half, and
 * each frame number is checked before it is used.
 */
import { PTE } from '../../abi/numbers.ts';
import type { GuestMemory } from '../memory.ts';

export const NO_ROOT = 0xffff_ffff;
/** Bits of an entry's high half that belong to the frame number; RAM ends below 4 GiB, so in a good entry they are 0. */
export const FRAME_HIGH = 0x000f_ffff;
/** L4 slots of the hypervisor: [256, 272). */
export const HOLE_FIRST = 256;
export const HOLE_END = 272;

export function isCanonical(hi: number): boolean {
  const top = hi >>> 15;
  return top === 0 || top === 0x1ffff;
}

export function isCanonical64(va: bigint): boolean {
  return BigInt.asIntN(48, va) === BigInt.asIntN(64, va);
}

/** Does this address lie in the range that the guest's tables do not decide? */
export function inHole(hi: number): boolean {
  return hi >>> 0 >= 0xffff_8000 && hi >>> 0 < 0xffff_8800;
}

export class Walker {
  readonly memory: GuestMemory;
  /** Results of the last successful `find`: linear address of the L1 entry, the L1's frame, and RW of all upper levels. */
  slot = 0;
  table = 0;
  writable = false;

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }

  /** Find the L1 entry for an address under `root`; false when a table on the way is missing. */
  find(root: number, lo: number, hi: number): boolean {
    const { u32, layout } = this.memory;
    if (root >= layout.frames || !isCanonical(hi)) return false;
    const top = (hi >>> 7) & 0x1ff;
    if (top >= HOLE_FIRST && top < HOLE_END) return false;
    let table = root;
    let flags: number = PTE.RW;
    for (let level = 4; level > 1; level--) {
      const index = level === 4 ? top : level === 3 ? ((hi & 0x7f) << 2) | (lo >>> 30) : (lo >>> 21) & 0x1ff;
      const at = (this.memory.at(table) + index * 8) / 4;
      const entry = u32[at]!;
      if ((entry & (PTE.P | PTE.PS)) !== PTE.P || (u32[at + 1]! & FRAME_HIGH) !== 0) return false;
      flags &= entry;
      table = entry >>> 12;
      if (table >= layout.frames) return false;
    }
    this.slot = this.memory.at(table) + ((lo >>> 12) & 0x1ff) * 8;
    this.table = table;
    this.writable = (flags & PTE.RW) !== 0;
    return true;
  }

  /**
   * The linear-memory address of guest-virtual hi:lo under `root`, good to the end of its page; 0 when it cannot be accessed.
   * Sets the accessed and dirty bits as a page walk does. U and NX do not matter to the hypervisor's accesses.
   */
  translate(root: number, lo: number, hi: number, write: boolean): number {
    const { u32, i32, layout } = this.memory;
    if (!this.find(root, lo, hi)) return 0;
    const at = this.slot / 4;
    const entry = u32[at]!;
    if (!(entry & PTE.P) || (u32[at + 1]! & FRAME_HIGH) !== 0) return 0;
    if (write && !(this.writable && entry & PTE.RW)) return 0;
    const frame = entry >>> 12;
    if (frame >= layout.frames) return 0;
    const marks = write ? PTE.A | PTE.D : PTE.A;
    if ((entry & marks) !== marks) Atomics.or(i32, at, marks);
    return this.memory.at(frame) + (lo & 0xfff);
  }
}
