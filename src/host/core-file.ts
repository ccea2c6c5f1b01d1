/** Writing a core file: a head and the RAM behind it, with holes where RAM is zero. Whole or not there at all. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';

/** A hole is at least this long; file systems count in blocks of 4 KiB or more. */
const BLOCK = 64 << 10;
/** Written at once at most. */
const PIECE = 1 << 20;
const ZEROS = Buffer.alloc(BLOCK);

export async function writeCoreFile(file: string, head: Uint8Array, ram: Uint8Array): Promise<void> {
  const draft = `${file}.${process.pid}.new`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await write(handle, head, 0);
    await writeSparsely(handle, ram, head.length);
    await handle.truncate(head.length + ram.length);
    await handle.close();
    await rename(draft, file);
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(draft, { force: true });
    throw error;
  }
}

async function write(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, Math.min(PIECE, bytes.length - done), at + done)).bytesWritten;
  }
}

async function writeSparsely(handle: FileHandle, ram: Uint8Array, at: number): Promise<void> {
  for (let from = 0; from < ram.length; ) {
    let to = from;
    while (to < ram.length && to - from < PIECE && !isZero(ram, to)) to += BLOCK;
    if (to > from) await write(handle, ram.subarray(from, Math.min(to, ram.length)), at + from);
    from = to > from ? to : from + BLOCK;
  }
}

function isZero(bytes: Uint8Array, at: number): boolean {
  const length = Math.min(BLOCK, bytes.length - at);
  // Buffer's comparison is memcmp, which also takes shared memory.
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset + at, length).equals(ZEROS.subarray(0, length));
}
