/** The manual's first domain (section 3.3) as files: a disk of its own and the configuration file beside it. */
import { open, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Guest } from '../../src/guest/index.ts';

/** The manual's 64 are for a smaller kernel: Debian's, unpacked beside its initramfs, needs 70 to start at all. */
export const TTYLINUX_MEMORY_MIB = 96;
const CHUNK = 1 << 16;
const ZEROS = Buffer.alloc(CHUNK);

/** Copy a file without writing what is zero, so that the copy takes the disk space of what is in it. */
export async function copySparsely(from: string, to: string): Promise<void> {
  const source = await open(from, 'r');
  const target = await open(to, 'wx', 0o600);
  try {
    const { size } = await source.stat();
    await target.truncate(size);
    const chunk = Buffer.alloc(CHUNK);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await source.read(chunk, 0, CHUNK, at);
      if (bytesRead === 0) break;
      const bytes = chunk.subarray(0, bytesRead);
      if (!bytes.equals(ZEROS.subarray(0, bytesRead))) await target.write(bytes, 0, bytesRead, at);
      at += bytesRead;
    }
  } finally {
    await source.close();
    await target.close();
  }
}

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
