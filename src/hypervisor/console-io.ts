/**
 * console_io: the hypervisor's own console, where kernels say what happens before their PV console works. Follows pv-abi 2.5.
 */
import { Errno } from '../abi/errno.ts';
import { CONSOLEIO } from '../abi/numbers.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import { PAGE_SIZE } from './memory.ts';
import type { GuestCpu } from './ports.ts';

/** More in one call than any kernel writes; the rest of a longer one is dropped. */
const WRITE_MAX = 64 * 1024;

/** Hypercall 18. Nobody types here: reading gives no bytes. */
export function consoleIo(vcpu: GuestCpu, args: HypercallArgs): number {
  switch (args.lo(0)) {
    case CONSOLEIO.write: {
      const count = Math.min(args.lo(1), WRITE_MAX);
      for (let done = 0; done < count; done += PAGE_SIZE) {
        const bytes = vcpu.readGuest(args.u64(2) + BigInt(done), Math.min(PAGE_SIZE, count - done));
        if (bytes === undefined) return -Errno.EFAULT;
        vcpu.domain.consoleSink?.(bytes);
      }
      return 0;
    }
    case CONSOLEIO.read:
      return 0;
    default:
      return -Errno.ENOSYS;
  }
}
