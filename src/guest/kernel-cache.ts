/** Kernels that take long to unpack (xz: seconds) are kept unpacked, found again by the hash of the packed file. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KernelError, loadKernel } from './kernel.ts';

/** Unpacking LZ4 takes 0.2 s and gzip about as long; reading 60 MB back is hardly quicker. */
const WORTH_KEEPING_MS = 500;

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
}
