/**
 * Code that runs often, but not so often that this domain would gain by having it translated: V8's compilers would take more time, and a CPU, than the
 * interpreter does. Later domains are to find it translated (kept-files.ts). It is planned while the guest has nothing to do, and made by
 * who compiles for all domains.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import type { WantedRegion } from './kept-files.ts';
import type { Planned, Request } from './planner.ts';
import { hasCode, type Part } from './table.ts';

/** Requests in the life of a domain: what a guest can make others work. A boot has some hundred. */
const REQUESTS_MOST = 8192;
/** So many regions are given away together. */
const TOGETHER = 12;

export interface WarmPorts {
  /** Is there no region with the instruction at linear address `at`, nor one that is kept and would be entered there? */
  isInterpreted(at: number): boolean;
  /** As RegionPlanner.steps. */
  plan(request: Request, claimed: ReadonlySet<number>): Generator<void, Planned | undefined>;
  /** Have these made for later domains. */
  want(regions: readonly WantedRegion[]): void;
}

export class WarmCode {
  readonly #memory: GuestMemory;
  readonly #ports: WarmPorts;
  #requests: Request[] = [];
  #noted = 0;
  /** What is being planned. */
  #steps: Generator<void, Planned | undefined> | undefined;
  /** Records that are entries of what was planned. */
  readonly #claimed = new Set<number>();
  /** Page's linear address → what was planned of it. */
  readonly #code = new Map<number, Part[]>();
  #wanted: WantedRegion[] = [];

  constructor(memory: GuestMemory, ports: WarmPorts) {
    this.#memory = memory;
    this.#ports = ports;
  }

  note(request: Request): void {
    if (this.#noted === REQUESTS_MOST) return;
    this.#noted++;
    this.#requests.push(request);
  }

  /** Plans for as long as `isTime`, some microseconds at a time. True when there is more. */
  plan(isTime: () => boolean): boolean {
    while (isTime()) {
      this.#steps ??= this.#next();
      if (this.#steps === undefined) {
        this.#give();
        return false;
      }
      const step = this.#steps.next();
      if (step.done !== true) continue;
      this.#steps = undefined;
      if (step.value !== undefined) this.#take(step.value);
    }
    return true;
  }

  #next(): Generator<void, Planned | undefined> | undefined {
    for (;;) {
      // What was noted last is known best.
      const request = this.#requests.pop();
      if (request === undefined) return undefined;
      if (!this.#isPlanned(request.at) && this.#ports.isInterpreted(request.at))
        return this.#ports.plan(request, this.#claimed);
    }
  }

  #isPlanned(at: number): boolean {
    const offset = (at - this.#memory.layout.ramBase) & 4095;
    const base = at - offset;
    return hasCode(this.#code.get(base) ?? [], base, offset);
  }

  #take({ origin, order, parts, claimed }: Planned): void {
    for (const record of claimed) this.#claimed.add(record);
    for (const part of parts) {
      const there = this.#code.get(part.base);
      if (there === undefined) this.#code.set(part.base, [part]);
      else there.push(part);
    }
    this.#wanted.push({ origin, order });
    if (this.#wanted.length >= TOGETHER) this.#give();
  }

  #give(): void {
    if (this.#wanted.length > 0) this.#ports.want(this.#wanted);
    this.#wanted = [];
  }

  /** All code is forgotten. */
  forgetAll(): void {
    this.#requests = [];
    this.#steps = undefined;
    this.#claimed.clear();
    this.#code.clear();
  }
}
