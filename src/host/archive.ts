/**
 * A tar archive of what is at one place of this machine, for a guest's tar: first what will be in it, so that its length is
 * known before anything is sent, then its bytes. Links are archived as links, all but the one that was named.
 */
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync, statSync } from 'node:fs';
import { CopyError } from './copy-error.ts';
import { nameBytes, type TarEntry, type TarKind, tarEnd, tarHeader, tarPadding } from './tar.ts';

const CHUNK = 64 << 10;
const SLASH = Buffer.from('/');

/** A part of an archive: a head, and the contents of a file behind it. */
export interface Part {
  readonly head: Buffer;
  readonly file?: Buffer;
  readonly size: number;
}

/** What is at `file`, under `name`. `note` is told what is left out. */
export function archiveOf(file: string, name: string, note: (text: string) => void): Part[] {
  return [...partsOf(Buffer.from(file), name, note, true), { head: tarEnd(), size: 0 }];
}

export const lengthOf = (parts: readonly Part[]): number =>
  parts.reduce((sum, { head, size }) => sum + head.length + size + tarPadding(size).length, 0);

function* partsOf(file: Buffer, name: string, note: (text: string) => void, top: boolean): Generator<Part> {
  const stat = top ? statSync(file) : lstatSync(file);
  const head = (kind: TarKind, more: Partial<TarEntry> = {}): Buffer =>
    tarHeader({ name, kind, mode: stat.mode & 0o7777, size: 0, mtime: stat.mtimeMs / 1000, ...more });
  if (stat.isDirectory()) {
    const folder = { head: head('folder', { name: `${name}/` }), size: 0 };
    yield folder;
    for (const child of readdirSync(file, { encoding: 'latin1' }).sort()) {
      yield* partsOf(Buffer.concat([file, SLASH, nameBytes(child)]), `${name}/${child}`, note, false);
    }
    // BusyBox' tar gives a folder its time when it makes it, and what is put into it afterwards changes that.
    yield folder;
  } else if (stat.isSymbolicLink()) {
    yield { head: head('symlink', { target: readlinkSync(file, { encoding: 'latin1' }) }), size: 0 };
  } else if (stat.isFile()) yield { head: head('file', { size: stat.size }), file, size: stat.size };
  else note(`${file} is neither a file nor a folder: left out`);
}

export function* bytesOf(parts: readonly Part[]): Generator<Buffer> {
  for (const { head, file, size } of parts) {
    yield head;
    if (file !== undefined) yield* contents(file, size);
    if (size > 0) yield tarPadding(size);
  }
}

/** As many bytes as were promised. */
function* contents(file: Buffer, size: number): Generator<Buffer> {
  const fd = openSync(file, 'r');
  try {
    for (let at = 0; at < size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK, size - at));
      const got = readSync(fd, chunk, 0, chunk.length, at);
      if (got === 0) throw new CopyError(`${file}: became shorter while it was copied`);
      yield chunk.subarray(0, got);
      at += got;
    }
  } finally {
    closeSync(fd);
  }
}
