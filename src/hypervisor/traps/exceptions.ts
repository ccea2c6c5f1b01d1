/**
 * Exceptions and software interrupts on their way to the guest's virtual IDT. Follows pv-abi 3.4 and 3.5.
 */
import { STATE } from '../../x86/state.ts';
import type { Vcpu } from '../vcpu.ts';
import { bounce, NO_ERROR } from './bounce.ts';
import { TRAP_DPL, TRAP_MASK_EVENTS } from './trap-table.ts';

export const Vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
  CP: 21,
} as const;

/** Page-fault error code bits. */
export const PF = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

const HAS_ERROR_CODE = new Set<number>([8, 10, 11, 12, 13, 14, 17, 21]);
const DR6_SINGLE_STEP = 0x4000n;

/** Enter the handler of `vector` without an error code of its own. */
function enter(vcpu: Vcpu, vector: number, errorCode: number): boolean {
  const { traps } = vcpu;
  const masks = (traps.flags[vector]! & TRAP_MASK_EVENTS) !== 0;
  return bounce(vcpu, traps.lo(vector), traps.hi(vector), masks, errorCode, vector);
}

/** Deliver an exception. RIP is where its frame shall show it. False when the domain crashed. */
export function deliver(vcpu: Vcpu, vector: number, errorCode = 0): boolean {
  // Linux's own clts in the handler is then redundant, as it expects.
  if (vector === Vector.NM) vcpu.setU32(STATE.taskSwitched, 0);
  return enter(vcpu, vector, HAS_ERROR_CODE.has(vector) ? errorCode : NO_ERROR);
}

/** Deliver #GP(error). */
export function generalProtection(vcpu: Vcpu, error = 0): boolean {
  return deliver(vcpu, Vector.GP, error);
}

/** Deliver a page fault at `va`. Bit U says which mode the guest was in, not the hardware's privilege level. */
export function pageFault(vcpu: Vcpu, va: bigint, errorCode: number): boolean {
  vcpu.setCr2(va);
  const user = vcpu.kernelMode ? 0 : PF.user;
  return deliver(vcpu, Vector.PF, (errorCode & ~PF.user) | user);
}

/** #DB: note in the virtual DR6 what happened. The engine has single stepping and ICEBP, no breakpoints. */
export function debugTrap(vcpu: Vcpu, hit: bigint = DR6_SINGLE_STEP): boolean {
  vcpu.debug[6] = vcpu.debug[6]! | hit;
  return deliver(vcpu, Vector.DB);
}

/** INT n, with RIP behind the instruction of `length` bytes. */
export function softwareInterrupt(vcpu: Vcpu, vector: number, length: number): boolean {
  const handled = vcpu.traps.has(vector);
  const needed = vcpu.kernelMode ? 1 : 3;
  const allowed = vector === 0x80 || (vcpu.traps.flags[vector]! & TRAP_DPL) >= needed;
  if (handled && allowed) return enter(vcpu, vector, NO_ERROR);
  // The error code names the entry in the IDT, and the frame shows the instruction itself.
  vcpu.skip(-length);
  return generalProtection(vcpu, (vector << 3) | 2);
}
