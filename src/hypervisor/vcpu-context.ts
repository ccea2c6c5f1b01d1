/**
 * Loading a vcpu_guest_context into a vCPU: VCPUOP_initialise and, one day, restore. Follows pv-abi 2.12.
 * The context is a private copy; everything in it is the guest's and is checked before anything changes.
 */
import { Errno } from '../abi/errno.ts';
import { FLAT, GUEST_GDT_ENTRIES, VGCF } from '../abi/numbers.ts';
import { GPR, RFLAGS, SEG, STATE } from '../x86/state.ts';
import { resetFpu } from './fpu.ts';
import { announceM2p } from './mmu/m2p.ts';
import { isCanonical64, NO_ROOT } from './mmu/walk.ts';
import type { Vcpu } from './vcpu.ts';

/** user_regs in struct order: general registers and their offsets. */
// biome-ignore format: a table
const USER_REGS: readonly (readonly [number, number])[] = [
  [GPR.r15, 0x00], [GPR.r14, 0x08], [GPR.r13, 0x10], [GPR.r12, 0x18], [GPR.rbp, 0x20], [GPR.rbx, 0x28], [GPR.r11, 0x30],
  [GPR.r10, 0x38], [GPR.r9, 0x40],  [GPR.r8, 0x48],  [GPR.rax, 0x50], [GPR.rcx, 0x58], [GPR.rdx, 0x60], [GPR.rsi, 0x68],
  [GPR.rdi, 0x70], [GPR.rsp, 0x98],
];
const OFFSET = {
  flags: 0x200,
  regs: 0x208,
  traps: 0x2d0,
  ldtBase: 0x12d0,
  ldtEnts: 0x12d8,
  gdtFrames: 0x12e0,
  gdtEnts: 0x1360,
  kernelSs: 0x1368,
  kernelSp: 0x1370,
  ctrlreg: 0x1378,
  debugreg: 0x13b8,
  event: 0x13f8,
  failsafe: 0x1400,
  syscall: 0x1408,
  fsBase: 0x1418,
  gsBaseKernel: 0x1420,
  gsBaseUser: 0x1428,
  size: 0x1430,
} as const;

/** A maddr of ctrlreg as a frame number; NaN when it cannot be one. */
function frameOf(maddr: bigint): number {
  return maddr & 0xfffn || maddr >> 44n ? Number.NaN : Number(maddr >> 12n);
}

