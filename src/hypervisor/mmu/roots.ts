/**
 * The page-table roots of a vCPU. A root holds a reference to its table, so that a table that is unpinned while in use stays
 * one. Follows pv-abi 2.11 (NEW_BASEPTR) and 3.3.
 */
import { STATE } from '../../x86/state.ts';
import type { Vcpu } from '../vcpu.ts';
import { NO_ROOT } from './walk.ts';

/** Make `mfn` the kernel root; false when it is no level 4 table. The engine decides what that flushes. */
export function setKernelRoot(vcpu: Vcpu, mfn: number): boolean {
  return setRoot(vcpu, STATE.kernelRoot, mfn);
}

/** Make `mfn` the user root, NO_ROOT for none. */
export function setUserRoot(vcpu: Vcpu, mfn: number): boolean {
  return setRoot(vcpu, STATE.userRoot, mfn);
}

/** Take the references for the roots that the builder wrote into the state block. */
export function adoptRoots(vcpu: Vcpu): boolean {
  const { types } = vcpu.domain;
  return types.acquire(vcpu.kernelRoot, 4) && (!vcpu.hasUserRoot || types.acquire(vcpu.userRoot, 4));
}

function setRoot(vcpu: Vcpu, field: number, mfn: number): boolean {
  const { types } = vcpu.domain;
  const old = vcpu.u32(field);
  if (mfn === old) return true;
  if (mfn !== NO_ROOT && !types.acquire(mfn, 4)) return false;
  vcpu.setU32(field, mfn);
  // Before the old table may become something else: the engine compares the two.
  vcpu.engine.modeChanged();
  if (old !== NO_ROOT) types.release(old, 4);
  return true;
}
