/**
 * vcpu_op: starting and stopping vCPUs, their timers, and the places where they want their information. Follows pv-abi 2.12.
 */
import { VcpuRegisterInfo, VcpuSetSingleshotTimer } from '../abi/calls.ts';
import { Errno } from '../abi/errno.ts';
import { LEGACY_MAX_VCPUS, RUNSTATE, SHUTDOWN, VCPU_SSHOTTMR_future, VCPUOP } from '../abi/numbers.ts';
import { VcpuInfo } from '../abi/shared-info.ts';
import { VcpuGuestContext } from '../abi/vcpu-context.ts';
import { isAllocated } from './allocation.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import { PAGE_SIZE } from './memory.ts';
import type { GuestCpu } from './ports.ts';
import { shutDown } from './sched.ts';
import { guestTime, periodError, publishTimeArea } from './time.ts';
import { MIN_PERIOD_NS } from './timers.ts';

/** `caller` makes the call, `target` is the vCPU that it names, `arg` the guest address of the argument. */
type Operation = (caller: GuestCpu, target: GuestCpu, arg: bigint) => number;

function read(caller: GuestCpu, arg: bigint, size: number): DataView | undefined {
  const bytes = caller.readGuest(arg, size);
  return bytes && new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function initialise(caller: GuestCpu, target: GuestCpu, arg: bigint): number {
  if (target.initialised) return -Errno.EEXIST;
  // Beyond those with a place in shared_info, a vCPU must have one before it can get events.
  if (target.id >= LEGACY_MAX_VCPUS && target.domain.events.infoIsShared(target.id)) return -Errno.EINVAL;
  const context = read(caller, arg, VcpuGuestContext.size);
  if (context === undefined) return -Errno.EFAULT;
  const error = target.initialise(context);
  if (error === 0) target.initialised = true;
  return error;
}

function up(caller: GuestCpu, target: GuestCpu): number {
  if (!target.initialised) return -Errno.EINVAL;
  if (target.up) return 0;
  target.up = true;
  target.runstate.change(caller, RUNSTATE.runnable, caller.domain.clock.now());
  caller.domain.events.kick(target.id);
  return 0;
}

function down(caller: GuestCpu, target: GuestCpu): number {
  const { domain } = caller;
  target.up = false;
  target.runstate.change(caller, RUNSTATE.offline, domain.clock.now());
  domain.events.kick(target.id);
  if (domain.vcpus.every((vcpu) => !vcpu.up)) shutDown(domain, SHUTDOWN.poweroff);
  return 0;
}

function getRunstate(caller: GuestCpu, target: GuestCpu, arg: bigint): number {
  const view = target.runstate.structure(caller.domain.clock.now());
  return caller.writeGuest(arg, new Uint8Array(view.buffer)) ? 0 : -Errno.EFAULT;
}

function registerRunstate(caller: GuestCpu, target: GuestCpu, arg: bigint): number {
  const area = read(caller, arg, 8);
  if (area === undefined) return -Errno.EFAULT;
  target.runstate.area = area.getBigUint64(0, true);
  target.runstate.publish(caller);
  return 0;
}

function setPeriodic(caller: GuestCpu, target: GuestCpu, arg: bigint): number {
  const period = read(caller, arg, 8)?.getBigUint64(0, true);
  if (period === undefined) return -Errno.EFAULT;
  const error = periodError(period, MIN_PERIOD_NS);
  if (error === 0) target.timers.setPeriodic(Number(period), caller.domain.clock.now());
  return error;
}

function stopPeriodic(_: GuestCpu, target: GuestCpu): number {
  target.timers.stopPeriodic();
  return 0;
}

function setSingleshot(caller: GuestCpu, target: GuestCpu, arg: bigint): number {
  if (caller !== target) return -Errno.EINVAL;
  const view = read(caller, arg, VcpuSetSingleshotTimer.size);
  if (view === undefined) return -Errno.EFAULT;
  // A negative time is long past.
  const at = guestTime(VcpuSetSingleshotTimer.timeout_abs_ns.get(view, 0)) ?? 0;
  const now = caller.domain.clock.now();
  if (VcpuSetSingleshotTimer.flags.get(view, 0) & VCPU_SSHOTTMR_future && at < now) return -Errno.ETIME;
  target.timers.setSingleshot(at, now);
  return 0;
}

function stopSingleshot(caller: GuestCpu, target: GuestCpu): number {
  if (caller !== target) return -Errno.EINVAL;
  target.timers.stopSingleshot();
  return 0;
}

function registerInfo(caller: GuestCpu, target: GuestCpu, arg: bigint): number {
  const { memory, domain } = caller;
  const view = read(caller, arg, VcpuRegisterInfo.size);
  if (view === undefined) return -Errno.EFAULT;
  const mfn = Number(VcpuRegisterInfo.mfn.get(view, 0));
  const offset = VcpuRegisterInfo.offset.get(view, 0);
  if (offset > PAGE_SIZE - VcpuInfo.size || offset % 8 !== 0) return -Errno.EINVAL;
  if (!domain.events.infoIsShared(target.id)) return -Errno.EBUSY;
  if (caller !== target && target.up) return -Errno.EINVAL;
  if (!isAllocated(memory, mfn)) return -Errno.EINVAL;
  domain.events.moveInfo(target.id, memory.at(mfn) + offset);
  return 0;
}

function sendNmi(caller: GuestCpu, target: GuestCpu): number {
  target.nmiPending = true;
  caller.domain.events.kick(target.id);
  return 0;
}

/** The page that user space reads the clock from. Address 0 ends it. */
function registerTime(caller: GuestCpu, target: GuestCpu, arg: bigint): number {
  const area = read(caller, arg, 8)?.getBigUint64(0, true);
  if (area === undefined) return -Errno.EFAULT;
  const before = target.timers.timeArea;
  target.timers.timeArea = area;
  // Written through the caller's page tables: a vCPU that registers another's page has it mapped itself.
  if (caller === target && !publishTimeArea(target)) {
    target.timers.timeArea = before;
    return -Errno.EFAULT;
  }
  return 0;
}

// biome-ignore format: a table
const OPERATIONS: Record<number, Operation> = {
  [VCPUOP.initialise]: initialise,
  [VCPUOP.up]: up,
  [VCPUOP.down]: down,
  [VCPUOP.is_up]: (_, target) => (target.up ? 1 : 0),
  [VCPUOP.get_runstate_info]: getRunstate,
  [VCPUOP.register_runstate_memory_area]: registerRunstate,
  [VCPUOP.set_periodic_timer]: setPeriodic,
  [VCPUOP.stop_periodic_timer]: stopPeriodic,
  [VCPUOP.set_singleshot_timer]: setSingleshot,
  [VCPUOP.stop_singleshot_timer]: stopSingleshot,
  [VCPUOP.register_vcpu_info]: registerInfo,
  [VCPUOP.send_nmi]: sendNmi,
  [VCPUOP.get_physid]: () => -Errno.EINVAL,
  [VCPUOP.register_vcpu_time_memory_area]: registerTime,
};

/** Hypercall 24. Linux asks for 8192 vCPUs whether they are up, so the number comes first. */
export function vcpuOp(vcpu: GuestCpu, args: HypercallArgs): number {
  const target = vcpu.domain.vcpus[args.lo(1)];
  if (target === undefined) return -Errno.ENOENT;
  const operation = OPERATIONS[args.lo(0)];
  return operation === undefined ? -Errno.ENOSYS : operation(vcpu, target, args.u64(2));
}
