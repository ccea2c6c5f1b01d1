/**
 * memory_op: giving pages back and getting them again, and what the guest may know about its memory. A page's machine frame
 * number is its own number, so populating means making that very frame present. Follows pv-abi 2.6 and 9.
 */
import { MachphysMapping, MemoryMap, MemoryReservation } from '../abi/calls.ts';
import { Errno } from '../abi/errno.ts';
import { DOMID, E820, HYPERVISOR_VIRT_START, MACH2PHYS_SECOND, XENMEM } from '../abi/numbers.ts';
import { E820Entry } from '../abi/start-info.ts';
import { allocate, allocatedPages, isAllocated, release } from './allocation.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import { FrameFlag, PAGE_SIZE } from './memory.ts';
import { setM2p } from './mmu/m2p.ts';
import type { GuestCpu } from './ports.ts';

const OP_MASK = 0x3f;
/** Bits of cmd above the operation: the extent at which Xen continues a call. */
const START_EXTENT_SHIFT = 6;
/** Extents read or written at a time. */
const CHUNK = 512;
const ORDER_MAX = 18;
const INVALID = 0xffff_ffff;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isSelf(vcpu: GuestCpu, domid: number): boolean {
  return domid === DOMID.self || domid === vcpu.domain.domid;
}

/** What one extent's worth of frames goes through: true when all of it was done. */
type ExtentWork = (vcpu: GuestCpu, first: number, count: number) => boolean;

/** Give frames back. All of an extent or nothing. */
function decrease(vcpu: GuestCpu, first: number, count: number): boolean {
  const { memory, domain } = vcpu;
  // Before anything else: a huge number plus one is the same double, and a loop over it would find nothing wrong.
  if (first + count > memory.layout.pages) return false;
  for (let mfn = first; mfn < first + count; mfn++) {
    if (!isAllocated(memory, mfn) || domain.frameTyped(mfn)) return false;
  }
  for (let mfn = first; mfn < first + count; mfn++) {
    if (!release(memory, mfn)) return false;
    if (domain.discardFrame) domain.discardFrame(mfn);
    else memory.frame(mfn).fill(0);
    if (memory.frameFlags[mfn]! & FrameFlag.code) vcpu.engine.frameWritten(mfn);
    setM2p(memory, mfn, INVALID, INVALID);
  }
  return true;
}

/** Make absent frames present. All of an extent or nothing. */
function populate(vcpu: GuestCpu, first: number, count: number): boolean {
  const { memory, domain } = vcpu;
  if (first + count > memory.layout.pages) return false;
  if (allocatedPages(memory) + count > domain.maxPages) return false;
  for (let pfn = first; pfn < first + count; pfn++) if (isAllocated(memory, pfn)) return false;
  for (let pfn = first; pfn < first + count; pfn++) {
    if (!allocate(memory, pfn)) return false;
    setM2p(memory, pfn, pfn, 0);
  }
  return true;
}

/** Lowest aligned run of absent frames, for those who do not care which. */
function findAbsent(vcpu: GuestCpu, from: number, count: number): number {
  const { memory } = vcpu;
  for (let first = Math.ceil(from / count) * count; first + count <= memory.layout.pages; first += count) {
    let free = true;
    for (let mfn = first; free && mfn < first + count; mfn++) free = !isAllocated(memory, mfn);
    if (free) return first;
  }
  return -1;
}

/** Errors in the structure give the number of extents done, not a negative errno. */
function reservation(vcpu: GuestCpu, args: HypercallArgs, op: number): number {
  const start = args.lo(0) >>> START_EXTENT_SHIFT;
  const bytes = vcpu.readGuest(args.u64(1), MemoryReservation.size);
  if (bytes === undefined) return start;
  const view = viewOf(bytes);
  const extents = MemoryReservation.extent_start.get(view, 0);
  const wanted = MemoryReservation.nr_extents.get(view, 0);
  const order = MemoryReservation.extent_order.get(view, 0);
  if (!isSelf(vcpu, MemoryReservation.domid.get(view, 0))) return start;
  if (wanted >= 1n << 50n || order > ORDER_MAX || start >= Number(wanted)) return start;
  const done = forExtents(vcpu, op, extents, start, Number(wanted), 2 ** order);
  if (vcpu.continued) args.setLo(0, op | (done << START_EXTENT_SHIFT));
  // Whatever the guest still has cached of frames that left must go.
  if (op === XENMEM.decrease_reservation && done > start) vcpu.engine.flushTlb();
  return done;
}

