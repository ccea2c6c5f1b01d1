/**
 * Hypercalls by which the guest kernel says where it is entered: set_trap_table, stack_switch, set_callbacks, callback_op.
 * Follows pv-abi 2.1, 2.4, 2.14.
 */
import { Errno } from '../../abi/errno.ts';
import { CALLBACKOP, CALLBACKTYPE } from '../../abi/numbers.ts';
import type { HypercallArgs } from '../hypercall-args.ts';
import { isCanonical64 } from '../mmu/walk.ts';
import type { Vcpu } from '../vcpu.ts';
import { type Callback, TRAP_MASK_EVENTS } from './trap-table.ts';

const TRAP_INFO = 16;
const NMI_VECTOR = 2;

/** set_trap_table(array): entries up to the one whose address is 0; only the vectors listed change. */
export function setTrapTable(vcpu: Vcpu, args: HypercallArgs): number {
  let at = args.u64(0);
  if (at === 0n) {
    vcpu.traps.clear();
    return 0;
  }
  // 256 vectors and the terminator; a longer array is an endless one.
  for (let i = 0; i <= 256; i++, at = BigInt.asUintN(64, at + BigInt(TRAP_INFO))) {
    const bytes = vcpu.readGuest(at, TRAP_INFO);
    if (!bytes) return -Errno.EFAULT;
    const view = new DataView(bytes.buffer);
    const address = view.getBigUint64(8, true);
    if (address === 0n) return 0;
    if (!isCanonical64(address)) return -Errno.EINVAL;
    vcpu.traps.set(view.getUint8(0), view.getUint8(1), view.getUint16(2, true), address);
  }
  return -Errno.EINVAL;
}

/** stack_switch(ss, sp): on every context switch of the guest. */
export function stackSwitch(vcpu: Vcpu, args: HypercallArgs): number {
  vcpu.kernelSs = (args.lo(0) & 0xffff) | 3;
  vcpu.setKernelSp(args.lo(1), args.hi(1));
  return 0;
}

/** set_callbacks(event, failsafe, syscall): the old way to register three at once. */
export function setCallbacks(vcpu: Vcpu, args: HypercallArgs): number {
  for (let i = 0; i < 3; i++) if (!isCanonical64(args.u64(i))) return -Errno.EINVAL;
  vcpu.callbacks.event.set(args.u64(0), true);
  vcpu.callbacks.failsafe.set(args.u64(1), false);
  vcpu.callbacks.syscall.set(args.u64(2), false);
  return 0;
}

function slot(vcpu: Vcpu, type: number): Callback | undefined {
  switch (type) {
    case CALLBACKTYPE.event:
      return vcpu.callbacks.event;
    case CALLBACKTYPE.failsafe:
      return vcpu.callbacks.failsafe;
    case CALLBACKTYPE.syscall:
      return vcpu.callbacks.syscall;
    case CALLBACKTYPE.sysenter:
      return vcpu.callbacks.sysenter;
    case CALLBACKTYPE.syscall32:
      return vcpu.callbacks.syscall32;
    default:
      return undefined;
  }
}

/** callback_op(cmd, arg). */
export function callbackOp(vcpu: Vcpu, args: HypercallArgs): number {
  const command = args.lo(0);
  if (command === CALLBACKOP.register) {
    const bytes = vcpu.readGuest(args.u64(1), 16);
    if (!bytes) return -Errno.EFAULT;
    const view = new DataView(bytes.buffer);
    const type = view.getUint16(0, true);
    const masks = (view.getUint16(2, true) & 1) !== 0;
    const address = view.getBigUint64(8, true);
    if (!isCanonical64(address)) return -Errno.EINVAL;
    if (type === CALLBACKTYPE.nmi) {
      vcpu.traps.set(NMI_VECTOR, masks ? TRAP_MASK_EVENTS : 0, 0, address);
      return 0;
    }
    const callback = slot(vcpu, type);
    if (!callback) return -Errno.ENOSYS;
    // An upcall always masks further ones: it would nest without end otherwise.
    callback.set(address, masks || type === CALLBACKTYPE.event);
    return 0;
  }
  if (command !== CALLBACKOP.unregister) return -Errno.ENOSYS;
  const bytes = vcpu.readGuest(args.u64(1), 2);
  if (!bytes) return -Errno.EFAULT;
  const type = new DataView(bytes.buffer).getUint16(0, true);
  if (type === CALLBACKTYPE.nmi) {
    vcpu.traps.set(NMI_VECTOR, 0, 0, 0n);
    return 0;
  }
  return slot(vcpu, type) ? -Errno.EINVAL : -Errno.ENOSYS;
}
