/**
 * The initramfs of a domain: a static BusyBox, the modules for its disk and network, and `files/initramfs/init`, which finds the
 * root device and hands over. Distribution kernels have the Xen front ends as modules, so without this there is no root disk.
 */
import { readFileSync } from 'node:fs';
import { type CpioEntry, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, writeCpio } from './cpio.ts';
import type { KernelModule, ModuleTree } from './modules.ts';

/** The block device first, since its answer takes longest and the rest can happen meanwhile. */
export const INITRAMFS_MODULES = ['xen-blkfront', 'ext4', 'crc32c_generic', 'xen-netfront', 'af_packet'];

const APPLETS = [
  ...['cat', 'dmesg', 'findfs', 'insmod', 'ls', 'lsmod', 'mkdir', 'modprobe', 'mount', 'poweroff', 'reboot', 'sh'],
  ...['setsid', 'cttyhack', 'sleep', 'switch_root', 'umount', 'vi'],
];

const initScript = new URL('files/initramfs/init', import.meta.url);

export interface InitramfsParts {
  readonly release: string;
  readonly modules: ModuleTree;
  readonly busybox: Uint8Array;
  /** Instead of INITRAMFS_MODULES, for other machines than domains. */
  readonly wanted?: readonly string[];
}

export function buildInitramfs({ release, modules, busybox, wanted = INITRAMFS_MODULES }: InitramfsParts): Uint8Array {
  const chosen = modules.closure(wanted);
  const folder = `lib/modules/${release}`;
  const entries = [
    directory('dev'),
    { path: 'dev/console', mode: S_IFCHR | 0o600, major: 5, minor: 1 },
    { path: 'dev/null', mode: S_IFCHR | 0o666, major: 1, minor: 3 },
    ...['proc', 'sys', 'root', 'etc', 'bin', 'sbin'].map(directory),
    file('etc/fstab', text('proc /proc proc defaults 0 0\ndev /dev devtmpfs mode=0755 0 0\n')),
    // Nothing is ever written to it: `init` reads it with a time limit, which is a sleep without a new process.
    { path: 'etc/tick', mode: S_IFIFO | 0o600 },
    file('bin/busybox', busybox, 0o755),
    ...APPLETS.map((name) => ({ path: `bin/${name}`, mode: S_IFLNK | 0o777, data: text('busybox') })),
    ...foldersOf([`${folder}/modules.dep`, ...chosen.map(({ path }) => `${folder}/${path}`)]).map(directory),
    file(`${folder}/modules.dep`, text(modulesDep(chosen))),
    ...chosen.map(({ path, bytes }) => file(`${folder}/${path}`, bytes)),
    file('etc/modules', text(chosen.map(({ name }) => name).join(' ') + '\n')),
    file('init', readFileSync(initScript), 0o755),
  ];
  return writeCpio(entries);
}

/** depmod's format: the module, a colon, everything that has to be there before it, nearest first. */
function modulesDep(modules: readonly KernelModule[]): string {
  const before = new Map<string, string[]>();
  let lines = '';
  for (const { name, path, depends } of modules) {
    const direct = modules.filter((other) => depends.includes(other.name));
    const needed = [...new Set(direct.reverse().flatMap((other) => [other.path, ...(before.get(other.name) ?? [])]))];
    before.set(name, needed);
    lines += `${path}:${needed.map((other) => ` ${other}`).join('')}\n`;
  }
  return lines;
}

/** The folders above the files, parents first, once each. */
function foldersOf(files: readonly string[]): string[] {
  const folders = new Set<string>();
  for (const path of files) {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) folders.add(parts.slice(0, depth).join('/'));
  }
  return [...folders];
}

const text = (content: string): Uint8Array => Buffer.from(content);
const directory = (path: string): CpioEntry => ({ path, mode: S_IFDIR | 0o755 });
const file = (path: string, data: Uint8Array, mode = 0o644): CpioEntry => ({ path, mode: S_IFREG | mode, data });
