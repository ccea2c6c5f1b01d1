/** Facts about this machine: `xm info`, the row of Domain-0, and the memory that domains share. */
import os from 'node:os';

export interface NodeInfo {
  readonly system: string;
  readonly host: string;
  readonly release: string;
  readonly version: string;
  readonly machine: string;
  readonly cores: number;
  readonly hyperthreadsPerCore: number;
  readonly cpuMhz: number;
  readonly memoryMiB: number;
  readonly freeMemoryMiB: number;
}

const MIB = 1 << 20;
/** Left to the machine itself. */
export const HOST_RESERVE_MIB = 256;
/** What a domain costs besides its memory: the monitor process with its compiled code and tables. */
export const DOMAIN_OVERHEAD_MIB = 96;

/** The machine's memory, or what a container lets us have of it. */
export function totalMemoryMiB(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  const total = os.totalmem();
  return Math.floor((limit > 0 && limit < total ? limit : total) / MIB);
}

/** What is left for new domains beside domains of these sizes: a budget, not a measurement. */
export function freeMemoryMiB(total: number, domains: readonly number[]): number {
  const used = domains.reduce((sum, memory) => sum + memory + DOMAIN_OVERHEAD_MIB, HOST_RESERVE_MIB);
  return Math.max(0, total - used);
}

/** CPU seconds that the machine has spent, everything together. */
export function hostCpuSeconds(): number {
  return os.cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys, 0) / 1000;
}

export function nodeInfo(domains: readonly number[]): NodeInfo {
  const cpus = os.cpus();
  const total = totalMemoryMiB();
  return {
    system: os.type(),
    host: os.hostname(),
    release: os.release(),
    version: os.version(),
    machine: os.machine(),
    cores: os.availableParallelism(),
    hyperthreadsPerCore: 1,
    cpuMhz: cpus[0]?.speed ?? 0,
    memoryMiB: total,
    freeMemoryMiB: freeMemoryMiB(total, domains),
  };
}
