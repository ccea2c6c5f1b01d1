/**
 * The seam between the engine and code of the hypervisor that performs exits without leaving WebAssembly: what the engine
 * lends to its generator, and what it calls. The engine knows nothing of what is done there (hypervisor/fast/).
 */
import type { MemoryLayout } from '../hypervisor/memory.ts';
import type { E } from '../wasm/expr.ts';
import type { Fn, FnRef, ModuleBuilder } from '../wasm/module.ts';

export interface ExitTools {
  readonly layout: MemoryLayout;
  /**
   * The linear address of `size` bytes of one page at `va` (an i64 local) for guest kernel mode, if the kernel's translations have it
   * for this access at hand; else 0, and nothing has happened. What is read in kernel mode is looked for in the page tables, too. A page with
   * decoded code is never at hand for writing.
   */
  kernelAddress(f: Fn, cpu: E, va: E, size: number, write: boolean): E;
  /** (cpu, va, size) → linear address of bytes that kernel mode may write, by the page tables if need be, with decoded code in them dropped; else 0. */
  readonly kernelWrite: FnRef;
  /** STATE.kernelMode was written: use the translations of that mode. No root has changed. */
  selectMode(f: Fn, cpu: E): void;
  /** (cpu): Engine.modeChanged. */
  readonly modeChanged: FnRef;
  /** (cpu, frame, index): Engine.entryChanged. */
  readonly entryChanged: FnRef;
  /** (cpu, lo, hi): Engine.flushPage. */
  readonly flushPage: FnRef;
  /** (cpu, frame, level): Engine.tableReleased. */
  readonly tableReleased: FnRef;
  /** (cpu) and (cpu, i32): RFLAGS of the state block. */
  readonly readFlags: FnRef;
  readonly writeFlags: FnRef;
}

/**
 * Generates (cpu, exit) → 1 when the exit was performed and the guest goes on at STATE.rip, 0 when nothing was done and the
 * hypervisor has to see it.
 */
export type BuildExitPaths = (m: ModuleBuilder, tools: ExitTools) => FnRef;
