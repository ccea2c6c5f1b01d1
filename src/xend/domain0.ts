/** Domain-0: this machine, as a row among the domains. */
import os from 'node:os';
import { hostCpuSeconds, totalMemoryMiB } from './node-info.ts';
import type { DomainView, VcpuView } from './view.ts';

/** `domains` are the memory sizes of the others, which it does not have; `now` is in milliseconds. */
export function domain0View(domains: readonly number[], now: number): DomainView {
  const total = totalMemoryMiB();
  const upTimeS = os.uptime();
  return {
    domid: 0,
    uuid: '00000000-0000-0000-0000-000000000000',
    name: 'Domain-0',
    memoryMiB: total - domains.reduce((sum, memory) => sum + memory, 0),
    maxmemMiB: total,
    vcpus: os.availableParallelism(),
    state: 'running',
    letters: 'r----',
    cpu: 0,
    cpuTimeS: hostCpuSeconds(),
    upTimeS,
    startTime: now / 1000 - upTimeS,
    builds: 1,
  };
}

/** This machine's CPUs, each of which may do anything for it. */
export function domain0Vcpus(): VcpuView[] {
  return os.cpus().map(({ times }, cpu) => ({
    vcpu: cpu,
    cpu,
    state: 'running',
    cpuTimeS: (times.user + times.nice + times.sys) / 1000,
    affinity: [],
  }));
}
