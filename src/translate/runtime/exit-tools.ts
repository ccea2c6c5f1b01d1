/** What the engine lends to the hypervisor's code for exits (exit-paths.ts). */
import type { MemoryLayout } from '../../hypervisor/memory.ts';
import { type E, I32, I64, i32, i64, load32, load64, select } from '../../wasm/expr.ts';
import { call, type Fn, type ModuleBuilder } from '../../wasm/module.ts';
import { RFLAGS, STATE, STATUS_FLAGS } from '../../x86/state.ts';
import type { ExitTools } from '../exit-paths.ts';
import { ACCESS, KERNEL_TLB, USER_TLB } from '../layout.ts';
import type { MmuRuntime } from './mmu.ts';
import { entryOffset, type TlbRuntime } from './tlb.ts';

export function exitTools(
  m: ModuleBuilder,
  layout: MemoryLayout,
  { miss }: Pick<MmuRuntime, 'miss'>,
  { modeChanged, entryChanged, flushPage, forgetRoot }: TlbRuntime,
): ExitTools {
  // The formulas are x86/flags.ts's.
  const readFlags = m.function([I32], [I32], (f) => {
    const cpu = f.param(0);
    const result = f.let(load64(cpu, STATE.flagResult));
    const aux = f.let(load32(cpu, STATE.flagAux));
    const even = result.wrap().xor(aux.shrU(8)).and(0xff).popcnt().and(1).eqz();
    const status = aux
      .shrU(31)
      .or(even.shl(2))
      .or(aux.and(8).shl(1))
      .or(result.eqz().shl(6))
      .or(result.shrU(63).wrap().xor(aux).and(1).shl(7))
      .or(aux.shrU(31).xor(aux.shrU(30)).and(1).shl(11));
    f.ret(load32(cpu, STATE.flagsRest).and(~STATUS_FLAGS).or(status).or(RFLAGS.fixed));
    f.unreachable();
  });
  const writeFlags = m.function([I32, I32], [], (f) => {
    const cpu = f.param(0);
    const flags = f.param(1);
    const carry = f.let(flags.and(RFLAGS.CF));
    const overflow = flags.shrU(11).and(1);
    const aux = carry
      .shl(31)
      .or(carry.xor(overflow).shl(30))
      .or(flags.shrU(1).and(8))
      .or(flags.and(RFLAGS.PF).xor(RFLAGS.PF).shl(6))
      .or(flags.shrU(7).and(1));
    f.store64(cpu, select(flags.and(RFLAGS.ZF), i64(0), i64(0x100)), STATE.flagResult);
    f.store32(cpu, aux, STATE.flagAux);
    f.store32(cpu, flags.and(~STATUS_FLAGS).or(RFLAGS.fixed), STATE.flagsRest);
  });

  /** (cpu, va, access) → linear address of bytes of one page, which may not be in its first place of the array, for kernel mode; or 0 without a trace. */
  const walk = m.function([I32, I64, I32], [I32], (f) => {
    const cpu = f.param(0);
    const va = f.param(1);
    const access = f.param(2);
    const inOnePage = va.wrap().and(4095).add(access.and(ACCESS.size)).leU(4096);
    f.if(inOnePage.eqz().or(load32(cpu, STATE.kernelMode).eqz()), () => f.ret(i32(0)));
    const fault = [STATE.exitVector, STATE.exitErrorCode].map((field) => ({ field, was: f.let(load32(cpu, field)) }));
    const cr2 = f.let(load64(cpu, STATE.cr2));
    const linear = f.let(call(miss, cpu, va, access));
    f.if(linear.eqz(), () => {
      for (const { field, was } of fault) f.store32(cpu, was, field);
      f.store64(cpu, cr2, STATE.cr2);
    });
    f.ret(linear);
    f.unreachable();
  });

  /** As `probe` in mmu.ts, in the array of kernel mode. */
  const kernelAddress = (f: Fn, cpu: E, va: E, size: number, write: boolean): E => {
    const entry = f.let(cpu.add(KERNEL_TLB).add(entryOffset(va)));
    const hit = load64(entry, write ? 8 : 0).eq(va.add(size - 1).and(-4096));
    const here = select(hit, va.wrap().add(load32(entry, 24)), i32(0));
    if (write) return here;
    const at = f.local(I32);
    f.set(at, here);
    f.if(at.eqz(), () => {
      f.cold();
      f.set(at, call(walk, cpu, va, i32(size)));
    });
    return at;
  };

  const kernelWrite = m.function([I32, I64, I32], [I32], (f) => {
    f.ret(call(walk, f.param(0), f.param(1), f.param(2).or(ACCESS.write)));
    f.unreachable();
  });

  const tableReleased = m.function([I32, I32, I32], [], (f) => {
    const [cpu, frame, level] = [f.param(0), f.param(1), f.param(2)];
    f.if(level.eq(4), () => f.callVoid(forgetRoot, cpu, frame));
    f.if(level.eq(1), () => f.store32(frame.shl(2).add(layout.tableSpans), i32(0)));
  });

  const selectMode = (f: Fn, cpu: E): void =>
    f.store32(cpu, select(load32(cpu, STATE.kernelMode), cpu.add(KERNEL_TLB), load32(cpu, USER_TLB)), STATE.tlb);

  const told = { modeChanged, entryChanged, flushPage, tableReleased };
  return { layout, kernelAddress, kernelWrite, selectMode, ...told, readFlags, writeFlags };
}