export function loadContext(vcpu: Vcpu, context: DataView): number {
  if (context.byteLength < OFFSET.size) return -Errno.EINVAL;
  const { types } = vcpu.domain;
  const u64 = (at: number) => context.getBigUint64(at, true);
  const gdtEntries = u64(OFFSET.gdtEnts);
  const gdtFrames: number[] = [];
  if (gdtEntries > BigInt(GUEST_GDT_ENTRIES)) return -Errno.EINVAL;
  for (let i = 0; i < Math.ceil(Number(gdtEntries) / 512); i++) {
    const frame = u64(OFFSET.gdtFrames + 8 * i);
    if (frame >= BigInt(vcpu.memory.layout.pages)) return -Errno.EINVAL;
    gdtFrames.push(Number(frame));
  }
  const ldtEntries = u64(OFFSET.ldtEnts);
  if (ldtEntries > 8192n || (ldtEntries > 0n && u64(OFFSET.ldtBase) & 0xfffn)) return -Errno.EINVAL;
  for (const at of [
    OFFSET.event,
    OFFSET.failsafe,
    OFFSET.syscall,
    OFFSET.fsBase,
    OFFSET.gsBaseKernel,
    OFFSET.gsBaseUser,
  ]) {
    if (!isCanonical64(u64(at))) return -Errno.EINVAL;
  }
  for (let i = 0; i < 256; i++) if (!isCanonical64(u64(OFFSET.traps + 16 * i + 8))) return -Errno.EINVAL;
  const kernelRoot = frameOf(u64(OFFSET.ctrlreg + 24));
  const userRoot = frameOf(u64(OFFSET.ctrlreg + 8));
  if (!(kernelRoot < vcpu.memory.layout.pages) || !(userRoot < vcpu.memory.layout.pages)) return -Errno.EINVAL;
  // A table that is not pinned gets validated by the reference that a base pointer is.
  if (!types.acquire(kernelRoot, 4)) return -Errno.EINVAL;
  if (userRoot !== 0 && !types.acquire(userRoot, 4)) {
    types.release(kernelRoot, 4);
    return -Errno.EINVAL;
  }

  const flags = context.getUint32(OFFSET.flags, true);
  const inKernel = (flags & VGCF.in_kernel) !== 0;
  for (const [register, at] of USER_REGS) vcpu.setReg64(register, u64(OFFSET.regs + at));
  vcpu.rip = u64(OFFSET.regs + 0x80);
  const rflags = context.getUint32(OFFSET.regs + 0x90, true);
  if (vcpu.architecturalIopl) vcpu.viopl = (rflags & RFLAGS.IOPL) >>> 12;
  vcpu.flags = (rflags & ~(RFLAGS.IOPL | RFLAGS.VM)) | RFLAGS.IF;
  vcpu.setSelector(SEG.cs, context.getUint16(OFFSET.regs + 0x88, true) | 3);
  vcpu.setSelector(SEG.ss, context.getUint16(OFFSET.regs + 0xa0, true) | 3);
  for (const [slot, at] of [
    [SEG.es, 0xa8],
    [SEG.ds, 0xb0],
    [SEG.fs, 0xb8],
    [SEG.gs, 0xc0],
  ] as const) {
    vcpu.setSelector(slot, context.getUint16(OFFSET.regs + at, true));
  }
  resetFpu(vcpu, flags & VGCF.i387_valid ? context : undefined);

  for (let i = 0; i < 256; i++) {
    const at = OFFSET.traps + 16 * i;
    const vector = context.getUint8(at);
    vcpu.traps.set(vector, context.getUint8(at + 1), context.getUint16(at + 2, true), u64(at + 8));
  }
  vcpu.callbacks.event.set(u64(OFFSET.event), true);
  vcpu.callbacks.failsafe.set(u64(OFFSET.failsafe), (flags & VGCF.failsafe_disables_events) !== 0);
  vcpu.callbacks.syscall.set(u64(OFFSET.syscall), (flags & VGCF.syscall_disables_events) !== 0);
  vcpu.kernelSs = Number(u64(OFFSET.kernelSs) & 0xffffn) | 3 || FLAT.ring3Ss;
  vcpu.setKernelSp(context.getUint32(OFFSET.kernelSp, true), context.getUint32(OFFSET.kernelSp + 4, true));
  vcpu.setGdt(gdtFrames, Number(gdtEntries));
  vcpu.ldtBase = u64(OFFSET.ldtBase);
  vcpu.ldtEntries = Number(ldtEntries);
  vcpu.debug.set([0n, 0n, 0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n]);
  vcpu.setU64(STATE.fsBase, u64(OFFSET.fsBase));
  vcpu.setU64(STATE.gsBaseKernel, u64(OFFSET.gsBaseKernel));
  vcpu.setU64(STATE.gsBaseUser, u64(OFFSET.gsBaseUser));
  vcpu.setU64(STATE.gsBase, u64(inKernel ? OFFSET.gsBaseKernel : OFFSET.gsBaseUser));
  vcpu.setU32(STATE.kernelMode, inKernel ? 1 : 0);
  vcpu.setU32(STATE.kernelRoot, kernelRoot);
  vcpu.setU32(STATE.userRoot, userRoot || NO_ROOT);
  vcpu.setU32(STATE.taskSwitched, 0);
  announceM2p(vcpu.memory, vcpu.base);
  vcpu.engine.flushTlb();
  vcpu.engine.modeChanged();
  return 0;
}
