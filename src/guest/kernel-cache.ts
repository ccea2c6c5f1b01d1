/**
 * Kernels that take a while to unpack are kept unpacked, found again by the hash of the packed file; and a file that has not
 * changed since somebody hashed it is not even read: a link whose name is made of its identity and times leads to the same.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { writeMeanwhile } from '../host/atomic-file.ts';
import { KernelError } from './kernel-error.ts';

/** Debian's kernel: 0.28 s of CPU to unpack from LZ4, 2 s from xz, and some 0.03 s to read back in pieces. */
const WORTH_KEEPING_MS = 100;
/** 50 MB each; the ones that have not been made lately go. */
const KEPT_MAX = 4;
/** Times of files are only so fine: one that was changed just now could change again and keep them. */
const SETTLED_MS = 1000;

/** An unpacked kernel, in the shape that the domain builder reads. */
export interface UnpackedKernel {
  readonly size: number;
  read(offset: number, into: Uint8Array): void;
  /** Nobody reads it any more. Resolves when it is in the cache, if it is to be. */
  close(): Promise<void>;
}

/** Throws KernelError. Without a folder for caches it is unpacked each time; with one, if that takes `worthKeepingMs`. */
export async function openKernel(
  file: string,
  cacheDir?: string,
  worthKeepingMs = WORTH_KEEPING_MS,
): Promise<UnpackedKernel> {
  if (cacheDir === undefined) return inMemory(await unpack(readable(() => readFileSync(file))));
  const folder = join(cacheDir, 'kernels');
  const { link, settled } = readable(() => linkFor(file, folder));
  const known = opened(link);
  if (known) return known;

  const packed = readable(() => readFileSync(file));
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256').update(packed).digest('hex');
  const kept = join(folder, `${hash}.elf`);
  const name = (): void => {
    if (settled) symlinkSync(basename(kept), link);
  };
  const kernel = opened(kept);
  if (kernel !== undefined) {
    await saving(name);
    return kernel;
  }
  const started = performance.now();
  const elf = await unpack(packed);
  if (performance.now() - started < worthKeepingMs) return inMemory(elf);
  // The domain is built, and runs, while it is written.
  return inMemory(
    elf,
    saving(() => keep(elf, folder, kept).then(name)),
  );
}

/** Most starts find their kernel unpacked and need none of the decompressors. */
async function unpack(packed: Uint8Array): Promise<Uint8Array> {
  const { loadKernel } = await import('./kernel.ts');
  return loadKernel(packed).elf;
}

function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new KernelError(code === 'ENOENT' ? 'no such file' : `cannot be read: ${message}`);
  }
}

/** A cache saves time only: a full disk, or somebody who was faster, do no harm. */
async function saving(work: () => void | Promise<void>): Promise<void> {
  try {
    await work();
  } catch {
    return;
  }
}

function linkFor(file: string, folder: string): { link: string; settled: boolean } {
  const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = statSync(file, { bigint: true });
  const link = join(folder, [dev, ino, size, mtimeNs, ctimeNs].join('-'));
  return { link, settled: Date.now() - Number(ctimeMs) > SETTLED_MS };
}

/** `used`: until then somebody else reads it. */
function inMemory(elf: Uint8Array, used?: Promise<void>): UnpackedKernel {
  return {
    size: elf.length,
    read: (offset, into) => into.set(elf.subarray(offset, offset + into.length)),
    async close() {
      await used;
      // It is larger than all else that a monitor keeps: free it now instead of at some later garbage collection.
      if (elf.buffer instanceof ArrayBuffer && elf.byteLength === elf.buffer.byteLength) elf.buffer.transfer(0);
    },
  };
}

function opened(kept: string): UnpackedKernel | undefined {
  let fd: number;
  try {
    fd = openSync(kept, 'r');
  } catch {
    return undefined;
  }
  return {
    size: fstatSync(fd).size,
    read(offset, into) {
      for (let done = 0; done < into.length; ) {
        const n = readSync(fd, into, done, into.length - done, offset + done);
        if (n === 0) throw new KernelError('its unpacked copy in the cache is cut short');
        done += n;
      }
    },
    close: async () => closeSync(fd),
  };
}

async function keep(elf: Uint8Array, folder: string, kept: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await writeMeanwhile(kept, elf);
  keepNewest(folder, KEPT_MAX);
}

/** Removes all kernels of a folder but the `count` that were made last, and the links that lead nowhere then. */
export function keepNewest(folder: string, count: number): void {
  const files = readdirSync(folder).map((name) => join(folder, name));
  const age = (file: string): number => statSync(file).mtimeMs;
  const kernels = files.filter((file) => /\.elf(\.\d+\.new)?$/.test(file)).toSorted((a, b) => age(b) - age(a));
  for (const file of kernels.slice(count)) rmSync(file, { force: true });
  for (const file of files) if (!existsSync(file)) rmSync(file, { force: true });
}
