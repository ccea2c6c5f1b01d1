/** How long the guest waits because of regions: whatever is done for them in the vCPU's thread. */

const LONG_WAIT_MS = 5;

export interface WaitStatistics {
  readonly regionWaits: number;
  /** Milliseconds of all of them, and of the longest: CPU time of the vCPU's thread. */
  readonly regionMs: number;
  readonly regionMsLongest: number;
  /** Those of more than LONG_WAIT_MS. */
  readonly regionWaitsLong: number;
}

export class Waits {
  readonly #stats = { regionWaits: 0, regionMs: 0, regionMsLongest: 0, regionWaitsLong: 0 };
  readonly #clock: () => number;
  #waits = false;

  /** `clock`: milliseconds. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  get stats(): WaitStatistics {
    return this.#stats;
  }

  /** Does `work`, for which the guest waits. It may be part of other such work: that is one wait. */
  during<T>(work: () => T): T {
    if (this.#waits) return work();
    this.#waits = true;
    const started = this.#clock();
    try {
      return work();
    } finally {
      this.#waits = false;
      this.#waited(this.#clock() - started);
    }
  }

  #waited(ms: number): void {
    const stats = this.#stats;
    stats.regionWaits++;
    stats.regionMs += ms;
    stats.regionMsLongest = Math.max(stats.regionMsLongest, ms);
    if (ms > LONG_WAIT_MS) stats.regionWaitsLong++;
  }
}
