/**
 * The hypercall table and its dispatch. A number without a row is -ENOSYS and one line in the log, never a crash.
 * Handlers are in the files that their rows import from. Follows pv-abi 2.0.
 */
import { Errno } from '../abi/errno.ts';
import { GPR, STATE } from '../x86/state.ts';
import { consoleIo } from './console-io.ts';
import { BRANCHES_PER_UNIT, WORK_PER_CALL } from './continuation.ts';
import { getDebugreg, setDebugreg } from './emulate/debug-registers.ts';
import { eventChannelOp } from './event-channel-op.ts';
import { fpuTaskswitch } from './fpu.ts';
import { grantTableOp } from './grant-table-op.ts';
import { HypercallArgs } from './hypercall-args.ts';
import { hypercallName } from './hypercall-names.ts';
import { memoryOp } from './memory-op.ts';
import { mmuUpdate } from './mmu/mmu-update.ts';
import { mmuextOp } from './mmu/mmuext-op.ts';
import { updateVaMapping } from './mmu/update-va-mapping.ts';
import { multicall } from './multicall.ts';
import { physdevOp } from './physdev.ts';
import { schedOp } from './sched.ts';
import { setGdt, setSegmentBase, updateDescriptor } from './segments.ts';
import { setTimerOp } from './time.ts';
import { TraceKind } from './trace.ts';
import { iret } from './traps/iret.ts';
import { callbackOp, setCallbacks, setTrapTable, stackSwitch } from './traps/registration.ts';
import { SYSCALL_LENGTH, syscallRegisters } from './traps/syscall.ts';
import type { Vcpu } from './vcpu.ts';
import { vcpuOp } from './vcpu-op.ts';
import { xenVersion } from './version.ts';
import { vmAssist } from './vm-assist.ts';

export type Handler = (vcpu: Vcpu, args: HypercallArgs) => number | bigint;

export interface Hypercall {
  readonly number: number;
  readonly name: string;
  readonly handler: Handler;
}
const call = (number: number, name: string, handler: Handler): Hypercall => ({ number, name, handler });
/** For domain 0 only, and that is not a guest here. */
const dom0Only: Handler = () => -Errno.EPERM;

// biome-ignore format: a table
export const HYPERCALLS: readonly Hypercall[] = [
  call( 0, 'set_trap_table',     setTrapTable),
  call( 1, 'mmu_update',         mmuUpdate),
  call( 2, 'set_gdt',            setGdt),
  call( 3, 'stack_switch',       stackSwitch),
  call( 4, 'set_callbacks',      setCallbacks),
  call( 5, 'fpu_taskswitch',     fpuTaskswitch),
  call( 7, 'platform_op',        dom0Only),
  call( 8, 'set_debugreg',       setDebugreg),
  call( 9, 'get_debugreg',       getDebugreg),
  call(10, 'update_descriptor',  updateDescriptor),
  call(12, 'memory_op',          memoryOp),
  call(13, 'multicall',          multicall),
  call(14, 'update_va_mapping',  updateVaMapping),
  call(15, 'set_timer_op',       setTimerOp),
  call(17, 'xen_version',        xenVersion),
  call(18, 'console_io',         consoleIo),
  call(20, 'grant_table_op',     grantTableOp),
  call(21, 'vm_assist',          vmAssist),
  call(23, 'iret',               iret),
  call(24, 'vcpu_op',            vcpuOp),
  call(25, 'set_segment_base',   setSegmentBase),
  call(26, 'mmuext_op',          mmuextOp),
  call(29, 'sched_op',           schedOp),
  call(30, 'callback_op',        callbackOp),
  call(32, 'event_channel_op',   eventChannelOp),
  call(33, 'physdev_op',         physdevOp),
  call(35, 'sysctl',             dom0Only),
  call(36, 'domctl',             dom0Only),
];

const BY_NUMBER: (Handler | undefined)[] = [];
for (const { number, handler } of HYPERCALLS) BY_NUMBER[number] = handler;

/** Perform one hypercall with its arguments and return its result. */
export function perform(vcpu: Vcpu, number: number, args: HypercallArgs): number | bigint {
  const { u32 } = vcpu.memory;
  const rip = (vcpu.base + STATE.rip) >>> 2;
  vcpu.trace.add(TraceKind.hypercall, number, u32[rip]!, u32[rip + 1]!, args.lo(0), args.hi(0));
  const handler = BY_NUMBER[number];
  let result: number | bigint;
  if (handler) {
    result = handler(vcpu, args);
  } else {
    vcpu.domain.logOnce(
      'info',
      `hypercall ${number}`,
      `the guest calls ${hypercallName(number)}, which does not exist here`,
    );
    result = -Errno.ENOSYS;
  }
  if (typeof result === 'number') vcpu.trace.result(result);
  return result;
}

/** One set of arguments for direct calls: multicall has its own, and nothing else nests. */
const direct = new HypercallArgs();

/** SYSCALL from guest kernel mode, with RIP behind it. */
export function hypercall(vcpu: Vcpu): void {
  const { memory } = vcpu;
  const { u32 } = memory;
  syscallRegisters(vcpu);
  const rax = (vcpu.base + STATE.gpr + 8 * GPR.rax) >>> 2;
  const number = u32[rax + 1] === 0 ? u32[rax]! : 0xffff_ffff;
  vcpu.work = WORK_PER_CALL;
  const result = perform(vcpu, number, direct.fromRegisters(u32, vcpu.base));
  // A call that does much is charged for it, so that the run loop looks at the clock as often as otherwise.
  const budget = (vcpu.base + STATE.budget) >>> 2;
  memory.i32[budget] = memory.i32[budget]! - (WORK_PER_CALL - vcpu.work) * BRANCHES_PER_UNIT;
  if (vcpu.continued) {
    vcpu.continued = false;
    direct.toRegisters(u32, vcpu.base);
    vcpu.skip(-SYSCALL_LENGTH);
  } else if (vcpu.noResult) vcpu.noResult = false;
  else vcpu.setResult(result);
}
