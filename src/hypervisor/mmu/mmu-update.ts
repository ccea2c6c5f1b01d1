/**
 * mmu_update: a batch of page-table entry stores. The hottest hypercall together with update_va_mapping, so it works on
 * 32-bit halves and looks the request array's page up once. Follows pv-abi 2.2.
 */
import { Errno } from '../../abi/errno.ts';
import { DOMID, MMU } from '../../abi/numbers.ts';
import { FRAME_WORK } from '../continuation.ts';
import type { HypercallArgs } from '../hypercall-args.ts';
import { RecordReader } from '../record-reader.ts';
import type { Vcpu } from '../vcpu.ts';
import { TABLE_CHANGED, updateEntry } from './entries.ts';
import { setM2p } from './m2p.ts';

const REQUEST = 16;
/** Mark in the count of a call that goes on: `done` has what earlier pieces did. A guest has no reason to set it. */
const PREEMPTED = 0x8000_0000;

/** Is the domid argument of an MMU hypercall ourselves? Nobody else's pages can be named. */
export function checkOwner(vcpu: Vcpu, domids: number): number {
  const owner = domids & 0xffff;
  if (domids >>> 16 !== 0 && domids >>> 16 !== owner + 1) return -Errno.EPERM;
  if (owner === DOMID.self || owner === vcpu.domain.domid) return 0;
  return owner >= DOMID.first_reserved ? -Errno.EPERM : -Errno.ESRCH;
}

/** Write the number of finished entries where the guest wants it; NULL is nowhere. */
export function storeDone(vcpu: Vcpu, args: HypercallArgs, done: number): boolean {
  return args.isZero(2) || vcpu.writeU32(args.u64(2), done);
}

/** The number of entries that a call has still to do. */
export function entryCount(args: HypercallArgs): number {
  return (args.lo(1) & ~PREEMPTED) >>> 0;
}

/** What the pieces before this one did. */
export function doneBefore(vcpu: Vcpu, args: HypercallArgs): number {
  if (!(args.lo(1) & PREEMPTED) || args.isZero(2)) return 0;
  return vcpu.readU32(args.u64(2)) ?? 0;
}

/** Stop after `done` entries of `size` bytes; the guest makes the call again for the rest. */
export function goOnLater(vcpu: Vcpu, args: HypercallArgs, done: number, size: number): number {
  if (!storeDone(vcpu, args, doneBefore(vcpu, args) + done)) return -Errno.EFAULT;
  args.setLo(1, (entryCount(args) - done) | PREEMPTED);
  args.advance(0, done * size);
  vcpu.continued = true;
  return 0;
}

/** Made once: a batch is often a single entry, and typed arrays are dear to make. MMU hypercalls do not nest. */
const reader = new RecordReader(REQUEST);

export function mmuUpdate(vcpu: Vcpu, args: HypercallArgs): number {
  const error = checkOwner(vcpu, args.lo(3));
  if (error) return error;
  const count = entryCount(args);
  const { types } = vcpu.domain;
  reader.start(vcpu);
  let lo = args.lo(0);
  let hi = args.hi(0);
  let result = 0;
  let flush = false;
  let done = 0;
  for (; done < count; done++) {
    if (done > 0 && vcpu.work <= 0) {
      if (flush) vcpu.engine.flushTlb();
      return goOnLater(vcpu, args, done, REQUEST);
    }
    const visits = types.visits;
    if (!reader.read(lo, hi)) {
      result = -Errno.EFAULT;
      break;
    }
    const { words } = reader;
    const ptrLo = words[0]!;
    const valLo = words[2]!;
    const valHi = words[3]!;
    const command = ptrLo & 7;
    const frame = words[1] === 0 ? ptrLo >>> 12 : 0xffff_ffff;
    if (command === MMU.machphys_update) {
      if (frame >= vcpu.memory.layout.pages) result = -Errno.EINVAL;
      else setM2p(vcpu.memory, frame, valLo, valHi);
    } else if (command > MMU.pt_update_no_translate) {
      result = -Errno.ENOSYS;
    } else {
      const preserve = command === MMU.pt_update_preserve_ad;
      result = updateEntry(vcpu, frame, ptrLo & 0xff8, valLo, valHi, preserve);
    }
    if (result < 0) break;
    vcpu.work -= 1 + (types.visits - visits) * FRAME_WORK;
    if (result === TABLE_CHANGED) {
      flush = true;
      result = 0;
    }
    lo += REQUEST;
    if (lo > 0xffff_ffff) {
      lo >>>= 0;
      hi = (hi + 1) >>> 0;
    }
  }
  if (flush) vcpu.engine.flushTlb();
  if (!storeDone(vcpu, args, doneBefore(vcpu, args) + done) && result === 0) result = -Errno.EFAULT;
  return result;
}
