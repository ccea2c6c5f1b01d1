/**
 * Which guest frames are page tables, of which level, and how many entries refer to them. The map is what decides whether a
 * plain store to a read-only page is a page-table update (ptwr.ts), and what pins hold on to. Follows pv-abi 3.3.
 *
 * Isolation does not rest on it: every entry can only name the domain's own frames (memory.ts), and both walks check that.
 * So writable mappings of page-table frames are not looked for, which would cost a count for each entry ever written; a guest
 * that changes its tables behind our back only confuses its own counts, and those never go below zero.
 */
import { PTE } from '../../abi/numbers.ts';
import { type GuestMemory, SPECIAL } from '../memory.ts';
import { FRAME_HIGH, HOLE_END, HOLE_FIRST } from './walk.ts';

/** One word a frame: bits 0–2 level (0: no page table), bit 3 pinned, bits 4–31 count. */
export const LEVEL = 7;
export const PINNED = 8;
export const COUNT = 16;
export const COUNT_MAX = 0xffff_ff00;

/** The next present entry of a table, from number `i` on; `end` when there is none. Most tables are nearly empty. */
function nextPresent(u32: Uint32Array, table: number, i: number, end: number): number {
  let at = table + 2 * i;
  const last = table + 2 * end;
  while (at < last) {
    while (at + 8 <= last && !((u32[at]! | u32[at + 2]! | u32[at + 4]! | u32[at + 6]!) & PTE.P)) at += 8;
    if (at < last && u32[at]! & PTE.P) return (at - table) / 2;
    at += 2;
  }
  return end;
}

export class FrameTypes {
  private readonly memory: GuestMemory;
  /** In the domain's memory: every vCPU thread looks at one map, and so does generated code (fast/). */
  private readonly words: Uint32Array;
  /** Tables that were validated or released, ever: the work that a hypercall has made is a difference of two readings. */
  visits = 0;
  /** Told of every frame that is no table any more, and of the level that it had. */
  released: (mfn: number, level: number) => void = () => {};

  constructor(memory: GuestMemory) {
    this.memory = memory;
    this.words = new Uint32Array(memory.buffer, memory.layout.frameTypes, memory.layout.frames);
  }

  /** Level of the page table in this frame, 0 when it is none. */
  level(mfn: number): number {
    return mfn < this.words.length ? this.words[mfn]! & LEVEL : 0;
  }

  pinned(mfn: number): boolean {
    return mfn < this.words.length && (this.words[mfn]! & PINNED) !== 0;
  }

  count(mfn: number): number {
    return mfn < this.words.length ? this.words[mfn]! >>> 4 : 0;
  }

  /** May a level 1 entry with these halves exist? */
  leafAllowed(lo: number, hi: number): boolean {
    if (!(lo & PTE.P)) return true;
    const { layout } = this.memory;
    const frame = lo >>> 12;
    if ((hi & FRAME_HIGH) !== 0 || frame >= layout.frames) return false;
    // The machine-to-physical table is ours to write.
    return frame < layout.pages + SPECIAL.m2p || (lo & PTE.RW) === 0;
  }

  /** Take a reference to `mfn` as a table of `level`, validating it (and what it refers to) if it is not one yet. */
  acquire(mfn: number, level: number): boolean {
    const { words } = this;
    // Only RAM can hold tables: frames above it are written by us and by devices.
    if (mfn >= this.memory.layout.pages) return false;
    const word = words[mfn]!;
    if ((word & LEVEL) !== 0) {
      if ((word & LEVEL) !== level || word >= COUNT_MAX) return false;
      words[mfn] = word + COUNT;
      return true;
    }
    // Typed before its entries are looked at: a table that refers to itself then meets the wrong level, and is refused.
    words[mfn] = level | COUNT;
    const done = this.acquireEntries(mfn, level);
    if (done === 512) return true;
    this.releaseEntries(mfn, level, done);
    words[mfn] = 0;
    return false;
  }

  /** Give a reference back; the last one releases what the table refers to. */
  release(mfn: number, level: number): void {
    const { words } = this;
    if (mfn >= this.memory.layout.pages) return;
    const word = words[mfn]!;
    if ((word & LEVEL) !== level || word < COUNT) return;
    const left = word - COUNT;
    if (left >= COUNT) {
      words[mfn] = left;
      return;
    }
    words[mfn] = 0;
    this.released(mfn, level);
    this.releaseEntries(mfn, level, 512);
  }

  /** MMUEXT_PIN_Ln_TABLE: false when the frame is pinned already or cannot be a table of this level. */
  pin(mfn: number, level: number): boolean {
    if (this.pinned(mfn) || !this.acquire(mfn, level)) return false;
    this.words[mfn] = this.words[mfn]! | PINNED;
    return true;
  }

  /** MMUEXT_UNPIN_TABLE: false when the frame is not pinned. */
  unpin(mfn: number): boolean {
    if (!this.pinned(mfn)) return false;
    this.words[mfn] = this.words[mfn]! & ~PINNED;
    this.release(mfn, this.words[mfn]! & LEVEL);
    return true;
  }

  /** Is this a lawful entry of a table of `level` > 1, apart from the type of the table it refers to? */
  linkAllowed(lo: number, hi: number): boolean {
    return !(lo & PTE.P) || ((lo & PTE.PS) === 0 && (hi & FRAME_HIGH) === 0);
  }

  private acquireEntries(mfn: number, level: number): number {
    this.visits++;
    const { u32 } = this.memory;
    const at = this.memory.at(mfn) / 4;
    for (let i = nextPresent(u32, at, 0, 512); i < 512; i = nextPresent(u32, at, i + 1, 512)) {
      const lo = u32[at + 2 * i]!;
      if (!(lo & PTE.P)) continue;
      const hi = u32[at + 2 * i + 1]!;
      if (level === 1) {
        if (!this.leafAllowed(lo, hi)) return i;
        continue;
      }
      if (level === 4 && i >= HOLE_FIRST && i < HOLE_END) continue;
      if (!this.linkAllowed(lo, hi) || !this.acquire(lo >>> 12, level - 1)) return i;
    }
    return 512;
  }

  private releaseEntries(mfn: number, level: number, end: number): void {
    if (level === 1) return;
    this.visits++;
    const { u32 } = this.memory;
    const at = this.memory.at(mfn) / 4;
    for (let i = nextPresent(u32, at, 0, end); i < end; i = nextPresent(u32, at, i + 1, end)) {
      const lo = u32[at + 2 * i]!;
      if (!(lo & PTE.P) || (level === 4 && i >= HOLE_FIRST && i < HOLE_END)) continue;
      if (this.linkAllowed(lo, u32[at + 2 * i + 1]!)) this.release(lo >>> 12, level - 1);
    }
  }
}
