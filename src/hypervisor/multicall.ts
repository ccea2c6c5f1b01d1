/**
 * multicall: several hypercalls for the price of one. Follows pv-abi 2.7.
 */
import { Errno } from '../abi/errno.ts';
import { CALL_WORK, spent } from './continuation.ts';
import { HypercallArgs } from './hypercall-args.ts';
import { perform } from './hypercalls.ts';
import type { Vcpu } from './vcpu.ts';

const ENTRY = 64;
const RESULT = 8n;
const ARGUMENTS = 0x10;

export function multicall(vcpu: Vcpu, args: HypercallArgs): number {
  if (vcpu.inMulticall) return -Errno.ENOSYS;
  vcpu.inMulticall = true;
  const result = run(vcpu, args);
  vcpu.inMulticall = false;
  return result;
}

/** Come back later for the entries from number `done` on. */
function goOn(vcpu: Vcpu, args: HypercallArgs, done: number): number {
  args.setLo(1, args.lo(1) - done);
  args.advance(0, done * ENTRY);
  vcpu.continued = true;
  return 0;
}

function run(vcpu: Vcpu, args: HypercallArgs): number {
  const first = args.u64(0);
  const count = args.lo(1);
  const bytes = new Uint8Array(ENTRY);
  const entry = new DataView(bytes.buffer);
  const callArgs = new HypercallArgs();
  for (let i = 0; i < count; i++) {
    if (i > 0 && spent(vcpu, CALL_WORK)) return goOn(vcpu, args, i);
    const at = BigInt.asUintN(64, first + BigInt(i * ENTRY));
    if (!vcpu.readInto(at, bytes)) return -Errno.EFAULT;
    const result = perform(vcpu, entry.getUint32(0, true), callArgs.fromMulticall(entry));
    if (vcpu.continued) {
      // The entry becomes the call's rest, and is done again first.
      vcpu.continued = false;
      new Uint32Array(bytes.buffer, ARGUMENTS, 12).set(callArgs.words);
      if (!vcpu.writeGuest(at + BigInt(ARGUMENTS), bytes.subarray(ARGUMENTS))) return -Errno.EFAULT;
      return goOn(vcpu, args, i);
    }
    // iret leaves for another context: nothing is stored, and no later entry runs (XSA-213).
    if (vcpu.noResult || vcpu.domain.shutdown) return 0;
    entry.setBigUint64(0, BigInt.asUintN(64, BigInt(result)), true);
    if (!vcpu.writeGuest(at + RESULT, bytes.subarray(0, 8))) return -Errno.EFAULT;
  }
  return 0;
}
