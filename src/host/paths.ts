/**
 * Where a xend keeps its files: all under DOMUS_HOME when that is set (any number of xends side by side), the classic
 * places as root, the XDG base directories otherwise. Nothing else in the project knows a fixed path.
 */
import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';

export interface Paths {
  /** Configuration files: the second place that `xm create` looks in. */
  readonly etc: string;
  /** Sockets and pid files; may be lost with a reboot of the machine. */
  readonly run: string;
  /** State that survives a reboot. */
  readonly lib: string;
  readonly log: string;
  /** What can be fetched or built again. */
  readonly cache: string;
}

export function findPaths(env: NodeJS.ProcessEnv = process.env, uid: number = process.getuid?.() ?? 1): Paths {
  if (env.DOMUS_HOME) {
    const home = path.resolve(env.DOMUS_HOME);
    const under = (name: string) => path.join(home, name);
    return { etc: under('etc'), run: under('run'), lib: under('lib'), log: under('log'), cache: under('cache') };
  }
  if (uid === 0) {
    return {
      etc: '/etc/xen',
      run: '/var/run/xend',
      lib: '/var/lib/xend',
      log: '/var/log/xend',
      cache: '/var/cache/domus',
    };
  }
  const home = env.HOME ?? '/';
  const state = path.join(env.XDG_STATE_HOME || path.join(home, '.local/state'), 'domus');
  return {
    etc: path.join(env.XDG_CONFIG_HOME || path.join(home, '.config'), 'domus'),
    run: env.XDG_RUNTIME_DIR ? path.join(env.XDG_RUNTIME_DIR, 'domus') : path.join(state, 'run'),
    lib: path.join(state, 'lib'),
    log: path.join(state, 'log'),
    cache: path.join(env.XDG_CACHE_HOME || path.join(home, '.cache'), 'domus'),
  };
}

/** Where kernels and disks that were fetched or made are kept for all xends of a user: DOMUS_CACHE, or below XDG_CACHE_HOME. */
export function guestCache(env: NodeJS.ProcessEnv = process.env): string {
  if (env.DOMUS_CACHE) return path.resolve(env.DOMUS_CACHE);
  return path.join(env.XDG_CACHE_HOME || path.join(env.HOME ?? '/', '.cache'), 'domus');
}

/** Kernels and disks that configuration files reach as domus_images. */
export const imagesDir = (paths: Paths): string => path.join(paths.lib, 'images');
export const apiSocket = (paths: Paths): string => path.join(paths.run, 'xend.sock');
export const pidFile = (paths: Paths): string => path.join(paths.run, 'xend.pid');
export const xendLog = (paths: Paths): string => path.join(paths.log, 'xend.log');
export const debugLog = (paths: Paths): string => path.join(paths.log, 'xend-debug.log');
/** The privileged store socket, under the name that Debian's xenstore tools expect of XENSTORED_RUNDIR. */
export const storeSocket = (paths: Paths): string => path.join(paths.run, 'xenstored', 'socket');
/** What domains' code was translated to (host/regions/kept.ts). */
export const regionsDir = (lib: string): string => path.join(lib, 'cache', 'regions');
export const recordsDir = (paths: Paths): string => path.join(paths.lib, 'domains');
export const consoleLog = (paths: Paths, name: string): string =>
  path.join(paths.log, 'console', `${fileName(name)}.log`);
export const monitorLog = (paths: Paths, name: string): string =>
  path.join(paths.log, 'domains', `${fileName(name)}.log`);
/** A domain's own folder under run/: short, because a socket's path is limited to 107 bytes. */
export const domainRunDir = (paths: Paths, domid: number, uuid: string): string =>
  path.join(paths.run, 'domains', `${domid}-${uuid.slice(0, 8)}`);
export const controlSocket = (runDir: string): string => path.join(runDir, 'control.sock');
export const consoleSocket = (runDir: string): string => path.join(runDir, 'console.sock');
/** Commands in the guest, through its agent. */
export const agentSocket = (runDir: string): string => path.join(runDir, 'agent.sock');
/** The guest's own store connection. */
export const guestStoreSocket = (runDir: string): string => path.join(runDir, 'store.sock');
/** The backends' store connection: domain 0, but for this domain's devices only. */
export const backendStoreSocket = (runDir: string): string => path.join(runDir, 'backend.sock');

/** Domain names may contain "/" and start with ".". */
function fileName(name: string): string {
  return name.replaceAll('/', '%2f').replace(/^\./, '%2e');
}

export const SOCKET_PATH_MAX = 107;

/** One level after the other: Node's own recursive mkdir does not come back where nothing can be made, as in /proc. */
function makeFolder(dir: string): void {
  if (existsSync(dir)) return;
  makeFolder(path.dirname(dir));
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST') throw new Error(`cannot make the folder ${dir}: ${code ?? message}`);
  }
}

/** Make the folders, private to the user. Throws one clear line when a folder belongs to somebody else. */
export function makeFolders(paths: Paths): void {
  const uid = process.getuid?.();
  for (const dir of [paths.run, paths.lib, paths.log]) {
    makeFolder(dir);
    const stat = statSync(dir);
    if (uid !== undefined && stat.uid !== uid) throw new Error(`${dir} belongs to another user (uid ${stat.uid})`);
    if ((stat.mode & 0o077) !== 0) chmodSync(dir, 0o700);
  }
  for (const dir of ['domains', 'xenstored']) makeFolder(path.join(paths.run, dir));
  for (const dir of ['console', 'domains']) makeFolder(path.join(paths.log, dir));
  makeFolder(recordsDir(paths));
  const longest = consoleSocket(domainRunDir(paths, 99999, '0'.repeat(36)));
  if (Buffer.byteLength(longest) > SOCKET_PATH_MAX) {
    throw new Error(
      `${paths.run} is too long a path for sockets: choose a DOMUS_HOME at least ${Buffer.byteLength(longest) - SOCKET_PATH_MAX} bytes shorter`,
    );
  }
}
