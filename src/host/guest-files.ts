/**
 * Files into a guest and out of it: a tar archive through the guest's own tar, run by the agent. A few go by its channel,
 * compressed, which is narrow; many by a disk that is plugged in for them, if the guest can have one. What comes out of a guest
 * is what a guest wants: it can name no place but the one that was asked for, follow no link, and gets no set-uid bits.
 */
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { STREAM_START } from '../devices/blk/stream-disk.ts';
import { AgentError, type AgentProcess, type AgentRequest, execInGuest } from './agent-link.ts';
import { type TarEntry, TarError, type TarKind, TarReader, tarEnd, tarHeader, tarPadding } from './tar.ts';

export interface CopyOptions {
  readonly waitMs?: number;
  /** Bytes copied so far. */
  progress?(bytes: number): void;
  /** Something was left out: one line. */
  note?(text: string): void;
}

/** Something about the files, here or there: one line for people. */
export class CopyError extends Error {
  override readonly name = 'CopyError';
}

const CHUNK = 64 << 10;
/** What is longer goes by a disk: to plug one in and to take it away takes as long as half of this by the channel. */
const BULK_KIB = 64;
/**
 * Blocks in which the guest reads the disk and writes it, past its page cache; the archive begins at STREAM_START. The guest waits
 * for each, which on a busy machine takes long: 120 MB at a load of 8 go out in 3.6 s by blocks of 256 KiB and in 2.6 s by these. What is
 * read is filled up to a whole block, so those are smaller.
 */
const READ_BLOCK = 1 << 20;
const WRITE_BLOCK = 4 << 20;
/** How a copy out of the guest ends that is to be asked for again, with a disk. */
const IS_LONG = 99;

/** The front end has said that it is connected a moment before the kernel makes the device. */
const DISK = `
tries=0
until [ -b "$DOMUS_DISK" ]; do
  tries=$((tries + 1))
  if [ $tries -gt 250 ]; then echo "$DOMUS_DISK does not appear" >&2; exit 1; fi
  sleep 0.02
done
`;
const COMPLAINT_MAX = 2000;

/**
 * $1 where to, $2 the name in the archive, $3 file or folder, $4 how many blocks of a disk the archive takes. Into a folder that is there already it goes under its name;
 * otherwise it gets the name that was given. Nothing is half there: it is unpacked beside its place and moved. When nobody reads
 * its complaints any more they must not end it: it has to tidy up.
 */
const PUT = `
to=$1
if [ -d "$to" ]; then to=\${to%/}/$2; fi
case $to in */) echo "$to: no such folder" >&2; exit 1;; esac
if [ "$3" = file ] && [ -d "$to" ]; then echo "$to: is a folder" >&2; exit 1; fi
if [ "$3" = folder ] && [ -e "$to" ] && [ ! -d "$to" ]; then echo "$to: is not a folder" >&2; exit 1; fi
in=$(dirname -- "$to")
if [ ! -d "$in" ]; then echo "$in: no such folder" >&2; exit 1; fi
new=$(mktemp -d "$in/.copy.XXXXXX") || exit 1
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
trap '' PIPE
if [ -n "$DOMUS_DISK" ]; then
${DISK}
dd if="$DOMUS_DISK" iflag=direct bs=${READ_BLOCK} skip=${STREAM_START / READ_BLOCK} count=$4 2>/dev/null | tar -x -o -f - -C "$new" || exit 1
else
tar -x -z -o -f - -C "$new" || exit 1
fi
if [ -d "$to" ]; then cp -a "$new/$2/." "$to/"; else mv -f "$new/$2" "$to"; fi
`;
/** $1 from where, $2 how many KiB are too many for the channel, 0 if none are. */
const GET = `
case $1 in */) from=\${1%/};; *) from=$1;; esac
[ -n "$from" ] || from=/
if [ ! -e "$from" ] && [ ! -L "$from" ]; then echo "$1: no such file" >&2; exit 1; fi
cd -- "$(dirname -- "$from")" || exit 1
name=./$(basename -- "$from")
if [ -z "$DOMUS_DISK" ]; then
if [ $2 != 0 ] && [ "$(du -s -k "$name" | cut -f 1)" -gt $2 ]; then exit ${IS_LONG}; fi
exec tar -c -f - "$name"
fi
${DISK}
code=$({ { tar -c -f - "$name"; echo $? >&3; } |
  dd of="$DOMUS_DISK" oflag=direct iflag=fullblock bs=${WRITE_BLOCK} seek=${STREAM_START / WRITE_BLOCK} 2>/dev/null; } 3>&1)
exit $code
`;

