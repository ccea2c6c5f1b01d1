/**
 * Entering the guest's kernel: the bounce frame, for system calls of user programs and for page faults. Twins: traps/bounce.ts,
 * traps/syscall.ts, traps/exceptions.ts. Follows pv-abi 3.4 and 3.5.
 */
import { FLAT } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, I32, i32, i64, load8u, load32, load64, select } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { GATES } from '../gates.ts';
import { TraceKind } from '../trace.ts';
import { CLEARED, Entry } from '../traps/bounce.ts';
import { PF, Vector } from '../traps/exceptions.ts';
import { TRAP_MASK_EVENTS } from '../traps/trap-table.ts';
import { gpr, setGpr, toggleMode, trace, vcpuInfo } from './parts.ts';
import { buildTableWrite } from './table-write.ts';

const SELECTOR = (slot: number): number => STATE.selector + 4 * slot;
/** Frames of exceptions with and without an error code. */
const FRAME = { withError: 64, plain: 56 } as const;

/** What one kind of entry puts into its frame, and where it leads. */
interface Into {
  readonly handler: E;
  readonly masksEvents: E;
  /** undefined: none. */
  readonly error?: E;
  readonly rcx: E;
  readonly r11: E;
  readonly cs: E;
  readonly ss: E;
  readonly what: E;
}

/** Enter the kernel; `unusual` leaves before anything has changed. All values must be locals or constants. */
function enter(
  f: Fn,
  cpu: E,
  tools: ExitTools,
  flags: E,
  into: Into,
  fromUserOnly: boolean,
  unusual: () => void,
): void {
  f.if(into.handler.eqz(), unusual);
  const kernel = fromUserOnly ? i32(0) : f.let(load32(cpu, STATE.kernelMode));
  const size = into.error === undefined ? FRAME.plain : FRAME.withError;
  const kernelSp = load64(cpu, GATES.kernelSp);
  const top = fromUserOnly ? kernelSp : select(kernel, gpr(cpu, GPR.rsp), kernelSp);
  const sp = f.let(top.and(-16).sub(size));
  const at = f.let(tools.kernelAddress(f, cpu, sp, size, true));
  f.if(at.eqz(), unusual);

  const info = f.let(vcpuInfo(cpu));
  const mask = f.let(load8u(info, 1));
  const shown = flags.and(~(RFLAGS.IOPL | RFLAGS.IF)).or(mask.eqz().shl(Math.log2(RFLAGS.IF)));
  // Linux tells kernel from user contexts by this RPL.
  const cs = fromUserOnly ? into.cs : select(kernel, into.cs.and(~3), into.cs);
  f.store64(at, into.rcx, 0);
  f.store64(at, into.r11, 8);
  if (into.error !== undefined) f.store64(at, into.error.extendU(), 16);
  const rest = into.error === undefined ? 16 : 24;
  f.store64(at, load64(cpu, STATE.rip), rest);
  f.store32(at, cs, rest + 8);
  f.store32(at, mask, rest + 12);
  f.store64(at, shown.extendU(), rest + 16);
  f.store64(at, gpr(cpu, GPR.rsp), rest + 24);
  f.store64(at, into.ss.extendU(), rest + 32);

  trace(f, cpu, TraceKind.bounce, into.what, into.error === undefined ? i64(0) : into.error.extendU());
  f.if(into.masksEvents, () => f.store8(info, i32(1), 1));
  setGpr(f, cpu, GPR.rsp, sp);
  f.store64(cpu, into.handler, STATE.rip);
  f.store32(cpu, load32(cpu, STATE.flagsRest).and(~CLEARED).or(RFLAGS.IF), STATE.flagsRest);
  f.store32(cpu, i32(FLAT.ring3Cs64), SELECTOR(SEG.cs));
  f.store32(cpu, i32(FLAT.ring3Ss), SELECTOR(SEG.ss));
  if (fromUserOnly) toggleMode(f, cpu, tools, true);
  else f.if(kernel.eqz(), () => toggleMode(f, cpu, tools, true));
}

/** (cpu) → 1 when SYSCALL, executed in user mode, was performed. */
export function buildUserSyscall(m: ModuleBuilder, tools: ExitTools): FnRef {
  return m.function([I32], [I32], (f) => {
    const cpu = f.param(0);
    const flags = f.let(call(tools.readFlags, cpu));
    const rip = f.let(load64(cpu, STATE.rip));
    const r11 = f.let(flags.extendU());
    const into: Into = {
      handler: f.let(load64(cpu, GATES.callbackSyscall)),
      masksEvents: f.let(load32(cpu, GATES.callbackSyscall + 8)),
      rcx: rip,
      r11,
      cs: i32(FLAT.ring3Cs64),
      ss: i32(FLAT.ring3Ss),
      what: i32(Entry.syscall),
    };
    enter(f, cpu, tools, flags, into, true, () => f.ret(i32(0)));
    setGpr(f, cpu, GPR.rcx, rip);
    setGpr(f, cpu, GPR.r11, r11);
    f.store32(cpu, load32(cpu, STATE.flagsRest).and(~RFLAGS.DF), STATE.flagsRest);
    f.ret(i32(1));
    f.unreachable();
  });
}

/** (cpu) → 1 when the page fault in the state block was delivered to the guest, or was a store to a page table and is done. */
export function buildPageFault(m: ModuleBuilder, tools: ExitTools): FnRef {
  const tableWrite = buildTableWrite(m, tools);
  return m.function([I32], [I32], (f) => {
    const cpu = f.param(0);
    const code = f.let(load32(cpu, STATE.exitErrorCode));
    const kernel = f.let(load32(cpu, STATE.kernelMode).ne(0));
    // A store of the kernel to a read-only page may be one to a page table.
    const protection = code.and(PF.present | PF.write | PF.reserved | PF.fetch).eq(PF.present | PF.write);
    f.if(kernel.and(protection), () => f.ret(call(tableWrite, cpu)));
    const cr2 = f.let(load64(cpu, STATE.cr2));
    const into: Into = {
      handler: f.let(load64(cpu, GATES.trapAddress + 8 * Vector.PF)),
      masksEvents: f.let(load8u(cpu, GATES.trapFlags + Vector.PF).and(TRAP_MASK_EVENTS)),
      error: f.let(code.and(~PF.user).or(select(kernel, i32(0), i32(PF.user)))),
      rcx: gpr(cpu, GPR.rcx),
      r11: gpr(cpu, GPR.r11),
      cs: f.let(load32(cpu, SELECTOR(SEG.cs)).and(0xffff)),
      ss: f.let(load32(cpu, SELECTOR(SEG.ss)).and(0xffff)),
      what: i32(Vector.PF),
    };
    const flags = f.let(call(tools.readFlags, cpu));
    enter(f, cpu, tools, flags, into, false, () => f.ret(i32(0)));
    f.store64(vcpuInfo(cpu), cr2, 0x10);
    f.ret(i32(1));
    f.unreachable();
  });
}
