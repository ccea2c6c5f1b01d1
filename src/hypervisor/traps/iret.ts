/**
 * The iret hypercall: how the guest kernel returns to user mode, or to itself with events unmasked. Follows pv-abi 3.6.
 */
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { crash } from '../crash.ts';
import type { HypercallArgs } from '../hypercall-args.ts';
import { isCanonical } from '../mmu/walk.ts';
import { checkCode, checkStack } from '../segments.ts';
import type { Vcpu } from '../vcpu.ts';
import { deliver, Vector } from './exceptions.ts';

/** Words of the frame: halves of rax r11 rcx flags rip cs rflags rsp ss. */
export const WORD = {
  rax: 0,
  r11: 2,
  rcx: 4,
  flags: 6,
  rip: 8,
  cs: 10,
  rflags: 12,
  rsp: 14,
  ss: 16,
  count: 18,
} as const;
export const IN_SYSCALL = 0x100;
const frame = new Uint32Array(WORD.count);
const frameBytes = new Uint8Array(frame.buffer);

function readFrame(vcpu: Vcpu): boolean {
  const lo = vcpu.regLo(GPR.rsp);
  if ((lo & 0xfff) + WORD.count * 4 > 4096 || lo & 3) return vcpu.readInto(vcpu.reg64(GPR.rsp), frameBytes);
  const from = vcpu.translate(lo, vcpu.regHi(GPR.rsp), false);
  if (from === 0) return false;
  for (let i = 0; i < WORD.count; i++) frame[i] = vcpu.memory.u32[from / 4 + i]!;
  return true;
}

export function iret(vcpu: Vcpu, _args: HypercallArgs): number {
  vcpu.noResult = true;
  if (!readFrame(vcpu)) {
    crash(vcpu, 'the frame of the iret hypercall cannot be read');
    return 0;
  }
  const cs = frame[WORD.cs]! & 0xffff;
  const toUser = (cs & 3) === 3;
  if (toUser && !vcpu.hasUserRoot) {
    crash(vcpu, 'the iret hypercall returns to user mode, but there is no user page table');
    return 0;
  }
  const rflags = frame[WORD.rflags]!;
  if (vcpu.architecturalIopl) vcpu.viopl = (rflags & RFLAGS.IOPL) >>> 12;
  const ss = (frame[WORD.ss]! & 0xffff) | 3;
  vcpu.setPair(STATE.rip, frame[WORD.rip]!, frame[WORD.rip + 1]!);
  vcpu.setPair(STATE.gpr + 8 * GPR.rsp, frame[WORD.rsp]!, frame[WORD.rsp + 1]!);
  vcpu.setPair(STATE.gpr + 8 * GPR.rax, frame[WORD.rax]!, frame[WORD.rax + 1]!);
  vcpu.setSelector(SEG.cs, cs | 3);
  vcpu.setSelector(SEG.ss, ss);
  vcpu.flags = (rflags & ~(RFLAGS.IOPL | RFLAGS.VM)) | RFLAGS.IF;
  if (frame[WORD.flags]! & IN_SYSCALL) {
    vcpu.setPair(STATE.gpr + 8 * GPR.rcx, frame[WORD.rip]!, frame[WORD.rip + 1]!);
    vcpu.setPair(STATE.gpr + 8 * GPR.r11, (rflags & ~(RFLAGS.IOPL | RFLAGS.VM)) | RFLAGS.IF | RFLAGS.fixed, 0);
  } else {
    vcpu.setPair(STATE.gpr + 8 * GPR.rcx, frame[WORD.rcx]!, frame[WORD.rcx + 1]!);
    vcpu.setPair(STATE.gpr + 8 * GPR.r11, frame[WORD.r11]!, frame[WORD.r11 + 1]!);
  }
  vcpu.upcallMask = rflags & RFLAGS.IF ? 0 : 1;
  vcpu.nmiBlocked = false;
  if (toUser) vcpu.setKernelMode(false);
  arrive(vcpu, cs | 3, ss, !toUser);
  return 0;
}

/** The registers hold a new context: deliver the fault that entering it raises, if any. False when there was one. */
export function arrive(vcpu: Vcpu, cs: number, ss: number, nullStackAllowed: boolean): boolean {
  const code = checkCode(vcpu, cs);
  if (code === 'compat') {
    refuseCompat(vcpu);
    return false;
  }
  const bad = typeof code === 'object' ? code : checkStack(vcpu, ss, nullStackAllowed);
  if (bad) {
    deliver(vcpu, bad.vector, bad.error);
    return false;
  }
  if (!isCanonical(vcpu.u32(STATE.rip + 4))) {
    deliver(vcpu, Vector.GP, 0);
    return false;
  }
  return true;
}

/** This CPU runs 64-bit code only. The program that wanted 32-bit code is told #GP, and dies of it; the domain does not. */
export function refuseCompat(vcpu: Vcpu): void {
  const text =
    'the guest starts a 32-bit program; this CPU has no 32-bit mode, so the program gets a general protection fault';
  vcpu.domain.logOnce('warn', 'compat', text);
  deliver(vcpu, Vector.GP, vcpu.selector(SEG.cs) & 0xfffc);
}
