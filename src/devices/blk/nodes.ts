/** The two ends of a disk in the store, as whoever makes a disk writes them. Follows pv-abi 7.6. */
import type { Entry } from '../../store/entry.ts';
import { homeOf } from '../../store/path.ts';

export interface DiskNode {
  /** Device number in the guest, and the guest's name for it. */
  readonly vdev: number;
  readonly name: string;
  readonly mode: 'r' | 'w';
  readonly uname: string;
}

/** The folders of a disk's two ends: the backend's and the frontend's. */
export const diskRoots = (domid: number, vdev: number): [back: string, front: string] => [
  `${homeOf(0)}/backend/vbd/${domid}/${vdev}`,
  `${homeOf(domid)}/device/vbd/${vdev}`,
];

/** Both ends of one disk. The backend's folder comes first, so that a frontend never sees half a device. */
export function diskTree(domid: number, disk: DiskNode): Entry[] {
  const [back, front] = diskRoots(domid, disk.vdev);
  // biome-ignore format: a table
  const backRows: [string, string][] = [
    ['',                ''],
    ['/frontend',       front],
    ['/frontend-id',    String(domid)],
    ['/online',         '1'],
    ['/removable',      '0'],
    ['/bootable',       '1'],
    ['/dev',            disk.name],
    ['/type',           disk.uname.startsWith('file:') ? 'file' : 'phy'],
    ['/params',         disk.uname.slice(disk.uname.indexOf(':') + 1)],
    ['/mode',           disk.mode],
    ['/device-type',    'disk'],
    ['/discard-enable', disk.mode === 'w' ? '1' : '0'],
    ['/state',          '1'],
  ];
  // biome-ignore format: a table
  const frontRows: [string, string][] = [
    ['',                ''],
    ['/backend',        back],
    ['/backend-id',     '0'],
    ['/virtual-device', String(disk.vdev)],
    ['/device-type',    'disk'],
    ['/trusted',        '1'],
    ['/state',          '1'],
  ];
  return [
    ...backRows.map(([path, value]) => ({ path: back + path, value, perms: `n0,r${domid}` })),
    ...frontRows.map(([path, value]) => ({ path: front + path, value, perms: `n${domid},r0` })),
  ];
}
