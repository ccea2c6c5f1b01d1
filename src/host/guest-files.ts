/**
 * Files into a guest and out of it: a tar archive through the guest's own tar, run by the agent. A few go by its channel,
 * compressed, which is narrow; many by a disk that is plugged in for them, if the guest can have one. archive.ts makes the
 * archive of what goes in, unpacker.ts makes files of what comes out. Neither here nor there is anything half made when a copy
 * fails, is interrupted, or its client is killed; a client that is killed leaves what its name says is a part (.part).
 */
import { statSync } from 'node:fs';
import path from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { STREAM_START } from '../devices/blk/stream-disk.ts';
import { type AgentOutput, type AgentProcess, type AgentRequest, execInGuest } from './agent-link.ts';
import { archiveOf, bytesOf, lengthOf } from './archive.ts';
import { CopyError } from './copy-error.ts';
import { nameOf, TarError, TarReader } from './tar.ts';
import { Unpacker } from './unpacker.ts';

export interface CopyOptions {
  readonly waitMs?: number;
  /** Bytes copied so far. */
  progress?(bytes: number): void;
  /** Something was left out: one line. */
  note?(text: string): void;
  /** Interrupts the copy, which then rejects with a CopyError. */
  readonly signal?: AbortSignal;
}

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
 * $1 where to, $2 the name in the archive, $3 file or folder, $4 how many blocks of a disk the archive takes. Into a folder that
 * is there already it goes under its name; otherwise it gets the name that was given. Nothing is half there: it is unpacked
 * beside its place and moved, or joined with a folder of that name by links, which take no room. When nobody reads its
 * complaints any more they must not end it: it has to tidy up, from the moment that there is something.
 */
export const PUT = `
to=$1
if [ -d "$to" ]; then to=\${to%/}/$2; fi
case $to in */) echo "$to: no such folder" >&2; exit 1;; esac
if [ "$3" = file ] && [ -d "$to" ]; then echo "$to: is a folder" >&2; exit 1; fi
if [ "$3" = folder ] && [ -e "$to" ] && [ ! -d "$to" ]; then echo "$to: is not a folder" >&2; exit 1; fi
in=$(dirname -- "$to")
if [ ! -d "$in" ]; then echo "$in: no such folder" >&2; exit 1; fi
new=$(mktemp -u "$in/.copy.XXXXXX") || exit 1
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
trap '' PIPE
mkdir -m 700 "$new" || { trap - EXIT; exit 1; }
if [ -n "$DOMUS_DISK" ]; then
${DISK}
dd if="$DOMUS_DISK" iflag=direct bs=${READ_BLOCK} skip=${STREAM_START / READ_BLOCK} count=$4 2>/dev/null | tar -x -o -f - -C "$new" || exit 1
else
tar -x -z -o -f - -C "$new" || exit 1
fi
if [ -d "$to" ]; then cp -alf "$new/$2/." "$to/"; else mv -f "$new/$2" "$to"; fi
`;
/** $1 from where, $2 how many KiB are too many for the channel, 0 if none are: a file may be longer than what it takes on its disk. */
const GET = `
case $1 in */) from=\${1%/};; *) from=$1;; esac
[ -n "$from" ] || from=/
if [ ! -e "$from" ] && [ ! -L "$from" ]; then echo "$1: no such file" >&2; exit 1; fi
cd -- "$(dirname -- "$from")" || exit 1
name=./$(basename -- "$from")
if [ -z "$DOMUS_DISK" ]; then
if [ $2 != 0 ]; then
if [ "$(du -s -k "$name" | cut -f 1)" -gt $2 ]; then exit ${IS_LONG}; fi
if [ -n "$(find "$name" -type f -size "+$2k" | head -n 1)" ]; then exit ${IS_LONG}; fi
fi
exec tar -c -f - "$name"
fi
${DISK}
code=$({ { tar -c -f - "$name"; echo $? >&3; } |
  dd of="$DOMUS_DISK" oflag=direct iflag=fullblock bs=${WRITE_BLOCK} seek=${STREAM_START / WRITE_BLOCK} 2>/dev/null; } 3>&1)
exit $code
`;

