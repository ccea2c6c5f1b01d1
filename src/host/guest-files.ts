/**
 * Files into a guest and out of it: a tar archive through the guest's own tar, run by the agent. What comes out of a guest
 * is what a guest wants: it can name no place but the one that was asked for, follow no link, and gets no set-uid bits.
 */
import {
  chmodSync,
  closeSync,
  type Dirent,
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
tar -x -o -f - -C "$new" || exit 1
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
  let copied = 0;
  const send = async (bytes: Uint8Array) => {
    if (!guest.send(bytes)) await Promise.race([guest.drained(), guest.exit]);
    options.progress?.((copied += bytes.length));
  };
  try {
    await sendTree(from, name, send, options);
    await send(tarEnd());
    guest.end();
    await succeeded(guest, () => complaint);
  } finally {
    guest.close();
  }
}

async function sendTree(
  file: string,
  name: string,
  send: (bytes: Uint8Array) => Promise<void>,
  options: CopyOptions,
  top = true,
): Promise<void> {
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
    await send(tarHeader(entry('folder', { name: `${name}/` })));
    for (const child of readdirSync(file, { withFileTypes: true }).sort(byName)) {
      await sendTree(path.join(file, child.name), `${name}/${child.name}`, send, options, false);
    }
  } else if (stat.isSymbolicLink()) await send(tarHeader(entry('symlink', { target: readlinkSync(file) })));
  else if (stat.isFile()) await sendFile(file, (size) => tarHeader(entry('file', { size })), send);
  else options.note?.(`${file} is neither a file nor a folder: left out`);
}

const byName = (a: Dirent, b: Dirent): number => (a.name < b.name ? -1 : 1);

async function sendFile(
  file: string,
  header: (size: number) => Buffer,
  send: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const fd = openSync(file, 'r');
  try {
    const { size } = statSync(file);
    await send(header(size));
    for (let at = 0; at < size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK, size - at));
      const got = readSync(fd, chunk, 0, chunk.length, at);
      if (got === 0) throw new CopyError(`${file}: became shorter while it was copied`);
      await send(chunk.subarray(0, got));
      at += got;
    }
    await send(tarPadding(size));
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
