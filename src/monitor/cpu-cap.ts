/**
 * A domain's CPU cap: how long its vCPU may run before it has to rest, given what was used. Credit comes in at the capped
 * rate and is spent by use, as with Xen's credit scheduler, whose time slice bounds what can be saved up. Pure arithmetic:
 * the vCPU's thread measures and sleeps.
 */

/** Xen's credit scheduler counts in slices of 30 ms. */
export const SLICE_NS = 30_000_000;
/** Shorter turns would be mostly coming and going. */
const TURN_MIN_NS = 500_000;

export type Turn = { readonly runUntil: number } | { readonly restUntil: number };

export class CpuCap {
  readonly #rate: number;
  readonly #most: number;
  #credit: number;
  #at: number;
  #used: number;

  /** `percent` of one CPU. `now` and `used` as in `turn`. */
  constructor(percent: number, now: number, used: number) {
    this.#rate = percent / 100;
    this.#most = Math.max(this.#rate * SLICE_NS, TURN_MIN_NS);
    this.#credit = this.#most;
    this.#at = now;
    this.#used = used;
  }

  /** What to do now: `now` is the domain's clock, `used` the CPU time that the domain has used since ever; both in ns. */
  turn(now: number, used: number): Turn {
    const earned = (now - this.#at) * this.#rate;
    this.#credit = Math.min(this.#credit + earned - (used - this.#used), this.#most);
    this.#at = now;
    this.#used = used;
    if (this.#credit > 0) {
      // While it runs, on one CPU, more comes in.
      const lasts = this.#rate < 1 ? this.#credit / (1 - this.#rate) : SLICE_NS;
      return { runUntil: now + Math.max(Math.min(lasts, SLICE_NS), TURN_MIN_NS) };
    }
    // Rest until a fair turn has come together, so that a small cap does not wake the thread for nothing.
    return { restUntil: now + (this.#most / 2 - this.#credit) / this.#rate };
  }
}
