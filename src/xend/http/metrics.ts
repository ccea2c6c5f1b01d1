/**
 * Metrics in Prometheus' text format, version 0.0.4: of the domains, of this machine, of xend itself. Names and units follow
 * its conventions: base units, `_total` on what only grows. Domains' names are their makers' and are escaped.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Level } from '../log.ts';
import type { NodeInfo } from '../node-info.ts';
import type { DomainView } from '../view.ts';

export type Labels = Readonly<Record<string, string | number>>;
export interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly samples: readonly (readonly [labels: Labels, value: number])[];
}

/** What the numbers are made from. */
export interface Observed {
  readonly domains: readonly DomainView[];
  readonly node: NodeInfo;
  readonly events: number;
  readonly logLines: Readonly<Record<Level, number>>;
  readonly requests: ReadonlyMap<string, number>;
  readonly streams: number;
}

const MIB = 1 << 20;
const STATES = ['building', 'paused', 'running', 'shutdown', 'dead'] as const;

export function families(observed: Observed): Family[] {
  const { domains, node, events, logLines, requests, streams } = observed;
  const guests = domains.filter(({ domid }) => domid !== 0);
  const of = (rows: readonly DomainView[], value: (domain: DomainView) => number) =>
    rows.map((domain) => [labels(domain), value(domain)] as const);
  const { user, system } = process.cpuUsage();
  // biome-ignore format: a table
  return [
    family('domus_domains',                        'gauge',   'Domains besides Domain-0, by state.',        STATES.map((state) => [{ state }, guests.filter((one) => one.state === state).length])),
    family('domus_domain_cpu_seconds_total',       'counter', 'CPU time used; Domain-0: by all of this machine.', of(domains, ({ cpuTimeS }) => cpuTimeS)),
    family('domus_domain_memory_bytes',            'gauge',   'Memory that it has.',                        of(domains, ({ memoryMiB }) => memoryMiB * MIB)),
    family('domus_domain_memory_max_bytes',        'gauge',   'Memory that it may have.',                   of(domains, ({ maxmemMiB }) => maxmemMiB * MIB)),
    family('domus_domain_vcpus',                   'gauge',   'Virtual CPUs online.',                       of(domains, ({ vcpus }) => vcpus)),
    family('domus_domain_up_seconds',              'gauge',   'Since it began to run.',                     of(domains, ({ upTimeS }) => upTimeS)),
    family('domus_domain_builds_total',            'counter', 'Machines built for it: one more than its reboots.', of(guests, ({ builds }) => builds)),
    family('domus_domain_busy',                    'gauge',   '1 while something is being done to it.',     of(guests, ({ operation }) => (operation ? 1 : 0))),
    ...io(guests),
    family('domus_host_memory_bytes',              'gauge',   'Memory of this machine.',                    [[{}, node.memoryMiB * MIB]]),
    family('domus_host_memory_free_bytes',         'gauge',   'Memory left for new domains.',               [[{}, node.freeMemoryMiB * MIB]]),
    family('domus_host_cpus',                      'gauge',   'CPUs of this machine.',                      [[{}, node.cores]]),
    family('domus_xend_events_total',              'counter', 'Events so far, across restarts.',            [[{}, events]]),
    family('domus_xend_log_lines_total',           'counter', 'Lines for the log, by level.',               Object.entries(logLines).map(([level, count]) => [{ level }, count])),
    family('domus_xend_requests_total',            'counter', 'Requests served.',                           [...requests].map(([key, count]) => [requestLabels(key), count])),
    family('domus_xend_streams',                   'gauge',   'WebSockets open.',                           [[{}, streams]]),
    family('domus_xend_loop_delay_seconds',        'gauge',   'How late xend came to a look that it takes each second, worst since it started.', [[{}, loopDelay.max / 1e9]]),
    family('process_cpu_seconds_total',            'counter', "xend's own CPU time.",                       [[{}, (user + system) / 1e6]]),
    family('process_resident_memory_bytes',        'gauge',   "xend's own memory.",                         [[{}, process.memoryUsage.rss()]]),
    family('process_start_time_seconds',           'gauge',   'When xend started, since 1970.',             [[{}, startedAtS]]),
  ];
}

/** Block and console traffic, of the domains whose monitors tell. */
function io(guests: readonly DomainView[]): Family[] {
  const disks = guests.flatMap((domain) =>
    (domain.diskIo ?? []).map((disk) => ({ labels: { ...labels(domain), device: disk.dev }, disk })),
  );
  const consoles = guests.flatMap((domain) => (domain.console ? [{ labels: labels(domain), io: domain.console }] : []));
  // biome-ignore format: a table
  return [
    family('domus_domain_block_read_bytes_total',     'counter', 'Bytes read from a disk.',           disks.map(({ labels, disk }) => [labels, disk.readBytes])),
    family('domus_domain_block_written_bytes_total',  'counter', 'Bytes written to a disk.',          disks.map(({ labels, disk }) => [labels, disk.writtenBytes])),
    family('domus_domain_block_reads_total',          'counter', 'Read requests to a disk.',          disks.map(({ labels, disk }) => [labels, disk.reads])),
    family('domus_domain_block_writes_total',         'counter', 'Write requests to a disk.',         disks.map(({ labels, disk }) => [labels, disk.writes])),
    family('domus_domain_console_output_bytes_total', 'counter', 'Bytes printed on the console.',     consoles.map(({ labels, io }) => [labels, io.bytesOut])),
    family('domus_domain_console_input_bytes_total',  'counter', 'Bytes typed on the console.',       consoles.map(({ labels, io }) => [labels, io.bytesIn])),
  ];
}

const startedAtS = performance.timeOrigin / 1000;
/** Each look wakes an idle xend. */
const LOOP_LOOKS_MS = 1000;
const loopDelay = monitorEventLoopDelay({ resolution: LOOP_LOOKS_MS });
loopDelay.enable();

const family = (
  name: string,
  type: Family['type'],
  help: string,
  samples: readonly (readonly [Labels, number])[],
): Family => ({ name, type, help, samples });

const labels = ({ name, domid, uuid }: DomainView): Labels => ({ domain: name, domid, uuid });

/** Requests are counted by `METHOD ROUTE STATUS`: routes, not paths, so that no client can make up new rows. */
function requestLabels(key: string): Labels {
  const [method = '', route = '', status = ''] = key.split(' ');
  return { method, route, status };
}

export function render(all: readonly Family[]): string {
  let text = '';
  for (const { name, type, help, samples } of all) {
    if (samples.length === 0) continue;
    text += `# HELP ${name} ${escaped(help).replaceAll('\\"', '"')}\n# TYPE ${name} ${type}\n`;
    for (const [labels, value] of samples) {
      const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escaped(String(value))}"`);
      text += `${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}\n`;
    }
  }
  return text;
}

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
