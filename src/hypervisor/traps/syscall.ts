/**
 * SYSCALL and SYSENTER of guest user mode: entries through the registered callbacks. Follows pv-abi 3.4.
 */
import { FLAT } from '../../abi/numbers.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import type { Vcpu } from '../vcpu.ts';
import { bounce, Entry, NO_ERROR } from './bounce.ts';
import { deliver, generalProtection, Vector } from './exceptions.ts';

export const SYSCALL_LENGTH = 2;

/** What SYSCALL does to registers, in both modes: rcx is the return address, r11 the flags. */
export function syscallRegisters(vcpu: Vcpu): void {
  const { u32 } = vcpu.memory;
  const regs = vcpu.base >>> 2;
  u32[regs + 2 * GPR.rcx] = u32[regs + STATE.rip / 4]!;
  u32[regs + 2 * GPR.rcx + 1] = u32[regs + STATE.rip / 4 + 1]!;
  u32[regs + 2 * GPR.r11] = vcpu.flags;
  u32[regs + 2 * GPR.r11 + 1] = 0;
}

/** SYSCALL from user mode, with RIP behind it. */
export function userSyscall(vcpu: Vcpu): boolean {
  const { syscall } = vcpu.callbacks;
  if (!syscall.present) {
    vcpu.skip(-SYSCALL_LENGTH);
    return deliver(vcpu, Vector.UD);
  }
  syscallRegisters(vcpu);
  vcpu.setSelector(SEG.cs, FLAT.ring3Cs64);
  vcpu.setSelector(SEG.ss, FLAT.ring3Ss);
  if (!bounce(vcpu, syscall.lo, syscall.hi, syscall.masksEvents, NO_ERROR, Entry.syscall)) return false;
  vcpu.setU32(STATE.flagsRest, vcpu.u32(STATE.flagsRest) & ~RFLAGS.DF);
  return true;
}

/** SYSENTER. The guest finds its return address itself, in the vDSO: the frame shows none. */
export function sysenter(vcpu: Vcpu): boolean {
  const { sysenter: callback } = vcpu.callbacks;
  if (vcpu.kernelMode || !callback.present) return generalProtection(vcpu);
  vcpu.setSelector(SEG.ss, FLAT.ring3Ss);
  const shown = { rip: 0n, rsp: 0n, cs: 3 };
  return bounce(vcpu, callback.lo, callback.hi, callback.masksEvents, NO_ERROR, Entry.sysenter, shown);
}
