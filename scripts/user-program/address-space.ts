/**
 * The memory of the one process: page tables in the engine's memory, and what is mapped where. A page gets its frame when it is
 * first touched, by the program (`faultIn`) or by a system call. Addresses are numbers: those of user programs have 47 bits.
 * Page-table entries follow SDM volume 3, 4.5; bits 9 and 10 are software's.
 */
import { type GuestMemory, PAGE_SIZE } from '../../src/hypervisor/memory.ts';
import type { Engine } from '../../src/x86/engine.ts';
import { CallError, PROT } from './linux.ts';

/** Frame of the top page table. Frame 0 stays unused: an entry that names it has no frame yet. */
export const ROOT_FRAME = 1;
const FIRST_FREE_FRAME = 2;
const TOP = 2 ** 47;
const PATH_MAX = 4096;

const PRESENT = 1n;
const WRITABLE = 2n;
const USER = 4n;
const ACCESSED_DIRTY = 0x60n;
const MAPPED = 0x200n;
const READABLE = 0x400n;
const NO_EXECUTE = 1n << 63n;
const TABLE = PRESENT | WRITABLE | USER | ACCESSED_DIRTY;

const frameOf = (entry: bigint): number => Number((entry >> 12n) & 0xff_ffff_ffffn);
const indexOf = (va: number, level: number): number => Math.floor(va / (PAGE_SIZE * 512 ** (level - 1))) % 512;
export const pageOf = (va: number): number => va - (va % PAGE_SIZE);
export const pagesUp = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;

function entryFor(frame: number, protection: number): bigint {
  const readable = protection !== PROT.NONE;
  return (
    (BigInt(frame) << 12n) |
    MAPPED |
    (readable ? READABLE : 0n) |
    (readable && frame !== 0 ? PRESENT | USER | ACCESSED_DIRTY : 0n) |
    ((protection & PROT.WRITE) !== 0 ? WRITABLE : 0n) |
    ((protection & PROT.EXEC) !== 0 ? 0n : NO_EXECUTE)
  );
}

/** What of the engine has to know of changes: what it has translated or decoded from a page. */
type Caches = Pick<Engine, 'flushPage' | 'frameWritten'>;

export class AddressSpace {
  readonly #memory: GuestMemory;
  readonly #caches: Caches;
  readonly #freeFrames: number[] = [];
  #nextFrame = FIRST_FREE_FRAME;

  constructor(memory: GuestMemory, caches: Caches) {
    this.#memory = memory;
    this.#caches = caches;
  }

  /** Map fresh pages, all zeros, in the place of what was there. `va` is a page's beginning. */
  map(va: number, length: number, protection: number): void {
    this.unmap(va, length);
    if (va + length > TOP) throw new CallError('ENOMEM');
    for (let page = va; page < va + length; page += PAGE_SIZE) this.#set(this.#make(page), entryFor(0, protection));
  }

