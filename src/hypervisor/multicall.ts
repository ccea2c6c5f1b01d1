/**
 * multicall: several hypercalls for the price of one. Follows pv-abi 2.7.
 */
import { Errno } from '../abi/errno.ts';
import { HypercallArgs } from './hypercall-args.ts';
import { perform } from './hypercalls.ts';
import type { Vcpu } from './vcpu.ts';

const ENTRY = 64;
const RESULT = 8n;

export function multicall(vcpu: Vcpu, args: HypercallArgs): number {
  if (vcpu.inMulticall) return -Errno.ENOSYS;
  vcpu.inMulticall = true;
  const result = run(vcpu, args.u64(0), args.lo(1));
  vcpu.inMulticall = false;
  return result;
}

function run(vcpu: Vcpu, first: bigint, count: number): number {
  const bytes = new Uint8Array(ENTRY);
  const entry = new DataView(bytes.buffer);
  const callArgs = new HypercallArgs();
  for (let i = 0; i < count; i++) {
    const at = BigInt.asUintN(64, first + BigInt(i * ENTRY));
    if (!vcpu.readInto(at, bytes)) return -Errno.EFAULT;
    const result = perform(vcpu, entry.getUint32(0, true), callArgs.fromMulticall(entry));
    // iret leaves for another context: nothing is stored, and no later entry runs (XSA-213).
    if (vcpu.noResult || vcpu.domain.shutdown) return 0;
    entry.setBigUint64(0, BigInt.asUintN(64, BigInt(result)), true);
    if (!vcpu.writeGuest(at + RESULT, bytes.subarray(0, 8))) return -Errno.EFAULT;
  }
  return 0;
}
