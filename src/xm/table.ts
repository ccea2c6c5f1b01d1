/** Printing as xm's users know it: xm-xend 1.4, byte for byte. */
import type { NodeInfo } from '../xend/node-info.ts';
import type { DomainView } from '../xend/view.ts';

export const LIST_HEADER = 'Name              Id  Mem(MB)  CPU  State  Time(s)  Console\n';

export function listRow(domain: DomainView): string {
  const { name, domid, memoryMiB, cpu, letters, cpuTimeS, consolePort } = domain;
  return [
    name.padEnd(16),
    ` ${String(domid).padStart(3)}`,
    `  ${String(memoryMiB).padStart(7)}`,
    `  ${String(cpu).padStart(3)}`,
    `  ${letters.padStart(5)}`,
    `  ${cpuTimeS.toFixed(1).padStart(7)}`,
    `    ${String(consolePort ?? '').padStart(4)}\n`,
  ].join('');
}

/** `xm info`: the 2.0 keys in their order, then today's names of the same facts for scripts that look for those. */
export function infoText(node: NodeInfo): string {
  const rows: [string, string | number][] = [
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
    ['nr_cpus', node.cores],
    ['total_memory', node.memoryMiB],
  ];
  return rows.map(([key, value]) => `${key.padEnd(23)}: ${value}\n`).join('');
}
