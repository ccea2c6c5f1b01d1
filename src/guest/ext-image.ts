/**
 * A file system image from a folder, without root: mke2fs fills it, debugfs then gives every file to root and makes device nodes.
 * Both come from e2fsprogs: the machine's, or the unpacked package when it has none.
 */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type DebianPackages, onPath } from './debian.ts';
import { GuestError } from './errors.ts';
import { run } from './run.ts';

export interface ExtTools {
  readonly mke2fs: string;
  readonly debugfs: string;
  readonly env: Record<string, string>;
}

/** `machine` is false in tests that want the unpacked package. */
export async function findExtTools(packages: DebianPackages, machine = true): Promise<ExtTools> {
  const mke2fs = onPath('mke2fs');
  const debugfs = onPath('debugfs');
  if (machine && mke2fs && debugfs) return { mke2fs, debugfs, env: {} };
  const architecture = process.arch === 'x64' ? '' : `:${process.arch}`; // Node and Debian agree on arm64 and riscv64.
  const main = await packages.info(`e2fsprogs${architecture}`);
  const libraries = main.depends.filter((name) => name.startsWith('lib') && name !== 'libc6');
  const tree = await packages.unpacked(main);
  const folders: string[] = [];
  for (const name of libraries) {
    const unpacked = await packages.unpacked(await packages.info(`${name}${architecture}`));
    for (const lib of ['lib', 'usr/lib']) {
      const parts = await readdir(join(unpacked, lib)).catch(() => []);
      folders.push(...parts.map((part) => join(unpacked, lib, part)));
    }
  }
  const program = (name: string) => {
    const found = ['sbin', 'usr/sbin'].map((folder) => join(tree, folder, name)).find((path) => existsSync(path));
    if (!found) throw new GuestError(`the package e2fsprogs ${main.version} has no ${name}`);
    return found;
  };
  return { mke2fs: program('mke2fs'), debugfs: program('debugfs'), env: { LD_LIBRARY_PATH: folders.join(':') } };
}

export interface DeviceNode {
  readonly path: string;
  readonly mode: number;
  readonly major: number;
  readonly minor: number;
}

export interface ExtImage {
  readonly image: string;
  readonly tree: string;
  readonly sizeMiB: number;
  readonly label: string;
  readonly inodes: number;
  readonly nodes: readonly DeviceNode[];
}

export async function makeExtImage(
  tools: ExtTools,
  { image, tree, sizeMiB, label, inodes, nodes }: ExtImage,
): Promise<void> {
  // A journal, since domains get destroyed; no checksums, they cost an emulated processor time at every start. Inode tables are
  // finished here, otherwise the guest's kernel would write them in the background and make the sparse file solid.
  const features = 'has_journal,^metadata_csum,^64bit,^resize_inode';
  const args = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-m', '0', '-N', `${inodes}`, '-O', features, '-L', label];
  const extended = 'root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1,nodiscard';
  await run(tools.mke2fs, [...args, '-E', extended, '-d', tree, image, `${sizeMiB}M`], {
    env: tools.env,
    purpose: 'making the disk image',
  });
  const paths = await readdir(tree, { recursive: true, encoding: 'utf8' });
  const commands = [
    ...paths.flatMap((path) => [`sif "/${path}" uid 0`, `sif "/${path}" gid 0`]),
    ...nodes.flatMap(({ path, mode, major, minor }) => [
      `cd "/${path.slice(0, path.lastIndexOf('/'))}"`,
      `mknod ${path.slice(path.lastIndexOf('/') + 1)} c ${major} ${minor}`,
      `sif "/${path}" mode 0${(0o020000 | mode).toString(8)}`,
    ]),
  ];
  const purpose = 'giving the files of the disk image to root';
  const input = `${commands.join('\n')}\n`;
  const { stderr } = await run(tools.debugfs, ['-w', '-f', '-', image], { env: tools.env, input, purpose });
  // debugfs ends well whatever its commands did; all it says apart from errors is its version.
  const complaint = stderr.split('\n').find((line) => line.trim() !== '' && !line.startsWith('debugfs '));
  if (complaint) throw new GuestError(`${purpose}: ${complaint}`);
}
