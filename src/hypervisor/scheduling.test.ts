import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../abi/errno.ts';
import { RUNSTATE, SCHEDOP, SHUTDOWN, VCPUOP, VIRQ, VMASST } from '../abi/numbers.ts';
import { VcpuInfo, VcpuRunstateInfo, VcpuTimeInfo } from '../abi/shared-info.ts';
import { NOWHERE, newGuest, SCRATCH, type TestGuest, words } from './guest-for-tests.ts';
import { endWait, schedOp } from './sched.ts';
import { setTimerOp, updateVcpuTime } from './time.ts';
import { vcpuOp } from './vcpu-op.ts';

const MS = 1_000_000;

function u64s(...values: bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

/** Poll `ports` until `timeout`. */
function poll(guest: TestGuest, ports: number[], timeout = 0n): number | bigint {
  guest.put(words(...ports), 0x200);
  const arg = guest.put(u64s(SCRATCH + 0x200n, BigInt(ports.length), timeout));
  return guest.call(schedOp, SCHEDOP.poll, arg);
}

test('block opens the upcall mask and sleeps only when no event is deliverable', () => {
  const guest = newGuest();
  const info = guest.events.infoAddress(0);
  assert.equal(guest.call(schedOp, SCHEDOP.block, 0), 0);
  assert.equal(guest.memory.u8[info + 1], 0);
  assert.equal(guest.vcpu.blocked, true);
  assert.equal(endWait(guest.vcpu, 1e18), false);
  guest.events.notifyGuest(1);
  assert.equal(endWait(guest.vcpu, 0), true);
  assert.equal(guest.vcpu.blocked, false);
  // The event is still pending, so the next block does not sleep.
  guest.events.setUpcallMask(0, true);
  guest.call(schedOp, SCHEDOP.block, 0);
  assert.equal(guest.vcpu.blocked, false);
});

test('poll ends by a pending port even when that is masked, and leaves the upcall mask alone', () => {
  const guest = newGuest();
  const info = guest.events.infoAddress(0);
  assert.equal(poll(guest, [2, 77]), 0);
  assert.equal(endWait(guest.vcpu, 1e18), false);
  guest.events.notifyGuest(1);
  assert.equal(endWait(guest.vcpu, 1e18), false);
  guest.kicked();
  guest.events.notifyGuest(2);
  assert.equal(guest.kicked(), true);
  assert.equal(endWait(guest.vcpu, 0), true);
  assert.equal(guest.memory.u8[info + 1], 1);
  assert.equal(guest.vcpu.pollPorts, undefined);
});

test('poll ends at its timeout', () => {
  const guest = newGuest();
  assert.equal(poll(guest, [], 5000n), 0);
  assert.equal(endWait(guest.vcpu, 4999), false);
  assert.equal(endWait(guest.vcpu, 5000), true);
  assert.equal(poll(guest, [], (1n << 64n) - 1n), 0);
  assert.equal(endWait(guest.vcpu, 1), true);
});

test('poll refuses too many ports, ports that cannot be, and lists that cannot be read', () => {
  const guest = newGuest();
  assert.equal(poll(guest, [4096]), -Errno.EINVAL);
  assert.equal(guest.call(schedOp, SCHEDOP.poll, guest.put(u64s(SCRATCH, 129n, 0n))), -Errno.EINVAL);
  assert.equal(guest.call(schedOp, SCHEDOP.poll, guest.put(u64s(NOWHERE, 1n, 0n))), -Errno.EFAULT);
  assert.equal(guest.call(schedOp, SCHEDOP.poll, NOWHERE), -Errno.EFAULT);
  assert.equal(guest.vcpu.blocked, false);
});

test('shutdown keeps the first reason, a suspend names its start_info, and an announced code wins', () => {
  const first = newGuest();
  first.call(schedOp, SCHEDOP.shutdown, first.put(words(SHUTDOWN.suspend)), 0x123);
  first.call(schedOp, SCHEDOP.shutdown, first.put(words(SHUTDOWN.crash)));
  assert.deepEqual(first.domain.shutdown, { reason: SHUTDOWN.suspend, startInfoMfn: 0x123 });
  const second = newGuest();
  assert.equal(second.call(schedOp, SCHEDOP.shutdown, second.put(words(6))), -Errno.EINVAL);
  assert.equal(second.domain.shutdown, undefined);
  second.call(schedOp, SCHEDOP.shutdown_code, second.put(words(SHUTDOWN.crash)));
  second.call(schedOp, SCHEDOP.shutdown, second.put(words(SHUTDOWN.poweroff)));
  assert.deepEqual(second.domain.shutdown, { reason: SHUTDOWN.crash });
});

test('a watchdog that is not fed ends the domain, one that is fed or disarmed does not', () => {
  const guest = newGuest();
  const watchdog = (id: number, seconds: number) =>
    guest.call(schedOp, SCHEDOP.watchdog, guest.put(words(id, seconds)));
  const { timers } = guest.vcpu;
  assert.equal(watchdog(0, 10), 1);
  assert.equal(watchdog(0, 10), 2);
  assert.equal(watchdog(0, 10), -Errno.ENOSPC);
  assert.equal(watchdog(3, 10), -Errno.EINVAL);
  assert.equal(watchdog(2, 0), 0);
  guest.clock.ns = 9e9;
  assert.equal(watchdog(1, 10), 0);
  timers.fire(18.9e9);
  assert.equal(guest.domain.shutdown, undefined);
  timers.fire(19.1e9);
  assert.deepEqual(guest.domain.shutdown, { reason: SHUTDOWN.watchdog });
});

test('a watchdog does not bite a guest for the time that it was paused', () => {
  const guest = newGuest();
  guest.call(schedOp, SCHEDOP.watchdog, guest.put(words(0, 10)));
  guest.vcpu.timers.postponeWatchdogs(3600e9);
  guest.vcpu.timers.fire(3600e9);
  assert.equal(guest.domain.shutdown, undefined);
  guest.vcpu.timers.fire(3610.1e9);
  assert.deepEqual(guest.domain.shutdown, { reason: SHUTDOWN.watchdog });
});

test('the periodic timer ticks, counts missed ticks as one, and keeps its beat', () => {
  const guest = newGuest();
  const port = guest.events.bindVirq(VIRQ.TIMER, 0);
  const { timers } = guest.vcpu;
  const ticked = () => {
    const was = guest.events.isPending(port);
    guest.memory.u8.fill(0, guest.memory.at(0x800) + 0x800, guest.memory.at(0x800) + 0xa00);
    return was;
  };
  assert.equal(guest.call(vcpuOp, VCPUOP.set_periodic_timer, 0, guest.put(u64s(BigInt(4 * MS)))), 0);
  assert.equal(timers.nextDeadline(), 4 * MS + 1000);
  timers.fire(4 * MS + 999);
  assert.equal(ticked(), false);
  timers.fire(14 * MS);
  assert.equal(ticked(), true);
  assert.equal(timers.nextDeadline(), 16 * MS + 1000);
  assert.equal(guest.call(vcpuOp, VCPUOP.stop_periodic_timer, 0, 0), 0);
  assert.equal(timers.nextDeadline(), Number.POSITIVE_INFINITY);
  for (const period of [0n, 999_999n, 1n << 63n]) {
    assert.equal(guest.call(vcpuOp, VCPUOP.set_periodic_timer, 0, guest.put(u64s(period))), -Errno.EINVAL);
  }
});

test('the single-shot timer fires once, at once when it is past, and is replaced when armed again', () => {
  const guest = newGuest({ vcpus: 2 });
  const port = guest.events.bindVirq(VIRQ.TIMER, 0);
  const { timers } = guest.vcpu;
  timers.stopPeriodic();
  const arm = (at: bigint, flags = 0, vcpu = 0) =>
    guest.call(vcpuOp, VCPUOP.set_singleshot_timer, vcpu, guest.put(u64s(at, BigInt(flags))));
  assert.equal(arm(5000n), 0);
  assert.equal(arm(7000n), 0);
  assert.equal(timers.nextDeadline(), 7000);
  timers.fire(6999);
  assert.equal(guest.events.isPending(port), false);
  timers.fire(7000);
  assert.equal(guest.events.isPending(port), true);
  assert.equal(timers.nextDeadline(), Number.POSITIVE_INFINITY);
  assert.equal(arm(999n, 1), -Errno.ETIME);
  assert.equal(arm(5000n, 0, 1), -Errno.EINVAL);
  const fresh = newGuest();
  const other = fresh.events.bindVirq(VIRQ.TIMER, 0);
  fresh.call(vcpuOp, VCPUOP.set_singleshot_timer, 0, fresh.put(u64s(999n, 0n)));
  assert.equal(fresh.events.isPending(other), true);
});

test('set_timer_op: 0 stops, and a time that cannot be meant fires after 100 ms', () => {
  const guest = newGuest();
  guest.vcpu.timers.stopPeriodic();
  assert.equal(guest.call(setTimerOp, 9000), 0);
  assert.equal(guest.vcpu.timers.nextDeadline(), 9000);
  assert.equal(guest.call(setTimerOp, 0), 0);
  assert.equal(guest.vcpu.timers.nextDeadline(), Number.POSITIVE_INFINITY);
  for (const odd of [-5n, 1n << 60n]) {
    assert.equal(guest.call(setTimerOp, odd), 0);
    assert.equal(guest.vcpu.timers.nextDeadline(), 1000 + 100 * MS);
  }
});

test('vCPUs that do not exist are -ENOENT whatever is asked of them', () => {
  const guest = newGuest();
  for (const id of [1, 8191, 0x7fffffff, 0xffffffff])
    assert.equal(guest.call(vcpuOp, VCPUOP.is_up, id, 0), -Errno.ENOENT);
  assert.equal(guest.call(vcpuOp, VCPUOP.is_up, 0, 0), 1);
  assert.equal(guest.call(vcpuOp, 99, 0, 0), -Errno.ENOSYS);
});

test('a registered vcpu_info takes over pending state and clock, once, and events go there from then on', () => {
  const guest = newGuest();
  const { view } = guest.memory;
  const place = guest.memory.at(0x40) + 0x80;
  const register = (mfn: bigint, offset: number) => {
    const bytes = u64s(mfn, BigInt(offset));
    return guest.call(vcpuOp, VCPUOP.register_vcpu_info, 0, guest.put(bytes));
  };
  guest.events.setPending(70);
  for (const [mfn, offset] of [
    [0x40n, 4033],
    [0x40n, 4],
    [0x40n, 0xffffffff],
    [0x800n, 0],
    [1n << 63n, 0],
  ] as const) {
    assert.equal(register(mfn, offset), -Errno.EINVAL);
  }
  guest.kicked();
  assert.equal(register(0x40n, 0x80), 0);
  assert.equal(guest.events.infoAddress(0), place);
  assert.equal(VcpuInfo.evtchn_upcall_mask.get(view, place), 1);
  assert.equal(VcpuInfo.evtchn_upcall_pending.get(view, place), 1);
  assert.ok(VcpuInfo.evtchn_pending_sel.get(view, place) & 2n);
  assert.equal(VcpuTimeInfo.tsc_to_system_mul.get(view, place + 0x20), 0x80000000);
  assert.equal(guest.kicked(), true);
  assert.equal(register(0x41n, 0), -Errno.EBUSY);
  VcpuInfo.evtchn_pending_sel.set(view, place, 0n);
  guest.events.setPending(130);
  assert.equal(VcpuInfo.evtchn_pending_sel.get(view, place), 4n);
});

test('the clock page of user space has the same clock as vcpu_info, and even versions', () => {
  const guest = newGuest();
  const area = 0x400;
  assert.equal(
    guest.call(vcpuOp, VCPUOP.register_vcpu_time_memory_area, 0, guest.put(u64s(SCRATCH + BigInt(area)))),
    0,
  );
  const read = () => ({
    version: VcpuTimeInfo.version.get(guest.view, area),
    time: VcpuTimeInfo.system_time.get(guest.view, area),
    tsc: VcpuTimeInfo.tsc_timestamp.get(guest.view, area),
    flags: VcpuTimeInfo.flags.get(guest.view, area),
  });
  assert.deepEqual(read(), { version: 2, time: 1000n, tsc: 1000n, flags: 1 });
  guest.clock.ns = 5000;
  updateVcpuTime(guest.vcpu, true);
  assert.deepEqual(read(), { version: 4, time: 5000n, tsc: 5000n, flags: 3 });
  assert.equal(guest.call(vcpuOp, VCPUOP.register_vcpu_time_memory_area, 0, guest.put(u64s(NOWHERE))), -Errno.EFAULT);
  assert.equal(guest.call(vcpuOp, VCPUOP.register_vcpu_time_memory_area, 0, guest.put(u64s(0n))), 0);
  updateVcpuTime(guest.vcpu);
  assert.equal(read().version, 4);
});

test('runstate counts nanoseconds by state and shows them in the registered area', () => {
  const guest = newGuest();
  const { vcpu } = guest;
  vcpu.runstate.change(vcpu, RUNSTATE.running, 1000);
  assert.equal(guest.call(vcpuOp, VCPUOP.register_runstate_memory_area, 0, guest.put(u64s(SCRATCH + 0x300n))), 0);
  vcpu.runstate.change(vcpu, RUNSTATE.blocked, 4000);
  guest.domain.vmAssist = 1 << VMASST.runstate_update_flag;
  vcpu.runstate.change(vcpu, RUNSTATE.running, 9000);
  assert.equal(VcpuRunstateInfo.state.get(guest.view, 0x300), RUNSTATE.running);
  assert.equal(VcpuRunstateInfo.state_entry_time.get(guest.view, 0x300), 9000n);
  assert.equal(VcpuRunstateInfo.time_running.get(guest.view, 0x300), 3000n);
  assert.equal(VcpuRunstateInfo.time_blocked.get(guest.view, 0x300), 5000n);
  guest.clock.ns = 9500;
  assert.equal(guest.call(vcpuOp, VCPUOP.get_runstate_info, 0, SCRATCH), 0);
  assert.equal(VcpuRunstateInfo.time_running.get(guest.view, 0), 3500n);
});

test('a vCPU goes up only after initialise, and the domain ends when the last one goes down', () => {
  const guest = newGuest({ vcpus: 2 });
  assert.equal(guest.call(vcpuOp, VCPUOP.up, 1, 0), -Errno.EINVAL);
  assert.equal(guest.call(vcpuOp, VCPUOP.initialise, 0, SCRATCH), -Errno.EEXIST);
  assert.equal(guest.call(vcpuOp, VCPUOP.initialise, 1, NOWHERE), -Errno.EFAULT);
  guest.domain.vcpus[1]!.initialised = true;
  assert.equal(guest.call(vcpuOp, VCPUOP.up, 1, 0), 0);
  assert.equal(guest.kicked(1), true);
  assert.equal(guest.call(vcpuOp, VCPUOP.is_up, 1, 0), 1);
  assert.equal(guest.call(vcpuOp, VCPUOP.down, 0, 0), 0);
  assert.equal(guest.domain.shutdown, undefined);
  assert.equal(guest.call(vcpuOp, VCPUOP.down, 1, 0), 0);
  assert.deepEqual(guest.domain.shutdown, { reason: SHUTDOWN.poweroff });
});
