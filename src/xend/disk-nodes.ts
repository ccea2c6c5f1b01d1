/** From a configuration's disks to the device numbers and names that the guest will see. */
import type { Disk } from '../config/domain-config.ts';
import type { DiskNode } from '../devices/blk/nodes.ts';
import { guestDisk } from '../devices/blk/vdev.ts';
import { XendError } from './errors.ts';

export function diskNodes(disks: readonly Disk[]): DiskNode[] {
  const taken = new Map<number, string>();
  return disks.map(({ uname, dev, mode }) => {
    const device = guestDisk(dev);
    if (!device) throw new XendError('bad-config', `vbd: Device not found: ${dev}`);
    const other = taken.get(device.vdev);
    if (other !== undefined)
      throw new XendError('bad-config', `two disks would be ${device.name}: ${other} and ${uname}`);
    taken.set(device.vdev, uname);
    return { vdev: device.vdev, name: device.name, mode, uname };
  });
}
