/**
 * What xend writes into the store about a domain: its tree (pv-abi 7.4), as a list of rows, with its disks' two ends
 * (devices/blk/nodes.ts); and the port through which it does so. The store itself is src/store, its home in this process
 * store-home.ts.
 */
import type { DomainConfig } from '../config/domain-config.ts';
import { type DiskNode, diskTree } from '../devices/blk/nodes.ts';
import { AGENT_CHANNEL } from '../monitor/agent/channel.ts';
import type { Entry } from '../store/entry.ts';
import { homeOf } from '../store/path.ts';

export interface DomainStore {
  /** Make these entries, all or none. */
  write(entries: readonly Entry[]): Promise<void>;
  /** Remove these subtrees, as far as they exist. */
  remove(paths: readonly string[]): Promise<void>;
  read(path: string): Promise<string | undefined>;
  /** The value once `wanted` likes it, or the value after `timeoutMs`. Rejects with the signal's reason. */
  waitFor(
    path: string,
    wanted: (value: string | undefined) => boolean,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<string | undefined>;
  /** Let the guest of `domid` and its backends connect on the sockets in `runDir`. Safe to repeat. */
  introduce(domid: number, runDir: string): Promise<void>;
  /** Remove the trees of all other guests: left by a machine that stopped. */
  keepOnly(domains: readonly { readonly domid: number; readonly uuid: string }[]): Promise<void>;
  release(domid: number): Promise<void>;
  close(): Promise<void>;
}

export function domainTree(domid: number, uuid: string, config: DomainConfig, disks: readonly DiskNode[]): Entry[] {
  const home = homeOf(domid);
  const host = `n0,r${domid}`;
  const guest = `n${domid}`;
  const kib = (mib: number) => String(mib * 1024);
  // biome-ignore format: a table
  const rows: [path: string, value: string, perms: string][] = [
    ['',                                                '',                       host],
    ['/vm',                                             `/vm/${uuid}`,            host],
    ['/name',                                           config.name,              host],
    ['/domid',                                          String(domid),            host],
    ['/memory/static-max',                              kib(config.maxmemMiB),    host],
    ['/memory/target',                                  kib(config.memoryMiB),    host],
    ['/memory/videoram',                                '0',                      host],
    ['/device',                                         '',                       host],
    ['/device/suspend/event-channel',                   '',                       guest],
    ['/control',                                        '',                       host],
    ['/control/shutdown',                               '',                       guest],
    ['/control/sysrq',                                  '',                       guest],
    ['/control/feature-poweroff',                       '',                       guest],
    ['/control/feature-reboot',                         '',                       guest],
    ['/control/feature-suspend',                        '',                       guest],
    ['/control/platform-feature-multiprocessor-suspend', '1',                     host],
    ['/control/platform-feature-xs_reset_watches',      '1',                      host],
    ['/data',                                           '',                       guest],
    ['/drivers',                                        '',                       guest],
    ['/feature',                                        '',                       guest],
    ['/attr',                                           '',                       guest],
    ['/error',                                          '',                       guest],
    ['/console/backend',                                `${homeOf(0)}/backend/console/${domid}/0`, host],
    ['/console/backend-id',                             '0',                      host],
    ['/console/limit',                                  '1048576',                host],
    ['/console/type',                                   'xenconsoled',            host],
    ['/console/output',                                 'pty',                    host],
  ];
  for (let cpu = 0; cpu < config.vcpus; cpu++) rows.push([`/cpu/${cpu}/availability`, 'online', host]);
  return [
    ...rows.map(([path, value, perms]) => ({ path: home + path, value, perms })),
    { path: `/vm/${uuid}`, value: '', perms: host },
    { path: `/vm/${uuid}/uuid`, value: uuid, perms: host },
    { path: `/vm/${uuid}/name`, value: config.name, perms: host },
    ...disks.flatMap((disk) => diskTree(domid, disk)),
    ...channelTree(domid, AGENT_CHANNEL),
  ];
}

/** As `diskRoots`, of a channel. */
export const channelRoots = (domid: number, id: number): [back: string, front: string] => [
  `${homeOf(0)}/backend/console/${domid}/${id}`,
  `${homeOf(domid)}/device/console/${id}`,
];

/**
 * Both ends of a channel: a further console with a name, by which a program in the guest finds it. Its frontend has no state
 * yet: Linux looks at it when the monitor plugs it in (devices/console/channel.ts), not while it boots.
 */
function channelTree(domid: number, { id, name }: { id: number; name: string }): Entry[] {
  const [back, front] = channelRoots(domid, id);
  // biome-ignore format: a table
  const backRows: [string, string][] = [
    ['',             ''],
    ['/frontend',    front],
    ['/frontend-id', String(domid)],
    ['/online',      '1'],
    ['/name',        name],
    ['/protocol',    'vt100'],
    ['/state',       '1'],
  ];
  // biome-ignore format: a table
  const frontRows: [string, string][] = [
    ['',             ''],
    ['/backend',     back],
    ['/backend-id',  '0'],
    ['/limit',       '1048576'],
    ['/type',        'ioemu'],
    ['/output',      'pty'],
    ['/tty',         ''],
    ['/name',        name],
    ['/protocol',    'vt100'],
  ];
  return [
    ...backRows.map(([path, value]) => ({ path: back + path, value, perms: `n0,r${domid}` })),
    ...frontRows.map(([path, value]) => ({ path: front + path, value, perms: `n${domid},r0` })),
  ];
}

/** Where a domain's entries are. Removing these leaves nothing. */
export const treeRoots = (domid: number, uuid: string): string[] => [
  homeOf(domid),
  ...(uuid ? [`/vm/${uuid}`] : []),
  `${homeOf(0)}/backend/vbd/${domid}`,
  `${homeOf(0)}/backend/vif/${domid}`,
  `${homeOf(0)}/backend/console/${domid}`,
];

/** Domain-0's own entries: this machine. */
export const domain0Tree = (): Entry[] => [
  { path: '/local', value: '', perms: 'n0' },
  { path: '/local/domain', value: '', perms: 'n0' },
  { path: homeOf(0), value: '', perms: 'n0' },
  { path: `${homeOf(0)}/name`, value: 'Domain-0', perms: 'n0' },
  { path: `${homeOf(0)}/domid`, value: '0', perms: 'n0' },
  { path: `${homeOf(0)}/backend`, value: '', perms: 'n0' },
  { path: '/vm', value: '', perms: 'n0' },
];
