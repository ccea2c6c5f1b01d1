/**
 * A disk in a file or on a block device of the host. Data goes straight between the file and guest memory. Sparse files stay
 * sparse: zeros are not written where zeros are, and discard punches holes where the system can. What requests mean is
 * devices/blk's; who else uses the disk is disk-lock.ts's.
 */
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { type BlkStatus, type BlockStore, SECTOR_SIZE } from '../devices/blk/block-store.ts';
import { DiskError } from './disk-error.ts';
import { type DiskLock, type DiskOwner, lockDisk } from './disk-lock.ts';
import { deviceName } from './disk-use.ts';
import { findPunchHole, type PunchHole } from './hole-punch.ts';

export interface DiskOptions {
  /** `file:/absolute/path`, or `phy:name` with names below /dev. */
  readonly uname: string;
  readonly mode: 'r' | 'w';
  /** `w!`, `r!`: whoever else uses it. */
  readonly shared?: boolean;
  readonly owner: DiskOwner;
  /** Errors of the medium, each kind once. */
  log(text: string): void;
}

const open = promisify(fs.open);
const close = promisify(fs.close);
const fdatasync = promisify(fs.fdatasync);
/** Parts that one readv or writev may have (IOV_MAX of Linux). */
const PARTS_MAX = 1024;
type VectorCall = (
  fd: number,
  parts: readonly Uint8Array[],
  position: number,
  done: (error: NodeJS.ErrnoException | null, bytes: number) => void,
) => void;
const ZEROS = new Uint8Array(64 << 10);

/** The path that a disk string names. */
export function diskPath(uname: string): string {
  const colon = uname.indexOf(':');
  const what = uname.slice(colon + 1);
  switch (uname.slice(0, colon)) {
    case 'file':
      if (path.isAbsolute(what)) return what;
      throw new DiskError(`vbd: ${uname}: the path of an image must be absolute`);
    case 'phy':
      if (what !== '') return path.resolve('/dev', what);
  }
  throw new DiskError(`vbd: ${uname} is neither file:PATH nor phy:DEVICE`);
}

export class FileBlockStore implements BlockStore {
  readonly path: string;
  readonly readOnly: boolean;
  readonly physicalSectorSize: number;
  readonly discardGranularity: number;
  sectors: number;
  readonly #fd: number;
  readonly #device: string | undefined;
  readonly #punch: PunchHole | undefined;
  readonly #lock: DiskLock;
  readonly #log: (text: string) => void;
  readonly #said = new Set<string>();
  #closed = false;

  /** Opens and locks. Throws a DiskError for what people can mend. */
  static async open(options: DiskOptions): Promise<FileBlockStore> {
    const { uname, mode, owner } = options;
    const file = diskPath(uname);
    const fd = await openFile(file, uname, mode);
    try {
      const stat = fs.fstatSync(fd, { bigint: true });
      if (!stat.isFile() && !stat.isBlockDevice())
        throw new DiskError(`vbd: ${uname} is neither a file nor a block device`);
      if (uname.startsWith('phy:') && !stat.isBlockDevice()) {
        throw new DiskError(`vbd: ${uname} is no block device; an image file is named file:${file}`);
      }
      const lock = await lockDisk({ stat, uname, mode, owner, shared: options.shared ?? false });
      const store = new FileBlockStore(file, fd, stat, lock, options);
      if (store.sectors === 0) {
        await lock.release();
        throw new DiskError(`vbd: ${uname} is empty: it has no whole sector of ${SECTOR_SIZE} bytes`);
      }
      return store;
    } catch (error) {
      await close(fd);
      throw error;
    }
  }

