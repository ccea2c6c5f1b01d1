/**
 * The domain's clock in any thread: nanoseconds since the domain began, monotonic and the same in all of them. It reads
 * performance.now(), which is cheap, and was set once against the system's monotonic clock, which all threads share.
 */
import type { Clock } from '../hypervisor/ports.ts';

/** Node's global is an accessor: asking it each time takes 40 ns of 110. */
const { performance } = globalThis;

export interface ClockOrigin {
  /** The system's monotonic clock (ns) at the domain's time 0. */
  readonly monotonicNs: bigint;
  /** Unix time (ns) at the domain's time 0. */
  readonly wallclockNs: bigint;
}

export function clockOrigin(): ClockOrigin {
  return { monotonicNs: process.hrtime.bigint(), wallclockNs: BigInt(Date.now()) * 1_000_000n };
}

export function domainClock(origin: ClockOrigin): Clock {
  const offset = Number(process.hrtime.bigint() - origin.monotonicNs) - performance.now() * 1e6;
  let last = 0;
  return {
    now() {
      // performance.now() is a double of milliseconds: rounding must not make time go back.
      const now = Math.floor(performance.now() * 1e6 + offset);
      if (now > last) last = now;
      return last;
    },
    wallclockNs: () => origin.wallclockNs,
  };
}
