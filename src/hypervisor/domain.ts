/**
 * One domain as its vCPU threads see it: memory, frame types, event channels, grants, clock. What two threads share lives in
 * the domain's shared memory; this object is each thread's view of it. Follows pv-abi 2 and 3.
 */
import { SHUTDOWN } from '../abi/numbers.ts';
import type { EventChannels } from './event-channels.ts';
import type { GrantTable } from './grant-table.ts';
import type { GuestMemory } from './memory.ts';
import { FrameTypes } from './mmu/frame-types.ts';
import type { Clock, ConsoleSink, GuestDomain, Log } from './ports.ts';
import type { Vcpu } from './vcpu.ts';

export interface DomainPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly consoleSink?: ConsoleSink;
  readonly discardFrame?: (mfn: number) => void;
}

export interface DomainOptions {
  readonly domid: number;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly memory: GuestMemory;
  readonly maxPages: number;
  readonly events: EventChannels;
  readonly grants: GrantTable;
}

export class Domain implements GuestDomain {
  readonly domid: number;
  readonly uuid: Uint8Array;
  readonly memory: GuestMemory;
  readonly maxPages: number;
  readonly events: EventChannels;
  readonly grants: GrantTable;
  readonly clock: Clock;
  readonly log: Log;
  readonly consoleSink?: ConsoleSink;
  readonly discardFrame?: (mfn: number) => void;
  readonly types: FrameTypes;
  readonly vcpus: Vcpu[] = [];
  /** Enabled vm_assist types, as bits. */
  vmAssist = 0;
  /** Set once; the run loops stop when they see it. A guest that suspends names its start_info. */
  shutdown?: { reason: number; startInfoMfn?: number } | undefined;
  /** Why the domain was crashed by the hypervisor, as lines for people. */
  crashReport?: string[] | undefined;
  /** What has been said once is not said again (unknown hypercalls, 32-bit programs). */
  private readonly said = new Set<string>();

  constructor(options: DomainOptions, ports: DomainPorts) {
    this.domid = options.domid;
    this.uuid = options.uuid;
    this.memory = options.memory;
    this.maxPages = options.maxPages;
    this.events = options.events;
    this.grants = options.grants;
    this.clock = ports.clock;
    this.log = ports.log;
    if (ports.consoleSink) this.consoleSink = ports.consoleSink;
    if (ports.discardFrame) this.discardFrame = ports.discardFrame;
    this.types = new FrameTypes(options.memory);
  }

  /** Log a line the first time only: a guest that repeats itself must not fill the host's disk. */
  logOnce(level: 'debug' | 'info' | 'warn' | 'error', key: string, text: string): void {
    if (this.said.has(key) || this.said.size > 1000) return;
    this.said.add(key);
    this.log(level, text);
  }

  /** Is the frame a page table or a descriptor table in use? It cannot be given back then. */
  frameTyped(mfn: number): boolean {
    return this.types.level(mfn) !== 0 || this.vcpus.some((vcpu) => vcpu.gdtFrames.includes(mfn));
  }

  /** The guest cannot go on: record why, and stop. The first reason stays. */
  crash(report: string[]): void {
    if (this.crashReport) return;
    this.crashReport = report;
    this.shutdown ??= { reason: SHUTDOWN.crash };
  }
}
