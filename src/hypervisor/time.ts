/**
 * The guest's clocks in memory: vcpu_time_info in vcpu_info and in the page for its user space, the wall clock in shared_info;
 * and set_timer_op. The guest's TSC counts nanoseconds from the domain's start at exactly 1 GHz, so that system time, TSC and
 * every timer are one clock. Follows pv-abi 4.
 */
import { Errno } from '../abi/errno.ts';
import { PVCLOCK } from '../abi/numbers.ts';
import { SharedInfo, VCPU_INFO_TIME, VcpuTimeInfo } from '../abi/shared-info.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import { type GuestMemory, SPECIAL } from './memory.ts';
import type { Clock, GuestCpu } from './ports.ts';

/** ns = (ticks << 1) * 0x80000000 >> 32: one for one. */
const TSC_TO_SYSTEM_MUL = 0x80000000;
const TSC_SHIFT = 1;
const NS = 1_000_000_000n;
/** A timer further away than this is taken for a mistake or a wrapped number, and fires soon instead. */
const TIMER_LIMIT_NS = 2 ** 50;
const TIMER_SOON_NS = 100_000_000;

/** Fill a vcpu_time_info whose version is even before and after. */
function writeTimeInfo(view: DataView, at: number, now: number, flags: number): void {
  const version = (VcpuTimeInfo.version.get(view, at) | 1) >>> 0;
  VcpuTimeInfo.version.set(view, at, version);
  VcpuTimeInfo.tsc_timestamp.set(view, at, BigInt(now));
  VcpuTimeInfo.system_time.set(view, at, BigInt(now));
  VcpuTimeInfo.tsc_to_system_mul.set(view, at, TSC_TO_SYSTEM_MUL);
  VcpuTimeInfo.tsc_shift.set(view, at, TSC_SHIFT);
  VcpuTimeInfo.flags.set(view, at, flags);
  VcpuTimeInfo.version.set(view, at, (version + 1) >>> 0);
}

/** Write the clock of the vcpu_info at linear-memory address `info`; for the builder as well. */
export function writeVcpuTime(memory: GuestMemory, info: number, now: number, stopped = false): void {
  writeTimeInfo(memory.view, info + VCPU_INFO_TIME, now, PVCLOCK.tsc_stable | (stopped ? PVCLOCK.guest_stopped : 0));
}

/** Write all clocks of a vCPU. `stopped` tells the guest that it did not run for a while. */
export function updateVcpuTime(vcpu: GuestCpu, stopped = false): void {
  writeVcpuTime(vcpu.memory, vcpu.domain.events.infoAddress(vcpu.id), vcpu.domain.clock.now(), stopped);
  publishTimeArea(vcpu);
}

/** Copy the clock to the registered second place. False when that is not writable. */
export function publishTimeArea(vcpu: GuestCpu): boolean {
  const area = vcpu.timers.timeArea;
  if (area === 0n) return true;
  const from = vcpu.domain.events.infoAddress(vcpu.id) + VCPU_INFO_TIME;
  const copy = vcpu.memory.u8.slice(from, from + VcpuTimeInfo.size);
  const final = new Uint8Array(copy.subarray(0, 4));
  copy[0]! |= 1;
  // Odd while the rest is written; a user-space reader on another vCPU tries again.
  return vcpu.writeGuest(area, copy) && vcpu.writeGuest(area, final);
}

/** Write the wall clock: Unix time at system time 0. */
export function writeWallclock(memory: GuestMemory, clock: Clock): void {
  const at = memory.at(memory.layout.pages + SPECIAL.sharedInfo);
  const start = clock.wallclockNs();
  const seconds = start / NS;
  const version = (SharedInfo.wc_version.get(memory.view, at) | 1) >>> 0;
  SharedInfo.wc_version.set(memory.view, at, version);
  SharedInfo.wc_sec.set(memory.view, at, Number(seconds & 0xffff_ffffn));
  SharedInfo.wc_sec_hi.set(memory.view, at, Number((seconds >> 32n) & 0xffff_ffffn));
  SharedInfo.wc_nsec.set(memory.view, at, Number(start % NS));
  SharedInfo.wc_version.set(memory.view, at, (version + 1) >>> 0);
}

/** Hypercall 15: the single-shot timer by another door. */
export function setTimerOp(vcpu: GuestCpu, args: HypercallArgs): number {
  const { timers } = vcpu;
  if (args.isZero(0)) {
    timers.stopSingleshot();
    return 0;
  }
  const now = vcpu.domain.clock.now();
  const at = args.number(0);
  // Negative times are above 2^63 here, so one comparison finds both.
  timers.setSingleshot(at - now > TIMER_LIMIT_NS ? now + TIMER_SOON_NS : at, now);
  return 0;
}

/** An absolute time that a guest named, as a number; far ones lose precision that nobody will live to see. */
export function guestTime(ns: bigint): number | undefined {
  return ns >= 1n << 63n ? undefined : Number(ns);
}

/** Check of a periodic timer's period. */
export function periodError(ns: bigint, minimum: number): number {
  if (ns < BigInt(minimum)) return -Errno.EINVAL;
  return ns > BigInt(TIMER_LIMIT_NS) ? -Errno.EINVAL : 0;
}
