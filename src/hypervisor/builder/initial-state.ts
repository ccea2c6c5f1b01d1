/**
 * The registers with which vCPU 0 enters the kernel. What is not in the state block (trap table, debug registers, kernel stack)
 * is the vCPU object's. Follows pv-abi 1.6.
 */
import { FLAT } from '../../abi/numbers.ts';
import { writeFlags } from '../../x86/flags.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import type { GuestMemory } from '../memory.ts';

const NO_ROOT = 0xffff_ffff;

export interface InitialState {
  readonly entry: bigint;
  readonly stackPointer: bigint;
  /** Virtual address of start_info. */
  readonly startInfo: bigint;
  readonly kernelRoot: number;
}

export function setInitialState(memory: GuestMemory, vcpu: number, initial: InitialState): void {
  const base = memory.vcpuBase(vcpu);
  const { view } = memory;
  const u32 = (offset: number, value: number) => view.setUint32(base + offset, value, true);
  const u64 = (offset: number, value: bigint) => view.setBigUint64(base + offset, value, true);
  u64(STATE.rip, initial.entry);
  u64(STATE.gpr + 8 * GPR.rsp, initial.stackPointer);
  u64(STATE.gpr + 8 * GPR.rsi, initial.startInfo);
  writeFlags(view, base, RFLAGS.IF);
  u32(STATE.selector + 4 * SEG.cs, FLAT.ring3Cs64);
  u32(STATE.selector + 4 * SEG.ss, FLAT.ring3Ss);
  u32(STATE.kernelMode, 1);
  u32(STATE.kernelRoot, initial.kernelRoot);
  u32(STATE.userRoot, NO_ROOT);
  // As after FNINIT, with all exceptions masked and all registers empty.
  u32(STATE.mxcsr, 0x1f80);
  view.setUint16(base + STATE.fcw, 0x37f, true);
  view.setUint16(base + STATE.ftw, 0xffff, true);
}
