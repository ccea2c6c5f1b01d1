/**
 * What the hypervisor needs from outside itself (clock, log, console sink, wake-ups), and the parts of a vCPU and of a
 * domain that hypercall handlers rely on. `Vcpu` and `Domain` implement the latter; tests pass small ones of their own.
 */
import type { Engine } from '../x86/engine.ts';
import type { Continuable } from './continuation.ts';
import type { EventChannels } from './event-channels.ts';
import type { GrantTable } from './grant-table.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import type { GuestMemory } from './memory.ts';
import type { Runstate } from './runstate.ts';
import type { VcpuTimers } from './timers.ts';

export interface Clock {
  /** Nanoseconds since the domain started: an integer that never goes back. It is also the guest's TSC. */
  now(): number;
  /** Unix time, in nanoseconds, of the moment at which `now()` is 0. */
  wallclockNs(): bigint;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type Log = (level: LogLevel, text: string) => void;

/** Takes what the guest writes with console_io, before or beside its PV console. */
export type ConsoleSink = (bytes: Uint8Array) => void;

/** Makes the device thread look at `EventChannels.takePendingForBackend()` soon. */
export type WakeBackend = () => void;

export interface GuestDomain {
  readonly domid: number;
  readonly uuid: Uint8Array;
  readonly memory: GuestMemory;
  readonly vcpus: readonly GuestCpu[];
  readonly events: EventChannels;
  readonly grants: GrantTable;
  readonly clock: Clock;
  readonly log: Log;
  /** Pages that the domain may own at most. */
  readonly maxPages: number;
  /** Enabled vm_assist types, as bits. */
  vmAssist: number;
  /** Set once; the run loops stop when they see it. A guest that suspends names its start_info. */
  shutdown?: { reason: number; startInfoMfn?: number } | undefined;
  /** What SCHEDOP_shutdown_code announced: it is the reason, whatever a later shutdown says. */
  shutdownCode?: number;
  /** console_io output; without it, the bytes go nowhere. */
  readonly consoleSink?: ConsoleSink;
  /** Is frame `mfn` in use as a page table or descriptor table, so that it cannot be given back? */
  frameTyped(mfn: number): boolean;
  /**
   * Let the host take back the memory of a frame that the guest gave up. The frame reads as zeros afterwards. Without this
   * port the hypervisor clears the frame itself.
   */
  readonly discardFrame?: (mfn: number) => void;
}

export interface GuestCpu extends Continuable {
  readonly id: number;
  readonly domain: GuestDomain;
  readonly memory: GuestMemory;
  /** Linear-memory address of the state block. */
  readonly base: number;
  readonly engine: Engine;
  readonly timers: VcpuTimers;
  readonly runstate: Runstate;
  /** VCPUOP_initialise was done (vCPU 0: by the builder). */
  initialised: boolean;
  /** Not down: VCPUOP_up and VCPUOP_down. The run loop runs no vCPU that is down. */
  up: boolean;
  /** Virtual I/O privilege level. */
  viopl: number;
  /** Guest address of the I/O permission bitmap of the running program, and the ports that it covers. */
  ioBitmap: { va: bigint; ports: number };
  /** Set by VCPUOP_send_nmi; the run loop delivers it. */
  nmiPending: boolean;
  /** An NMI is being handled: the next one waits. */
  nmiBlocked: boolean;
  /** SCHEDOP_block and SCHEDOP_poll: do not run until an event is deliverable, a poll port is pending or the time is over. */
  blocked: boolean;
  /** Ports whose pending bit ends a poll; undefined when the vCPU is not polling. */
  pollPorts: readonly number[] | undefined;
  /** Absolute time (ns) at which a poll ends; Infinity for never. */
  pollTimeout: number;

  /** A private copy of guest-virtual memory, undefined when any of it is not readable. */
  readGuest(va: bigint, length: number): Uint8Array | undefined;
  /** Write guest-virtual memory; false when any of it is not writable. */
  writeGuest(va: bigint, bytes: Uint8Array): boolean;
  /** Take over a validated vcpu_guest_context (5168 bytes): 0 or a negative errno. */
  initialise(context: DataView): number;
}

/** A hypercall: a result, or a negative errno. */
export type HypercallHandler = (vcpu: GuestCpu, args: HypercallArgs) => number | bigint;
