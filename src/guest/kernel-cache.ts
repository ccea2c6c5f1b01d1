/** Kernels that take a while to unpack are kept unpacked, found again by the hash of the packed file. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KernelError, loadKernel } from './kernel.ts';

/** Debian's kernel: 0.28 s of CPU to unpack from LZ4, 2 s from xz, and 0.08 s to read back. */
const WORTH_KEEPING_MS = 100;
/** 50 MB each; the ones that have not been made lately go. */
const KEPT_MAX = 4;

export async function loadKernelFile(path: string, cacheDir?: string): Promise<{ elf: Uint8Array }> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new KernelError(error.code === 'ENOENT' ? 'no such file' : `cannot be read: ${error.message}`);
  });
  if (cacheDir === undefined) return loadKernel(bytes);
  const folder = join(cacheDir, 'kernels');
  const kept = join(folder, `${createHash('sha256').update(bytes).digest('hex')}.elf`);
  const known = await readFile(kept).catch(() => undefined);
  if (known) return loadKernel(known);
  const started = performance.now();
  const kernel = loadKernel(bytes);
  if (performance.now() - started > WORTH_KEEPING_MS) await keep(kernel.elf, folder, kept).catch(() => {}); // A full disk only costs time.
  return kernel;
}

async function keep(elf: Uint8Array, folder: string, kept: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const temporary = `${kept}.${process.pid}`;
  await writeFile(temporary, elf);
  await rename(temporary, kept);
  await keepNewest(folder, KEPT_MAX);
}

/** Removes all files of a folder but the `count` that were made last. */
export async function keepNewest(folder: string, count: number): Promise<void> {
  const files = (await readdir(folder)).map((name) => join(folder, name));
  const ages = await Promise.all(files.map(async (file) => ({ file, made: (await stat(file)).mtimeMs })));
  ages.sort((a, b) => b.made - a.made);
  for (const { file } of ages.slice(count)) await rm(file, { force: true });
}
