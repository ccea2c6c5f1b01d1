/**
 * What the virtual CPU says of itself. The policy is a table: features are announced when engine and hypervisor have them.
 * Family 6 model 0x1c is one that Linux knows to be free of speculation faults: it switches on no mitigation, each of which
 * would cost an emulated CPU dearly. Follows pv-abi 3.7.
 */
import { GPR } from '../../x86/state.ts';
import type { Vcpu } from '../vcpu.ts';

export type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
export interface Feature {
  readonly name: string;
  readonly leaf: number;
  readonly register: Register;
  readonly bit: number;
  /** Announce it. */
  readonly on: boolean;
}
const feature = (name: string, leaf: number, register: Register, bit: number, on: boolean): Feature => ({
  name,
  leaf,
  register,
  bit,
  on,
});

/** Not listed and never announced: PSE, PSE36, PGE, VME, MTRR, PCID, SMEP, SMAP, MONITOR, HTT and whatever else 3.7 hides. */
// biome-ignore format: a table
export const CPUID_FEATURES: readonly Feature[] = [
  feature('fpu',        0x00000001, 'edx',  0, true),
  feature('de',         0x00000001, 'edx',  2, true),
  feature('tsc',        0x00000001, 'edx',  4, true),
  feature('msr',        0x00000001, 'edx',  5, true),
  feature('pae',        0x00000001, 'edx',  6, true),
  feature('mce',        0x00000001, 'edx',  7, false), // Without it and MCA, Linux reads no machine-check MSR.
  feature('cx8',        0x00000001, 'edx',  8, true),
  feature('apic',       0x00000001, 'edx',  9, true),
  feature('sep',        0x00000001, 'edx', 11, false), // 32-bit programs' SYSENTER; there are none.
  feature('mca',        0x00000001, 'edx', 14, false),
  feature('cmov',       0x00000001, 'edx', 15, true),
  feature('pat',        0x00000001, 'edx', 16, true),
  feature('clflush',    0x00000001, 'edx', 19, true),
  feature('mmx',        0x00000001, 'edx', 23, true),
  feature('fxsr',       0x00000001, 'edx', 24, true),
  feature('sse',        0x00000001, 'edx', 25, true),
  feature('sse2',       0x00000001, 'edx', 26, true),
  feature('sse3',       0x00000001, 'ecx',  0, true),
  feature('ssse3',      0x00000001, 'ecx',  9, true),
  feature('cx16',       0x00000001, 'ecx', 13, true),
  feature('sse4_1',     0x00000001, 'ecx', 19, true),
  feature('sse4_2',     0x00000001, 'ecx', 20, true),
  feature('movbe',      0x00000001, 'ecx', 22, false),
  feature('popcnt',     0x00000001, 'ecx', 23, true),
  feature('rdrand',     0x00000001, 'ecx', 30, true), // Guests would wait long for randomness: nothing of theirs is irregular.
  feature('hypervisor', 0x00000001, 'ecx', 31, true),
  feature('fsgsbase',   0x00000007, 'ebx',  0, false),
  feature('erms',       0x00000007, 'ebx',  9, true),
  feature('rdseed',     0x00000007, 'ebx', 18, true),
  // Linux serializes after each of its 50,000 patches to its own text, otherwise by an IRET that would be ours to perform.
  feature('serialize',  0x00000007, 'edx', 14, true),
  feature('lahf_lm',    0x80000001, 'ecx',  0, true),
  feature('syscall',    0x80000001, 'edx', 11, true),
  feature('nx',         0x80000001, 'edx', 20, true),
  feature('rdtscp',     0x80000001, 'edx', 27, false),
  feature('lm',         0x80000001, 'edx', 29, true),
];

export const BRAND = 'Domus Virtual CPU';
const VENDOR = 'GenuineIntel';
/** Family 6, model 0x1c, stepping 0xa. */
const SIGNATURE = 0x000106ca;
const CPU_MHZ = 1000;
const XEN_VERSION = (4 << 16) | 17;
export const HYPERCALL_MSR = 0x40000000;

