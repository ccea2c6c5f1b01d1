/** Facts about this machine: `xm info`, the row of Domain-0, and the memory that domains share. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { type Static, Type } from '@sinclair/typebox';

const text = (description: string) => Type.String({ description });
const integer = (description: string) => Type.Integer({ description });
export const NodeInfo = Type.Object(
  {
    system: text('the operating system'),
    host: text("this machine's name"),
    release: text("the kernel's release"),
    version: text("the kernel's version"),
    machine: text('the architecture'),
    cores: integer('CPUs that may be used'),
    hyperthreadsPerCore: integer('threads of one core'),
    cpuMhz: integer('clock of the first CPU, MHz; 0 where nobody tells'),
    memoryMiB: integer('memory of the machine, or what its container may have'),
    freeMemoryMiB: integer('left for new domains'),
  },
  { $id: 'NodeInfo', description: 'Facts about this machine.' },
);
export type NodeInfo = Static<typeof NodeInfo>;

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

/** Node asks cpufreq, which machines without frequencies to choose from do not have; the kernel has measured one anyway. */
function cpuinfoMhz(): number {
  try {
    return Math.round(Number(/^cpu MHz\s*: ([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1] ?? 0));
  } catch {
    return 0;
  }
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
    cpuMhz: cpus[0]?.speed || cpuinfoMhz(),
    memoryMiB: total,
    freeMemoryMiB: freeMemoryMiB(total, domains),
  };
}
