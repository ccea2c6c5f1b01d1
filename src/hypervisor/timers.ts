/**
 * The timers of one vCPU: periodic, single-shot, and (on vCPU 0) the domain's watchdogs. All times are nanoseconds since the
 * domain's start. It only knows when: the run loop sleeps until `nextDeadline()` and calls `fire`. Follows pv-abi 4.3.
 */

/** The tick that Xen gives every new vCPU. */
export const DEFAULT_PERIOD_NS = 10_000_000;
/** Shorter periods are refused. */
export const MIN_PERIOD_NS = 1_000_000;
export const WATCHDOGS = 2;

export class VcpuTimers {
  private readonly raise: () => void;
  private readonly watchdogBit: () => void;
  /** 0 when the periodic timer is stopped. */
  period = 0;
  nextPeriodic = Number.POSITIVE_INFINITY;
  singleshot = Number.POSITIVE_INFINITY;
  readonly watchdogs: number[] = new Array(WATCHDOGS).fill(Number.POSITIVE_INFINITY);
  /** Guest-virtual address of the second copy of vcpu_time_info, 0 for none. See time.ts. */
  timeArea = 0n;

  /** `raise` sets VIRQ_TIMER of the vCPU pending; `watchdogBit` ends a domain that did not feed its watchdog. */
  constructor(raise: () => void, watchdogBit: () => void) {
    this.raise = raise;
    this.watchdogBit = watchdogBit;
  }

  setPeriodic(period: number, now: number): void {
    this.period = period;
    this.nextPeriodic = now + period;
  }

  stopPeriodic(): void {
    this.period = 0;
    this.nextPeriodic = Number.POSITIVE_INFINITY;
  }

  /** Arm, or replace, the single-shot timer. A time that has come already fires at once. */
  setSingleshot(at: number, now: number): void {
    this.singleshot = at;
    if (at <= now) this.fire(now);
  }

  stopSingleshot(): void {
    this.singleshot = Number.POSITIVE_INFINITY;
  }

  /** The domain was paused for so long: its watchdogs wait longer by that, for it could not have fed them. */
  postponeWatchdogs(ns: number): void {
    for (let id = 0; id < WATCHDOGS; id++) this.watchdogs[id]! += ns;
  }

  /** When `fire` has to be called next; Infinity when nothing is armed. */
  nextDeadline(): number {
    return Math.min(this.nextPeriodic, this.singleshot, this.watchdogs[0]!, this.watchdogs[1]!);
  }

  /** Let everything happen that is due. Ticks that were missed are one tick. */
  fire(now: number): void {
    let due = false;
    if (this.singleshot <= now) {
      this.singleshot = Number.POSITIVE_INFINITY;
      due = true;
    }
    if (this.nextPeriodic <= now) {
      this.nextPeriodic += Math.ceil((now - this.nextPeriodic + 1) / this.period) * this.period;
      due = true;
    }
    if (due) this.raise();
    for (let id = 0; id < WATCHDOGS; id++) {
      if (this.watchdogs[id]! > now) continue;
      this.watchdogs[id] = Number.POSITIVE_INFINITY;
      this.watchdogBit();
    }
  }
}
