/**
 * How many branches a slice has, so that it ends when the guest's next timer is due, and soon in any case: an engine counts branches,
 * as to look at a clock costs more than they do. How long they take is very different, some nanoseconds in translated loops and
 * some microseconds where code is new, so the slices before are what the next is measured by.
 */

/** Less would be mostly coming and going: what is due in less time is so much late, as far as the guest can tell. */
const LEAST_NS = 50_000;
const LEAST_BRANCHES = 50;
/** Events of devices are seen at once in new code, but in a translated loop at the end of the slice only. */
const MOST_NS = 1_000_000;
/** In new code. */
const FIRST_PER_NS = 0.01;
/** How much of the difference counts when a slice was quicker than those before, or slower; all of it, if it took twice as long. */
const LEARNT = 1 / 4;

export class Pace {
  /** Branches in a nanosecond. */
  #rate = FIRST_PER_NS;
  /** Branches since the engine has done what it had put off. */
  since = 0;
  readonly #chosen: (() => number) | undefined;

  /** `chosen`: branches of each slice, where somebody wants others; the engine puts nothing off then. */
  constructor(chosen?: () => number) {
    this.#chosen = chosen;
  }

  /** Branches of a slice that is to end in `ns`, if that is not too long or too short; at least 2, since coming in counts as one. */
  branches(ns: number): number {
    if (this.#chosen !== undefined) return this.#chosen();
    const wanted = Math.max(LEAST_NS, Math.min(ns, MOST_NS));
    return Math.max(LEAST_BRANCHES, Math.floor(wanted * this.#rate));
  }

  /** A slice had so many, and took so long. */
  took(branches: number, ns: number): void {
    this.since += this.#chosen === undefined ? branches : Number.POSITIVE_INFINITY;
    // Those that a kick has ended say little.
    if (branches < LEAST_BRANCHES) return;
    const rate = branches / Math.max(ns, 1);
    this.#rate = 2 * rate < this.#rate ? rate : this.#rate + (rate - this.#rate) * LEARNT;
  }
}
