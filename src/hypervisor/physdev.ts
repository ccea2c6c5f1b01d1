/**
 * physdev_op: of hardware there is none, but the privilege levels that a PV kernel sets for its programs are kept.
 * Follows pv-abi 2.16.
 */
import { Errno } from '../abi/errno.ts';
import { PHYSDEVOP } from '../abi/numbers.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import type { GuestCpu } from './ports.ts';

const PORTS = 65536;

/** Hypercall 33. */
export function physdevOp(vcpu: GuestCpu, args: HypercallArgs): number {
  switch (args.lo(0)) {
    case PHYSDEVOP.set_iopl: {
      const bytes = vcpu.readGuest(args.u64(1), 4);
      if (bytes === undefined) return -Errno.EFAULT;
      const iopl = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
      if (iopl > 3) return -Errno.EINVAL;
      vcpu.viopl = iopl;
      return 0;
    }
    case PHYSDEVOP.set_iobitmap: {
      const bytes = vcpu.readGuest(args.u64(1), 16);
      if (bytes === undefined) return -Errno.EFAULT;
      const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
      const ports = view.getUint32(8, true);
      if (ports > PORTS) return -Errno.EINVAL;
      vcpu.ioBitmap = { va: view.getBigUint64(0, true), ports };
      return 0;
    }
    case PHYSDEVOP.pirq_eoi_gmfn_v1:
    case PHYSDEVOP.pirq_eoi_gmfn_v2:
      return -Errno.EINVAL;
    default:
      return -Errno.ENOSYS;
  }
}
