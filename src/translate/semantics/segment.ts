/** Moves between segment registers and others. Loading a descriptor is the hypervisor's; a null selector needs none. */
import { i64 } from '../../wasm/expr.ts';
import { SEG, STATE } from '../../x86/state.ts';
import type { Semantics } from '../lift.ts';

const BASES: Readonly<Record<number, number>> = { [SEG.fs]: STATE.fsBase, [SEG.gs]: STATE.gsBase };

const fromSegment: Semantics = (c) => {
  const value = c.load(1);
  c.store(0, c.size(0) === 8 ? value.extendU() : value);
};

/** Linux empties DS, ES, FS and GS in turn at a context switch. At CPL 3 a null SS faults. */
const toSegment: Semantics = (c) => {
  const slot = c.operand(0).reg;
  if (slot === SEG.ss) {
    c.helper();
    return;
  }
  const selector = c.f.let(c.load(1));
  c.f.if(selector.and(0xfffc), () => c.helper());
  c.setState32(STATE.selector + 4 * slot, selector);
  const base = BASES[slot];
  if (base !== undefined) c.f.store64(c.cpu, i64(0), base);
};

export const SEGMENT: Record<string, Semantics> = {
  mov_from_seg: fromSegment,
  mov_to_seg: toSegment,
};
