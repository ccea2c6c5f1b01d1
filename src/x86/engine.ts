/**
 * The seam between a CPU engine and the hypervisor: run until exit, registers in the state block, memory shared.
 * The interpreter and the translator stand behind it today; KVM can tomorrow.
 */
import type { Exit } from './exits.ts';

export interface Engine {
  /** Run the vCPU whose state block this engine was made for, until something needs the hypervisor. */
  run(): Exit;
  /** Branches that a slice may have, and after which `betweenSlices` is to be called. */
  readonly sliceMost: number;
  /** The guest can wait: the engine does what it has put off. */
  betweenSlices(): void;
  /**
   * Run exactly one instruction (one iteration of a rep string instruction counts as one). Returns `Exit.Stepped`, or what
   * the instruction caused. `writableFrame`, when given, is a guest frame that this one instruction may write although its
   * page-table entry forbids it: how stores to page tables are performed (pv-abi 3.3).
   */
  step(writableFrame?: number): Exit;
  /** Drop all cached translations, of both modes and all roots. */
  flushTlb(): void;
  /** Drop the cached translations of the page at the address hi:lo, in both modes and all roots. */
  flushPage(lo: number, hi: number): void;
  /**
   * The mode or a root in the state block has changed. The engine may keep what it cached under other roots: it is told of
   * every change to their tables by the calls below, or asked to flush.
   */
  modeChanged(): void;
  /** Entry `index` of the level 1 table in `frame`, present until now, was changed or taken away. */
  entryChanged(frame: number, index: number): void;
  /** An entry that led to the level 1 table in `frame` was changed or taken away; the table itself is still one. */
  tableDetached(frame: number): void;
  /** `frame` is no page table any more; it was one of `level`. Changes to it are not reported from now on. */
  tableReleased(frame: number, level: number): void;
  /** The bytes of guest frame `mfn` were changed from outside (hypercall, grant copy, device): drop code decoded from it. */
  frameWritten(mfn: number): void;
  /** The linear-memory address of guest-virtual `va` for a hypercall's access, or 0 after a fault (CR2 is not set). */
  translate(va: bigint, write: boolean): number;
}
