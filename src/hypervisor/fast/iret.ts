/** The iret hypercall on its common ways: to flat 64-bit code, without an event to deliver. Twin: traps/iret.ts. Follows pv-abi 3.6. */
import { FLAT } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, I32, i32, load8u, load32, load64, select } from '../../wasm/expr.ts';
import type { Fn, FnRef, ModuleBuilder } from '../../wasm/module.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { GATES } from '../gates.ts';
import { NO_ROOT } from '../mmu/walk.ts';
import { DESC } from '../segments.ts';
import { TraceKind } from '../trace.ts';
import { IN_SYSCALL, WORD } from '../traps/iret.ts';
import { gpr, isCanonical, setGpr, toggleMode, trace, vcpuInfo } from './parts.ts';

export const IRET = 23;
const FRAME_BYTES = WORD.count * 4;

/** Is `selector` (RPL 3) in the first frame of the GDT, and are the bits `mask` of its descriptor's high half `wanted`? */
function descriptorIs(f: Fn, cpu: E, tools: ExitTools, selector: E, mask: number, wanted: number): E {
  const index = f.let(selector.shrU(3));
  const inFrame = selector
    .and(4)
    .eqz()
    .and(index.ltU(512))
    .and(index.ltU(load32(cpu, GATES.gdtEntries)));
  // Without a GDT the frame is 0, which exists: reading it does no harm.
  const at = load32(cpu, GATES.gdtFrame).shl(12).add(tools.layout.ramBase).add(index.and(511).shl(3));
  return inFrame.and(load32(at, 4).and(mask).eq(wanted));
}

/** (cpu) → 1 when the iret hypercall was performed. */
export function buildIret(m: ModuleBuilder, tools: ExitTools): FnRef {
  return m.function([I32], [I32], (f) => {
    const cpu = f.param(0);
    const unusual = (): void => f.ret(i32(0));
    const rsp = f.let(gpr(cpu, GPR.rsp));
    const at = f.let(tools.kernelAddress(f, cpu, rsp, FRAME_BYTES, false));
    f.if(at.eqz().or(rsp.wrap().and(3)), unusual);
    // Each word once: what is checked is what is used.
    const word = (index: number): E => f.let(load64(at, index * 4));
    const [rax, r11, rcx, rip, newRsp] = [
      word(WORD.rax),
      word(WORD.r11),
      word(WORD.rcx),
      word(WORD.rip),
      word(WORD.rsp),
    ];
    const flags = f.let(load32(at, WORD.flags * 4));
    const frameCs = f.let(load32(at, WORD.cs * 4).and(0xffff));
    const rflags = f.let(load32(at, WORD.rflags * 4));
    const ss = f.let(
      load32(at, WORD.ss * 4)
        .and(0xffff)
        .or(3),
    );
    f.if(flags.and(IN_SYSCALL).or(rflags.and(RFLAGS.TF)), unusual);
    f.if(isCanonical(rip).eqz(), unusual);
    const toUser = f.let(frameCs.and(3).eq(3));
    f.if(toUser.and(load32(cpu, STATE.userRoot).eq(NO_ROOT)), unusual);
    const cs = f.let(frameCs.or(3));
    f.if(cs.ne(FLAT.ring3Cs64), () => {
      const bits = DESC.present | DESC.s | DESC.code | DESC.L;
      f.if(descriptorIs(f, cpu, tools, cs, bits | DESC.D, bits).eqz(), unusual);
    });
    f.if(ss.ne(FLAT.ring3Ss), () => {
      const bits = DESC.present | DESC.s | DESC.rw;
      const nullInKernel = toUser.eqz().and(ss.eq(3));
      f.if(nullInKernel.eqz().and(descriptorIs(f, cpu, tools, ss, bits | DESC.code, bits).eqz()), unusual);
    });
    const info = f.let(vcpuInfo(cpu));
    const enabled = f.let(rflags.and(RFLAGS.IF).ne(0));
    // An event is due: its frame follows.
    f.if(enabled.and(load8u(info)), unusual);

    trace(f, cpu, TraceKind.hypercall, i32(IRET), gpr(cpu, GPR.rdi));
    f.store64(cpu, rip, STATE.rip);
    setGpr(f, cpu, GPR.rsp, newRsp);
    setGpr(f, cpu, GPR.rax, rax);
    setGpr(f, cpu, GPR.rcx, rcx);
    setGpr(f, cpu, GPR.r11, r11);
    f.store32(cpu, cs, STATE.selector + 4 * SEG.cs);
    f.store32(cpu, ss, STATE.selector + 4 * SEG.ss);
    f.callVoid(tools.writeFlags, cpu, rflags.and(~(RFLAGS.IOPL | RFLAGS.VM)).or(RFLAGS.IF));
    f.store8(info, select(enabled, i32(0), i32(1)), 1);
    f.if(toUser, () => toggleMode(f, cpu, tools, false));
    f.ret(i32(1));
    f.unreachable();
  });
}
