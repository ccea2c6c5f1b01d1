/**
 * What becomes of each instruction that the engine leaves to the hypervisor. Nothing in a PV guest is privileged, its kernel
 * neither: what is not emulated faults. Follows pv-abi 3.7 and 3.8.
 */
import { PRIVILEGED, type Privileged } from '../../x86/exits.ts';
import { SEG, STATE } from '../../x86/state.ts';
import { peek } from '../crash.ts';
import { sysenter } from '../traps/syscall.ts';
import type { Vcpu } from '../vcpu.ts';
import { Done, type Emulator, gp, length, ud } from './access.ts';
import { baseAccess, clts, movFromCr, movToCr, smsw, xgetbv, xsetbv } from './control-registers.ts';
import { cpuid } from './cpuid.ts';
import { icebp, movFromDr, movToDr } from './debug-registers.ts';
import { farCall, farJump, farReturn, nativeIret } from './far-transfers.ts';
import { cliSti, inOut, stringIo } from './io-ports.ts';
import { rdmsr, wrmsr } from './msr.ts';
import {
  lar,
  loadFarPointer,
  lsl,
  movToSegment,
  popSegment,
  sgdt,
  sidt,
  sldt,
  str,
  verr,
  verw,
} from './segment-instructions.ts';

/** UD2, "xen", CPUID: the forced form that a PV kernel uses, since native CPUID used not to trap. */
const FORCED_CPUID = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];

const fault: Emulator = (vcpu) => gp(vcpu);
const kernelOnly: Emulator = (vcpu) => (vcpu.kernelMode ? Done.next : gp(vcpu));

const nativeCpuid: Emulator = (vcpu) => {
  cpuid(vcpu);
  return Done.next;
};

const ud2: Emulator = (vcpu) => {
  const bytes = peek(vcpu, vcpu.rip, FORCED_CPUID.length);
  if (!FORCED_CPUID.every((byte, i) => bytes[i] === byte)) return ud(vcpu);
  cpuid(vcpu);
  vcpu.skip(FORCED_CPUID.length);
  return Done.placed;
};

const sysenterEntry: Emulator = (vcpu) => {
  sysenter(vcpu);
  return Done.placed;
};

// biome-ignore format: a table
const EMULATORS: Readonly<Record<Privileged, Emulator>> = {
  cpuid: nativeCpuid,   rdmsr,                wrmsr,
  in: inOut,            out: inOut,           ins: stringIo,        outs: stringIo,
  hlt: fault,           cli: cliSti,          sti: cliSti,          iret: nativeIret,
  clts,                 lmsw: fault,          smsw,
  mov_from_cr: movFromCr, mov_to_cr: movToCr, mov_from_dr: movFromDr, mov_to_dr: movToDr,
  lgdt: fault,          lidt: fault,          sgdt,                 sidt,
  sldt,                 lldt: fault,          str,                  ltr: fault,
  invlpg: fault,        invd: kernelOnly,     wbinvd: kernelOnly,   swapgs: fault,
  sysret: fault,        sysexit: fault,       sysenter: sysenterEntry,
  rdpmc: fault,         rsm: ud,              monitor: ud,          mwait: ud,
  xsetbv,               xgetbv,
  lar,                  lsl,                  verr,                 verw,
  mov_to_seg: movToSegment, pop_seg: popSegment,
  far_call: farCall,    far_jmp: farJump,     far_ret: farReturn,
  lss: loadFarPointer(SEG.ss), lfs: loadFarPointer(SEG.fs), lgs: loadFarPointer(SEG.gs),
  ud2,
  rdfsbase: baseAccess('fs', 'read'), rdgsbase: baseAccess('gs', 'read'),
  wrfsbase: baseAccess('fs', 'write'), wrgsbase: baseAccess('gs', 'write'),
  vmcall: ud,           clac: ud,             stac: ud,             invpcid: ud,
  icebp,
};

const BY_NUMBER: readonly Emulator[] = PRIVILEGED.map((name) => EMULATORS[name]);

/** Perform the instruction of an `Exit.Instruction`. */
export function emulate(vcpu: Vcpu): void {
  const emulator = BY_NUMBER[vcpu.u32(STATE.exitOp)] ?? ud;
  if (emulator(vcpu) === Done.next) vcpu.skip(length(vcpu));
}