/** Is a feature announced? The decoder and other tables ask by name. */
export function announced(name: string): boolean {
  return CPUID_FEATURES.some((f) => f.name === name && f.on);
}

function bits(leaf: number, register: Register): number {
  let word = 0;
  for (const f of CPUID_FEATURES) if (f.on && f.leaf === leaf && f.register === register) word |= 1 << f.bit;
  return word >>> 0;
}

/** Four characters as the register that spells them. */
function spell(text: string, at: number): number {
  let word = 0;
  for (let i = 3; i >= 0; i--) word = (word << 8) | (text.charCodeAt(at + i) || 0);
  return word >>> 0;
}

type Words = readonly [eax: number, ebx: number, ecx: number, edx: number];
const NOTHING: Words = [0, 0, 0, 0];

/** CPUID's answer for the given leaf and subleaf. */
export function cpuidLeaf(vcpu: Pick<Vcpu, 'id' | 'cr4'>, leaf: number, subleaf: number): Words {
  switch (leaf >>> 0) {
    case 0:
      return [0x16, spell(VENDOR, 0), spell(VENDOR, 8), spell(VENDOR, 4)];
    case 1:
      return [SIGNATURE, ((2 * vcpu.id) << 24) | 0x800, osxsave(vcpu, bits(1, 'ecx')), bits(1, 'edx')];
    case 7:
      return subleaf === 0 ? [0, bits(7, 'ebx'), bits(7, 'ecx'), bits(7, 'edx')] : NOTHING;
    case 0x16:
      return [CPU_MHZ, CPU_MHZ, 100, 0];
    case 0x40000000:
      return [0x40000005, spell('XenVMMXenVMM', 0), spell('XenVMMXenVMM', 4), spell('XenVMMXenVMM', 8)];
    case 0x40000001:
      return [XEN_VERSION, 0, 0, 0];
    case 0x40000002:
      return [1, HYPERCALL_MSR, 1, 0];
    case 0x40000003:
      // TSC mode 0, safe, running at exactly 1 GHz: system time and TSC are one (pv-abi 4.1).
      if (subleaf === 0) return [2, 0, CPU_MHZ * 1000, 0];
      if (subleaf === 1) return [0, 0, 0x80000000, 1];
      return subleaf === 2 ? [CPU_MHZ * 1000, 0, 0, 0] : NOTHING;
    case 0x40000005:
      // Machine addresses of no more than 44 bits: grant table version 1 is enough.
      return subleaf === 0 ? [0, 40, 0, 0] : NOTHING;
    case 0x80000000:
      return [0x80000008, 0, 0, 0];
    case 0x80000001:
      return [0, 0, bits(0x80000001, 'ecx'), bits(0x80000001, 'edx')];
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const at = (leaf - 0x80000002) * 16;
      return [spell(BRAND, at), spell(BRAND, at + 4), spell(BRAND, at + 8), spell(BRAND, at + 12)];
    }
    case 0x80000007:
      return [0, 0, 0, 0x100]; // Invariant TSC.
    case 0x80000008:
      return [0x3028, 0, 0, 0];
    default:
      return NOTHING;
  }
}

/** OSXSAVE shows what the kernel chose in CR4; XSAVE is not announced, so that today it is never set. */
function osxsave(vcpu: Pick<Vcpu, 'cr4'>, ecx: number): number {
  const OSXSAVE = 1 << 18;
  return vcpu.cr4 & OSXSAVE ? (ecx | (1 << 27)) >>> 0 : ecx;
}

/** Perform CPUID on the registers. */
export function cpuid(vcpu: Vcpu): void {
  const [eax, ebx, ecx, edx] = cpuidLeaf(vcpu, vcpu.regLo(GPR.rax), vcpu.regLo(GPR.rcx));
  vcpu.setReg32(GPR.rax, eax);
  vcpu.setReg32(GPR.rbx, ebx);
  vcpu.setReg32(GPR.rcx, ecx);
  vcpu.setReg32(GPR.rdx, edx);
}
