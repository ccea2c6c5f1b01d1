/**
 * Which frames of RAM the domain owns now: a bit each, and their number. Frame numbers are the same as machine frame numbers,
 * so giving a page back and getting it again means clearing and setting its bit (pv-abi 9).
 */
import { CONTROL } from './control.ts';
import type { GuestMemory } from './memory.ts';

const COUNT = CONTROL.allocatedPages >>> 2;
const word = (mfn: number) => (CONTROL.allocation >>> 2) + (mfn >>> 5);

/** Give the domain frames 0 … pages-1 of a new memory. */
export function allocateInitial(memory: GuestMemory, pages: number): void {
  const whole = pages >>> 5;
  memory.i32.fill(-1, word(0), word(0) + whole);
  if (pages & 31) memory.i32[word(0) + whole] = (1 << (pages & 31)) - 1;
  Atomics.store(memory.i32, COUNT, pages);
}

export function allocatedPages(memory: GuestMemory): number {
  return Atomics.load(memory.i32, COUNT);
}

/** Is `mfn` a frame of RAM that the domain owns? Any number may be asked about. */
export function isAllocated(memory: GuestMemory, mfn: number): boolean {
  if (!(mfn >= 0 && mfn < memory.layout.pages)) return false;
  return ((Atomics.load(memory.i32, word(mfn)) >>> (mfn & 31)) & 1) === 1;
}

/** Take frame `mfn` of RAM into the domain; false when it is there already. */
export function allocate(memory: GuestMemory, mfn: number): boolean {
  const bit = 1 << (mfn & 31);
  if (Atomics.or(memory.i32, word(mfn), bit) & bit) return false;
  Atomics.add(memory.i32, COUNT, 1);
  return true;
}

/** Take frame `mfn` of RAM out of the domain; false when it is not in it. */
export function release(memory: GuestMemory, mfn: number): boolean {
  const bit = 1 << (mfn & 31);
  if (!(Atomics.and(memory.i32, word(mfn), ~bit) & bit)) return false;
  Atomics.sub(memory.i32, COUNT, 1);
  return true;
}
