/**
 * Entering the guest kernel: the bounce frame of exceptions, events and callbacks. System calls of user programs come this
 * way too, so it works on 32-bit halves and writes the frame straight into its page. Follows pv-abi 3.5.
 */
import { readFlags } from '../../x86/flags.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { crash } from '../crash.ts';
import { inHole } from '../mmu/walk.ts';
import { TraceKind } from '../trace.ts';
import type { Vcpu } from '../vcpu.ts';

/** No error code in the frame. */
export const NO_ERROR = -1;
/** Flags that entering the kernel clears. */
export const CLEARED = RFLAGS.AC | RFLAGS.VM | RFLAGS.RF | RFLAGS.NT | RFLAGS.TF;

/** The frame under construction; one thread, one at a time. */
const frame = new Uint32Array(16);

/** What the frame says of the interrupted context, where that is not simply the register's value. */
export interface Shown {
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly cs: number;
}

/**
 * Enter the guest kernel at hi:lo with a bounce frame. `what` names the entry for the crash report. False when that is
 * impossible: the domain has crashed then.
 */
export function bounce(
  vcpu: Vcpu,
  lo: number,
  hi: number,
  masksEvents: boolean,
  errorCode: number,
  what: number,
  shown?: Shown,
): boolean {
  const { memory, base } = vcpu;
  const { u32 } = memory;
  const regs = base >>> 2;
  if ((lo | hi) === 0) return crash(vcpu, `no handler is registered for ${entryName(what)}`);

  const fromKernel = vcpu.kernelMode;
  let spLo = fromKernel ? u32[regs + 2 * GPR.rsp]! : vcpu.kernelSpLo;
  let spHi = fromKernel ? u32[regs + 2 * GPR.rsp + 1]! : vcpu.kernelSpHi;
  const info = vcpu.infoAddress;
  const savedMask = memory.u8[info + 1]!;
  let flags = readFlags(memory.view, base) & ~(RFLAGS.IOPL | RFLAGS.IF);
  if (savedMask === 0) flags |= RFLAGS.IF;
  if (vcpu.architecturalIopl) flags |= vcpu.viopl << 12;
  // Linux tells kernel from user contexts by this RPL.
  const cs = vcpu.selector(SEG.cs);

  let n = 0;
  frame[n++] = u32[regs + 2 * GPR.rcx]!;
  frame[n++] = u32[regs + 2 * GPR.rcx + 1]!;
  frame[n++] = u32[regs + 2 * GPR.r11]!;
  frame[n++] = u32[regs + 2 * GPR.r11 + 1]!;
  if (errorCode !== NO_ERROR) {
    frame[n++] = errorCode;
    frame[n++] = 0;
  }
  frame[n++] = u32[regs + STATE.rip / 4]!;
  frame[n++] = u32[regs + STATE.rip / 4 + 1]!;
  frame[n++] = fromKernel ? cs & ~3 : cs;
  frame[n++] = savedMask;
  frame[n++] = flags;
  frame[n++] = 0;
  frame[n++] = u32[regs + 2 * GPR.rsp]!;
  frame[n++] = u32[regs + 2 * GPR.rsp + 1]!;
  frame[n++] = vcpu.selector(SEG.ss);
  frame[n++] = 0;
  if (shown) {
    const at = errorCode === NO_ERROR ? 4 : 6;
    putPair(at, shown.rip);
    frame[at + 2] = shown.cs;
    putPair(at + 6, shown.rsp);
  }

  spLo = (spLo & ~15) >>> 0;
  const size = n * 4;
  if (spLo < size) spHi = (spHi - 1) >>> 0;
  spLo = (spLo - size) >>> 0;
  if (!storeFrame(vcpu, spLo, spHi, n)) {
    return crash(vcpu, `the stack for entering the guest kernel cannot be written (${entryName(what)})`);
  }

  vcpu.trace.add(
    TraceKind.bounce,
    what,
    u32[regs + STATE.rip / 4]!,
    u32[regs + STATE.rip / 4 + 1]!,
    Math.max(errorCode, 0),
    0,
  );
  if (masksEvents) memory.u8[info + 1] = 1;
  u32[regs + 2 * GPR.rsp] = spLo;
  u32[regs + 2 * GPR.rsp + 1] = spHi;
  u32[regs + STATE.rip / 4] = lo;
  u32[regs + STATE.rip / 4 + 1] = hi;
  u32[regs + STATE.flagsRest / 4] = (u32[regs + STATE.flagsRest / 4]! & ~CLEARED) | RFLAGS.IF;
  vcpu.enterKernelSegments();
  if (!fromKernel) vcpu.setKernelMode(true);
  return true;
}

function putPair(at: number, value: bigint): void {
  frame[at] = Number(value & 0xffff_ffffn);
  frame[at + 1] = Number(value >> 32n);
}

/** Write the first `n` words of the frame to guest-virtual hi:lo of the kernel's tables. */
function storeFrame(vcpu: Vcpu, lo: number, hi: number, n: number): boolean {
  if (inHole(hi)) return false;
  const { memory } = vcpu;
  if ((lo & 0xfff) + n * 4 <= 4096) {
    const to = vcpu.translate(lo, hi, true);
    if (to === 0) return false;
    for (let i = 0; i < n; i++) memory.u32[to / 4 + i] = frame[i]!;
    vcpu.frameTouched(Math.floor((to - memory.layout.ramBase) / 4096));
    return true;
  }
  const bytes = new Uint8Array(frame.buffer, 0, n * 4);
  return vcpu.writeGuest((BigInt(hi) << 32n) | BigInt(lo), bytes);
}

/** Codes of entries that are no exception vectors. */
export const Entry = { event: 0x100, failsafe: 0x101, syscall: 0x102, sysenter: 0x103 } as const;

export function entryName(what: number): string {
  switch (what) {
    case Entry.event:
      return 'the event callback';
    case Entry.failsafe:
      return 'the failsafe callback';
    case Entry.syscall:
      return 'the system call callback';
    case Entry.sysenter:
      return 'the sysenter callback';
    default:
      return `vector ${what}`;
  }
}
