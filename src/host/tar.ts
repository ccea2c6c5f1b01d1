/**
 * Tar archives as streams: what `xm cp` sends to a guest's tar and what it gets from one. Written as POSIX ustar with GNU's
 * long names, which BusyBox reads and writes; PAX headers are read for their path, linkpath and size. Names are not judged here:
 * that is the business of who makes files of them. A name is whatever bytes a file system has, which need not be UTF-8: here it
 * is a string with one character for each byte.
 */

export const TAR_BLOCK = 512;
const NAME_MAX = 100;
/** Of a long name or a PAX header: nobody's path is longer. */
const META_MAX = 64 << 10;
const SIZE_MAX = 0o77777777777;

/** A text as a name in an archive, for file systems, and for people. */
export const nameOf = (text: string): string => Buffer.from(text).toString('latin1');
export const nameBytes = (name: string): Buffer => Buffer.from(name, 'latin1');
export const nameText = (name: string): string => nameBytes(name).toString();

export type TarKind = 'file' | 'folder' | 'symlink' | 'hardlink' | 'other';

export interface TarEntry {
  readonly name: string;
  readonly kind: TarKind;
  readonly mode: number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Of links. */
  readonly target?: string;
}

// biome-ignore format: a table
const TYPES: Readonly<Record<string, TarKind>> = { '0': 'file', '\0': 'file', '7': 'file', '1': 'hardlink', '2': 'symlink', '5': 'folder' };
const LETTERS: Readonly<Record<TarKind, string>> = { file: '0', hardlink: '1', symlink: '2', folder: '5', other: '3' };
// biome-ignore format: a table
const FIELD = {
  name: [0, 100], mode: [100, 8], uid: [108, 8], gid: [116, 8], size: [124, 12], mtime: [136, 12], sum: [148, 8], type: [156, 1],
  target: [157, 100], magic: [257, 8], prefix: [345, 155],
} as const;

/** The blocks before an entry's data. Everything belongs to root. */
export function tarHeader(entry: TarEntry): Buffer {
  if (entry.size > SIZE_MAX) throw new RangeError(`${nameText(entry.name)} is too long for a tar archive`);
  const long = [
    ['K', entry.target ?? ''],
    ['L', entry.name],
  ].flatMap(([type, text]) => (text!.length > NAME_MAX ? [longName(type!, text!)] : []));
  return Buffer.concat([...long, header(entry, LETTERS[entry.kind])]);
}

function longName(type: string, text: string): Buffer {
  const data = nameBytes(`${text}\0`);
  const head = { name: '././@LongLink', kind: 'file', mode: 0o644, size: data.length, mtime: 0 } as const;
  return Buffer.concat([header(head, type), data, tarPadding(data.length)]);
}

function header({ name, mode, size, mtime, target = '' }: TarEntry, type: string): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  const put = ([at, length]: readonly [number, number], value: string) => nameBytes(value).copy(block, at, 0, length);
  const octal = (field: readonly [number, number], value: number) =>
    put(
      field,
      `${Math.max(0, Math.floor(value))
        .toString(8)
        .padStart(field[1] - 1, '0')}\0`,
    );
  put(FIELD.name, name);
  octal(FIELD.mode, mode & 0o7777);
  octal(FIELD.uid, 0);
  octal(FIELD.gid, 0);
  octal(FIELD.size, size);
  octal(FIELD.mtime, mtime);
  put(FIELD.type, type);
  put(FIELD.target, target);
  put(FIELD.magic, 'ustar\x0000');
  put(FIELD.sum, `${checksum(block).toString(8).padStart(6, '0')}\0 `);
  return block;
}

/** Counts the sum's own field as blanks. */
function checksum(block: Uint8Array): number {
  const [at, length] = FIELD.sum;
  return block.reduce((sum, byte, i) => sum + (i >= at && i < at + length ? 0x20 : byte), 0);
}

/** Zeros after data of this length. */
export const tarPadding = (size: number): Buffer => Buffer.alloc(-size & (TAR_BLOCK - 1));
/** The end of an archive. */
export const tarEnd = (): Buffer => Buffer.alloc(2 * TAR_BLOCK);

export class TarError extends Error {
  override readonly name = 'TarError';
}