/** Copy a file or a folder of this machine to `to` in the guest behind the agent's socket. */
export async function copyToGuest(socket: string, from: string, to: string, options: CopyOptions = {}): Promise<void> {
  const stat = statSync(from, { throwIfNoEntry: false });
  if (!stat) throw new CopyError(`${from}: no such file`);
  if (!stat.isFile() && !stat.isDirectory()) throw new CopyError(`${from}: neither a file nor a folder`);
  const name = path.basename(path.resolve(from));
  if (name === '') throw new CopyError(`${from}: cannot be copied as a whole`);
  const kind = stat.isFile() ? 'file' : 'folder';
  const parts = archiveOf(from, name, options);
  const length = lengthOf(parts);
  const blocks = String(Math.ceil(length / READ_BLOCK));
  const bulk = length > BULK_KIB << 10 ? ({ bulk: 'in' } as const) : {};
  let complaint = '';
  const guest = await execInGuest(
    socket,
    { argv: ['/bin/sh', '-c', PUT, 'sh', to, name, kind, blocks], folder: '/', waitMs: options.waitMs ?? 0, ...bulk },
    { output: () => {}, errors: (bytes) => (complaint = (complaint + bytes).slice(0, COMPLAINT_MAX)) },
  );
  try {
    await sendArchive(bytesOf(parts), guest, options);
    guest.end();
    await succeeded(guest, () => complaint);
  } finally {
    guest.close();
  }
}

/** Compressed where the way into the guest is narrow; no faster than the guest takes it, and no longer than it lives. */
async function sendArchive(pieces: Iterable<Buffer>, guest: AgentProcess, options: CopyOptions): Promise<void> {
  let over = false;
  const exit = guest.exit.finally(() => (over = true));
  exit.catch(() => {}); // Whoever called waits for the guest's end, and hears of it there.
  let copied = 0;
  const told = (function* () {
    for (const piece of pieces) {
      if (over) return;
      yield piece;
      options.progress?.((copied += piece.length));
    }
  })();
  const archive = Readable.from(told, { objectMode: false });
  // What is wrong with a file comes out of the loop: the callback has nothing to add.
  const chunks = guest.disk === undefined ? pipeline(archive, createGzip(), () => {}) : archive;
  for await (const chunk of chunks) {
    if (!guest.send(chunk as Buffer)) await Promise.race([guest.drained(), exit]);
    if (over) return;
  }
}

/** A part of an archive: a head, and the contents of a file behind it. */
interface Part {
  readonly head: Buffer;
  readonly file?: string;
  readonly size: number;
}

/** An archive of what is at `file`, under `name`: how long it will be is known before anything is sent. */
function archiveOf(file: string, name: string, options: CopyOptions): Part[] {
  return [...partsOf(file, name, options, true), { head: tarEnd(), size: 0 }];
}

const lengthOf = (parts: readonly Part[]): number =>
  parts.reduce((sum, { head, size }) => sum + head.length + size + tarPadding(size).length, 0);

function* partsOf(file: string, name: string, options: CopyOptions, top: boolean): Generator<Part> {
  const stat = top ? statSync(file) : lstatSync(file);
  const head = (kind: TarKind, more: Partial<TarEntry> = {}): Buffer =>
    tarHeader({ name, kind, mode: stat.mode & 0o7777, size: 0, mtime: stat.mtimeMs / 1000, ...more });
  if (stat.isDirectory()) {
    yield { head: head('folder', { name: `${name}/` }), size: 0 };
    for (const child of readdirSync(file).sort()) {
      yield* partsOf(path.join(file, child), `${name}/${child}`, options, false);
    }
  } else if (stat.isSymbolicLink()) yield { head: head('symlink', { target: readlinkSync(file) }), size: 0 };
  else if (stat.isFile()) yield { head: head('file', { size: stat.size }), file, size: stat.size };
  else options.note?.(`${file} is neither a file nor a folder: left out`);
}

function* bytesOf(parts: readonly Part[]): Generator<Buffer> {
  for (const { head, file, size } of parts) {
    yield head;
    if (file !== undefined) yield* contents(file, size);
    if (size > 0) yield tarPadding(size);
  }
}

