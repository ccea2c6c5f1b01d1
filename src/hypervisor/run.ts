/**
 * The run loop of one vCPU: let the engine run, perform what it leaves to us, deliver events, keep time. It returns when
 * there is nothing to run; the thread that called it waits (on STATE.kick, until the deadline) and calls again.
 * Follows pv-abi 3.4, 3.5 and 6.4.
 */
import { RUNSTATE } from '../abi/numbers.ts';
import { Exit } from '../x86/exits.ts';
import { STATE } from '../x86/state.ts';
import { CONTROL_VCPU, controlVcpu, VcpuCommand } from './control.ts';
import { emulate } from './emulate/table.ts';
import { hypercall } from './hypercalls.ts';
import { NOT_OURS, tryPageTableWrite } from './mmu/ptwr.ts';
import { endWait } from './sched.ts';
import { TraceKind } from './trace.ts';
import { bounce, Entry, NO_ERROR } from './traps/bounce.ts';
import { debugTrap, deliver, pageFault, softwareInterrupt, Vector } from './traps/exceptions.ts';
import { userSyscall } from './traps/syscall.ts';
import type { Vcpu } from './vcpu.ts';

export type RunResult =
  /** Nothing to do before `deadline` (ns of the domain's clock; Infinity: none) unless STATE.kick is set. */
  | { readonly kind: 'blocked'; readonly deadline: number }
  | { readonly kind: 'shutdown'; readonly reason: number }
  | { readonly kind: 'crashed'; readonly report: readonly string[] }
  /** `runUntil` has come: there is more to run, when the caller sees fit. */
  | { readonly kind: 'preempted' }
  /** The device thread asked for it: CONTROL_VCPU.command says whether to pause or to stop. */
  | { readonly kind: 'paused' };

/** What an exit costs in time, counted in branches, so that a guest that only makes hypercalls is looked at as often. */
const EXIT_COST = 200;

/** So long what the engine has put off may take, usually: it waits for an interrupt that comes sooner. */
const PUT_OFF_NS = 500_000;
/** So much longer than usual it may wait for that. */
const PUT_OFF = 4;

export function runVcpu(vcpu: Vcpu): RunResult {
  const { domain, memory, timers, runstate, engine, pace } = vcpu;
  const { i32 } = memory;
  const kick = (vcpu.base + STATE.kick) >>> 2;
  const budget = (vcpu.base + STATE.budget) >>> 2;
  const command = controlVcpu(vcpu.id, CONTROL_VCPU.command) >>> 2;
  // The slice that has ended: when it began, and how many branches it had.
  let began = 0;
  let ran = 0;
  for (;;) {
    // Cleared before we look at what is pending: whatever is set after our look kicks again.
    Atomics.exchange(i32, kick, 0);
    let now = domain.clock.now();
    if (ran > 0) pace.took(ran, now - began);
    ran = 0;
    if (domain.crashReport) return { kind: 'crashed', report: domain.crashReport };
    if (domain.shutdown) {
      runstate.change(vcpu, RUNSTATE.offline, now);
      return { kind: 'shutdown', reason: domain.shutdown.reason };
    }
    if (Atomics.load(i32, command) !== VcpuCommand.run) {
      runstate.change(vcpu, RUNSTATE.offline, now);
      return { kind: 'paused' };
    }
    if (!vcpu.up) {
      runstate.change(vcpu, RUNSTATE.offline, now);
      return { kind: 'blocked', deadline: Number.POSITIVE_INFINITY };
    }
    const isDue = now >= timers.nextDeadline();
    if (isDue) timers.fire(now);
    if (vcpu.blocked && !endWait(vcpu, now)) {
      runstate.change(vcpu, RUNSTATE.blocked, now);
      now = domain.clock.now();
      const deadline = Math.min(timers.nextDeadline(), vcpu.pollTimeout);
      if (deadline > now) return { kind: 'blocked', deadline };
      continue;
    }
    if (now >= vcpu.runUntil) {
      runstate.change(vcpu, RUNSTATE.runnable, now);
      return { kind: 'preempted' };
    }
    const isSoon = isDue || timers.nextDeadline() - now < PUT_OFF_NS || vcpu.upcallDue;
    const turns = isSoon ? PUT_OFF : 1;
    if (pace.since >= turns * engine.sliceMost) {
      pace.since = 0;
      engine.betweenSlices();
      continue;
    }
    runstate.change(vcpu, RUNSTATE.running, now);

    began = now;
    const deadline = timers.nextDeadline();
    const branches = Math.min(pace.branches(deadline - now), engine.sliceMost);
    i32[budget] = branches;
    for (;;) {
      if (!deliverPending(vcpu)) break;
      const exit = engine.run();
      if (exit === Exit.Slice || exit === Exit.Kick) break;
      handle(vcpu, exit);
      if (domain.shutdown || vcpu.blocked || !vcpu.up) break;
      // Armed meanwhile, for a time within this slice perhaps.
      if (timers.nextDeadline() < deadline) break;
      const left = i32[budget]! - EXIT_COST;
      i32[budget] = left;
      if (left <= 0) break;
    }
    ran = branches - i32[budget]!;
  }
}

