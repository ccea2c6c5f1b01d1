/** What a process costs the host, from Linux's /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** CPU time of each thread that the process has now, in ms, to the nanosecond: /proc/PID/stat counts in hundredths of a second. */
export function threadsCpuMs(pid: number): ReadonlyMap<string, number> {
  const cpuOf = (task: string): number =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ', 1)[0]) / 1e6;
  return new Map(readdirSync(`/proc/${pid}/task`).map((task) => [task, cpuOf(task)]));
}

/** What its threads have taken since threadsCpuMs() was `before`. Of one that has ended meanwhile that cannot be told any more. */
export function cpuMsSince(pid: number, before: ReadonlyMap<string, number>): number {
  return [...threadsCpuMs(pid)].reduce((sum, [task, ms]) => sum + ms - (before.get(task) ?? 0), 0);
}

const field = (text: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1]);

/** Resident memory in MiB, pages that several processes share counted in parts. */
export function proportionalMiB(pid: number): number {
  return field(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'), 'Pss') / 1024;
}

/** Resident memory (VmRSS), and how much of it are pages of files (RssFile). */
export function residentMiB(pid: number): { readonly all: number; readonly files: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return { all: field(status, 'VmRSS') / 1024, files: field(status, 'RssFile') / 1024 };
}

/** What the host could give to a new process, in MiB. */
export function availableMiB(): number {
  return field(readFileSync('/proc/meminfo', 'latin1'), 'MemAvailable') / 1024;
}
