/**
 * Which disks are the same disk, and what this machine itself does with one: mounts, swap, loop devices, device-mapper and
 * RAID. A disk is known by what it is, not by its path: device number of a block device, file system and inode of a file.
 * Follows xm-xend 3.3. Linux tells all this in /proc and /sys; elsewhere the host's own use is not seen.
 */
import { type BigIntStats, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

export interface DiskIdentity {
  /** One name for a disk, whatever it was opened as: b8:1, or f2049:131. */
  readonly id: string;
  /** Disks that share sectors with it: the partitions of a whole disk, the whole disk of a partition. */
  readonly related: readonly string[];
}

/** How the machine itself uses a disk. */
export interface HostUse {
  readonly mode: 'r' | 'w';
  /** For a message after "is in writable use": "as swap here". */
  readonly how: string;
}

const major = (dev: bigint) => Number(((dev >> 32n) & 0xffff_f000n) | ((dev >> 8n) & 0xfffn));
const minor = (dev: bigint) => Number(((dev >> 12n) & 0xffff_ff00n) | (dev & 0xffn));
/** MAJOR:MINOR as Linux writes it. */
export const deviceName = (dev: bigint): string => `${major(dev)}:${minor(dev)}`;

/** `root` is / except in tests. */
export function identifyDisk(stat: BigIntStats, root = '/'): DiskIdentity {
  if (!stat.isBlockDevice()) return { id: `f${stat.dev}:${stat.ino}`, related: [] };
  const name = deviceName(stat.rdev);
  return { id: `b${name}`, related: relatedDevices(name, root).map((device) => `b${device}`) };
}

function relatedDevices(name: string, root: string): string[] {
  const at = path.join(root, 'sys/dev/block', name);
  // Not joined: ".." is meant of the folder that the symbolic link leads to.
  const whole = firstLine(`${at}/../dev`);
  if (firstLine(`${at}/partition`) !== undefined) return whole ? [whole] : [];
  return list(at)
    .filter((entry) => firstLine(`${at}/${entry}/partition`) !== undefined)
    .flatMap((entry) => firstLine(`${at}/${entry}/dev`) ?? []);
}

/** The machine's own uses of a disk; the strongest first. */
export function hostUses(stat: BigIntStats, root = '/'): HostUse[] {
  const uses: HostUse[] = [];
  if (stat.isBlockDevice()) {
    const name = deviceName(stat.rdev);
    const all = [name, ...relatedDevices(name, root)];
    for (const device of all) {
      uses.push(...mountsOf(device, root));
      const holders = list(path.join(root, 'sys/dev/block', device, 'holders'));
      if (holders.length > 0) uses.push({ mode: 'w', how: `as part of ${holders.join(', ')} of this machine` });
      if (isSwap(device, root)) uses.push({ mode: 'w', how: 'as swap of this machine' });
    }
  } else uses.push(...loopsOf(stat, root));
  return uses.sort((a, b) => (a.mode === b.mode ? 0 : a.mode === 'w' ? -1 : 1));
}

/** proc(5), mountinfo: ID PARENT MAJOR:MINOR ROOT POINT OPTIONS … - TYPE SOURCE SUPEROPTIONS. */
function mountsOf(device: string, root: string): HostUse[] {
  return lines(path.join(root, 'proc/self/mountinfo')).flatMap((line): HostUse[] => {
    const [, , dev, , point = '', options = ''] = line.split(' ');
    if (dev !== device) return [];
    const unescaped = point.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
    // A read-only mount of a file system that is writable elsewhere shows up there too.
    return [
      { mode: options.split(',').includes('ro') ? 'r' : 'w', how: `as file system ${unescaped} of this machine` },
    ];
  });
}

function isSwap(device: string, root: string): boolean {
  return lines(path.join(root, 'proc/swaps'))
    .slice(1)
    .some((line) => {
      const file = line.split(/\s/)[0] ?? '';
      const stat = tryStat(path.join(root, file));
      return stat?.isBlockDevice() === true && deviceName(stat.rdev) === device;
    });
}

function loopsOf(file: BigIntStats, root: string): HostUse[] {
  const blocks = path.join(root, 'sys/block');
  return list(blocks).flatMap((loop): HostUse[] => {
    if (!loop.startsWith('loop')) return [];
    const backing = firstLine(path.join(blocks, loop, 'loop/backing_file'));
    const stat = backing === undefined ? undefined : tryStat(path.join(root, backing));
    if (!stat || stat.dev !== file.dev || stat.ino !== file.ino) return [];
    return [
      {
        mode: firstLine(path.join(blocks, loop, 'ro')) === '1' ? 'r' : 'w',
        how: `through /dev/${loop} of this machine`,
      },
    ];
  });
}

function firstLine(file: string): string | undefined {
  return lines(file)[0];
}

function lines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    return [];
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function tryStat(file: string): BigIntStats | undefined {
  try {
    return statSync(file, { bigint: true });
  } catch {
    return undefined;
  }
}
