/** The manual's first domain (section 3.3) as files: a disk of its own and the configuration file beside it. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { copySparsely } from '../../src/guest/copy-sparsely.ts';
import type { Guest } from '../../src/guest/index.ts';

/** The manual's 64 are for a smaller kernel: Debian's, unpacked beside its initramfs, needs 70 to start at all. */
export const TTYLINUX_MEMORY_MIB = 96;
export interface TtylinuxFiles {
  readonly config: string;
  readonly disk: string;
  readonly text: string;
}

/** Writes NAME.cfg and its disk into a folder. */
export async function writeTtylinux(
  guest: Guest,
  folder: string,
  { name = 'ttylinux', memoryMiB = TTYLINUX_MEMORY_MIB } = {},
): Promise<TtylinuxFiles> {
  const disk = path.join(folder, `${name}.img`);
  const config = path.join(folder, `${name}.cfg`);
  const text = [
    `kernel  = ${JSON.stringify(guest.kernel)}`,
    `ramdisk = ${JSON.stringify(guest.initrd)}`,
    `memory  = ${memoryMiB}`,
    `name    = ${JSON.stringify(name)}`,
    `disk    = ['file:${disk},sda1,w']`,
    'root    = "/dev/sda1 ro"',
    '',
  ].join('\n');
  await copySparsely(guest.disk, disk);
  await writeFile(config, text);
  return { config, disk, text };
}
