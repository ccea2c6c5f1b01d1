/** The manual's first guest for programs: a kernel, and a disk of one's own that is gone with the domain. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { copySparsely } from '../guest/copy-sparsely.ts';
import { guestCache } from '../host/paths.ts';
import type { CreateOptions, DomainValues } from './domain-init.ts';

/** Debian's kernel, unpacked beside its initramfs, needs 70 to start at all. */
const MEMORY_MIB = 96;

/**
 * What createDomain needs for a ttylinux: log in as root, password root. The first time it fetches a kernel. `more` are
 * further values, which win.
 */
export async function ttylinux(
  more: Partial<DomainValues> & CreateOptions = {},
): Promise<DomainValues & CreateOptions> {
  const { prepareGuest } = await import('../guest/index.ts'); // Packages and decompressors: only who wants it waits for it.
  const guest = await prepareGuest({ cacheDir: guestCache() });
  const folder = await mkdtemp(path.join(os.tmpdir(), 'domus-ttylinux-'));
  const disk = path.join(folder, 'disk.img');
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    await copySparsely(guest.disk, disk);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    kernel: guest.kernel,
    ramdisk: guest.initrd,
    memoryMiB: MEMORY_MIB,
    root: '/dev/sda1 ro',
    ...more,
    disks: [`file:${disk},sda1,w`, ...(more.disks ?? [])],
    release: async () => {
      await remove();
      await more.release?.();
    },
  };
}
