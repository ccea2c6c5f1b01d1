/**
 * The disk that every guest of the benchmark has: our programs, and Debian's gzip, xz, sqlite3 and python3 with their libraries
 * and dynamic linker, from their packages. The same files are run natively. Made once and kept in the cache.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DebianPackages, type PackageInfo, type Progress, renameUnlessThere } from '../../src/guest/debian.ts';
import { findExtTools, makeExtImage } from '../../src/guest/ext-image.ts';
import { TTYLINUX_NODES } from '../../src/guest/ttylinux.ts';
import { buildPrograms, SOURCES, sourcesKey } from './build.ts';

export interface BenchDisk {
  /** Pristine; guests mount it read-only. */
  readonly image: string;
  /** The same files in a folder. */
  readonly tree: string;
  /** Package name → version. */
  readonly packages: Readonly<Record<string, string>>;
}

/** With the libraries that these programs are linked with. Python's name has its version in it. */
const PACKAGES = [
  'libc6',
  'zlib1g',
  'gzip',
  'liblzma5',
  'xz-utils',
  'libtinfo6',
  'libreadline8',
  'libsqlite3-0',
  'sqlite3',
  'libexpat1',
];
const PYTHON_PARTS = (python: string): string[] => [`lib${python}-minimal`, `lib${python}-stdlib`, `${python}-minimal`];
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];
const TEXT_BYTES = 4_000_000;
const IMAGE = { sizeMiB: 128, label: 'bench', inodes: 8192, nodes: TTYLINUX_NODES };

export async function prepareDisk(cacheDir: string, onProgress: Progress): Promise<BenchDisk> {
  const folder = path.join(cacheDir, 'bench');
  const own = createHash('sha256')
    .update(await readFile(new URL(import.meta.url)))
    .update(sourcesKey())
    .digest('hex');
  const place = path.join(folder, own.slice(0, 12));
  if (!existsSync(place)) {
    await mkdir(folder, { recursive: true });
    const temporary = await mkdtemp(`${place}.new-`);
    const packages = new DebianPackages(cacheDir, onProgress);
    try {
      await make(packages, temporary, onProgress);
      await renameUnlessThere(temporary, place);
    } finally {
      await packages.close();
      await rm(temporary, { recursive: true, force: true });
    }
  }
  const versions = JSON.parse(await readFile(path.join(place, 'packages.json'), 'utf8')) as Record<string, string>;
  return { image: path.join(place, 'bench.img'), tree: path.join(place, 'tree'), packages: versions };
}

async function make(packages: DebianPackages, folder: string, onProgress: Progress): Promise<void> {
  const python = (await packages.info('python3-minimal')).depends.find((name) => /^python3\.\d+-minimal$/.test(name));
  if (!python) throw new Error('the package python3-minimal names no version of Python');
  const names = [...PACKAGES, ...PYTHON_PARTS(python.replace('-minimal', ''))];
  const infos: PackageInfo[] = [];
  for (const name of names) infos.push(await packages.info(name));
  const tree = path.join(folder, 'tree');
  await mkdir(tree);
  for (const merged of MERGED) {
    await mkdir(path.join(tree, 'usr', merged), { recursive: true });
    await symlink(`usr/${merged}`, path.join(tree, merged));
  }
  for (const info of infos) await copyPackage(await packages.unpacked(info), tree);
  onProgress('making the disk of the benchmark');
  await symlink(python.replace('-minimal', ''), path.join(tree, 'usr/bin/python3'));
  compilePython(tree);
  const bench = path.join(tree, 'bench');
  for (const name of ['bench', 'dev', 'proc', 'sys', 'tmp']) await mkdir(path.join(tree, name));
  buildPrograms(bench);
  for (const script of ['script.py', 'script.sql'])
    await copyFile(path.join(SOURCES, script), path.join(bench, script));
  await writeFile(path.join(bench, 'text'), await someText(tree));
  await symlink('../../bench/runner', path.join(tree, 'usr/sbin/init'));
  const image = path.join(folder, 'bench.img');
  await makeExtImage(await findExtTools(packages), { ...IMAGE, image, tree });
  const versions = Object.fromEntries(infos.map(({ name, version }) => [name, version]));
  await writeFile(path.join(folder, 'packages.json'), `${JSON.stringify(versions)}\n`);
}

/** Programs and libraries; documentation stays behind. */
async function copyPackage(from: string, tree: string): Promise<void> {
  const options = { recursive: true, verbatimSymlinks: true, preserveTimestamps: true };
  for (const part of [...MERGED, ...MERGED.map((merged) => `usr/${merged}`)]) {
    const source = path.join(from, part);
    if (existsSync(source)) await cp(source, path.join(tree, 'usr', path.basename(part)), options);
  }
}

/** As Debian does when it installs Python. */
function compilePython(tree: string): void {
  const [program, ...args] = nativeCommand(tree, ['/usr/bin/python3', '-I', '-S', '-m', 'compileall', '-q']) as [
    string,
  ];
  const library = path.join(tree, 'usr/lib');
  const { status, stderr } = spawnSync(
    program,
    [...args, '-s', tree, '--invalidation-mode', 'unchecked-hash', library],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`compiling Python's library: ${stderr}`);
}

/** The sources of Python's library, one after the other. */
async function someText(tree: string): Promise<Uint8Array> {
  const library = path.join(tree, 'usr/lib');
  const files = (await readdir(library, { recursive: true })).filter((name) => name.endsWith('.py')).sort();
  const parts: Buffer[] = [];
  for (const file of files) parts.push(await readFile(path.join(library, file)));
  const text = Buffer.concat(parts);
  if (text.length < TEXT_BYTES) throw new Error(`Python's library has only ${text.length} bytes of sources`);
  return text.subarray(0, TEXT_BYTES);
}

/**
 * How a program of the tree is run on this machine: Debian's by the tree's own dynamic linker, with its libraries. One of ours may run
 * one of them, which its arguments name.
 */
export function nativeCommand(tree: string, [program, ...args]: readonly string[]): string[] {
  if (!program!.includes('/')) {
    return [path.join(tree, 'bench', program!), ...(args[0]?.startsWith('/') ? nativeCommand(tree, args) : args)];
  }
  const linker = path.join(tree, 'lib64/ld-linux-x86-64.so.2');
  return [linker, '--library-path', path.join(tree, 'usr/lib/x86_64-linux-gnu'), path.join(tree, program!), ...args];
}
