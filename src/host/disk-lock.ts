/**
 * Who may use a disk, among all domains of all xends on this machine: any number of readers, or one writer. A lock is a
 * listening socket in Linux's abstract namespace whose name says which disk, how and for whom: the kernel drops it when its
 * process dies, however it dies, and there are no files to clean up. The list of these names is in /proc/net/unix.
 * Processes in different network namespaces (containers) do not see each other's locks. Follows xm-xend 3.3.
 */
import { type BigIntStats, readFileSync } from 'node:fs';
import net from 'node:net';
import { DiskError } from './disk-error.ts';
import { hostUses, identifyDisk } from './disk-use.ts';

export interface DiskOwner {
  readonly domid: number;
  readonly name: string;
}

export interface DiskLock {
  /** Held all the time, from now on under another name of its owner. */
  rename(owner: DiskOwner): Promise<void>;
  release(): Promise<void>;
}

export interface LockRequest {
  readonly stat: BigIntStats;
  /** The disk as the configuration named it, for messages. */
  readonly uname: string;
  readonly mode: 'r' | 'w';
  readonly owner: DiskOwner;
  /** Take it whoever else uses the disk; others are told of this use all the same. */
  readonly shared?: boolean;
}

const PREFIX = 'domus-disk';
/** Held while locks are compared and taken: a moment. */
const MUTEX = `\0${PREFIX}-mutex`;
const MUTEX_TIMEOUT_MS = 10_000;
/** sun_path is 108 bytes, of which the first is NUL. */
const NAME_MAX = 107;
let lastNumber = 0;

/** Take the lock, or throw one line that says who has it. */
export async function lockDisk({ stat, uname, mode, owner, shared = false }: LockRequest): Promise<DiskLock> {
  if (process.platform !== 'linux') return { rename: async () => {}, release: async () => {} };
  const [host] = hostUses(stat).filter((use) => mode === 'w' || use.mode === 'w');
  if (host && !shared) throw inUse(uname, host.mode, host.how);
  const { id, related } = identifyDisk(stat);
  const mutex = await takeMutex(uname);
  try {
    const rival = holders().find(
      (holder) => (holder.id === id || related.includes(holder.id)) && (mode === 'w' || holder.mode === 'w'),
    );
    if (rival && !shared) throw inUse(uname, rival.mode, `by domain ${rival.owner}`);
    let server = await listen(socketName(id, mode, owner));
    return {
      async rename(renamed) {
        const before = server;
        server = await listen(socketName(id, mode, renamed));
        await close(before);
      },
      release: () => close(server),
    };
  } finally {
    await close(mutex);
  }
}

function inUse(uname: string, mode: 'r' | 'w', how: string): DiskError {
  return new DiskError(`vbd: Segment ${uname} is in ${mode === 'w' ? 'writable' : 'read-only'} use ${how}`);
}

export interface DiskHolder {
  readonly id: string;
  readonly mode: 'r' | 'w';
  /** `web1 (id 3)` */
  readonly owner: string;
}

/** All disks in use by domains on this machine. */
export function holders(unixSockets: string = readFileSync('/proc/net/unix', 'latin1')): DiskHolder[] {
  const found: DiskHolder[] = [];
  const pattern = new RegExp(`@${PREFIX}/([bf]\\d+:\\d+)/([rw])/(\\d+)/([^/\\s]*)/[\\d.]+$`);
  for (const line of unixSockets.split('\n')) {
    const [, id, mode, domid, name] = pattern.exec(line) ?? [];
    if (id && name !== undefined) {
      found.push({ id, mode: mode as 'r' | 'w', owner: `${decode(name)} (id ${domid})` });
    }
  }
  return found;
}

function socketName(id: string, mode: 'r' | 'w', { domid, name }: DiskOwner): string {
  const head = `\0${PREFIX}/${id}/${mode}/${domid}/`;
  const tail = `/${process.pid}.${++lastNumber}`;
  let shown = [...name];
  while (head.length + encodeURIComponent(shown.join('')).length + tail.length > NAME_MAX) shown = shown.slice(0, -1);
  return head + encodeURIComponent(shown.join('')) + tail;
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // Not a name of ours, but a lock it is.
  }
}

async function takeMutex(uname: string): Promise<net.Server> {
  const deadline = Date.now() + MUTEX_TIMEOUT_MS;
  for (;;) {
    try {
      return await listen(MUTEX);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') {
        throw new DiskError(`vbd: ${uname} cannot be locked: ${(error as Error).message}`);
      }
      if (Date.now() > deadline) {
        throw new DiskError(`vbd: ${uname} cannot be locked: another process has held @${PREFIX}-mutex for too long`);
      }
      await new Promise((resolve) => setTimeout(resolve, 1 + Math.random() * 10));
    }
  }
}

function listen(name: string): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => socket.destroy());
    // A lock is no reason for a process to go on.
    server.unref();
    server.once('error', reject);
    server.listen(name, () => resolve(server));
  });
}

function close(server: net.Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
