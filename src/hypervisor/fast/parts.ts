/** What the fast paths have in common: registers, the trace, the change between guest kernel and user mode, page-table entries. */
import { PTE } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, i32, i64, i64pair, load32, load64 } from '../../wasm/expr.ts';
import type { Fn } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { GATES } from '../gates.ts';
import { type MemoryLayout, SPECIAL } from '../memory.ts';
import { FRAME_HIGH } from '../mmu/walk.ts';
import { KEEP } from '../trace.ts';

export const gpr = (cpu: E, register: number): E => load64(cpu, STATE.gpr + 8 * register);

export const setGpr = (f: Fn, cpu: E, register: number, value: E): void =>
  f.store64(cpu, value, STATE.gpr + 8 * register);

/** Linear address of the vcpu_info in use. */
export const vcpuInfo = (cpu: E): E => load32(load32(cpu, GATES.infoPointer));

/** One entry of the trace, as trace.ts writes it; RIP is the state block's. */
export function trace(f: Fn, cpu: E, kind: number, code: E, argument: E): void {
  const count = f.let(load32(cpu, GATES.traceCount));
  f.store32(cpu, count.add(1), GATES.traceCount);
  const at = f.let(cpu.add(count.and(KEEP - 1).shl(5)));
  f.store32(at, i32(kind), GATES.trace);
  f.store32(at, code, GATES.trace + 4);
  f.store64(at, load64(cpu, STATE.rip), GATES.trace + 8);
  f.store64(at, argument, GATES.trace + 16);
  f.store64(at, i64(0), GATES.trace + 24);
}

/** The other mode: its GS base becomes the active one, and its page tables. */
export function toggleMode(f: Fn, cpu: E, tools: ExitTools, kernel: boolean): void {
  const [leaves, enters] = kernel ? [STATE.gsBaseUser, STATE.gsBaseKernel] : [STATE.gsBaseKernel, STATE.gsBaseUser];
  f.store64(cpu, load64(cpu, STATE.gsBase), leaves);
  f.store64(cpu, load64(cpu, enters), STATE.gsBase);
  f.store32(cpu, i32(kernel ? 1 : 0), STATE.kernelMode);
  tools.selectMode(f, cpu);
}

/** Bits 63–47 are all the same: a canonical address. */
export const isCanonical = (va: E): E => va.shl(16).shrS(16).eq(va);

/** An entry's frame number moved to the bottom: bits 51–12. */
export const frameOf = (entry: E): E => entry.shl(12).shrU(24);

/** FrameTypes.linkAllowed, for an entry that is present. */
export const linkAllowed = (entry: E): E => entry.and(i64pair(PTE.PS, FRAME_HIGH)).eqz();

/** FrameTypes.leafAllowed, for an entry that is present. */
export function leafAllowed(layout: MemoryLayout, entry: E): E {
  const frame = frameOf(entry);
  const readable = frame.ltU(i64(layout.frames));
  const writable = frame.ltU(i64(layout.pages + SPECIAL.m2p));
  return readable.and(writable.or(entry.wrap().and(PTE.RW).eqz()));
}
