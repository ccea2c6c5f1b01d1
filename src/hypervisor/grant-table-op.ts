/**
 * grant_table_op: arrays of structures, each with its own status. Version 1 only: set_version is -ENOSYS, which guests take
 * for version 1. Follows pv-abi 2.10 and 8.6.
 */
import { Errno } from '../abi/errno.ts';
import {
  GNTTAB_COPY_SIDES,
  GnttabCopy,
  GnttabCopySide,
  GnttabGetVersion,
  GnttabMapGrantRef,
  GnttabQuerySize,
  GnttabSetupTable,
  GnttabUnmapGrantRef,
} from '../abi/grants.ts';
import { GNTCOPY, GNTST, GNTTABOP } from '../abi/numbers.ts';
import { isAllocated } from './allocation.ts';
import { mapGrantRef, unmapGrantRef } from './grant-map.ts';
import { GRANT_FRAMES_MAX } from './grant-table.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import { PAGE_SIZE } from './memory.ts';
import type { Vcpu } from './vcpu.ts';

/** Elements in one call; no guest comes near, and nobody else can run meanwhile. */
const COUNT_MAX = 4096;
/** What an element counts in a multicall: mapping looks for a free handle. */
const ELEMENT_WORK = 16;

function setupTable(vcpu: Vcpu, op: DataView): number {
  const { grants } = vcpu.domain;
  const frames = GnttabSetupTable.nr_frames.get(op, 0);
  let status: number = GNTST.okay;
  if (!grants.isOwner(GnttabSetupTable.dom.get(op, 0))) status = GNTST.bad_domain;
  else if (!grants.grow(frames)) status = GNTST.general_error;
  else {
    const list = new Uint8Array(8 * frames);
    const view = new DataView(list.buffer);
    for (let i = 0; i < frames; i++) view.setBigUint64(8 * i, BigInt(grants.mfn(i)), true);
    if (!vcpu.writeGuest(GnttabSetupTable.frame_list.get(op, 0), list)) status = GNTST.bad_virt_addr;
  }
  GnttabSetupTable.status.set(op, 0, status);
  return 0;
}

function querySize(vcpu: Vcpu, op: DataView): number {
  const { grants } = vcpu.domain;
  const own = grants.isOwner(GnttabQuerySize.dom.get(op, 0));
  if (own) {
    GnttabQuerySize.nr_frames.set(op, 0, grants.frames);
    GnttabQuerySize.max_nr_frames.set(op, 0, GRANT_FRAMES_MAX);
  }
  GnttabQuerySize.status.set(op, 0, own ? GNTST.okay : GNTST.bad_domain);
  return 0;
}

function getVersion(vcpu: Vcpu, op: DataView): number {
  if (!vcpu.domain.grants.isOwner(GnttabGetVersion.dom.get(op, 0))) return -Errno.ESRCH;
  GnttabGetVersion.version.set(op, 0, 1);
  return 0;
}

/** One end of a copy: a frame, and how to be done with it. */
interface CopyEnd {
  readonly frame: number;
  readonly offset: number;
  readonly gref: number | undefined;
}

function copyEnd(vcpu: Vcpu, op: DataView, side: number, isGref: boolean, write: boolean): CopyEnd | number {
  const { domain, memory } = vcpu;
  if (!domain.grants.isOwner(GnttabCopySide.domid.get(op, side))) return GNTST.bad_domain;
  const offset = GnttabCopySide.offset.get(op, side);
  const gref = isGref ? GnttabCopySide.ref.get(op, side) : undefined;
  const frame =
    gref === undefined
      ? Number(GnttabCopySide.gmfn.get(op, side))
      : domain.grants.resolve(gref, domain.grants.owner, write);
  if (gref !== undefined && frame < 0) return frame;
  if (gref === undefined && !isAllocated(memory, frame)) return GNTST.bad_page;
  return { frame, offset, gref };
}

function copy(vcpu: Vcpu, op: DataView): number {
  const { domain, memory } = vcpu;
  const length = GnttabCopy.len.get(op, 0);
  const flags = GnttabCopy.flags.get(op, 0);
  const source = copyEnd(vcpu, op, GNTTAB_COPY_SIDES.source, (flags & GNTCOPY.source_gref) !== 0, false);
  if (typeof source === 'number') return source;
  try {
    const dest = copyEnd(vcpu, op, GNTTAB_COPY_SIDES.dest, (flags & GNTCOPY.dest_gref) !== 0, true);
    if (typeof dest === 'number') return dest;
    try {
      if (source.offset + length > PAGE_SIZE || dest.offset + length > PAGE_SIZE) return GNTST.bad_copy_arg;
      // A page table is written with checks or not at all.
      if (domain.frameTyped(dest.frame)) return GNTST.general_error;
      const from = memory.at(source.frame) + source.offset;
      memory.u8.copyWithin(memory.at(dest.frame) + dest.offset, from, from + length);
      vcpu.frameTouched(dest.frame);
      return GNTST.okay;
    } finally {
      if (dest.gref !== undefined) domain.grants.release(dest.gref, true);
    }
  } finally {
    if (source.gref !== undefined) domain.grants.release(source.gref, false);
  }
}

interface Operation {
  readonly size: number;
  /** 0, or a negative errno that ends the call. The element's status goes into the structure. */
  run(vcpu: Vcpu, op: DataView): number;
}

const OPERATIONS: Record<number, Operation> = {
  [GNTTABOP.map_grant_ref]: {
    size: GnttabMapGrantRef.size,
    run(vcpu, op) {
      mapGrantRef(vcpu, op);
      return 0;
    },
  },
  [GNTTABOP.unmap_grant_ref]: {
    size: GnttabUnmapGrantRef.size,
    run(vcpu, op) {
      GnttabUnmapGrantRef.status.set(op, 0, unmapGrantRef(vcpu, op));
      return 0;
    },
  },
  [GNTTABOP.setup_table]: { size: GnttabSetupTable.size, run: setupTable },
  [GNTTABOP.copy]: {
    size: GnttabCopy.size,
    run(vcpu, op) {
      GnttabCopy.status.set(op, 0, copy(vcpu, op));
      return 0;
    },
  },
  [GNTTABOP.query_size]: { size: GnttabQuerySize.size, run: querySize },
  [GNTTABOP.get_version]: { size: GnttabGetVersion.size, run: getVersion },
};

/** These take exactly one element. */
const SINGLE: ReadonlySet<number> = new Set([GNTTABOP.setup_table, GNTTABOP.query_size]);

/** Hypercall 20. */
export function grantTableOp(vcpu: Vcpu, args: HypercallArgs): number {
  const command = args.lo(0);
  const operation = OPERATIONS[command];
  if (operation === undefined) return -Errno.ENOSYS;
  const count = args.lo(2);
  if (count > COUNT_MAX || (SINGLE.has(command) && count !== 1)) return -Errno.EINVAL;
  for (let i = 0; i < count; i++) {
    const at = args.u64(1) + BigInt(i * operation.size);
    const bytes = vcpu.readGuest(at, operation.size);
    if (bytes === undefined) return -Errno.EFAULT;
    const error = operation.run(vcpu, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    if (error !== 0) return error;
    vcpu.work -= ELEMENT_WORK;
    if (!vcpu.writeGuest(at, bytes)) return -Errno.EFAULT;
  }
  return 0;
}
