/**
 * Guest memory that is contiguous for the guest only: its pages lie in frames in falling order with a foreign one between, so that
 * an engine that walks over the end of a page in linear memory meets the wrong bytes.
 */
import { type GuestMemory, PAGE_SIZE } from '../../src/hypervisor/memory.ts';

/** What the frames between hold. */
const FOREIGN = 0xe7;
const UNTOUCHED = Buffer.alloc(PAGE_SIZE, FOREIGN);

export class ScatteredPages {
  readonly #memory: GuestMemory;
  readonly #first: number;
  readonly #pages: number;
  readonly #between: readonly Buffer[];

  /** The `2 * pages` frames from `first` on are for `pages` pages. */
  constructor(memory: GuestMemory, first: number, pages: number) {
    this.#memory = memory;
    this.#first = first;
    this.#pages = pages;
    const { buffer } = memory.u8;
    this.#between = Array.from({ length: pages }, (_, page) =>
      Buffer.from(buffer, memory.at(this.frame(page) + 1), PAGE_SIZE).fill(FOREIGN),
    );
  }

  frame(page: number): number {
    return this.#first + 2 * (this.#pages - 1 - page);
  }

  write(offset: number, bytes: Uint8Array): void {
    for (const { at, from, to } of this.#pieces(offset, bytes.length))
      this.#memory.u8.set(bytes.subarray(from, to), at);
  }

  fill(byte: number, offset: number, length: number): void {
    for (const { at, from, to } of this.#pieces(offset, length)) this.#memory.u8.fill(byte, at, at + to - from);
  }

  /** All pages, in the guest's order. */
  read(into: Uint8Array): void {
    for (let page = 0; page < this.#pages; page++) {
      const at = this.#memory.at(this.frame(page));
      into.set(this.#memory.u8.subarray(at, at + PAGE_SIZE), page * PAGE_SIZE);
    }
  }

  /** Has anyone written between the pages? What was there is put back. */
  strayed(): boolean {
    const changed = this.#between.filter((page) => !page.equals(UNTOUCHED));
    for (const page of changed) page.fill(FOREIGN);
    return changed.length > 0;
  }

  /** Bytes `from` to `to` of a range that begins at `offset` are at linear address `at`. */
  *#pieces(offset: number, length: number): Generator<{ at: number; from: number; to: number }> {
    for (let from = 0; from < length; ) {
      const place = offset + from;
      const inPage = place % PAGE_SIZE;
      const to = Math.min(length, from + PAGE_SIZE - inPage);
      yield { at: this.#memory.at(this.frame(Math.floor(place / PAGE_SIZE))) + inPage, from, to };
      from = to;
    }
  }
}