function forExtents(vcpu: GuestCpu, op: number, extents: bigint, start: number, wanted: number, count: number): number {
  const work: ExtentWork = op === XENMEM.decrease_reservation ? decrease : populate;
  const reads = op !== XENMEM.increase_reservation;
  const writes = op !== XENMEM.decrease_reservation && extents !== 0n;
  let search = 0;
  for (let done = start; done < wanted; ) {
    let n = Math.min(CHUNK, wanted - done);
    const at = BigInt.asUintN(64, extents + BigInt(done) * 8n);
    let chunk = reads ? vcpu.readGuest(at, 8 * n) : new Uint8Array(8 * n);
    if (chunk === undefined) {
      // Those before the fault count.
      n = 1;
      chunk = vcpu.readGuest(at, 8);
    }
    if (chunk === undefined) return done;
    const view = viewOf(chunk);
    let i = 0;
    for (; i < n; i++) {
      let first = reads ? view.getUint32(8 * i, true) + view.getUint32(8 * i + 4, true) * 2 ** 32 : 0;
      if (!reads) {
        first = findAbsent(vcpu, search, count);
        if (first < 0) break;
        search = first + count;
      }
      if (done + i > start && vcpu.work <= 0) {
        vcpu.continued = true;
        break;
      }
      if (!work(vcpu, first, count)) break;
      vcpu.work -= 1 + count;
      view.setUint32(8 * i, first, true);
      view.setUint32(8 * i + 4, 0, true);
    }
    if (writes && i > 0 && !vcpu.writeGuest(at, chunk.subarray(0, 8 * i))) {
      vcpu.continued = false;
      return done;
    }
    done += i;
    if (i < n) return done;
  }
  return wanted;
}

/** The domid that a one-number argument names must be the caller. */
function domidArgument(vcpu: GuestCpu, args: HypercallArgs): number {
  const bytes = vcpu.readGuest(args.u64(1), 2);
  if (bytes === undefined) return -Errno.EFAULT;
  const domid = viewOf(bytes).getUint16(0, true);
  if (isSelf(vcpu, domid)) return 0;
  return domid === DOMID.dom0 ? -Errno.EPERM : -Errno.ESRCH;
}

/** One entry: RAM from 0 to the maximum. What is above the present size starts as ballooned out. */
function memoryMap(vcpu: GuestCpu, args: HypercallArgs): number {
  const bytes = vcpu.readGuest(args.u64(1), MemoryMap.size);
  if (bytes === undefined) return -Errno.EFAULT;
  const view = viewOf(bytes);
  const count = Math.min(1, MemoryMap.nr_entries.get(view, 0));
  const entry = new Uint8Array(E820Entry.size * count);
  if (count > 0) {
    E820Entry.addr.set(viewOf(entry), 0, 0n);
    E820Entry.length.set(viewOf(entry), 0, BigInt(vcpu.memory.layout.pages) * BigInt(PAGE_SIZE));
    E820Entry.type.set(viewOf(entry), 0, E820.ram);
  }
  if (!vcpu.writeGuest(MemoryMap.buffer.get(view, 0), entry)) return -Errno.EFAULT;
  MemoryMap.nr_entries.set(view, 0, count);
  return vcpu.writeGuest(args.u64(1), bytes) ? 0 : -Errno.EFAULT;
}

function machphysMapping(vcpu: GuestCpu, args: HypercallArgs): number {
  const { pages } = vcpu.memory.layout;
  const bytes = new Uint8Array(MachphysMapping.size);
  const view = viewOf(bytes);
  const size = Math.ceil((pages * 8) / PAGE_SIZE) * PAGE_SIZE;
  const start = HYPERVISOR_VIRT_START + BigInt(MACH2PHYS_SECOND);
  MachphysMapping.v_start.set(view, 0, start);
  MachphysMapping.v_end.set(view, 0, start + BigInt(size));
  MachphysMapping.max_mfn.set(view, 0, BigInt(pages - 1));
  return vcpu.writeGuest(args.u64(1), bytes) ? 0 : -Errno.EFAULT;
}

/** Hypercall 12. */
export function memoryOp(vcpu: GuestCpu, args: HypercallArgs): number {
  const op = args.lo(0) & OP_MASK;
  switch (op) {
    case XENMEM.increase_reservation:
    case XENMEM.decrease_reservation:
    case XENMEM.populate_physmap:
      return reservation(vcpu, args, op);
    case XENMEM.maximum_ram_page:
      return vcpu.memory.layout.pages - 1;
    case XENMEM.current_reservation:
      return domidArgument(vcpu, args) || allocatedPages(vcpu.memory);
    case XENMEM.maximum_reservation:
      return domidArgument(vcpu, args) || vcpu.domain.maxPages;
    case XENMEM.maximum_gpfn:
      return domidArgument(vcpu, args) || vcpu.memory.layout.pages - 1;
    case XENMEM.memory_map:
      return memoryMap(vcpu, args);
    case XENMEM.machphys_mapping:
      return machphysMapping(vcpu, args);
    // For translated guests only.
    case XENMEM.add_to_physmap:
      return -Errno.EINVAL;
    default:
      return -Errno.ENOSYS;
  }
}
