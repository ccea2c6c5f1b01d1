/**
 * `npm run examples`: what etc/xen/xmexample1 and xmexample2 need to run as they are. Fetches a kernel (once), copies it and
 * its initramfs into the images folder of this user's xend, and makes a disk for each domain. What is there stays.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { copySparsely } from '../src/guest/copy-sparsely.ts';
import { GuestError, prepareGuest } from '../src/guest/index.ts';
import { findPaths, guestCache, imagesDir } from '../src/host/paths.ts';

const DISKS_MAX = 1000;
const { values } = parseArgs({
  options: { disks: { type: 'string', default: '2' }, help: { type: 'boolean', default: false } },
});

async function prepare(count: number): Promise<void> {
  const images = imagesDir(findPaths());
  mkdirSync(images, { recursive: true, mode: 0o700 });
  const guest = await prepareGuest({ cacheDir: guestCache(), onProgress: (line) => console.error(line) });
  const vmDisks = Array.from({ length: count }, (_, i) => `vm${i + 1}.img`);
  const files: [name: string, from: string, copy: (from: string, to: string) => Promise<void>][] = [
    ['vmlinuz', guest.kernel, copyFile],
    ['initrd', guest.initrd, copyFile],
    ...['ttylinux.img', 'example1.img', ...vmDisks].map((name): (typeof files)[number] => [
      name,
      guest.disk,
      copySparsely,
    ]),
  ];
  for (const [name, from, copy] of files) {
    const to = path.join(images, name);
    if (existsSync(to)) continue;
    console.log(`making ${to}`);
    await copy(from, to);
  }
  console.log('ready: xend start, then xm create -c xmexample1, or xm create -c xmexample2 vmid=1');
}

const count = Number(values.disks);
if (values.help) {
  console.log('usage: examples.ts [--disks N]');
  console.log('  --disks N  disks for xmexample2 with vmid 1 to N; 2 when not given');
} else if (!Number.isInteger(count) || count < 0 || count > DISKS_MAX) {
  console.error(`examples: --disks ${values.disks}: a whole number up to ${DISKS_MAX} is wanted`);
  process.exitCode = 1;
} else {
  try {
    await prepare(count);
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    console.error(`examples: ${error.message}`);
    process.exitCode = 1;
  }
}
