/**
 * multicall: several hypercalls for the price of one. Follows pv-abi 2.7.
 */
import { Errno } from '../abi/errno.ts';
import { CALL_WORK, spent } from './continuation.ts';
import { HypercallArgs } from './hypercall-args.ts';
import { perform } from './hypercalls.ts';
import { RecordReader } from './record-reader.ts';
import type { Vcpu } from './vcpu.ts';

const ENTRY = 64;
const RESULT = 8n;
const ARGUMENTS = 0x10n;

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

/** Made once, as typed arrays are dear to make and Linux has three multicalls in a fork. Multicalls do not nest. */
const reader = new RecordReader(ENTRY);
const callArgs = new HypercallArgs();

function run(vcpu: Vcpu, args: HypercallArgs): number {
  const count = args.lo(1);
  let lo = args.lo(0);
  let hi = args.hi(0);
  for (let i = 0; i < count; i++) {
    if (i > 0 && spent(vcpu, CALL_WORK)) return goOn(vcpu, args, i);
    // The call before may have changed what is mapped here.
    reader.start(vcpu);
    if (!reader.read(lo, hi)) return -Errno.EFAULT;
    const result = perform(vcpu, reader.words[0]!, callArgs.fromMulticall(reader.words));
    if (vcpu.continued) {
      // The entry becomes the call's rest, and is done again first.
      vcpu.continued = false;
      const rest = new Uint8Array(callArgs.words.buffer);
      if (!vcpu.writeGuest(address(lo, hi) + ARGUMENTS, rest)) return -Errno.EFAULT;
      return goOn(vcpu, args, i);
    }
    // iret leaves for another context: nothing is stored, and no later entry runs (XSA-213).
    if (vcpu.noResult || vcpu.domain.shutdown) return 0;
    if (!storeResult(vcpu, lo, hi, result)) return -Errno.EFAULT;
    lo += ENTRY;
    if (lo > 0xffff_ffff) {
      lo >>>= 0;
      hi = (hi + 1) >>> 0;
    }
  }
  return 0;
}

const address = (lo: number, hi: number): bigint => (BigInt(hi) << 32n) | BigInt(lo);

/** Write the result of the entry at hi:lo into it; false after a fault. */
function storeResult(vcpu: Vcpu, lo: number, hi: number, result: number | bigint): boolean {
  const plain = (lo & 7) === 0 && (lo & 0xfff) <= 0xff0 && typeof result === 'number';
  if (!plain) return vcpu.writeU64(address(lo, hi) + RESULT, BigInt.asUintN(64, BigInt(result)));
  const { memory } = vcpu;
  const to = vcpu.translate(lo + Number(RESULT), hi, true);
  if (to === 0) return false;
  memory.u32[to / 4] = result;
  memory.u32[to / 4 + 1] = Math.floor(result / 0x1_0000_0000);
  vcpu.frameTouched((to - memory.layout.ramBase) >>> 12);
  return true;
}
