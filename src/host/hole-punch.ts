/**
 * Giving back parts of a file to the host's file system: fallocate of Linux, which Node does not offer, through the optional
 * package koffi. Without it, or on a file system that cannot, there is none, and disks do not announce discard.
 */
import { createRequire } from 'node:module';

/** Resolves to false when the system refused. */
export type PunchHole = (fd: number, offset: number, length: number) => Promise<boolean>;

/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h. */
const KEEP_SIZE_AND_PUNCH_HOLE = 0x03;

interface NativeFunction {
  (...args: number[]): number;
  async(...args: [...number[], (error: Error | null, result: number) => void]): void;
}

let loaded: NativeFunction | null | undefined;

function fallocate(): NativeFunction | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  if (process.platform !== 'linux') return null;
  try {
    // off_t has 64 bits wherever Node runs on Linux.
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    // The process itself: it has a libc, whichever it is.
    const found = koffi.load(null).func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
    loaded = found as unknown as NativeFunction;
  } catch {
    // No koffi, no prebuilt binary for this machine, or a libc without the function.
  }
  return loaded;
}

/** The function for a writable file of `size` bytes, when its file system can punch holes. */
export function findPunchHole(fd: number, size: number): PunchHole | undefined {
  const call = fallocate();
  // Beyond the end there is nothing to lose: the file system says whether it could.
  if (!call) return undefined;
  if (call(fd, KEEP_SIZE_AND_PUNCH_HOLE, size, 4096) !== 0) return undefined;
  return (file, offset, length) =>
    new Promise((resolve) => {
      call.async(file, KEEP_SIZE_AND_PUNCH_HOLE, offset, length, (error, result) => resolve(!error && result === 0));
    });
}
