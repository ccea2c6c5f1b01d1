/**
 * MOV to and from control registers, CLTS, SMSW, XGETBV and XSETBV. Follows pv-abi 3.8.
 */
import { GPR, STATE } from '../../x86/state.ts';
import { setKernelRoot } from '../mmu/roots.ts';
import type { Vcpu } from '../vcpu.ts';
import { Done, gp, hasRexW, isMemory, modrmReg, modrmRm, operandSize, ud, writeRegister, writeRm16 } from './access.ts';
import { announced } from './cpuid.ts';

const CR0 = 0x80050033;
const CR0_TS = 8;
/** What CR4 always shows: PAE, MCE, OSFXSR, OSXMMEXCPT. */
const CR4_FIXED = 0x660;
const CR4 = { TSD: 4, DE: 8, FSGSBASE: 0x10000, OSXSAVE: 0x40000 } as const;

function cr0(vcpu: Vcpu): number {
  return CR0 | (vcpu.u32(STATE.taskSwitched) ? CR0_TS : 0);
}

/** The CR4 bits that the guest may choose. */
function cr4Choice(): number {
  return CR4.TSD | CR4.DE | (announced('fsgsbase') ? CR4.FSGSBASE : 0);
}

export function movFromCr(vcpu: Vcpu): Done {
  if (!vcpu.kernelMode) return gp(vcpu);
  const to = modrmRm(vcpu);
  switch (modrmReg(vcpu)) {
    case 0:
      vcpu.setReg64(to, BigInt(cr0(vcpu) >>> 0));
      return Done.next;
    case 2:
      vcpu.setReg64(to, vcpu.u64(STATE.cr2));
      return Done.next;
    case 3:
      vcpu.setReg64(to, BigInt(vcpu.kernelRoot) << 12n);
      return Done.next;
    case 4:
      vcpu.setReg64(to, BigInt(vcpu.cr4 | CR4_FIXED));
      return Done.next;
    case 8:
      return gp(vcpu);
    default:
      return ud(vcpu);
  }
}

export function movToCr(vcpu: Vcpu): Done {
  if (!vcpu.kernelMode) return gp(vcpu);
  const value = vcpu.reg64(modrmRm(vcpu));
  switch (modrmReg(vcpu)) {
    case 0:
      if ((value & ~BigInt(CR0_TS)) !== BigInt(CR0)) return gp(vcpu);
      vcpu.setU32(STATE.taskSwitched, value & BigInt(CR0_TS) ? 1 : 0);
      return Done.next;
    case 2:
      vcpu.setCr2(value);
      return Done.next;
    case 3:
      if (value & 0xfffn || value >> 44n || !setKernelRoot(vcpu, Number(value >> 12n))) return gp(vcpu);
      vcpu.engine.flushTlb();
      return Done.next;
    case 4:
      // Bits that are not ours to give are dropped, never refused.
      vcpu.cr4 = Number(value & 0xffff_ffffn) & cr4Choice();
      vcpu.setU32(STATE.cr4, vcpu.cr4);
      return Done.next;
    case 8:
      return gp(vcpu);
    default:
      return ud(vcpu);
  }
}

export function clts(vcpu: Vcpu): Done {
  if (!vcpu.kernelMode) return gp(vcpu);
  vcpu.setU32(STATE.taskSwitched, 0);
  return Done.next;
}

/** SMSW is no privileged instruction: it shows CR0's low half (all of it in a 64-bit register). */
export function smsw(vcpu: Vcpu): Done {
  if (isMemory(vcpu) || operandSize(vcpu) === 2) return writeRm16(vcpu, cr0(vcpu) & 0xffff);
  writeRegister(vcpu, modrmRm(vcpu), cr0(vcpu), 4);
  return Done.next;
}

export function xgetbv(vcpu: Vcpu): Done {
  if (!(vcpu.cr4 & CR4.OSXSAVE)) return ud(vcpu);
  if (vcpu.regLo(GPR.rcx) !== 0) return gp(vcpu);
  vcpu.setReg32(GPR.rax, Number(vcpu.xcr0 & 0xffff_ffffn));
  vcpu.setReg32(GPR.rdx, Number(vcpu.xcr0 >> 32n));
  return Done.next;
}

export function xsetbv(vcpu: Vcpu): Done {
  if (!(vcpu.cr4 & CR4.OSXSAVE)) return ud(vcpu);
  if (!vcpu.kernelMode || vcpu.regLo(GPR.rcx) !== 0) return gp(vcpu);
  const value = (BigInt(vcpu.regLo(GPR.rdx)) << 32n) | BigInt(vcpu.regLo(GPR.rax));
  // x87 always, SSE as wanted: there is nothing else.
  if ((value & ~3n) !== 0n || !(value & 1n)) return gp(vcpu);
  vcpu.xcr0 = value;
  return Done.next;
}

/** RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: #UD until the kernel has switched them on. GS means the active base. */
export function baseAccess(segment: 'fs' | 'gs', direction: 'read' | 'write') {
  const field = segment === 'fs' ? STATE.fsBase : STATE.gsBase;
  return (vcpu: Vcpu): Done => {
    if (!(vcpu.cr4 & CR4.FSGSBASE)) return ud(vcpu);
    const register = modrmRm(vcpu);
    const wide = hasRexW(vcpu);
    if (direction === 'read') {
      const value = vcpu.u64(field);
      vcpu.setReg64(register, wide ? value : value & 0xffff_ffffn);
      return Done.next;
    }
    const value = wide ? vcpu.reg64(register) : vcpu.reg64(register) & 0xffff_ffffn;
    if (BigInt.asUintN(64, BigInt.asIntN(48, value)) !== value) return gp(vcpu);
    vcpu.setU64(field, value);
    return Done.next;
  };
}
