/** System calls about files and descriptors. Layouts: asm/stat.h, linux/uio.h, linux/dirent.h. */
import type { Stats } from 'node:fs';
import { struct, u32, u64 } from '../../../src/abi/struct.ts';
import { AT, FCNTL } from '../linux.ts';
import { type FileFacts, Folder } from '../open-files.ts';
import type { Process } from '../process.ts';
import { int, refuse, type SystemCalls } from './call.ts';

/** Longest read or write at once, that a wrong length does not fill our memory. */
const COPY_MAX = 1 << 26;
const IOV_MAX = 1024;
const IOVEC_BYTES = 16;
const SECTOR = 512;

const StatLayout = struct('stat', 144, {
  dev: u64(0),
  ino: u64(8),
  nlink: u64(16),
  mode: u32(24),
  length: u64(48),
  blksize: u64(56),
  blocks: u64(64),
  mtime: u64(88),
});

/** d_ino, d_off and d_reclen before the kind, then the name. */
const DIRENT = { ino: 0, off: 8, reclen: 16, type: 18, name: 19 } as const;

export const FILE_CALLS: SystemCalls = {
  read: (p, fd, va, length) => read(p, fd, va, length),
  pread64: (p, fd, va, length, at) => (at < 0 ? refuse('EINVAL') : read(p, fd, va, length, at)),
  readv: (p, fd, vectors, count) => eachVector(p, vectors, count, (va, length) => read(p, fd, va, length)),
  write: (p, fd, va, length) => write(p, fd, va, length),
  writev: (p, fd, vectors, count) => eachVector(p, vectors, count, (va, length) => write(p, fd, va, length)),
  open: (p, name, flags) => open(p, AT.FDCWD, name, flags),
  openat: open,
  close: (p, fd) => {
    p.descriptors.close(int(fd));
    return 0;
  },
  lseek: (p, fd, offset, from) => p.descriptors.get(int(fd)).seek(offset, int(from)),
  stat: (p, name, buffer) => putStat(p, buffer, p.tree.stat(pathAt(p, AT.FDCWD, name), true)),
  lstat: (p, name, buffer) => putStat(p, buffer, p.tree.stat(pathAt(p, AT.FDCWD, name), false)),
  fstat: (p, fd, buffer) => putStat(p, buffer, p.descriptors.get(int(fd)).facts),
  newfstatat: (p, fd, name, buffer, flags) => {
    if ((flags & AT.EMPTY_PATH) !== 0 && p.space.text(name) === '') {
      return putStat(p, buffer, p.descriptors.get(int(fd)).facts);
    }
    return putStat(p, buffer, p.tree.stat(pathAt(p, fd, name), (flags & AT.SYMLINK_NOFOLLOW) === 0));
  },
  access: (p, name, mode) => access(p, AT.FDCWD, name, mode),
  faccessat: access,
  faccessat2: access,
  readlink: (p, name, buffer, room) => readlink(p, AT.FDCWD, name, buffer, room),
  readlinkat: readlink,
  getxattr: () => refuse('EOPNOTSUPP'),
  lgetxattr: () => refuse('EOPNOTSUPP'),
  getcwd: (p, buffer, room) => {
    if (room < 2) refuse('ERANGE');
    p.space.write(buffer, Buffer.from('/\0'));
    return 2;
  },
  getdents64,
  dup: (p, fd) => p.descriptors.add(p.descriptors.get(int(fd))),
  dup2: (p, from, to) => p.descriptors.copy(int(from), int(to)),
  dup3: (p, from, to) => p.descriptors.copy(int(from), int(to)),
  fcntl: (p, fd, command, argument) => {
    const file = p.descriptors.get(int(fd));
    if (command === FCNTL.DUPFD || command === FCNTL.DUPFD_CLOEXEC) return p.descriptors.add(file, argument);
    const known: readonly number[] = [FCNTL.GETFD, FCNTL.SETFD, FCNTL.GETFL, FCNTL.SETFL];
    return known.includes(int(command)) ? 0 : refuse('EINVAL');
  },
  // No descriptor is a terminal.
  ioctl: (p, fd) => {
    p.descriptors.get(int(fd));
    return refuse('ENOTTY');
  },
  umask: () => 0o022,
};

