/**
 * Files into a guest and out of it: a tar archive through the guest's own tar, run by the agent. What comes out of a guest
 * is what a guest wants: it can name no place but the one that was asked for, follow no link, and gets no set-uid bits.
 */
import { once } from 'node:events';
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
import { createGzip } from 'node:zlib';
import { AgentError, type AgentProcess, execInGuest } from './agent-link.ts';
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
const COMPLAINT_MAX = 2000;

/**
 * $1 where to, $2 the name in the archive, $3 file or folder. Into a folder that is there already it goes under its name;
 * otherwise it gets the name that was given. Nothing is half there: it is unpacked beside its place and moved.
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
tar -x -z -o -f - -C "$new" || exit 1
if [ -d "$to" ]; then cp -a "$new/$2/." "$to/"; else mv -f "$new/$2" "$to"; fi
`;
const GET = `
case $1 in */) from=\${1%/};; *) from=$1;; esac
[ -n "$from" ] || from=/
if [ ! -e "$from" ] && [ ! -L "$from" ]; then echo "$1: no such file" >&2; exit 1; fi
cd -- "$(dirname -- "$from")" && exec tar -c -f - "./$(basename -- "$from")"
`;

/** Copy a file or a folder of this machine to `to` in the guest behind the agent's socket. */
export async function copyToGuest(socket: string, from: string, to: string, options: CopyOptions = {}): Promise<void> {
  const stat = statSync(from, { throwIfNoEntry: false });
  if (!stat) throw new CopyError(`${from}: no such file`);
  if (!stat.isFile() && !stat.isDirectory()) throw new CopyError(`${from}: neither a file nor a folder`);
  const name = path.basename(path.resolve(from));
  if (name === '') throw new CopyError(`${from}: cannot be copied as a whole`);
  const kind = stat.isFile() ? 'file' : 'folder';
  let complaint = '';
  const guest = await execInGuest(
    socket,
    { argv: ['/bin/sh', '-c', PUT, 'sh', to, name, kind], folder: '/', waitMs: options.waitMs ?? 0 },
    { output: () => {}, errors: (bytes) => (complaint = (complaint + bytes).slice(0, COMPLAINT_MAX)) },
  );
  try {
    await sendArchive(archive(from, name, options), guest, options);
    guest.end();
    await succeeded(guest, () => complaint);
  } finally {
    guest.close();
  }
}

/** Compressed, since the way into a guest is narrow; no faster than the guest takes it, and no longer than it lives. */
async function sendArchive(pieces: Iterable<Buffer>, guest: AgentProcess, options: CopyOptions): Promise<void> {
  let over = false;
  const exit = guest.exit.finally(() => (over = true));
  const gzip = createGzip();
  const sent = (async () => {
    for await (const chunk of gzip) if (!guest.send(chunk as Buffer)) await Promise.race([guest.drained(), exit]);
  })();
  sent.catch(() => {}); // Waited for below, when all has been given to it.
  let copied = 0;
  for (const piece of pieces) {
    if (!gzip.write(piece)) await Promise.race([once(gzip, 'drain'), exit]);
    if (over) break;
    options.progress?.((copied += piece.length));
  }
  if (over) {
    gzip.destroy();
    return;
  }
  gzip.end();
  await sent;
}

/** The blocks of an archive of what is at `file`, under `name`. */
function* archive(file: string, name: string, options: CopyOptions): Generator<Buffer> {
  yield* entries(file, name, options, true);
  yield tarEnd();
}

function* entries(file: string, name: string, options: CopyOptions, top: boolean): Generator<Buffer> {
  const stat = top ? statSync(file) : lstatSync(file);
  const entry = (kind: TarKind, more: Partial<TarEntry> = {}): TarEntry => ({
    name,
    kind,
    mode: stat.mode & 0o7777,
    size: 0,
    mtime: stat.mtimeMs / 1000,
    ...more,
  });
  if (stat.isDirectory()) {
    yield tarHeader(entry('folder', { name: `${name}/` }));
    for (const child of readdirSync(file).sort()) {
      yield* entries(path.join(file, child), `${name}/${child}`, options, false);
    }
  } else if (stat.isSymbolicLink()) yield tarHeader(entry('symlink', { target: readlinkSync(file) }));
  else if (stat.isFile()) {
    yield tarHeader(entry('file', { size: stat.size }));
    yield* contents(file, stat.size);
    yield tarPadding(stat.size);
  } else options.note?.(`${file} is neither a file nor a folder: left out`);
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
  const unpacker = new Unpacker(inside ? path.join(to, name || 'root') : to.replace(/(.)\/+$/, '$1'), options);
  const reader = new TarReader(unpacker);
  let [complaint, copied] = ['', 0];
  let failure: unknown;
  const guest: AgentProcess = await execInGuest(
    socket,
    { argv: ['/bin/sh', '-c', GET, 'sh', from], folder: '/', waitMs: options.waitMs ?? 0 },
    {
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
    },
  );
  guest.end();
  try {
    await succeeded(guest, () => complaint);
    if (failure === undefined && !reader.complete) failure = new TarError('the archive from the guest is cut off');
  } catch (error) {
    failure ??= error;
  } finally {
    unpacker.close();
    guest.close();
  }
  if (failure !== undefined) throw failure instanceof TarError ? new CopyError(failure.message) : failure;
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
