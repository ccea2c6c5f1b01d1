/**
 * Decides which frame holds what when a domain starts: pure arithmetic on sizes. Follows pv-abi 1.4, whose worked example is a
 * test.
 */
import { PAGE_SIZE } from '../memory.ts';
import { BuildError, type KernelImage, parseKernel } from './kernel-image.ts';
import { type TableCounts, tablesFor } from './page-tables.ts';

/** `count` frames from `first` on. */
export interface Frames {
  readonly first: number;
  readonly count: number;
}

export interface BuildPlan {
  readonly initrd: Frames;
  readonly p2m: Frames;
  readonly startInfo: number;
  readonly store: number;
  readonly console: number;
  /** L4, L3s, L2s, L1s of the initial mapping. */
  readonly tables: Frames;
  readonly tableCounts: TableCounts;
  readonly stack: number;
  /** Frames 0 … mapped-1 are mapped from VIRT_BASE on. */
  readonly mapped: number;
  /** L3, L2s, L1s that map the p2m list at its own address; none when it is in the initial region. */
  readonly p2mTables: Frames;
  readonly p2mTableCounts: TableCounts | undefined;
  /** Frames from here on are free. */
  readonly end: number;
}

const MAPPING_ALIGN = 1n << 22n;
/** Free pages that a kernel finds mapped behind its stack: 512 KiB. */
const PADDING_PAGES = 128;
/** A kernel grafts one L2 table into its own, so the initial mapping may not be larger. */
const MAPPED_MAX = 0x40000;
/** Pages that must be left over, so that a kernel can take its first few. */
const SLACK_PAGES = 64;

const pagesOf = (bytes: number) => Math.ceil(bytes / PAGE_SIZE);

export function planDomain(kernel: KernelImage, pages: number, initrdBytes: number): BuildPlan {
  const initrdPages = pagesOf(initrdBytes);
  const p2mPages = pagesOf(pages * 8);
  let cursor = kernel.endPfn;
  const take = (count: number): Frames => {
    const first = cursor;
    cursor += count;
    return { first, count };
  };

  let initrd = take(kernel.modStartPfn ? 0 : initrdPages);
  let p2m = take(kernel.initP2m === undefined ? p2mPages : 0);
  const startInfo = take(1).first;
  const store = take(1).first;
  const console = take(1).first;

  const { mapped, counts } = mappingEnd(kernel.virtBase, cursor);
  const tables = take(1 + counts.total);
  const stack = take(1).first;
  cursor = mapped;

  if (kernel.modStartPfn) initrd = take(initrdPages);
  let p2mTables = take(0);
  let p2mTableCounts: TableCounts | undefined;
  if (kernel.initP2m !== undefined) {
    p2m = take(p2mPages);
    p2mTableCounts = tablesFor(kernel.initP2m, p2mPages);
    p2mTables = take(p2mTableCounts.total);
  }
  return {
    initrd,
    p2m,
    startInfo,
    store,
    console,
    tables,
    tableCounts: counts,
    stack,
    mapped,
    p2mTables,
    p2mTableCounts,
    end: cursor,
  };
}

/** The mapping ends at the first 4 MiB boundary below which tables, stack and padding fit; the tables grow with it. */
function mappingEnd(virtBase: bigint, used: number): { mapped: number; counts: TableCounts } {
  let more = 1 + PADDING_PAGES;
  for (;;) {
    const need = virtBase + BigInt(used + more) * BigInt(PAGE_SIZE);
    const end = ((need + MAPPING_ALIGN - 1n) / MAPPING_ALIGN) * MAPPING_ALIGN;
    const mapped = Number((end - virtBase) / BigInt(PAGE_SIZE));
    if (mapped > MAPPED_MAX || end > 1n << 64n) {
      throw new BuildError(
        `the kernel and what must be mapped with it take ${mapped >> 8} MiB; at most 1024 MiB can be mapped at the start`,
      );
    }
    const counts = tablesFor(virtBase, mapped);
    more = 1 + counts.total + 1 + PADDING_PAGES;
    if (used + more <= mapped) return { mapped, counts };
  }
}

/** Pages of memory without which no domain can be built from this kernel and initrd, or it would be of no use. */
export function minimumMemoryPages(elf: Uint8Array, initrdBytes: number): number {
  return minimumPages(parseKernel(elf), initrdBytes);
}

export function minimumPages(kernel: KernelImage, initrdBytes: number): number {
  let pages = 0;
  for (;;) {
    // The p2m list covers itself, so this takes a second or third look.
    const needed = planDomain(kernel, pages, initrdBytes).end + SLACK_PAGES;
    if (needed <= pages) return Math.max(pages, startPages(kernel, initrdBytes));
    pages = needed;
  }
}

const START_PAGES = (15 << 20) / PAGE_SIZE;

/**
 * Pages that Linux needs to come as far as its first process; with less it ends in "System is deadlocked on memory". It holds
 * its initrd twice while unpacking it, and what only the start needs is given back after that. Found by booting with less and
 * less: with a plain cpio of 2.1 MiB Debian's 6.1 cloud kernel starts in 70 MiB and not in 69, with one of 4.4 MiB the plain
 * kernel in 88 and not in 87. Small kernels take less; an initrd that is packed takes more.
 */
function startPages({ guestOs, startPfn, endPfn }: KernelImage, initrdBytes: number): number {
  if (guestOs !== 'linux') return 0;
  const image = endPfn - startPfn;
  return Math.ceil(image * 1.1 + 2 * pagesOf(initrdBytes) + Math.min(START_PAGES, image));
}
