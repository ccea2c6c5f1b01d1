/**
 * RDMSR and WRMSR: a table of the registers that a PV guest meets. Kernel mode only. Follows pv-abi 3.8.
 */
import { GPR, STATE } from '../../x86/state.ts';
import { writeHypercallPage } from '../builder/hypercall-page.ts';
import { isCanonical64 } from '../mmu/walk.ts';
import { Vector } from '../traps/exceptions.ts';
import type { Vcpu } from '../vcpu.ts';
import { Done, gp } from './access.ts';
import { announced, HYPERCALL_MSR } from './cpuid.ts';

interface Msr {
  readonly read: (vcpu: Vcpu) => bigint | undefined;
  /** False refuses. */
  readonly write: (vcpu: Vcpu, value: bigint) => boolean;
}
const ignore = () => true;
const refuse = () => false;
/** A register that reads as a constant. */
const constant = (value: bigint, write: Msr['write'] = ignore): Msr => ({ read: () => value, write });
const base = (read: (vcpu: Vcpu) => bigint, write: (vcpu: Vcpu, value: bigint) => void): Msr => ({
  read,
  write: (vcpu, value) => {
    if (!isCanonical64(value)) return false;
    write(vcpu, value);
    return true;
  },
});

const EFER = 0xd01n; // SCE, LME, LMA, NX.

// biome-ignore format: a table
const MSRS: ReadonlyMap<number, Msr> = new Map<number, Msr>([
  [0x00000010, { read: (vcpu) => BigInt(vcpu.domain.clock.now()), write: ignore }],            // TSC
  [0x0000001b, { read: (vcpu) => 0xfee00800n | (vcpu.id === 0 ? 0x100n : 0n), write: refuse }], // APIC_BASE
  [0x0000003a, constant(1n, refuse)],               // FEATURE_CONTROL: locked
  [0x0000008b, constant(0n)],                       // microcode revision
  [0x000000ce, constant(0n, refuse)],               // PLATFORM_INFO
  [0x00000140, constant(0n, refuse)],               // MISC_FEATURES_ENABLES
  [0x00000174, constant(0n)],                       // SYSENTER_CS
  [0x00000175, constant(0n)],                       // SYSENTER_ESP
  [0x00000176, constant(0n)],                       // SYSENTER_EIP
  [0x00000179, constant(0n)],                       // MCG_CAP
  [0x0000017a, constant(0n)],                       // MCG_STATUS
  [0x00000198, constant(0n)],                       // PERF_STATUS
  [0x00000199, constant(0n)],                       // PERF_CTL
  [0x0000019a, constant(0n)],                       // CLOCK_MODULATION
  [0x000001a0, constant(0x00801801n)],              // MISC_ENABLE. Bit 0: Linux gives up on rep movs without it.
  [0x000001b0, constant(0n)],                       // ENERGY_PERF_BIAS
  [0x00000277, constant(0x0000050100070406n, refuse)], // PAT
  [0x00000345, constant(0n, refuse)],               // PERF_CAPABILITIES
  [HYPERCALL_MSR, { read: () => 0n, write: hypercallPage }],
  [0xc0000080, constant(EFER, (_vcpu, value) => value === EFER)],
  [0xc0000081, constant(0n)],                       // STAR
  [0xc0000082, constant(0n)],                       // LSTAR
  [0xc0000083, constant(0n)],                       // CSTAR
  [0xc0000084, constant(0n)],                       // SFMASK
  [0xc0000100, base((vcpu) => vcpu.u64(STATE.fsBase), (vcpu, value) => vcpu.setU64(STATE.fsBase, value))],
  [0xc0000101, base((vcpu) => vcpu.u64(STATE.gsBase), (vcpu, value) => vcpu.setU64(STATE.gsBase, value))],
  [0xc0000102, base((vcpu) => vcpu.u64(STATE.gsBaseUser), (vcpu, value) => vcpu.setU64(STATE.gsBaseUser, value))],
  [0xc0000103, {                                    // TSC_AUX
    read: (vcpu) => (announced('rdtscp') ? BigInt(vcpu.u32(STATE.tscAux)) : undefined),
    write: (vcpu, value) => {
      if (!announced('rdtscp') || value >> 32n) return false;
      vcpu.setU32(STATE.tscAux, Number(value));
      return true;
    },
  }],
]);

/** WRMSR of a guest frame address: make that frame the hypercall page. Bits 0–11 are the page's index; there is only 0. */
function hypercallPage(vcpu: Vcpu, value: bigint): boolean {
  const frame = value >> 12n;
  if (value & 0xfffn || frame >= BigInt(vcpu.memory.layout.pages)) return false;
  writeHypercallPage(vcpu.memory, Number(frame));
  vcpu.engine.frameWritten(Number(frame));
  return true;
}

export function rdmsr(vcpu: Vcpu): Done {
  const number = vcpu.regLo(GPR.rcx);
  if (!vcpu.kernelMode) return gp(vcpu);
  let value = MSRS.get(number)?.read(vcpu);
  if (value === undefined) {
    vcpu.domain.logOnce(
      'debug',
      `rdmsr ${number}`,
      `the guest reads MSR 0x${number.toString(16)}, which it does not have`,
    );
    // Before the guest has a handler a fault would be its end; it reads zero.
    if (vcpu.traps.has(Vector.GP)) return gp(vcpu);
    value = 0n;
  }
  vcpu.setReg32(GPR.rax, Number(value & 0xffff_ffffn));
  vcpu.setReg32(GPR.rdx, Number(value >> 32n));
  return Done.next;
}

export function wrmsr(vcpu: Vcpu): Done {
  const number = vcpu.regLo(GPR.rcx);
  if (!vcpu.kernelMode) return gp(vcpu);
  const value = (BigInt(vcpu.regLo(GPR.rdx)) << 32n) | BigInt(vcpu.regLo(GPR.rax));
  if (MSRS.get(number)?.write(vcpu, value)) return Done.next;
  vcpu.domain.logOnce('debug', `wrmsr ${number}`, `the guest writes MSR 0x${number.toString(16)}, which is refused`);
  return gp(vcpu);
}
