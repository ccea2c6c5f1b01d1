/**
 * update_va_mapping: store the level 1 entry that maps an address in the current kernel page table. Follows pv-abi 2.8.
 */
import { Errno } from '../../abi/errno.ts';
import { UVMF } from '../../abi/numbers.ts';
import type { HypercallArgs } from '../hypercall-args.ts';
import type { Vcpu } from '../vcpu.ts';
import { storeLeaf } from './entries.ts';

export function updateVaMapping(vcpu: Vcpu, args: HypercallArgs): number {
  const { walker, memory } = vcpu;
  // Read through memory each time: an earlier entry of the same multicall may have changed the tables (XSA-286).
  if (!walker.find(vcpu.kernelRoot, args.lo(0), args.hi(0))) return -Errno.EINVAL;
  const { slot, table } = walker;
  if (table >= memory.layout.pages) return -Errno.EINVAL;
  if (!vcpu.domain.types.leafAllowed(args.lo(1), args.hi(1))) return -Errno.EINVAL;
  storeLeaf(vcpu, table, (slot - memory.at(table)) & 0xff8, args.lo(1), args.hi(1), false);
  // Of the flushes that may go with it, only that of one page is more than the change does already: see mmuext-op.ts.
  if ((args.lo(2) & UVMF.flush_type_mask) === UVMF.invlpg) vcpu.engine.flushPage(args.lo(0), args.hi(0));
  return 0;
}
