/**
 * Threads of this process as the host's scheduler knows them: the CPU time they used, the CPU they were on, the CPUs that they
 * may use, and their share. Linux tells and takes all this; elsewhere nothing is known and nothing can be asked.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { SCHED_CREDIT } from '../abi/numbers.ts';

/** Linux refuses what this process may not ask for. */
export class SchedulingError extends Error {
  override readonly name = 'SchedulingError';
}

export interface ThreadFacts {
  readonly cpuTimeNs: number;
  /** The CPU it runs on, or last ran on. */
  readonly cpu: number;
}

/** What /proc tells about thread `thread` of this process; undefined where there is no such thing. */
export function threadFacts(thread: number): ThreadFacts | undefined {
  try {
    const task = `/proc/self/task/${thread}`;
    // proc(5): the first number is time on a CPU in nanoseconds; field 39 of stat is the CPU.
    const cpuTimeNs = Number(readFileSync(`${task}/schedstat`, 'latin1').split(' ')[0]);
    const stat = readFileSync(`${task}/stat`, 'latin1');
    const cpu = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[36]);
    return Number.isFinite(cpuTimeNs) && Number.isFinite(cpu) ? { cpuTimeNs, cpu } : undefined;
  } catch {
    return undefined;
  }
}

/** Let a thread run on these CPUs only. Throws a SchedulingError. */
export function pinThread(thread: number, cpus: readonly number[]): void {
  if (process.platform !== 'linux' || thread === 0)
    throw new SchedulingError('threads cannot be bound to CPUs on this system');
  const set = setAffinity();
  if (set ? set(thread, maskOf(cpus)) === 0 : taskset(thread, cpus)) return;
  throw new SchedulingError(`this host has not all of the CPUs ${cpus.join(',')}, or does not let this user have them`);
}

/** The CPUs of the host that are online. */
export function everyCpu(): number[] {
  try {
    return cpuList(readFileSync('/sys/devices/system/cpu/online', 'latin1').trim());
  } catch {
    return os.cpus().map((_, cpu) => cpu);
  }
}

/** From Linux's notation: "0-2,5". */
export function cpuList(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [from = 0, to = from] = part.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

/** cpu_set_t: a bit a CPU, in words of 64. */
function maskOf(cpus: readonly number[]): Uint8Array {
  const mask = new Uint8Array(8 * Math.ceil((Math.max(...cpus) + 1) / 64));
  for (const cpu of cpus) mask[cpu >> 3]! |= 1 << (cpu & 7);
  return mask;
}

type SetAffinity = (thread: number, mask: Uint8Array) => number;
let found: SetAffinity | null | undefined;

function setAffinity(): SetAffinity | null {
  if (found !== undefined) return found;
  found = null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const call = koffi.load(null).func('int sched_setaffinity(int pid, size_t size, const uint8_t *mask)');
    found = (thread, mask) => call(thread, mask.length, mask) as number;
  } catch {
    // The optional package is not there: util-linux has a program for it.
  }
  return found;
}

const taskset = (thread: number, cpus: readonly number[]): boolean =>
  spawnSync('taskset', ['-pc', cpus.join(','), String(thread)], { stdio: 'ignore' }).status === 0;

/** Each step of niceness is a factor of 1.25 in CPU time under contention: sched(7), and sched_prio_to_weight in Linux. */
const NICE_FACTOR = 1.25;

/** The niceness whose share of a contended CPU is nearest to `weight`; the usual weight is 0. */
export function niceOf(weight: number): number {
  const nice = -Math.round(Math.log(weight / SCHED_CREDIT.weight) / Math.log(NICE_FACTOR));
  return Math.max(-20, Math.min(19, nice)) + 0;
}

/**
 * V8's compilers work behind the guest's back: while it has something to run it shall not wait for a CPU because of them. On an
 * idle CPU they are as quick as ever; on one that they share with the guest's thread they get a quarter of it.
 */
const COMPILERS_NICE = 6;
const COMPILERS = 'node-V8Worker';

const isCompiler = (thread: string): boolean => {
  try {
    return readFileSync(`/proc/self/task/${thread}/comm`, 'latin1').trim() === COMPILERS;
  } catch {
    return false;
  }
};

const niceOfThread = (thread: string, nice: number): number =>
  isCompiler(thread) ? Math.min(nice + COMPILERS_NICE, 19) : nice;

/** V8's compilers give way to the other threads of this process from now on, where the system has threads with a niceness. */
export function compilersYield(): void {
  const nice = os.getPriority();
  for (const thread of threads().filter(isCompiler)) {
    try {
      os.setPriority(Number(thread), niceOfThread(thread, nice));
    } catch {
      // It is a matter of speed alone.
    }
  }
}

/** Give all threads of this process a share of contended CPUs. Throws a SchedulingError. */
export function weighProcess(weight: number): void {
  const nice = niceOf(weight);
  if (nice === os.getPriority()) return;
  try {
    // With autogroups the sessions share the CPU first, each with the niceness of its group; without, this file is not there.
    writeFileSync('/proc/self/autogroup', String(nice));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw refusedWeight(weight, code);
  }
  for (const thread of threads()) {
    try {
      os.setPriority(Number(thread), niceOfThread(thread, nice));
    } catch (error) {
      const { code } = (error as { info?: { code?: string } }).info ?? {};
      if (code !== 'ESRCH') throw refusedWeight(weight, code);
    }
  }
}

function threads(): string[] {
  try {
    return readdirSync('/proc/self/task');
  } catch {
    return [String(process.pid)];
  }
}

const refusedWeight = (weight: number, code: string | undefined): SchedulingError =>
  new SchedulingError(
    code === 'EACCES' || code === 'EPERM'
      ? `only root may raise a weight (to ${weight})`
      : `this host refuses the weight ${weight}: ${code}`,
  );
