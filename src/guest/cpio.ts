/**
 * Writes "newc" cpio archives, the format of an initramfs (Documentation/driver-api/early-userspace/buffer-format.rst).
 * The same entries give the same bytes: no times, numbers counted from 1. Packing is left out on purpose, unpacking costs the guest time.
 */
export interface CpioEntry {
  /** Without a leading slash; parents before children. */
  readonly path: string;
  /** File type and permissions, as in `st_mode`. */
  readonly mode: number;
  /** Content of a file, or target of a symbolic link. */
  readonly data?: Uint8Array;
  /** Of a device node. */
  readonly major?: number;
  readonly minor?: number;
}

export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

const HEADER_SIZE = 110;
const TRAILER = 'TRAILER!!!';
const BLOCK = 512;
const align4 = (size: number): number => (size + 3) & ~3;

export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const all = [...entries, { path: TRAILER, mode: 0 }];
  const names = all.map(({ path }) => Buffer.from(`${path}\0`));
  const sizes = all.map(({ data }, i) => align4(HEADER_SIZE + names[i].length) + align4(data?.length ?? 0));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const archive = new Uint8Array(Math.ceil(total / BLOCK) * BLOCK);
  let at = 0;
  all.forEach((entry, i) => {
    archive.set(header(entry, i + 1, names[i].length), at);
    archive.set(names[i], at + HEADER_SIZE);
    if (entry.data) archive.set(entry.data, at + align4(HEADER_SIZE + names[i].length));
    at += sizes[i];
  });
  return archive;
}

function header({ path, mode, data, major, minor }: CpioEntry, number: number, nameSize: number): Uint8Array {
  const links = (mode & 0o170000) === S_IFDIR ? 2 : 1;
  const size = data?.length ?? 0;
  const fields = [
    path === TRAILER ? 0 : number, // ino
    mode,
    0, // uid
    0, // gid
    links,
    0, // mtime
    size,
    0, // devmajor
    0, // devminor
    major ?? 0,
    minor ?? 0,
    nameSize, // with its NUL
    0, // check, of another variant
  ];
  return Buffer.from('070701' + fields.map((field) => field.toString(16).padStart(8, '0')).join(''), 'latin1');
}
