/**
 * The seam between a CPU engine and the hypervisor: run until exit, registers in the state block, memory shared.
 * The interpreter and the translator stand behind it today; KVM can tomorrow.
 */
import type { Exit } from './exits.ts';

export interface Engine {
  /** Run the vCPU whose state block this engine was made for, until something needs the hypervisor. */
  run(): Exit;
  /**
   * Run exactly one instruction (one iteration of a rep string instruction counts as one). Returns `Exit.Stepped`, or what
   * the instruction caused. `writableFrame`, when given, is a guest frame that this one instruction may write although its
   * page-table entry forbids it: how stores to page tables are performed (pv-abi 3.3).
   */
  step(writableFrame?: number): Exit;
  /** Drop all cached translations, of both modes. */
  flushTlb(): void;
  /** Drop the cached translations of the page at `va`, in both modes. */
  flushPage(va: bigint): void;
  /** Tell the engine that the mode or a root in the state block changed. `flush` drops what was cached of that root. */
  modeChanged(): void;
  /** The bytes of guest frame `mfn` were changed from outside (hypercall, grant copy, device): drop code decoded from it. */
  frameWritten(mfn: number): void;
  /** The linear-memory address of guest-virtual `va` for a hypercall's access, or 0 after a fault (CR2 is not set). */
  translate(va: bigint, write: boolean): number;
}