function read(p: Process, fd: number, va: number, length: number, at?: number): number {
  const bytes = new Uint8Array(Math.min(length, COPY_MAX));
  const count = p.descriptors.get(int(fd)).read(bytes, at);
  p.space.write(va, bytes.subarray(0, count));
  return count;
}

function write(p: Process, fd: number, va: number, length: number): number {
  const file = p.descriptors.get(int(fd));
  return file.write(p.space.read(va, Math.min(length, COPY_MAX)));
}

/** One after the other, until one is not done to its end. */
function eachVector(p: Process, va: number, count: number, each: (va: number, length: number) => number): number {
  if (count < 0 || count > IOV_MAX) refuse('EINVAL');
  const vectors = new BigUint64Array(p.space.read(va, count * IOVEC_BYTES).buffer);
  let total = 0;
  for (let k = 0; k < 2 * count; k += 2) {
    const length = Number(vectors[k + 1]!);
    const done = length === 0 ? 0 : each(Number(vectors[k]!), length);
    total += done;
    if (done < length) break;
  }
  return total;
}

/** The absolute path that a call means by a folder's descriptor and a name; the working directory is the root. */
function pathAt(p: Process, fd: number, name: number): string {
  const text = p.space.text(name);
  if (text === '') refuse('ENOENT');
  if (text.startsWith('/')) return text;
  if (int(fd) === AT.FDCWD) return `/${text}`;
  const folder = p.descriptors.get(int(fd));
  return folder instanceof Folder ? `${folder.path}/${text}` : refuse('ENOTDIR');
}

function open(p: Process, fd: number, name: number, flags: number): number {
  return p.descriptors.add(p.tree.open(pathAt(p, fd, name), flags));
}

function access(p: Process, fd: number, name: number, mode: number): number {
  const W_OK = 2;
  p.tree.stat(pathAt(p, fd, name), true);
  return (mode & W_OK) !== 0 ? refuse('EROFS') : 0;
}

function readlink(p: Process, fd: number, name: number, buffer: number, room: number): number {
  const target = Buffer.from(p.tree.readlink(pathAt(p, fd, name))).subarray(0, Math.max(0, room));
  p.space.write(buffer, target);
  return target.length;
}

function putStat(p: Process, buffer: number, facts: FileFacts | Stats): number {
  const bytes = new Uint8Array(StatLayout.size);
  const view = new DataView(bytes.buffer);
  StatLayout.dev.set(view, 0, BigInt(facts.dev));
  StatLayout.ino.set(view, 0, BigInt(facts.ino));
  StatLayout.nlink.set(view, 0, 1n);
  StatLayout.mode.set(view, 0, facts.mode);
  StatLayout.length.set(view, 0, BigInt(facts.size));
  StatLayout.blksize.set(view, 0, 4096n);
  StatLayout.blocks.set(view, 0, BigInt(Math.ceil(facts.size / SECTOR)));
  StatLayout.mtime.set(view, 0, BigInt(Math.floor(facts.mtimeMs / 1000)));
  p.space.write(buffer, bytes);
  return 0;
}

function getdents64(p: Process, fd: number, buffer: number, room: number): number {
  const file = p.descriptors.get(int(fd));
  let total = 0;
  for (let entry = file.peekEntry(); entry !== undefined; entry = file.peekEntry()) {
    const name = Buffer.from(`${entry.name}\0`);
    const bytes = new Uint8Array(Math.ceil((DIRENT.name + name.length) / 8) * 8);
    if (total + bytes.length > room) return total === 0 ? refuse('EINVAL') : total;
    const view = new DataView(bytes.buffer);
    view.setBigUint64(DIRENT.ino, 1n, true);
    view.setUint16(DIRENT.reclen, bytes.length, true);
    bytes[DIRENT.type] = entry.kind;
    bytes.set(name, DIRENT.name);
    p.space.write(buffer + total, bytes);
    file.takeEntry();
    total += bytes.length;
  }
  return total;
}
