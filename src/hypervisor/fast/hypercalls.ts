/**
 * Hypercalls. Here are the small ones, which Linux makes at every context switch and which only set a few words (stack_switch,
 * set_segment_base, fpu_taskswitch; twins: traps/registration.ts, segments.ts, fpu.ts); those of page tables are in batches.ts and
 * base-pointers.ts.
 */
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, I32, i32, i64, load64, select } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { GPR, SEG, STATE } from '../../x86/state.ts';
import { GATES } from '../gates.ts';
import { SEGBASE } from '../segments.ts';
import { TraceKind } from '../trace.ts';
import { loadRoots } from './base-pointers.ts';
import { buildBatches, NUMBER } from './batches.ts';
import { gpr, isCanonical, setGpr, trace } from './parts.ts';

/** What a call does; `unusual` leaves it to its twin, before anything has changed. */
type Body = (f: Fn, cpu: E, tools: ExitTools, first: E, second: E, unusual: () => void) => void;

const stackSwitch: Body = (f, cpu, _tools, ss, sp) => {
  f.store32(cpu, ss.wrap().and(0xffff).or(3), GATES.kernelSs);
  f.store64(cpu, sp, GATES.kernelSp);
};

const fpuTaskswitch: Body = (f, cpu, _tools, set) => f.store32(cpu, set.wrap().ne(0), STATE.taskSwitched);

const setSegmentBase: Body = (f, cpu, _tools, which, base, unusual) => {
  const number = f.let(which.wrap());
  f.if(
    number.eq(SEGBASE.gsUserSelector),
    () => {
      // Any other than a null selector is to be looked up.
      f.if(base.wrap().and(0xffff).gtU(3), unusual);
      f.store32(cpu, i32(0), STATE.selector + 4 * SEG.gs);
      f.store64(cpu, i64(0), STATE.gsBaseUser);
    },
    () => {
      f.if(number.gtU(SEGBASE.gsKernel).or(isCanonical(base).eqz()), unusual);
      const ofGs = select(number.eq(SEGBASE.gsUser), i32(STATE.gsBaseUser), i32(STATE.gsBase));
      const field = select(number.eq(SEGBASE.fs), i32(STATE.fsBase), ofGs);
      f.store64(cpu.add(field), base);
    },
  );
};

// biome-ignore format: a table
const CALLS: readonly (readonly [number: number, body: Body])[] = [
  [ 3, stackSwitch],
  [ 5, fpuTaskswitch],
  [25, setSegmentBase],
];

/** (cpu) → 1 when the hypercall in the registers was performed. */
export function buildHypercalls(m: ModuleBuilder, tools: ExitTools): FnRef {
  const batches = buildBatches(m, tools);
  return m.function([I32], [I32], (f) => {
    const cpu = f.param(0);
    const number = f.let(gpr(cpu, GPR.rax));
    const first = f.let(gpr(cpu, GPR.rdi));
    const second = f.let(gpr(cpu, GPR.rsi));
    const perform = (wanted: number, body: Body): void => {
      body(f, cpu, tools, first, second, () => f.ret(i32(0)));
      trace(f, cpu, TraceKind.hypercall, i32(wanted), first);
      setGpr(f, cpu, GPR.rcx, load64(cpu, STATE.rip));
      setGpr(f, cpu, GPR.r11, call(tools.readFlags, cpu).extendU());
      setGpr(f, cpu, GPR.rax, i64(0));
      f.ret(i32(1));
    };
    for (const [wanted, body] of CALLS) f.if(number.eq(i64(wanted)), () => perform(wanted, body));
    f.if(number.eq(i64(NUMBER.multicall)), () => f.ret(call(batches.multicall, cpu)));
    f.if(number.eq(i64(NUMBER.mmuextOp)).and(second.wrap().eq(2)), () => perform(NUMBER.mmuextOp, loadRoots));
    for (const wanted of [NUMBER.mmuUpdate, NUMBER.updateVaMapping, NUMBER.mmuextOp]) {
      f.if(number.eq(i64(wanted)), () => f.ret(call(batches.batch, cpu, i32(wanted))));
    }
    f.ret(i32(0));
    f.unreachable();
  });
}