  unmap(va: number, length: number): void {
    this.#each(va, length, (page, slot, entry) => {
      this.#set(slot, 0n);
      this.#forget(page, frameOf(entry));
    });
  }

  /** Zeros again, without changing what is mapped. */
  clear(va: number, length: number): void {
    this.#each(va, length, (page, slot, entry) => {
      const frame = frameOf(entry);
      if (frame === 0) return;
      this.#set(slot, (entry & ~PRESENT) ^ (BigInt(frame) << 12n));
      this.#forget(page, frame);
    });
  }

  /** Throws ENOMEM when one of the pages is not mapped; those before it have the new protection. */
  protect(va: number, length: number, protection: number): void {
    for (let page = va; page < va + length; page += PAGE_SIZE) {
      const slot = this.#slot(page);
      const entry = this.#entry(slot);
      if (entry === 0n) throw new CallError('ENOMEM');
      this.#set(slot, entryFor(frameOf(entry), protection));
      this.#flush(page);
    }
  }

  /** Move pages with all that they hold and permit; nothing is mapped at `to`. */
  move(from: number, to: number, length: number): void {
    this.#each(from, length, (page, slot, entry) => {
      this.#set(this.#make(page - from + to), entry);
      this.#set(slot, 0n);
      this.#flush(page);
    });
  }

  /** As mmap was told it, of the page that `va` is in; undefined where nothing is mapped. */
  protectionOf(va: number): number | undefined {
    const entry = this.#entry(this.#slot(va));
    if (entry === 0n) return undefined;
    const write = (entry & WRITABLE) !== 0n ? PROT.WRITE : 0;
    const execute = (entry & NO_EXECUTE) === 0n ? PROT.EXEC : 0;
    return (entry & READABLE) === 0n ? PROT.NONE : PROT.READ | write | execute;
  }

  /** After a page fault: give the page a frame, if that is all that it lacked. `code`: SDM volume 3, 4.7. */
  faultIn(va: number, code: number): boolean {
    const slot = this.#slot(va);
    const entry = this.#entry(slot);
    const [write, fetch] = [(code & 2) !== 0, (code & 0x10) !== 0];
    if ((entry & READABLE) === 0n || (entry & PRESENT) !== 0n) return false;
    if ((write && (entry & WRITABLE) === 0n) || (fetch && (entry & NO_EXECUTE) !== 0n)) return false;
    this.#give(slot, entry);
    return true;
  }

  /** A copy of memory, for a system call; EFAULT where nothing is mapped. */
  read(va: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    this.#pieces(va, length, (at, done, count) => bytes.set(this.#memory.u8.subarray(at, at + count), done));
    return bytes;
  }

  /** As the kernel writes: into pages that forbid it to the program as well. */
  write(va: number, bytes: Uint8Array): void {
    this.#pieces(va, bytes.length, (at, done, count, frame) => {
      this.#memory.u8.set(bytes.subarray(done, done + count), at);
      this.#caches.frameWritten(frame);
    });
  }

  /** A C string. */
  text(va: number): string {
    const bytes: number[] = [];
    while (bytes.length < PATH_MAX) {
      const left = PAGE_SIZE - ((va + bytes.length) % PAGE_SIZE);
      const piece = this.read(va + bytes.length, left);
      const end = piece.indexOf(0);
      bytes.push(...(end < 0 ? piece : piece.subarray(0, end)));
      if (end >= 0) return Buffer.from(bytes).toString();
    }
    throw new CallError('ENAMETOOLONG');
  }

  /** Page by page: where it is in the engine's memory, how much is before it, how many bytes of it, its frame. */
  #pieces(va: number, length: number, each: (at: number, done: number, count: number, frame: number) => void): void {
    for (let done = 0; done < length; ) {
      const offset = (va + done) % PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, length - done);
      const slot = this.#slot(va + done);
      const entry = this.#entry(slot);
      if (entry === 0n) throw new CallError('EFAULT');
      const frame = frameOf(entry) || this.#give(slot, entry);
      each(this.#memory.at(frame) + offset, done, count, frame);
      done += count;
    }
  }

  #each(va: number, length: number, each: (page: number, slot: number, entry: bigint) => void): void {
    for (let page = va; page < va + length; page += PAGE_SIZE) {
      const slot = this.#slot(page);
      const entry = this.#entry(slot);
      if (entry !== 0n) each(page, slot, entry);
    }
  }

  /** Where the level 1 entry of `va` is in the engine's memory; 0 when there is no table for it. */
  #slot(va: number, make = false): number {
    if (!(va >= 0 && va < TOP)) return 0;
    let table = ROOT_FRAME;
    for (let level = 4; level > 1; level--) {
      const at = this.#memory.at(table) + 8 * indexOf(va, level);
      table = frameOf(this.#entry(at));
      if (table !== 0) continue;
      if (!make) return 0;
      table = this.#frame();
      this.#set(at, (BigInt(table) << 12n) | TABLE);
    }
    return this.#memory.at(table) + 8 * indexOf(va, 1);
  }

  #make(va: number): number {
    return this.#slot(va, true);
  }

  #entry(slot: number): bigint {
    return slot === 0 ? 0n : this.#memory.view.getBigUint64(slot, true);
  }

  #set(slot: number, entry: bigint): void {
    this.#memory.view.setBigUint64(slot, entry, true);
  }

  #give(slot: number, entry: bigint): number {
    const frame = this.#frame();
    const present = (entry & READABLE) !== 0n ? PRESENT | USER | ACCESSED_DIRTY : 0n;
    this.#set(slot, entry | (BigInt(frame) << 12n) | present);
    return frame;
  }

  #frame(): number {
    const frame = this.#freeFrames.pop() ?? this.#nextFrame++;
    if (frame >= this.#memory.layout.pages) throw new Error('the program wants more memory than there is');
    this.#memory.frame(frame).fill(0);
    return frame;
  }

  #forget(page: number, frame: number): void {
    this.#flush(page);
    if (frame === 0) return;
    this.#caches.frameWritten(frame);
    this.#freeFrames.push(frame);
  }

  #flush(page: number): void {
    this.#caches.flushPage(page | 0, Math.floor(page / 2 ** 32) | 0);
  }
}
