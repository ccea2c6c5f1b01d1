/** Tables as xm's and xl's users know them, byte for byte: xm-xend 1.4 and 1.9. */
import type { NodeInfo } from '../xend/node-info.ts';
import type { DomainView } from '../xend/view.ts';

/**
 * One line by a template of the C library's kind, so that it can be laid beside the reference: %s and %d with a width, `-`
 * for the left, and %W.Pf. A value longer than its column pushes the others.
 */
export function line(template: string, ...values: readonly (string | number)[]): string {
  let at = 0;
  const text = template.replace(/%(-?)(\d*)(?:\.(\d+))?([sdf])/g, (_, left, width, precision, kind) => {
    const value = values[at++]!;
    const shown = kind === 'f' ? Number(value).toFixed(Number(precision ?? 6)) : String(value);
    return left ? shown.padEnd(Number(width)) : shown.padStart(Number(width));
  });
  return `${text}\n`;
}

interface ListLayout {
  readonly header: string;
  row(domain: DomainView): string;
}

/** The six letters of later tools: 2.0's five, the last for the reason of an end in xl's way, and one for dying. */
export function modernLetters({ letters, shutdownReason }: DomainView): string {
  const reason = { poweroff: '-', reboot: 'r', suspend: 's', crash: 'c', watchdog: 'w' }[shutdownReason ?? 'poweroff'];
  return `${letters.slice(0, 4)}${letters[3] === 's' || letters[4] === 'c' ? reason : '-'}-`;
}

export const LIST_LAYOUTS: Readonly<Record<'xm' | 'xl', ListLayout>> = {
  xm: {
    header: 'Name              Id  Mem(MB)  CPU  State  Time(s)  Console\n',
    row: ({ name, domid, memoryMiB, cpu, letters, cpuTimeS, consolePort }) =>
      line('%-16s %3d  %7d  %3d  %5s  %7.1f    %4s', name, domid, memoryMiB, cpu, letters, cpuTimeS, consolePort ?? ''),
  },
  xl: {
    header: `${'Name'.padEnd(40)}    ID   Mem VCPUs\tState\tTime(s)\n`,
    row: (domain) => {
      const { name, domid, memoryMiB, vcpus, cpuTimeS } = domain;
      return line('%-40s %5d %5d %5d     %s  %8.1f', name, domid, memoryMiB, vcpus, modernLetters(domain), cpuTimeS);
    },
  },
};

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
  return rows.map(([key, value]) => line('%-23s: %s', key, value)).join('');
}
