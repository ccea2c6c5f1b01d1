/**
 * The x87's control and status words. Compilers set the precision or the rounding around single conversions, so that a program which
 * prints numbers executes FNSTCW and FLDCW all the time; the rest of the x87 is performed in TypeScript (helpers/x87/). Intel SDM volume 1, 8.1.
 */
import { load16u, select } from '../../wasm/expr.ts';
import { STATE } from '../../x86/state.ts';
import { CONTROL_BITS, CONTROL_ONE, EXCEPTIONS, FSW } from '../helpers/x87/unit.ts';
import type { Lift, Semantics } from '../lift.ts';

const NM = 7;
const MF = 16;

const available = (c: Lift): void => c.checkTaskSwitched(() => c.raise(NM));

const storeWord =
  (offset: number): Semantics =>
  (c) => {
    available(c);
    c.store(0, load16u(c.cpu, offset));
  };

const fldcw: Semantics = (c) => {
  const { f, cpu } = c;
  available(c);
  const status = f.let(load16u(cpu, STATE.fsw));
  f.if(status.and(FSW.ES), () => c.raise(MF));
  const control = f.let(c.load(0).and(CONTROL_BITS).or(CONTROL_ONE));
  f.store16(cpu, control, STATE.fcw);
  // What is not masked any more is pending from now on.
  const pending = status.and(control.not()).and(EXCEPTIONS);
  const summary = FSW.ES | FSW.B;
  f.store16(cpu, select(pending, status.or(summary), status.and(0xffff & ~summary)), STATE.fsw);
};

export const X87_CONTROL: Record<string, Semantics> = {
  fnstcw: storeWord(STATE.fcw),
  fnstsw: storeWord(STATE.fsw),
  fldcw,
};
