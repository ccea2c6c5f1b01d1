/**
 * What v86 boots: Debian's kernel for i386 without PAE, an initramfs of nothing but our programs built for it, the BIOS of
 * Debian's package. Made once and kept in the cache.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type CpioEntry, S_IFCHR, S_IFDIR, S_IFREG, writeCpio } from '../../../src/guest/cpio.ts';
import { DebianPackages, type Progress, renameUnlessThere } from '../../../src/guest/debian.ts';
import { buildPrograms, sourcesKey } from '../build.ts';

export interface V86Guest {
  readonly bios: string;
  readonly vgaBios: string;
  readonly kernel: string;
  readonly initrd: string;
  /** The kernel's release and its package's version. */
  readonly version: string;
}

const ARCHITECTURE = 'i386';
const META_PACKAGE = 'linux-image-686';
const IMAGE = /^linux-image-(\d.*-686)$/;
/** SeaBIOS for machines as old as v86's, and the VGA BIOS without which it waits. */
const BIOS = { bios: 'bios.bin', vgaBios: 'vgabios-stdvga.bin' };
const SEABIOS_FILES = 'usr/share/seabios';

export async function prepareV86Guest(cacheDir: string, onProgress: Progress): Promise<V86Guest> {
  const own = createHash('sha256')
    .update(await readFile(new URL(import.meta.url)))
    .update(sourcesKey())
    .digest('hex');
  const place = path.join(cacheDir, 'bench', `v86-${own.slice(0, 12)}`);
  if (!existsSync(place)) {
    await mkdir(path.dirname(place), { recursive: true });
    const temporary = await mkdtemp(`${place}.new-`);
    const packages = new DebianPackages(cacheDir, onProgress, { architectures: [ARCHITECTURE] });
    try {
      await make(packages, temporary);
      await renameUnlessThere(temporary, place);
    } finally {
      await packages.close();
      await rm(temporary, { recursive: true, force: true });
    }
  }
  const file = (name: string): string => path.join(place, name);
  return {
    bios: file(BIOS.bios),
    vgaBios: file(BIOS.vgaBios),
    kernel: file('vmlinuz'),
    initrd: file('initrd'),
    version: (await readFile(file('version'), 'utf8')).trim(),
  };
}

async function make(packages: DebianPackages, folder: string): Promise<void> {
  const { depends } = await packages.info(`${META_PACKAGE}:${ARCHITECTURE}`);
  const name = depends.find((one) => IMAGE.test(one));
  if (name === undefined) throw new Error(`the package ${META_PACKAGE} names no kernel image`);
  const image = await packages.info(`${name}:${ARCHITECTURE}`);
  const release = IMAGE.exec(name)![1]!;
  await copyFile(path.join(await packages.unpacked(image), `boot/vmlinuz-${release}`), path.join(folder, 'vmlinuz'));
  const seabios = await packages.unpacked(await packages.info('seabios'));
  for (const one of Object.values(BIOS)) await copyFile(path.join(seabios, SEABIOS_FILES, one), path.join(folder, one));
  await writeFile(path.join(folder, 'initrd'), await initramfs(folder));
  await writeFile(path.join(folder, 'version'), `${release} (${image.version})\n`);
}

/** The runner is the first process; it needs its console and somewhere for what programs print. */
async function initramfs(folder: string): Promise<Uint8Array> {
  const programs = path.join(folder, 'programs');
  await mkdir(programs);
  buildPrograms(programs, { i386: true });
  const entries: CpioEntry[] = [
    ...['dev', 'proc', 'tmp', 'bench'].map((name) => ({ path: name, mode: S_IFDIR | 0o755 })),
    { path: 'dev/console', mode: S_IFCHR | 0o600, major: 5, minor: 1 },
    { path: 'dev/null', mode: S_IFCHR | 0o666, major: 1, minor: 3 },
  ];
  for (const name of (await readdir(programs)).sort()) {
    const data = await readFile(path.join(programs, name));
    entries.push({ path: name === 'runner' ? 'init' : `bench/${name}`, mode: S_IFREG | 0o755, data });
  }
  await rm(programs, { recursive: true });
  return writeCpio(entries);
}
