/**
 * Writes the page tables with which a domain starts: 4 KiB pages only. Follows pv-abi 1.5.
 */
import { PTE } from '../../abi/numbers.ts';
import type { GuestMemory } from '../memory.ts';

/** Flags of an entry that names a table, an ordinary page, and a page that is itself a page table. */
export const TABLE_FLAGS = PTE.P | PTE.RW | PTE.US | PTE.A | PTE.D;
export const PAGE_FLAGS = PTE.P | PTE.RW | PTE.A;
export const READ_ONLY_FLAGS = PTE.P | PTE.A;

const SLOTS = 512;

export interface TableCounts {
  readonly l3: number;
  readonly l2: number;
  readonly l1: number;
  readonly total: number;
}

/** Number of the page at `va` within 48 bits of address. */
function pageNumber(va: bigint): number {
  return Number((va >> 12n) & 0xf_ffff_ffffn);
}

/** Tables below the L4 that a mapping of `pages` pages at `va` takes. */
export function tablesFor(va: bigint, pages: number): TableCounts {
  const first = pageNumber(va);
  const last = first + Math.max(pages, 1) - 1;
  const count = (span: number) => Math.floor(last / span) - Math.floor(first / span) + 1;
  const [l1, l2, l3] = [count(SLOTS), count(SLOTS ** 2), count(SLOTS ** 3)];
  return { l1, l2, l3, total: l1 + l2 + l3 };
}

/** First and last L4 slot of a mapping. */
export function rootSlots(va: bigint, pages: number): { first: number; last: number } {
  const first = pageNumber(va);
  return { first: Math.floor(first / SLOTS ** 3), last: Math.floor((first + Math.max(pages, 1) - 1) / SLOTS ** 3) };
}

function setEntry(memory: GuestMemory, table: number, slot: number, frame: number, flags: number): void {
  const at = (memory.at(table) + slot * 8) >>> 2;
  memory.u32[at] = ((frame << 12) | flags) >>> 0;
  memory.u32[at + 1] = frame >>> 20;
}

/**
 * Map `pages` pages at `va` to the frames from `frame` on. The tables go into the frames from `firstTable` on: L3s, L2s, L1s.
 * `flags` gives the entry of each frame its bits.
 */
export function mapRange(
  memory: GuestMemory,
  root: number,
  firstTable: number,
  va: bigint,
  pages: number,
  frame: number,
  flags: (frame: number) => number,
): void {
  const counts = tablesFor(va, pages);
  const l2First = firstTable + counts.l3;
  const l1First = l2First + counts.l2;
  const page = pageNumber(va);
  const [base1, base2, base3] = [SLOTS, SLOTS ** 2, SLOTS ** 3].map((span) => Math.floor(page / span)) as [
    number,
    number,
    number,
  ];
  for (let i = 0; i < counts.l3; i++) setEntry(memory, root, base3 + i, firstTable + i, TABLE_FLAGS);
  for (let i = 0; i < counts.l2; i++) {
    const n = base2 + i;
    setEntry(memory, firstTable + Math.floor(n / SLOTS) - base3, n % SLOTS, l2First + i, TABLE_FLAGS);
  }
  for (let i = 0; i < counts.l1; i++) {
    const n = base1 + i;
    setEntry(memory, l2First + Math.floor(n / SLOTS) - base2, n % SLOTS, l1First + i, TABLE_FLAGS);
  }
  for (let i = 0; i < pages; i++) {
    const n = page + i;
    setEntry(memory, l1First + Math.floor(n / SLOTS) - base1, n % SLOTS, frame + i, flags(frame + i));
  }
}
