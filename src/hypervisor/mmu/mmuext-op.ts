/**
 * mmuext_op: pinning, base pointers, flushes, the LDT, clearing and copying pages. Follows pv-abi 2.11.
 */
import { Errno } from '../../abi/errno.ts';
import { MMUEXT } from '../../abi/numbers.ts';
import { FRAME_WORK } from '../continuation.ts';
import type { HypercallArgs } from '../hypercall-args.ts';
import { PAGE_SIZE } from '../memory.ts';
import { RecordReader } from '../record-reader.ts';
import { LDT_ENTRIES_MAX } from '../segments.ts';
import type { Vcpu } from '../vcpu.ts';
import { checkOwner, doneBefore, entryCount, goOnLater, storeDone } from './mmu-update.ts';
import { setKernelRoot, setUserRoot } from './roots.ts';
import { isCanonical, NO_ROOT } from './walk.ts';

const OP = 24;

/** A frame of RAM whose contents the guest may have replaced: no page table. */
function plainFrame(vcpu: Vcpu, lo: number, hi: number): boolean {
  return hi === 0 && lo < vcpu.memory.layout.pages && vcpu.domain.types.level(lo) === 0;
}

function perform(vcpu: Vcpu, op: Uint32Array): number {
  const command = op[0]!;
  const lo = op[2]!;
  const hi = op[3]!;
  const mfn = hi === 0 ? lo : NO_ROOT;
  const { types } = vcpu.domain;
  switch (command) {
    case MMUEXT.pin_l1_table:
    case MMUEXT.pin_l2_table:
    case MMUEXT.pin_l3_table:
    case MMUEXT.pin_l4_table:
      return types.pin(mfn, command - MMUEXT.pin_l1_table + 1) ? 0 : -Errno.EINVAL;
    case MMUEXT.unpin_table:
      return types.unpin(mfn) ? 0 : -Errno.EINVAL;
    case MMUEXT.new_baseptr:
      return mfn !== NO_ROOT && setKernelRoot(vcpu, mfn) ? 0 : -Errno.EINVAL;
    case MMUEXT.new_user_baseptr:
      if ((mfn === NO_ROOT && (lo | hi) !== 0) || !setUserRoot(vcpu, mfn === 0 ? NO_ROOT : mfn)) return -Errno.EINVAL;
      return 0;
    // What an entry's change makes stale is dropped with the change (decision 10): there is nothing left to flush.
    case MMUEXT.tlb_flush_local:
    case MMUEXT.tlb_flush_multi:
    case MMUEXT.tlb_flush_all:
      return 0;
    case MMUEXT.invlpg_local:
    case MMUEXT.invlpg_multi:
    case MMUEXT.invlpg_all:
      if (isCanonical(hi)) vcpu.engine.flushPage(lo, hi);
      return 0;
    case MMUEXT.flush_cache:
    case MMUEXT.flush_cache_global:
      return -Errno.EACCES;
    case MMUEXT.set_ldt: {
      const entries = op[4]!;
      if (lo & 0xfff || !isCanonical(hi) || op[5] !== 0 || entries > LDT_ENTRIES_MAX) return -Errno.EINVAL;
      vcpu.ldtBase = (BigInt(hi) << 32n) | BigInt(lo);
      vcpu.ldtEntries = entries;
      return 0;
    }
    case MMUEXT.clear_page: {
      if (!plainFrame(vcpu, lo, hi)) return -Errno.EINVAL;
      const at = vcpu.memory.at(lo);
      vcpu.memory.u8.fill(0, at, at + PAGE_SIZE);
      vcpu.frameTouched(lo);
      return 0;
    }
    case MMUEXT.copy_page: {
      const source = op[5] === 0 ? op[4]! : NO_ROOT;
      if (!plainFrame(vcpu, lo, hi) || source >= vcpu.memory.layout.pages) return -Errno.EINVAL;
      const from = vcpu.memory.at(source);
      vcpu.memory.u8.copyWithin(vcpu.memory.at(lo), from, from + PAGE_SIZE);
      vcpu.frameTouched(lo);
      return 0;
    }
    case MMUEXT.mark_super:
    case MMUEXT.unmark_super:
      return -Errno.EOPNOTSUPP;
    default:
      return -Errno.ENOSYS;
  }
}

const reader = new RecordReader(OP);

export function mmuextOp(vcpu: Vcpu, args: HypercallArgs): number {
  const error = checkOwner(vcpu, args.lo(3));
  if (error) return error;
  const count = entryCount(args);
  const { types } = vcpu.domain;
  reader.start(vcpu);
  let lo = args.lo(0);
  let hi = args.hi(0);
  let result = 0;
  let done = 0;
  for (; done < count; done++) {
    if (done > 0 && vcpu.work <= 0) return goOnLater(vcpu, args, done, OP);
    const visits = types.visits;
    result = reader.read(lo, hi) ? perform(vcpu, reader.words) : -Errno.EFAULT;
    if (result < 0) break;
    vcpu.work -= (1 + types.visits - visits) * FRAME_WORK;
    lo += OP;
    if (lo > 0xffff_ffff) {
      lo >>>= 0;
      hi = (hi + 1) >>> 0;
    }
  }
  if (!storeDone(vcpu, args, doneBefore(vcpu, args) + done) && result === 0) result = -Errno.EFAULT;
  return result;
}
