/** The (domain …) expression that `xm list -l` prints, xm-xend 1.4 and 5.6. */
import { classicNumber } from '../devices/blk/vdev.ts';
import type { DomainView } from '../xend/view.ts';
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
    ...(config && config.disks.length > 0 ? [['devices', ...config.disks.map(diskSxp)]] : []),
    ...(config ? [['config', vmSxp(config)]] : []),
  ];
}

function diskSxp({ uname, dev, mode }: { uname: string; dev: string; mode: string }, idx: number): Sxp {
  const vdev = classicNumber(dev);
  return [
    'vbd',
    ['idx', idx],
    ...(vdev === undefined ? [] : [['vdev', vdev]]),
    ['mode', mode],
    ['dev', dev],
    ['uname', uname],
    ['index', idx],
  ];
}
