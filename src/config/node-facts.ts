/** What Xen 2.0 tells about the machine, its keys in its order (xm-xend 1.4, 5.4): `xm info` and `(node ...)` begin with it. */
import type { NodeInfo } from '../xend/node-info.ts';

export type Facts = readonly (readonly [key: string, value: string | number])[];

export const classicFacts = (node: NodeInfo): Facts => [
  ['system', node.system],
  ['host', node.host],
  ['release', node.release],
  ['version', node.version],
  ['machine', node.machine],
  ['cores', node.cores],
  ['hyperthreads_per_core', node.hyperthreadsPerCore],
  ['cpu_mhz', node.cpuMhz],
  ['memory', node.memoryMiB],
  ['free_memory', node.freeMemoryMiB],
];