  private constructor(
    file: string,
    fd: number,
    stat: fs.BigIntStats,
    lock: DiskLock,
    { mode, log, uname }: DiskOptions,
  ) {
    this.path = file;
    this.readOnly = mode === 'r';
    this.#fd = fd;
    this.#lock = lock;
    this.#log = (text) => log(`${uname}: ${text}`);
    this.#device = stat.isBlockDevice() ? deviceName(stat.rdev) : undefined;
    this.sectors = this.#size();
    // Of a block device, discarding everything on it is up to its owner; files give back what they can.
    this.#punch = this.readOnly || this.#device ? undefined : findPunchHole(fd, Number(stat.size));
    const block = this.#device
      ? (queueNumber(this.#device, 'physical_block_size') ?? SECTOR_SIZE)
      : Number(stat.blksize);
    // What Linux accepts: a power of two up to a page.
    this.physicalSectorSize = [4096, 2048, 1024].find((size) => block % size === 0) ?? SECTOR_SIZE;
    this.discardGranularity = this.#punch ? this.physicalSectorSize : 0;
  }

  read(sector: number, into: readonly Uint8Array[]): Promise<BlkStatus> {
    return this.#transfer(fs.readv, sector, into, 'read');
  }

  async write(sector: number, from: readonly Uint8Array[]): Promise<BlkStatus> {
    if (!this.#device && allZero(from) && (await this.#isZero(sector, from))) return 'okay';
    return this.#transfer(fs.writev, sector, from, 'write');
  }

  async flush(): Promise<BlkStatus> {
    try {
      await fdatasync(this.#fd);
      return 'okay';
    } catch (error) {
      return this.#failed('flush', error as NodeJS.ErrnoException);
    }
  }

  async discard(sector: number, count: number): Promise<BlkStatus> {
    if (!this.#punch) return 'unsupported';
    if (await this.#punch(this.#fd, sector * SECTOR_SIZE, count * SECTOR_SIZE)) return 'okay';
    this.#say('discard failed');
    return 'error';
  }

  /** Look at the size again; says whether it changed. */
  refresh(): boolean {
    const before = this.sectors;
    this.sectors = this.#size();
    return this.sectors !== before;
  }

  /** Its owner has another name. */
  async rename(owner: DiskOwner): Promise<void> {
    if (!this.#closed) await this.#lock.rename(owner);
  }

  /** The caller has seen every request done. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.readOnly) await this.flush();
    await close(this.#fd);
    // Last: whoever gets the lock next finds everything written.
    await this.#lock.release();
  }

  /** A device's size is not in its stat; Linux counts it in sectors of 512 bytes in /sys. */
  #size(): number {
    if (this.#device) return deviceNumber(this.#device, 'size') ?? 0;
    return Math.floor(fs.fstatSync(this.#fd).size / SECTOR_SIZE);
  }

  async #transfer(call: VectorCall, sector: number, parts: readonly Uint8Array[], what: string): Promise<BlkStatus> {
    let rest = parts;
    for (let at = sector * SECTOR_SIZE; rest.length > 0; ) {
      const done = await new Promise<number | NodeJS.ErrnoException>((resolve) => {
        call(this.#fd, rest.slice(0, PARTS_MAX), at, (error, bytes) => resolve(error ?? bytes));
      });
      if (typeof done !== 'number') return this.#failed(what, done);
      if (done === 0) {
        this.#say(`${what} failed: the file is shorter than it was`);
        return 'error';
      }
      at += done;
      rest = remainingParts(rest, done);
    }
    return 'okay';
  }

  /** Are the sectors under `like` all zeros already? Reading a hole costs no disk access. */
  async #isZero(sector: number, like: readonly Uint8Array[]): Promise<boolean> {
    const there = new Uint8Array(like.reduce((bytes, part) => bytes + part.length, 0));
    return (await this.read(sector, [there])) === 'okay' && allZero([there]);
  }

  #failed(what: string, error: NodeJS.ErrnoException): BlkStatus {
    this.#say(`${what} failed: ${error.code === 'ENOSPC' ? 'no space left on the host' : error.message}`);
    return 'error';
  }

  #say(text: string): void {
    if (this.#said.has(text)) return;
    this.#said.add(text);
    this.#log(text);
  }
}

async function openFile(file: string, uname: string, mode: 'r' | 'w'): Promise<number> {
  try {
    // Not to wait for the writer of a FIFO; means nothing for files and block devices.
    return await open(file, (mode === 'w' ? fs.constants.O_RDWR : fs.constants.O_RDONLY) | fs.constants.O_NONBLOCK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      ENOENT: `there is no ${file}`,
      ENOTDIR: `there is no ${file}`,
      EISDIR: 'it is a folder',
      EACCES: `no permission to ${mode === 'w' ? 'write' : 'read'} ${file}`,
      EROFS: 'it is on a read-only file system; use mode r',
      ETXTBSY: 'it is being executed',
      ENXIO: 'no such device',
    };
    throw new DiskError(`vbd: Segment not found: uname=${uname} (${reasons[code ?? ''] ?? message})`);
  }
}

/** The parts that remain after `done` bytes of them. */
export function remainingParts(parts: readonly Uint8Array[], done: number): readonly Uint8Array[] {
  let index = 0;
  let bytes = done;
  while (index < parts.length && bytes >= parts[index]!.length) bytes -= parts[index++]!.length;
  const rest = parts.slice(index);
  if (bytes > 0) rest[0] = rest[0]!.subarray(bytes);
  return rest;
}

function allZero(parts: readonly Uint8Array[]): boolean {
  return parts.every((part) => {
    if (part[0] !== 0) return false;
    for (let at = 0; at < part.length; at += ZEROS.length) {
      const piece = part.subarray(at, at + ZEROS.length);
      if (Buffer.compare(piece, ZEROS.subarray(0, piece.length)) !== 0) return false;
    }
    return true;
  });
}

function deviceNumber(device: string, key: string): number | undefined {
  try {
    return Number(fs.readFileSync(`/sys/dev/block/${device}/${key}`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** A partition's queue is its disk's. */
function queueNumber(device: string, key: string): number | undefined {
  return deviceNumber(device, `queue/${key}`) ?? deviceNumber(device, `../queue/${key}`);
}
