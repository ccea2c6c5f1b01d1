/** How a region ends: its locals go back to the state block, and control to another region or to the interpreter. */
import { type E, i32, load16u, load32, load64 } from '../../wasm/expr.ts';
import type { Fn } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { CODE_HASH, CODE_HASH_ENTRIES, RECORD, REGION_SLOTS } from '../layout.ts';
import { tlbEntry } from '../runtime/tlb.ts';
import type { RegionContext } from './lift.ts';

/** Locals: the record at `target` if a region is entered there, else 0; and its handler. */
export interface Found {
  readonly record: E;
  readonly handler: E;
}

/** The general and XMM registers that the region changes anywhere. */
export function spill(f: Fn, { cpu, gpr, written, xmm, xmmWritten }: RegionContext): void {
  gpr.forEach((local, k) => {
    if ((written >> k) & 1) f.store64(cpu, local, STATE.gpr + 8 * k);
  });
  xmm.forEach((local, k) => {
    if ((xmmWritten >> k) & 1) f.store128(cpu, local!, STATE.xmm + 16 * k);
  });
}

/** Fills `found` for RegionContext.target: what the interpreter's resolve does, short. */
export function lookUpTarget(f: Fn, { cpu, tlb, target }: RegionContext, { record, handler }: Found): void {
  f.set(record, i32(0));
  const entry = f.let(tlbEntry(tlb, target));
  f.if(load64(entry, 16).eq(target.and(-4096)), () => {
    const at = f.let(target.wrap().add(load32(entry, 24)));
    const hash = at.xor(at.shrU(14)).and(CODE_HASH_ENTRIES - 1);
    const slot = f.let(cpu.add(hash.shl(3)));
    f.if(load32(slot, CODE_HASH).eq(at), () => {
      f.set(record, load32(slot, CODE_HASH + 4));
      f.set(handler, load16u(record, RECORD.handler));
      f.if(handler.ltU(REGION_SLOTS), () => f.set(record, i32(0)));
    });
  });
}

/**
 * To the region that was found at `target`, or on to code that goes back to the interpreter, with all in the state block. `type` is that
 * of regions' functions.
 */
export function jumpToFound(f: Fn, { cpu, target }: RegionContext, budget: E, found: Found, type: number): void {
  f.store64(cpu, target, STATE.rip);
  f.set(budget, budget.sub(1));
  f.store32(cpu, budget, STATE.budget);
  f.if(found.record, () => {
    f.if(budget.gtS(0).and(load32(cpu, STATE.kick).eqz()), () => {
      f.store64(cpu, target.and(-4096), STATE.codePage);
      f.returnCallIndirect(type, found.handler, cpu, found.record);
    });
  });
}
