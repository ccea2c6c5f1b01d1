/**
 * The one process, as its system calls find it: memory, files, segment bases, how it ended. No threads, no children, and no signal
 * reaches a handler of the program's: what would send one ends it.
 */
import { PAGE_SIZE } from '../../src/hypervisor/memory.ts';
import type { AddressSpace } from './address-space.ts';
import { Descriptors, type OpenFile, Randomness } from './open-files.ts';
import type { Tree } from './tree.ts';

/** Its own number, its parent's being one less. */
export const PROCESS_ID = 100;
/** Mappings that the program leaves to us: from here on, no address twice. */
const MAPPINGS_START = 0x7f00_0000_0000;

/** The registers that a system call can set besides its result. */
export interface SegmentBases {
  fsBase: number;
  gsBase: number;
}

export class Process {
  readonly space: AddressSpace;
  readonly tree: Tree;
  readonly bases: SegmentBases;
  readonly descriptors = new Descriptors();
  readonly randomness = new Randomness();
  /** The heap: where it begins and where it ends. */
  readonly heap: { readonly start: number; end: number };
  #nextMapping = MAPPINGS_START;
  /** What it gave exit, or 128 and a signal's number as a shell tells it; undefined while it runs. */
  exitCode: number | undefined;

  constructor(space: AddressSpace, tree: Tree, bases: SegmentBases, heapStart: number, streams: readonly OpenFile[]) {
    this.space = space;
    this.tree = tree;
    this.bases = bases;
    this.heap = { start: heapStart, end: heapStart };
    for (const stream of streams) this.descriptors.add(stream);
  }

  /** An address with room for `length` bytes, whole pages, and one page behind them that stays free. */
  reserve(length: number): number {
    const va = this.#nextMapping;
    this.#nextMapping += length + PAGE_SIZE;
    return va;
  }
}