export interface TarUser {
  entry(entry: TarEntry): void;
  /** Of the latest entry, in order. */
  data(bytes: Buffer): void;
  /** The latest entry is complete. */
  done(): void;
}

/** Reads an archive in whatever pieces it comes. Throws a TarError for what is no archive. */
export class TarReader {
  readonly #user: TarUser;
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes of data, and of padding, that belong to the latest header. */
  #data = 0;
  #padding = 0;
  #meta: { type: string; parts: Buffer[] } | undefined;
  #long: { name?: string; target?: string; size?: number } = {};
  #ended = false;

  constructor(user: TarUser) {
    this.#user = user;
  }

  /** Between two entries, or behind the last. */
  get complete(): boolean {
    return this.#ended && this.#data === 0;
  }

  take(chunk: Buffer): void {
    let bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    for (;;) {
      if (this.#data > 0) {
        if (bytes.length === 0) break;
        const part = bytes.subarray(0, this.#data);
        if (this.#meta) this.#meta.parts.push(Buffer.from(part));
        else this.#user.data(part);
        this.#data -= part.length;
        bytes = bytes.subarray(part.length);
        if (this.#data === 0) this.#finish();
      } else if (this.#padding > 0) {
        if (bytes.length === 0) break;
        const skipped = Math.min(this.#padding, bytes.length);
        this.#padding -= skipped;
        bytes = bytes.subarray(skipped);
      } else {
        if (bytes.length < TAR_BLOCK) break;
        this.#header(bytes.subarray(0, TAR_BLOCK));
        bytes = bytes.subarray(TAR_BLOCK);
      }
    }
    this.#rest = Buffer.from(bytes);
  }

  #header(block: Buffer): void {
    if (this.#ended) return;
    if (block.every((byte) => byte === 0)) {
      this.#ended = true;
      return;
    }
    const text = ([at, length]: readonly [number, number]) => {
      const field = block.subarray(at, at + length);
      const end = field.indexOf(0);
      return field.toString('latin1', 0, end < 0 ? length : end);
    };
    const octal = (field: readonly [number, number]) => {
      const digits = text(field).trim();
      if (!/^[0-7]{0,11}$/.test(digits)) throw new TarError('a number in the archive is none');
      return Number.parseInt(digits || '0', 8);
    };
    if (octal(FIELD.sum) !== checksum(block)) throw new TarError('this is no tar archive, or it is damaged');
    const type = String.fromCharCode(block[FIELD.type[0]]!);
    const size = octal(FIELD.size);
    this.#padding = -size & (TAR_BLOCK - 1);
    if ('LKxg'.includes(type)) {
      if (size > META_MAX) throw new TarError('a name in the archive is too long');
      this.#meta = { type, parts: [] };
      this.#data = size;
      if (size === 0) this.#finish();
      return;
    }
    const prefix = text(FIELD.magic).startsWith('ustar') ? text(FIELD.prefix) : '';
    const name = this.#long.name ?? (prefix ? `${prefix}/${text(FIELD.name)}` : text(FIELD.name));
    const kind = TYPES[type] ?? 'other';
    const target = this.#long.target ?? text(FIELD.target);
    this.#data = this.#long.size ?? size;
    this.#padding = -this.#data & (TAR_BLOCK - 1);
    this.#long = {};
    this.#user.entry({
      name,
      kind: kind === 'file' && name.endsWith('/') ? 'folder' : kind,
      mode: octal(FIELD.mode) & 0o7777,
      size: this.#data,
      mtime: octal(FIELD.mtime),
      ...(target ? { target } : {}),
    });
    if (this.#data === 0) this.#finish();
  }

  #finish(): void {
    const meta = this.#meta;
    this.#meta = undefined;
    if (!meta) {
      this.#user.done();
      return;
    }
    const text = Buffer.concat(meta.parts).toString('latin1');
    if (meta.type === 'L') this.#long.name = text.replace(/\0.*$/s, '');
    else if (meta.type === 'K') this.#long.target = text.replace(/\0.*$/s, '');
    else if (meta.type === 'x') {
      for (const [, key, value] of text.matchAll(/\d+ (path|linkpath|size)=([^\n]*)\n/g)) {
        if (key === 'path') this.#long.name = value!;
        else if (key === 'linkpath') this.#long.target = value!;
        else if (/^\d{1,15}$/.test(value!)) this.#long.size = Number(value);
      }
    }
  }
}
