/** How a region ends: its locals go back to the state block, and control to another region or to the interpreter. */
import { type E, i32, load32 } from '../../wasm/expr.ts';
import { call, type Fn } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { Status } from '../layout.ts';
import { type FoundRegion, linkSlot, lookUpLink } from '../runtime/region-links.ts';
import type { RegionContext } from './lift.ts';

/** The general and XMM registers that the region changes anywhere. */
export function spill(f: Fn, { cpu, gpr, written, xmm, xmmWritten }: RegionContext): void {
  gpr.forEach((local, k) => {
    if ((written >> k) & 1) f.store64(cpu, local, STATE.gpr + 8 * k);
  });
  xmm.forEach((local, k) => {
    if ((xmmWritten >> k) & 1) f.store128(cpu, local!, STATE.xmm + 16 * k);
  });
}

/** Fills `found` for RegionContext.target. */
export const lookUpTarget = (f: Fn, { cpu, tlb, target, findLink }: RegionContext, found: FoundRegion): void =>
  lookUpLink(f, cpu, tlb, target, found, (...args) => call(findLink, ...args));

/** One of the budget less: in the local, or in the state block and in the local for a look at it, if the region is brief. */
export function countDown(f: Fn, cpu: E, isBrief: boolean, budget: E): void {
  f.set(budget, (isBrief ? load32(cpu, STATE.budget) : budget).sub(1));
  if (isBrief) f.store32(cpu, budget, STATE.budget);
}

/**
 * To the region that is `found` for RegionContext.target, or back to the interpreter, with all in the state block. `type` is that of
 * regions' functions.
 */
export function jumpBy(
  f: Fn,
  { cpu, target, isBrief }: RegionContext,
  budget: E,
  { link, page }: FoundRegion,
  type: number,
): void {
  countDown(f, cpu, isBrief, budget);
  if (!isBrief) f.store32(cpu, budget, STATE.budget);
  f.if(link, () => {
    f.if(budget.gtS(0).and(load32(cpu, STATE.kick).eqz()), () =>
      f.returnCallIndirect(type, linkSlot(link), page, link),
    );
  });
  f.store64(cpu, target, STATE.rip);
  f.ret(i32(Status.Jump));
}