/** As many bytes as were promised. */
function* contents(file: string, size: number): Generator<Buffer> {
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

/** Copy a file or a folder of the guest to `to` on this machine. */
export async function copyFromGuest(
  socket: string,
  from: string,
  to: string,
  options: CopyOptions = {},
): Promise<void> {
  const name = path.posix.basename(from.replace(/\/+$/, ''));
  const inside = statSync(to, { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (!inside && !statSync(path.dirname(path.resolve(to)), { throwIfNoEntry: false })?.isDirectory()) {
    throw new CopyError(`${path.dirname(to)}: no such folder`);
  }
  const target = inside ? path.join(to, name || 'root') : to.replace(/(.)\/+$/, '$1');
  const get = (mostKiB: number, bulk?: 'out') => {
    const argv = ['/bin/sh', '-c', GET, 'sh', from, String(mostKiB)];
    const request = { argv, folder: '/', waitMs: options.waitMs ?? 0, ...(bulk ? { bulk } : {}) };
    return receive(socket, request, new Unpacker(target, options), options);
  };
  if ((await get(BULK_KIB)) === 'long') await get(0, 'out');
}

/** Unpack what the guest sends; 'long' when it says that it is more than was asked for. */
async function receive(
  socket: string,
  request: AgentRequest,
  unpacker: Unpacker,
  options: CopyOptions,
): Promise<'done' | 'long'> {
  const reader = new TarReader(unpacker);
  let [complaint, copied] = ['', 0];
  let failure: unknown;
  const guest: AgentProcess = await execInGuest(socket, request, {
    output(bytes) {
      if (failure !== undefined) return;
      try {
        reader.take(bytes);
        options.progress?.((copied += bytes.length));
      } catch (error) {
        failure = error;
        guest?.close();
      }
    },
    errors: (bytes) => (complaint = (complaint + bytes).slice(0, COMPLAINT_MAX)),
  });
  guest.end();
  try {
    if ((await guest.exit).code === IS_LONG) return 'long';
    await succeeded(guest, () => complaint);
    if (failure === undefined && !reader.complete) failure = new TarError('the archive from the guest is cut off');
  } catch (error) {
    failure ??= error;
  } finally {
    unpacker.close();
    guest.close();
  }
  if (failure !== undefined) throw failure instanceof TarError ? new CopyError(failure.message) : failure;
  return 'done';
}

async function succeeded(guest: AgentProcess, complaint: () => string): Promise<void> {
  const { code, signal } = await guest.exit;
  if (code === 0 && signal === 0) return;
  const [why] = complaint().split('\n');
  throw new CopyError(
    why ? `in the guest: ${why.replace(/[^\x20-\x7e\u00a0-\uffff]/g, '?')}` : 'the copy failed in the guest',
  );
}

/** Makes files of what a guest's archive says, at one place and nowhere else. */
class Unpacker {
  readonly #target: string;
  readonly #options: CopyOptions;
  /** Folders that were made, or found, on the way: only in these is anything made. */
  readonly #folders = new Map<string, { mode: number; mtime: number }>();
  readonly #files = new Set<string>();
  #open: { fd: number; draft: string; file: string; entry: TarEntry } | undefined;

  constructor(target: string, options: CopyOptions) {
    this.#target = target;
    this.#options = options;
  }

  entry(entry: TarEntry): void {
    const file = this.#place(entry.name);
    switch (entry.kind) {
      case 'folder':
        this.#folder(file, entry);
        return;
      case 'file': {
        this.#refuseFolder(file);
        const draft = `${file}.${process.pid}.part`;
        rmSync(draft, { force: true });
        this.#open = { fd: openSync(draft, 'wx', 0o600), draft, file, entry };
        return;
      }
      case 'symlink':
        this.#refuseFolder(file);
        rmSync(file, { force: true });
        symlinkSync(entry.target ?? '', file);
        return;
      case 'hardlink': {
        const other = this.#place(entry.target ?? '');
        if (!this.#files.has(other)) throw new CopyError(`${entry.name}: a link to what was not copied`);
        this.#refuseFolder(file);
        rmSync(file, { force: true });
        linkSync(other, file);
        return;
      }
      default:
        this.#options.note?.(`${entry.name} is neither a file nor a folder: left out`);
    }
  }

  data(bytes: Buffer): void {
    if (!this.#open) return;
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#open.fd, bytes, done);
  }

  done(): void {
    const open = this.#open;
    if (!open) return;
    this.#open = undefined;
    closeSync(open.fd);
    chmodSync(open.draft, open.entry.mode & 0o777);
    utimesSync(open.draft, open.entry.mtime, open.entry.mtime);
    renameSync(open.draft, open.file);
    this.#files.add(open.file);
  }

  /** What is half written goes; folders get their times and permissions, which were in the way before. */
  close(): void {
    if (this.#open) {
      closeSync(this.#open.fd);
      rmSync(this.#open.draft, { force: true });
    }
    for (const [folder, { mode, mtime }] of [...this.#folders].reverse()) {
      chmodSync(folder, mode);
      utimesSync(folder, mtime, mtime);
    }
  }

  /** The place for a name of the archive, whose first part is whatever the guest calls what we asked for. */
  #place(name: string): string {
    const [, ...parts] = name.replace(/^\.\//, '').replace(/\/+$/, '').split('/');
    if (
      parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0')) ||
      name.startsWith('/')
    ) {
      throw new CopyError(`the guest's archive names ${JSON.stringify(name.slice(0, 200))}`);
    }
    const file = path.join(this.#target, ...parts);
    if (parts.length > 0 && !this.#folders.has(path.dirname(file)))
      throw new CopyError(`the guest's archive has ${JSON.stringify(name.slice(0, 200))} without its folder`);
    return file;
  }

  #folder(folder: string, { mode, mtime }: TarEntry): void {
    const there = lstatSync(folder, { throwIfNoEntry: false });
    if (there && !there.isDirectory()) throw new CopyError(`${folder}: is there already and is not a folder`);
    if (!there) mkdirSync(folder, { mode: 0o700 });
    // A folder that was there keeps its permissions.
    this.#folders.set(folder, { mode: there ? there.mode & 0o7777 : mode & 0o777, mtime });
  }

  #refuseFolder(file: string): void {
    if (lstatSync(file, { throwIfNoEntry: false })?.isDirectory()) throw new CopyError(`${file}: is a folder`);
  }
}

export { AgentError };
