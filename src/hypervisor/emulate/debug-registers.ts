/**
 * Virtual debug registers: set_debugreg, get_debugreg and MOV to and from DRn, under one set of rules. Follows pv-abi 2.5, 3.8.
 * The engine has no breakpoints: the registers hold what was written, and single stepping shows in DR6.
 */
import { Errno } from '../../abi/errno.ts';
import type { HypercallArgs } from '../hypercall-args.ts';
import { inHole, isCanonical64 } from '../mmu/walk.ts';
import { deliver, Vector } from '../traps/exceptions.ts';
import type { Vcpu } from '../vcpu.ts';
import { Done, gp, modrmReg, modrmRm, ud } from './access.ts';

const CR4_DE = 8;
const DR6_FIXED = 0xffff0ff0n;
const DR6_WRITABLE = 0xe00fn;
const DR7_FIXED = 0x400n;
const DR7_WRITABLE = 0xffff_23ffn;
const DR7_GD = 0x2000n;

/** DR4 and DR5 are other names of 6 and 7 unless CR4.DE says they are nothing. */
function alias(vcpu: Vcpu, register: number): number | undefined {
  if (register !== 4 && register !== 5) return register;
  return vcpu.cr4 & CR4_DE ? undefined : register + 2;
}

/** 0 or a negative errno. */
function setDebug(vcpu: Vcpu, number: number, value: bigint): number {
  const register = number > 7 ? undefined : alias(vcpu, number);
  if (register === undefined) return -Errno.ENODEV;
  if (register < 4) {
    if (!isCanonical64(value) || inHole(Number(value >> 32n))) return -Errno.EPERM;
    vcpu.debug[register] = value;
    return 0;
  }
  if (value >> 32n) return -Errno.EINVAL;
  if (register === 6) {
    vcpu.debug[6] = DR6_FIXED | (value & DR6_WRITABLE);
    return 0;
  }
  if (value & DR7_GD) return -Errno.EPERM;
  for (let i = 0n; i < 4n; i++) {
    const enabled = (value >> (2n * i)) & 3n;
    const io = ((value >> (16n + 4n * i)) & 3n) === 2n;
    if (enabled && io && !(vcpu.cr4 & CR4_DE)) return -Errno.EPERM;
  }
  vcpu.debug[7] = DR7_FIXED | (value & DR7_WRITABLE);
  return 0;
}

export function setDebugreg(vcpu: Vcpu, args: HypercallArgs): number {
  return setDebug(vcpu, args.lo(0), args.u64(1));
}

export function getDebugreg(vcpu: Vcpu, args: HypercallArgs): bigint | number {
  const register = args.lo(0) > 7 ? undefined : alias(vcpu, args.lo(0));
  return register === undefined ? -Errno.ENODEV : vcpu.debug[register]!;
}

export function movFromDr(vcpu: Vcpu): Done {
  if (!vcpu.kernelMode) return gp(vcpu);
  const number = modrmReg(vcpu);
  const register = number > 7 ? undefined : alias(vcpu, number);
  if (register === undefined) return ud(vcpu);
  vcpu.setReg64(modrmRm(vcpu), vcpu.debug[register]!);
  return Done.next;
}

export function movToDr(vcpu: Vcpu): Done {
  if (!vcpu.kernelMode) return gp(vcpu);
  const error = setDebug(vcpu, modrmReg(vcpu), vcpu.reg64(modrmRm(vcpu)));
  if (error === 0) return Done.next;
  return error === -Errno.ENODEV ? ud(vcpu) : gp(vcpu);
}

/** ICEBP: a #DB behind the instruction. */
export function icebp(vcpu: Vcpu): Done {
  vcpu.skip(1);
  deliver(vcpu, Vector.DB);
  return Done.placed;
}
