/**
 * sched_op: waiting, ending, and the watchdog. Nothing waits here: the vCPU's fields say for what, the run loop asks
 * `endWait` and sleeps if it must. Follows pv-abi 2.13.
 */
import { SchedPoll, SchedWatchdog } from '../abi/calls.ts';
import { Errno } from '../abi/errno.ts';
import { EVTCHN_PORTS, SCHEDOP, SHUTDOWN } from '../abi/numbers.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import type { GuestCpu, GuestDomain } from './ports.ts';
import { guestTime } from './time.ts';
import { WATCHDOGS } from './timers.ts';

const POLL_PORTS_MAX = 128;
const NS = 1_000_000_000;

/** Has what a blocked vCPU waits for come? Then it waits no longer. True also for one that does not wait. */
export function endWait(vcpu: GuestCpu, now: number): boolean {
  if (!vcpu.blocked) return true;
  const { events } = vcpu.domain;
  const over =
    (vcpu.nmiPending && !vcpu.nmiBlocked) ||
    now >= vcpu.pollTimeout ||
    events.deliverable(vcpu.id) ||
    (vcpu.pollPorts?.some((port) => events.isPending(port)) ?? false);
  if (!over) return false;
  vcpu.blocked = false;
  vcpu.pollTimeout = Number.POSITIVE_INFINITY;
  if (vcpu.pollPorts !== undefined) {
    vcpu.pollPorts = undefined;
    events.setPolling(vcpu.id, false);
  }
  return true;
}

/** End the domain. The first reason stands. */
export function shutDown(domain: GuestDomain, reason: number, startInfoMfn?: number): void {
  if (domain.shutdown) return;
  const code = domain.shutdownCode ?? reason;
  domain.shutdown = startInfoMfn === undefined ? { reason: code } : { reason: code, startInfoMfn };
  for (const vcpu of domain.vcpus) domain.events.kick(vcpu.id);
}

function block(vcpu: GuestCpu): number {
  const { events } = vcpu.domain;
  // The mask goes before the test: an event that comes between them is seen by the test.
  events.setUpcallMask(vcpu.id, false);
  vcpu.blocked = !events.deliverable(vcpu.id);
  return 0;
}

function poll(vcpu: GuestCpu, args: HypercallArgs): number {
  const bytes = vcpu.readGuest(args.u64(1), SchedPoll.size);
  if (bytes === undefined) return -Errno.EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = SchedPoll.nr_ports.get(view, 0);
  if (count > POLL_PORTS_MAX) return -Errno.EINVAL;
  const list = vcpu.readGuest(SchedPoll.ports.get(view, 0), 4 * count);
  if (list === undefined) return -Errno.EFAULT;
  const words = new DataView(list.buffer, list.byteOffset, list.byteLength);
  const ports = Array.from({ length: count }, (_, i) => words.getUint32(4 * i, true));
  if (ports.some((port) => port >= EVTCHN_PORTS)) return -Errno.EINVAL;
  const timeout = SchedPoll.timeout.get(view, 0);
  vcpu.blocked = true;
  vcpu.pollPorts = ports;
  vcpu.pollTimeout = timeout === 0n ? Number.POSITIVE_INFINITY : (guestTime(timeout) ?? 0);
  // Others must know of the poll before the run loop looks, so that an event that comes after its look wakes this vCPU.
  vcpu.domain.events.setPolling(vcpu.id, true);
  return 0;
}

function readReason(vcpu: GuestCpu, args: HypercallArgs): number {
  const bytes = vcpu.readGuest(args.u64(1), 4);
  return bytes === undefined ? -Errno.EFAULT : new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
}

function shutdown(vcpu: GuestCpu, args: HypercallArgs): number {
  const reason = readReason(vcpu, args);
  if (reason < 0) return reason;
  if (reason > SHUTDOWN.soft_reset) return -Errno.EINVAL;
  shutDown(vcpu.domain, reason, reason === SHUTDOWN.suspend ? args.number(2) : undefined);
  return 0;
}

function shutdownCode(vcpu: GuestCpu, args: HypercallArgs): number {
  const reason = readReason(vcpu, args);
  if (reason < 0) return reason;
  vcpu.domain.shutdownCode ??= reason;
  return 0;
}

/** Watchdogs are numbered from 1; asking for number 0 allocates one. */
function watchdog(vcpu: GuestCpu, args: HypercallArgs): number {
  const bytes = vcpu.readGuest(args.u64(1), SchedWatchdog.size);
  if (bytes === undefined) return -Errno.EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const id = SchedWatchdog.id.get(view, 0);
  const timeout = SchedWatchdog.timeout.get(view, 0);
  const { watchdogs } = vcpu.domain.vcpus[0]!.timers;
  const at = vcpu.domain.clock.now() + timeout * NS;
  if (id === 0) {
    if (timeout === 0) return -Errno.EINVAL;
    const free = watchdogs.indexOf(Number.POSITIVE_INFINITY);
    if (free < 0) return -Errno.ENOSPC;
    watchdogs[free] = at;
    return free + 1;
  }
  if (id > WATCHDOGS) return -Errno.EINVAL;
  if (timeout !== 0 && watchdogs[id - 1] === Number.POSITIVE_INFINITY) return -Errno.EINVAL;
  watchdogs[id - 1] = timeout === 0 ? Number.POSITIVE_INFINITY : at;
  return 0;
}

/** Hypercall 29. */
export function schedOp(vcpu: GuestCpu, args: HypercallArgs): number {
  switch (args.lo(0)) {
    case SCHEDOP.yield:
      return 0;
    case SCHEDOP.block:
      return block(vcpu);
    case SCHEDOP.shutdown:
      return shutdown(vcpu, args);
    case SCHEDOP.poll:
      return poll(vcpu, args);
    case SCHEDOP.shutdown_code:
      return shutdownCode(vcpu, args);
    case SCHEDOP.watchdog:
      return watchdog(vcpu, args);
    case SCHEDOP.remote_shutdown:
    case SCHEDOP.pin_override:
      return -Errno.EPERM;
    default:
      return -Errno.ENOSYS;
  }
}
