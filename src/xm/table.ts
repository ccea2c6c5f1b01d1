/** Tables as xm's and xl's users know them, byte for byte: xm-xend 1.4 and 1.9. */
import { XEN_CAPABILITIES, XEN_CHANGESET, XEN_COMPILE_INFO, XEN_VERSION } from '../abi/xen-version.ts';
import { classicFacts, type Facts } from '../config/node-facts.ts';
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

/** Further columns of xl's list, by the option that asks for them, in their order. There is one pool of CPUs and one node. */
export interface ListColumns {
  readonly verbose?: boolean;
  readonly context?: boolean;
  readonly cpupool?: boolean;
  readonly numa?: boolean;
}

interface ListLayout {
  header(columns: ListColumns): string;
  row(domain: DomainView, columns: ListColumns): string;
}

/** xl's name of the pool that all CPUs are in. */
export const POOL = 'Pool-0';

/** The six letters of later tools: 2.0's five, the last for the reason of an end in xl's way, and one for dying. */
export function modernLetters({ letters, shutdownReason }: DomainView): string {
  const reason = { poweroff: '-', reboot: 'r', suspend: 's', crash: 'c', watchdog: 'w' }[shutdownReason ?? 'poweroff'];
  return `${letters.slice(0, 4)}${letters[3] === 's' || letters[4] === 'c' ? reason : '-'}-`;
}

export const LIST_LAYOUTS: Readonly<Record<'xm' | 'xl', ListLayout>> = {
  xm: {
    header: () => 'Name              Id  Mem(MB)  CPU  State  Time(s)  Console\n',
    row: ({ name, domid, memoryMiB, cpu, letters, cpuTimeS, consolePort }) =>
      line('%-16s %3d  %7d  %3d  %5s  %7.1f    %4s', name, domid, memoryMiB, cpu, letters, cpuTimeS, consolePort ?? ''),
  },
  xl: {
    header: ({ verbose, context, cpupool, numa }) =>
      [
        `${'Name'.padEnd(40)}    ID   Mem VCPUs\tState\tTime(s)`,
        verbose ? ` ${'UUID'.padEnd(36)} Reason-Code\tSecurity Label` : '',
        context && !verbose ? '   Security Label' : '',
        cpupool ? '         Cpupool' : '',
        numa ? ' NODE Affinity' : '',
        '\n',
      ].join(''),
    row: (domain, { verbose, context, cpupool, numa }) => {
      const { name, domid, memoryMiB, vcpus, cpuTimeS, uuid, shutdownReason } = domain;
      const more = [
        verbose ? ` ${uuid} ${(shutdownReason ?? '-').padStart(11)}` : '',
        verbose || context ? ` ${'-'.padStart(16)}` : '',
        cpupool ? POOL.padStart(16) : '',
        numa ? ' any node' : '',
      ].join('');
      const letters = modernLetters(domain);
      return line(`%-40s %5d %5d %5d     %s  %8.1f%s`, name, domid, memoryMiB, vcpus, letters, cpuTimeS, more);
    },
  },
};

/** Today's keys in their order. */
function modernFacts(node: NodeInfo): Facts {
  const { major, minor, extra } = XEN_VERSION;
  return [
    ['host', node.host],
    ['release', node.release],
    ['version', node.version],
    ['machine', node.machine],
    ['nr_cpus', node.cores],
    ['max_cpu_id', node.cores - 1],
    ['nr_nodes', 1],
    ['cores_per_socket', Math.max(1, Math.floor(node.cores / node.hyperthreadsPerCore))],
    ['threads_per_core', node.hyperthreadsPerCore],
    ['cpu_mhz', node.cpuMhz],
    ['virt_caps', 'pv'],
    ['total_memory', node.memoryMiB],
    ['free_memory', node.freeMemoryMiB],
    ['sharing_freed_memory', 0],
    ['sharing_used_memory', 0],
    ['outstanding_claims', 0],
    ['xen_major', major],
    ['xen_minor', minor],
    ['xen_extra', extra],
    ['xen_version', `${major}.${minor}${extra}`],
    ['xen_caps', XEN_CAPABILITIES],
    ['xen_scheduler', 'credit'],
    ['xen_pagesize', 4096],
    ['platform_params', 'virt_start=0xffff800000000000'],
    ['xen_changeset', XEN_CHANGESET],
    ['xen_commandline', ''],
    ['cc_compiler', XEN_COMPILE_INFO.compiler],
    ['cc_compile_by', XEN_COMPILE_INFO.by],
    ['cc_compile_domain', XEN_COMPILE_INFO.domain],
    ['cc_compile_date', XEN_COMPILE_INFO.date],
    ['build_id', ''],
    ['xend_config_format', 4],
  ];
}

/** xl's facts, or in xm's dialect 2.0's with those of today's that it does not have, for scripts of both times. */
export function infoText(node: NodeInfo, dialect: 'xm' | 'xl'): string {
  const [classic, modern] = [classicFacts(node), modernFacts(node)];
  const known = new Set(classic.map(([key]) => key));
  const later: Facts = [...modern.filter(([key]) => !known.has(key)), ['max_free_memory', node.freeMemoryMiB]];
  const facts = dialect === 'xl' ? modern : [...classic, ...later];
  return facts.map(([key, value]) => line('%-23s: %s', key, value)).join('');
}

/** `xm info -c`: xend's settings, written as in its file. */
export function settingsText(settings: Readonly<Record<string, string | number | boolean>>): string {
  const word = (value: string | number | boolean) => (typeof value === 'boolean' ? (value ? 'yes' : 'no') : value);
  return Object.entries(settings)
    .map(([name, value]) => line('%-38s: %s', name, value === '' ? '(none)' : word(value)))
    .join('');
}

/** What `xl info -n` says of the nodes: all memory and all CPUs are in one, whose distance to itself is 10. */
export const numaText = ({ cores, memoryMiB, freeMemoryMiB, hyperthreadsPerCore }: NodeInfo): string =>
  [
    'cpu_topology           :\n',
    'cpu:    core    socket     node\n',
    ...Array.from({ length: cores }, (_, cpu) =>
      line('%3d:    %4d     %4d     %4d', cpu, Math.floor(cpu / hyperthreadsPerCore), 0, 0),
    ),
    'numa_info              :\n',
    'node:    memsize    memfree    distances\n',
    line('%4d:     %6d     %6d      %d', 0, memoryMiB, freeMemoryMiB, 10),
  ].join('');
