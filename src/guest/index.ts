/**
 * Everything a first domain needs, made once and kept: Debian's kernel, our initramfs, the ttylinux disk.
 * Layout of the cache folder: packages/NAME_VERSION, guests/KEY (finished sets), guests/FLAVOUR.json (which set is current).
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeAtomically } from '../host/atomic-file.ts';
import { DebianPackages, type Progress, renameUnlessThere } from './debian.ts';
import { GuestError } from './errors.ts';
import { findExtTools, makeExtImage } from './ext-image.ts';
import { buildInitramfs } from './initramfs.ts';
import { ModuleTree } from './modules.ts';
import { makeTtylinuxTree, TTYLINUX, TTYLINUX_NODES } from './ttylinux.ts';

export { GuestError } from './errors.ts';
export { loadKernel } from './kernel.ts';
export { openKernel } from './kernel-cache.ts';
export { KernelError } from './kernel-error.ts';

export type Flavour = 'cloud' | 'plain';

// biome-ignore format: a table
const META_PACKAGES: Record<Flavour, { meta: string; image: RegExp }> = {
  cloud: { meta: 'linux-image-cloud-amd64', image: /^linux-image-\d.*-cloud-amd64$/ },
  plain: { meta: 'linux-image-amd64',       image: /^linux-image-\d.*-amd64$/ },
};

export interface Guest {
  /** vmlinuz-RELEASE and, in the same folder, initrd-RELEASE. */
  readonly kernel: string;
  readonly initrd: string;
  /** The pristine ttylinux disk: copy it (sparsely) for each domain, never give it to one. */
  readonly disk: string;
  /** The kernel's release, for example 6.1.0-56-cloud-amd64, and its package's version. */
  readonly release: string;
  readonly version: string;
}

export interface PrepareOptions {
  readonly cacheDir: string;
  readonly flavour?: Flavour;
  readonly onProgress?: Progress;
  /** Asks apt for a newer kernel even when there is one already. */
  readonly refresh?: boolean;
}

export async function prepareGuest({
  cacheDir,
  flavour = 'cloud',
  onProgress,
  refresh = false,
}: PrepareOptions): Promise<Guest> {
  const recipe = await recipeHash();
  const guests = join(cacheDir, 'guests');
  const current = join(guests, `${flavour}.json`);
  if (!refresh) {
    const known = await readCurrent(current, recipe);
    if (known) return known;
  }
  const packages = new DebianPackages(cacheDir, onProgress);
  try {
    const { meta, image } = META_PACKAGES[flavour];
    const real = (await packages.info(meta)).depends.find((name) => image.test(name));
    if (!real) throw new GuestError(`the package ${meta} names no kernel image`);
    const kernelPackage = await packages.info(real);
    const busyboxPackage = await packages.info('busybox-static');
    const release = real.replace('linux-image-', '');
    const rest = createHash('sha256').update(`${recipe} ${busyboxPackage.version}`).digest('hex').slice(0, 12);
    const place = join(guests, `${release}_${kernelPackage.version}_${rest}`.replaceAll(':', '%3a'));
    if (!existsSync(place)) {
      await mkdir(guests, { recursive: true });
      const temporary = await mkdtemp(`${place}.new-`);
      try {
        await makeGuest(
          packages,
          await packages.unpacked(kernelPackage),
          await packages.unpacked(busyboxPackage),
          release,
          temporary,
          onProgress,
        );
        await renameUnlessThere(join(temporary, 'guest'), place);
      } finally {
        await rm(temporary, { recursive: true, force: true });
      }
    }
    const guest = guestIn(place, release, kernelPackage.version);
    const found = { recipe, folder: relative(guests, place), release, version: guest.version };
    writeAtomically(current, `${JSON.stringify(found)}\n`, 0o644);
    return guest;
  } finally {
    await packages.close();
  }
}

async function makeGuest(
  packages: DebianPackages,
  kernelTree: string,
  busyboxTree: string,
  release: string,
  temporary: string,
  onProgress: Progress = () => {},
): Promise<void> {
  const guest = guestIn(join(temporary, 'guest'), release, '');
  await mkdir(join(temporary, 'guest'));
  const busybox = await readBusybox(busyboxTree);
  await copyFile(join(kernelTree, 'boot', `vmlinuz-${release}`), guest.kernel);
  onProgress('making the initramfs');
  const modules = new ModuleTree(await modulesFolder(kernelTree, release));
  await writeFile(guest.initrd, buildInitramfs({ release, modules, busybox }));
  onProgress('making the ttylinux disk');
  const tree = join(temporary, 'tree');
  await mkdir(tree);
  await makeTtylinuxTree(tree, busybox);
  await makeExtImage(await findExtTools(packages), { ...TTYLINUX, nodes: TTYLINUX_NODES, image: guest.disk, tree });
}

async function readBusybox(tree: string): Promise<Uint8Array> {
  const path = ['bin/busybox', 'usr/bin/busybox'].map((file) => join(tree, file)).find((file) => existsSync(file));
  if (!path) throw new GuestError('the package busybox-static has no bin/busybox');
  return readFile(path);
}

async function modulesFolder(tree: string, release: string): Promise<string> {
  const path = ['lib', 'usr/lib']
    .map((lib) => join(tree, lib, 'modules', release))
    .find((folder) => existsSync(folder));
  if (!path) throw new GuestError(`the kernel package has no modules for ${release}`);
  return path;
}

const guestIn = (folder: string, release: string, version: string): Guest => ({
  kernel: join(folder, `vmlinuz-${release}`),
  initrd: join(folder, `initrd-${release}`),
  disk: join(folder, 'ttylinux.img'),
  release,
  version,
});

async function readCurrent(file: string, recipe: string): Promise<Guest | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const record: { recipe?: string; folder?: string; release?: string; version?: string } = parse(text);
  if (record.recipe !== recipe || !record.folder || !record.release || !record.version) return undefined;
  const guest = guestIn(join(file, '..', record.folder), record.release, record.version);
  return [guest.kernel, guest.initrd, guest.disk].every((path) => existsSync(path)) ? guest : undefined;
}

function parse(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {}; // A damaged record is made anew.
  }
}

/** Changes when anything here does that goes into the images: our code and scripts. */
async function recipeHash(): Promise<string> {
  const here = fileURLToPath(new URL('.', import.meta.url));
  const hash = createHash('sha256');
  const paths = await readdir(here, { recursive: true, encoding: 'utf8', withFileTypes: true });
  const files = paths
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort())
    hash
      .update(`${relative(here, file)}\0`)
      .update(await readFile(file))
      .update('\0');
  return hash.digest('hex');
}
