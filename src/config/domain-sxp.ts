/** The (domain …) expression that `xm list -l` prints, xm-xend 1.4 and 5.6. */
import { classicNumber } from '../devices/blk/vdev.ts';
import type { DomainView } from '../xend/view.ts';
import type { Disk } from './domain-config.ts';
import type { Sxp } from './sxp.ts';
import { vmSxp } from './vm-sxp.ts';

export function domainSxp(domain: DomainView): Sxp {
  const { config } = domain;
  return [
    'domain',
    ['id', domain.domid],
    ['name', domain.name],
    ['uuid', domain.uuid],
    ['memory', domain.memoryMiB],
    ['maxmem', domain.maxmemMiB],
    ['vcpus', domain.vcpus],
    ['state', domain.letters],
    ...(domain.shutdownReason ? [['shutdown_reason', domain.shutdownReason]] : []),
    ['cpu', domain.cpu],
    ['cpu_time', domain.cpuTimeS],
    ['up_time', domain.upTimeS],
    ['start_time', domain.startTime],
    ...consoleSxp(domain),
    ...(config && config.disks.length > 0 ? [['devices', ...config.disks.map(diskSxp)]] : []),
    ...(config ? [['config', vmSxp(config)]] : []),
  ];
}

/** The (console ...) of a domain, or nothing. */
export function consoleSxp({ domid, console: about, consolePort }: DomainView): Sxp[] {
  if (!about) return [];
  const rows: Sxp[] = [
    ['status', about.status],
    ['id', about.id],
    ['domain', domid],
    ...(consolePort === undefined ? [] : [['console_port', consolePort]]),
    ...(about.writer === undefined ? [] : [['connected', ...connection(about.writer)]]),
  ];
  return [['console', ...rows]];
}

/** HOST and PORT of a TCP connection; others have a name only. */
function connection(writer: string): string[] {
  const tcp = /^([\d.]+):(\d+)$/.exec(writer);
  return tcp ? [tcp[1]!, tcp[2]!] : [writer];
}

/** One disk, as `xm list -l` and `xm vbd-list` have it: by the name that it was given, whatever its guest calls it. */
export function diskSxp({ uname, dev, mode }: Pick<Disk, 'uname' | 'dev' | 'mode'>, idx: number): Sxp {
  const vdev = classicNumber(dev);
  return [
    'vbd',
    ['idx', idx],
    ...(vdev === undefined ? [] : [['vdev', vdev]]),
    ['mode', mode],
    ['dev', dev],
    ['uname', uname],
    ['node', uname.slice(uname.indexOf(':') + 1)],
    ['index', idx],
  ];
}
