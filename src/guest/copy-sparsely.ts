/** Copies of disk images that take no more space than what is in them. */
import { open } from 'node:fs/promises';

const CHUNK = 1 << 16;
const ZEROS = Buffer.alloc(CHUNK);

/** Copy a file without writing what is zero. Rejects when `to` exists. */
export async function copySparsely(from: string, to: string): Promise<void> {
  const source = await open(from, 'r');
  const target = await open(to, 'wx', 0o600);
  try {
    const { size } = await source.stat();
    await target.truncate(size);
    const chunk = Buffer.alloc(CHUNK);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await source.read(chunk, 0, CHUNK, at);
      if (bytesRead === 0) break;
      const bytes = chunk.subarray(0, bytesRead);
      if (!bytes.equals(ZEROS.subarray(0, bytesRead))) await target.write(bytes, 0, bytesRead, at);
      at += bytesRead;
    }
  } finally {
    await source.close();
    await target.close();
  }
}