/** The event check of every return to the guest: NMI first, then the upcall. False when the domain crashed. */
function deliverPending(vcpu: Vcpu): boolean {
  if (vcpu.nmiPending && !vcpu.nmiBlocked) {
    vcpu.nmiPending = false;
    // Without a handler an NMI is lost, as on Xen.
    if (vcpu.traps.has(Vector.NMI)) {
      vcpu.nmiBlocked = true;
      if (!deliver(vcpu, Vector.NMI)) return false;
    }
  }
  if (!vcpu.upcallDue) return true;
  const { event } = vcpu.callbacks;
  return bounce(vcpu, event.lo, event.hi, true, NO_ERROR, Entry.event);
}

/** Perform what the engine left to us. Afterwards the guest can run on, or the domain has ended. */
export function handle(vcpu: Vcpu, exit: Exit): void {
  switch (exit) {
    case Exit.Syscall:
      if (vcpu.kernelMode) {
        hypercall(vcpu);
      } else {
        note(vcpu, exit);
        userSyscall(vcpu);
      }
      return;
    case Exit.Exception:
      note(vcpu, exit | (vcpu.u32(STATE.exitVector) << 8));
      exception(vcpu);
      return;
    case Exit.SoftwareInterrupt:
      note(vcpu, exit | (vcpu.u32(STATE.exitVector) << 8));
      softwareInterrupt(vcpu, vcpu.u32(STATE.exitVector), vcpu.u32(STATE.exitLength));
      return;
    case Exit.Instruction:
      note(vcpu, exit | (vcpu.u32(STATE.exitOp) << 8));
      emulate(vcpu);
      return;
    default:
      return;
  }
}

function exception(vcpu: Vcpu): void {
  const vector = vcpu.u32(STATE.exitVector);
  const errorCode = vcpu.u32(STATE.exitErrorCode);
  if (vector === Vector.PF) {
    const lo = vcpu.u32(STATE.cr2);
    const hi = vcpu.u32(STATE.cr2 + 4);
    const exit = tryPageTableWrite(vcpu, lo, hi, errorCode);
    if (exit === NOT_OURS) {
      pageFault(vcpu, (BigInt(hi) << 32n) | BigInt(lo), errorCode);
    } else if (exit === Exit.Exception) {
      steppedFault(vcpu);
    } else {
      handle(vcpu, exit as Exit);
    }
  } else if (vector === Vector.DB) {
    debugTrap(vcpu);
  } else {
    deliver(vcpu, vector, errorCode);
  }
}

/** The store to a page table met another fault on its way. It is the guest's, without a second try at the table. */
function steppedFault(vcpu: Vcpu): void {
  const vector = vcpu.u32(STATE.exitVector);
  const errorCode = vcpu.u32(STATE.exitErrorCode);
  if (vector === Vector.PF) pageFault(vcpu, vcpu.u64(STATE.cr2), errorCode);
  else if (vector === Vector.DB) debugTrap(vcpu);
  else deliver(vcpu, vector, errorCode);
}

function note(vcpu: Vcpu, code: number): void {
  const { u32 } = vcpu.memory;
  const rip = (vcpu.base + STATE.rip) >>> 2;
  const cr2 = (vcpu.base + STATE.cr2) >>> 2;
  vcpu.trace.add(TraceKind.exit, code, u32[rip]!, u32[rip + 1]!, u32[cr2]!, u32[cr2 + 1]!);
}
