/** How a region begins: its locals get what is in the state block. */
import { type E, F32, F64, load32, load64, load128 } from '../../wasm/expr.ts';
import type { Fn, FnRef } from '../../wasm/module.ts';
import { MXCSR_PE, STATE } from '../../x86/state.ts';
import { ENTRY_PAGE_SHIFT, KEPT_PAGES, NO_PAGE, STACK_ADDEND, STACK_PAGE } from '../layout.ts';
import { exactMask, ordinaryLimit, roundingState, vectorLimit } from '../lift.ts';
import { settleFlags } from '../runtime/flags.ts';
import { linkEntry, linkSlot } from '../runtime/region-links.ts';
import type { RegionContext } from './lift.ts';

export interface Entering {
  /** How many pages stay from round to round. */
  readonly kept: number;
  /** Locals for the budget, the number of the entry and, if somebody asks, the region's own slot. */
  readonly budget: E;
  readonly entry: E;
  readonly self: E | undefined;
  /** RegionImports.settleFlags, if the pair of flags is asked for. */
  readonly settle: FnRef | undefined;
}

/** Its first page is in parameter 0, which is RegionContext.page, the link that it is entered by in parameter 1. What else is to be loaded the code of the region has left in `region`. */
export function emitEntering(f: Fn, region: RegionContext, { kept, budget, entry, self, settle }: Entering): void {
  const { cpu } = region;
  const link = f.param(1);
  if (!region.isBrief) {
    f.set(region.tlb, load32(cpu, STATE.tlb));
    f.set(budget, load32(cpu, STATE.budget));
  }
  f.set(entry, linkEntry(link).and((1 << ENTRY_PAGE_SHIFT) - 1));
  if (self !== undefined) f.set(self, linkSlot(link));
  if (region.usesFs) f.set(region.fsBase, load64(cpu, STATE.fsBase));
  if (region.crossing !== undefined) f.set(region.crossing, cpu.add(STATE.crossing));
  if (region.usesStack && !region.isBrief) {
    f.set(region.stackPage, load64(cpu, STACK_PAGE));
    f.set(region.stackAddend, load32(cpu, STACK_ADDEND));
  }
  if (kept > 0) {
    const none = f.let(load128(cpu, NO_PAGE));
    for (let k = 0; k < kept; k++) f.store128(cpu, none, KEPT_PAGES + 16 * k);
  }
  if (region.usesGs) f.set(region.gsBase, load64(cpu, STATE.gsBase));
  if (settle !== undefined) {
    settleFlags(f, cpu, settle);
    f.set(region.flagLocals.result, load64(cpu, STATE.flagResult));
    f.set(region.flagLocals.aux, load32(cpu, STATE.flagAux));
  }
  region.gpr.forEach((local, k) => {
    if ((region.used >> k) & 1) f.set(local, load64(cpu, STATE.gpr + 8 * k));
  });
  loadVectors(f, region);
}

function loadVectors(f: Fn, region: RegionContext): void {
  const { cpu, taskSwitched, rounding, limits, mustBeExact, constants, xmm } = region;
  if (taskSwitched !== undefined) f.set(taskSwitched, load32(cpu, STATE.taskSwitched));
  if (rounding !== undefined) {
    f.set(rounding, roundingState(load32(cpu, STATE.mxcsr)));
    const state = region.isExact ? rounding.and(~MXCSR_PE) : rounding;
    for (const type of [F32, F64] as const) {
      const limit = limits[type];
      if (limit !== undefined) f.set(limit, ordinaryLimit(type, state));
    }
    for (const t of ['f32x4', 'f64x2'] as const) {
      const limit = limits[t];
      if (limit !== undefined) f.set(limit, vectorLimit(t, state));
    }
    if (mustBeExact !== undefined) f.set(mustBeExact, exactMask(rounding));
  }
  for (const { local, value } of constants.values()) f.set(local, value);
  xmm.forEach((local, k) => {
    if (local !== undefined) f.set(local, load128(cpu, STATE.xmm + 16 * k));
  });
}
