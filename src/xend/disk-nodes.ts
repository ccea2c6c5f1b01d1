/** From a configuration's disks to the device numbers and names that the guest will see. */
import type { Disk } from '../config/domain-config.ts';
import type { DiskNode } from './domain-store.ts';
import { XendError } from './errors.ts';

/** Today's guests know xvd only: whatever classic name the file uses, the disk and partition number stay (sda1 is xvda1). */
export function guestDevice(dev: string): { vdev: number; name: string } | undefined {
  const match = /^(?:\/dev\/)?(?:sd|hd|xvd)([a-z])(\d{0,2})$/.exec(dev);
  if (!match) return undefined;
  const disk = match[1]!.charCodeAt(0) - 97;
  const partition = Number(match[2] || 0);
  if (disk > 15 || partition > 15) return undefined;
  return { vdev: (202 << 8) + disk * 16 + partition, name: `xvd${match[1]}${match[2]}` };
}

export function diskNodes(disks: readonly Disk[]): DiskNode[] {
  const taken = new Map<number, string>();
  return disks.map(({ uname, dev, mode }) => {
    const device = guestDevice(dev);
    if (!device) throw new XendError('bad-config', `vbd: Device not found: ${dev}`);
    const other = taken.get(device.vdev);
    if (other !== undefined)
      throw new XendError('bad-config', `two disks would be ${device.name}: ${other} and ${uname}`);
    taken.set(device.vdev, uname);
    return { ...device, mode, uname };
  });
}
