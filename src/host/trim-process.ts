/**
 * Gives back what a busy process needed and an idle one does not: memory that V8's compilers have freed but the C library keeps,
 * and the pages of Node's own file that are mapped because some compiler ran once. A booted domain's monitor gets a third smaller.
 *
 * Both through the optional package koffi, from glibc; without either nothing is done. The clean pages of a file stay in the
 * system's cache and come back at the next touch.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** CPU time after which there may be something to give back. */
const WORKED_MS = 500;
/** A process that works for more than this part of the time since the last look is not idle. */
const BUSY_SHARE = 0.1;
/** One that works for less leaves nothing to give back, however long that goes on: giving back costs 30 ms and page faults after it. */
const IDLE_SHARE = 0.01;
const MADV_DONTNEED = 4;

export interface ProcessPorts {
  now(): number;
  /** CPU time of all threads, in ms. */
  cpuMs(): number;
  /** Undefined: there is nothing to do it with. */
  readonly giveBack: (() => void) | undefined;
}

/** A function to call from time to time, by one thread of the process. */
export function processTrimmer({ now, cpuMs, giveBack }: ProcessPorts = thisProcess()): () => void {
  let looked = now();
  let seen = cpuMs();
  let worked = seen;
  return () => {
    const at = now();
    const cpu = cpuMs();
    const share = (cpu - seen) / (at - looked);
    if (share > IDLE_SHARE) worked += cpu - seen;
    looked = at;
    seen = cpu;
    if (giveBack === undefined || share > BUSY_SHARE || worked < WORKED_MS) return;
    giveBack();
    worked = 0;
    seen = cpuMs();
  };
}

export function thisProcess(): ProcessPorts {
  let giveBack: ProcessPorts['giveBack'];
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const libc = koffi.load(null);
    const trim = libc.func('int malloc_trim(size_t pad)') as unknown as (pad: number) => number;
    const advise = libc.func('int madvise(uintptr_t at, size_t length, int advice)') as unknown as (
      at: number,
      length: number,
      advice: number,
    ) => number;
    giveBack = () => {
      trim(0);
      for (const { start, end } of cleanMappings(readFileSync('/proc/self/smaps', 'latin1'), process.execPath)) {
        advise(start, end - start, MADV_DONTNEED);
      }
    };
  } catch {
    // No koffi, or no glibc.
  }
  return {
    now: () => performance.now(),
    cpuMs: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    },
    giveBack,
  };
}

/**
 * The mappings of `file` in a /proc/PID/smaps that nobody has written to or can write to: dropping a page that was relocated
 * when the program was loaded would undo that.
 */
export function cleanMappings(smaps: string, file: string): { readonly start: number; readonly end: number }[] {
  return smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m).flatMap((mapping) => {
    const head = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +(.*)$/m.exec(mapping);
    const clean = /^Private_Dirty: +0 kB$/m.test(mapping) && /^Anonymous: +0 kB$/m.test(mapping);
    if (head?.[3] !== file || !clean) return [];
    return [{ start: Number.parseInt(head[1]!, 16), end: Number.parseInt(head[2]!, 16) }];
  });
}