/** Copy a file or a folder of this machine to `to` in the guest behind the agent's socket. */
export function copyToGuest(socket: string, from: string, to: string, options: CopyOptions = {}): Promise<void> {
  return interruptible(options, () => putIn(socket, from, to, options));
}

async function putIn(socket: string, from: string, to: string, options: CopyOptions): Promise<void> {
  const stat = statSync(from, { throwIfNoEntry: false });
  if (!stat) throw new CopyError(`${from}: no such file`);
  if (!stat.isFile() && !stat.isDirectory()) throw new CopyError(`${from}: neither a file nor a folder`);
  const name = path.basename(path.resolve(from));
  if (name === '') throw new CopyError(`${from}: cannot be copied as a whole`);
  const kind = stat.isFile() ? 'file' : 'folder';
  const parts = archiveOf(from, nameOf(name), (text) => options.note?.(text));
  const length = lengthOf(parts);
  const blocks = String(Math.ceil(length / READ_BLOCK));
  const bulk = length > BULK_KIB << 10 ? ({ bulk: 'in' } as const) : {};
  let complaint = '';
  const guest = await execInGuest(
    socket,
    { argv: ['/bin/sh', '-c', PUT, 'sh', to, name, kind, blocks], folder: '/', waitMs: options.waitMs ?? 0, ...bulk },
    { output: () => {}, errors: (bytes) => (complaint = (complaint + bytes).slice(0, COMPLAINT_MAX)) },
    options.signal,
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

/** Copy a file or a folder of the guest to `to` on this machine. */
export function copyFromGuest(socket: string, from: string, to: string, options: CopyOptions = {}): Promise<void> {
  return interruptible(options, () => takeOut(socket, from, to, options));
}

async function interruptible(options: CopyOptions, work: () => Promise<void>): Promise<void> {
  try {
    options.signal?.throwIfAborted();
    await work();
  } catch (error) {
    throw options.signal?.aborted ? new CopyError('the copy was interrupted') : error;
  }
}

async function takeOut(socket: string, from: string, to: string, options: CopyOptions): Promise<void> {
  const name = path.posix.basename(from.replace(/\/+$/, ''));
  const inside = statSync(to, { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (!inside && !statSync(path.dirname(path.resolve(to)), { throwIfNoEntry: false })?.isDirectory()) {
    throw new CopyError(`${path.dirname(to)}: no such folder`);
  }
  const target = inside ? path.join(to, name || 'root') : to.replace(/(.)\/+$/, '$1');
  const get = (mostKiB: number, bulk?: 'out') => {
    const argv = ['/bin/sh', '-c', GET, 'sh', from, String(mostKiB)];
    const request = { argv, folder: '/', waitMs: options.waitMs ?? 0, ...(bulk ? { bulk } : {}) };
    return receive(socket, request, new Unpacker(target, (text) => options.note?.(text)), options);
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
  const to: AgentOutput = {
    output(bytes) {
      if (failure !== undefined) return;
      try {
        reader.take(bytes);
        options.progress?.((copied += bytes.length));
      } catch (error) {
        failure = error;
        guest.close();
      }
    },
    errors: (bytes) => (complaint = (complaint + bytes).slice(0, COMPLAINT_MAX)),
  };
  const guest: AgentProcess = await execInGuest(socket, request, to, options.signal);
  guest.end();
  try {
    if ((await guest.exit).code === IS_LONG) return 'long';
    await succeeded(guest, () => complaint);
    if (failure === undefined && !reader.complete) failure = new TarError('the archive from the guest is cut off');
    if (failure === undefined) unpacker.finish();
  } catch (error) {
    failure ??= error;
  } finally {
    guest.close();
  }
  if (failure === undefined) return 'done';
  unpacker.abandon();
  throw failure instanceof TarError ? new CopyError(failure.message) : failure;
}

async function succeeded(guest: AgentProcess, complaint: () => string): Promise<void> {
  const { code, signal } = await guest.exit;
  if (code === 0 && signal === 0) return;
  const [why] = complaint().split('\n');
  throw new CopyError(
    why ? `in the guest: ${why.replace(/[^\x20-\x7e\u00a0-\uffff]/g, '?')}` : 'the copy failed in the guest',
  );
}
