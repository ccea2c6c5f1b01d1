/**
 * From the command to the login prompt of ttylinux: `xm create` here, QEMU's software emulation beside it, in turns. The same
 * kernel, BusyBox and disk; QEMU's initramfs has virtio's modules instead of Xen's, and its console is hvc0 too.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { defaultBootOptions } from '../../src/config/boot-options.ts';
import { onPath } from '../../src/guest/debian.ts';
import type { Guest } from '../../src/guest/index.ts';
import { buildInitramfs } from '../../src/guest/initramfs.ts';
import { ModuleTree } from '../../src/guest/modules.ts';
import { ConsoleDriver } from '../lib/console-driver.ts';
import type { OwnXend } from '../lib/own-xend.ts';
import { copySparsely, TTYLINUX_MEMORY_MIB, writeTtylinux } from '../lib/ttylinux.ts';
import { median, type Row } from './report.ts';

const LOGIN = /ttylinux login: /;
const LOGIN_S = 600;
const STOP_S = 30;
const VIRTIO_MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4', 'crc32c_generic'];

export interface BootPlaces {
  readonly guest: Guest;
  readonly xend: OwnXend;
  readonly cacheDir: string;
}

/** Seconds from `xm create -c` to the prompt. */
export async function bootDomain({ guest, xend }: BootPlaces, name: string, leave = false): Promise<number> {
  const { config } = await writeTtylinux(guest, xend.folder, { name });
  const started = performance.now();
  const xm = xend.spawn('xm', ['create', '-c', config], { stdio: ['pipe', 'pipe', 'pipe'] });
  const console_ = new ConsoleDriver(xm);
  await console_.until(LOGIN, LOGIN_S);
  const seconds = (performance.now() - started) / 1000;
  if (leave) return seconds;
  const { code, output } = await xend.run('xm', ['destroy', name]);
  if (code !== 0) throw new Error(`xm destroy ${name}: ${output}`);
  await console_.ended(STOP_S);
  return seconds;
}

export function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version (\S+)/.exec(stdout)?.[1] : undefined;
}

/** The packages that prepareGuest unpacked are in its cache folder. */
async function virtioInitramfs({ guest, cacheDir, xend }: BootPlaces): Promise<string> {
  const { release, version } = guest;
  const kernelTree = path.join(cacheDir, 'packages', `linux-image-${release}_${version}`.replaceAll(':', '%3a'));
  const modules = ['lib', 'usr/lib'].map((lib) => path.join(kernelTree, lib, 'modules', release)).find(existsSync);
  const busybox = path.join(xend.folder, 'busybox');
  const debugfs = onPath('debugfs');
  if (!modules || !debugfs) throw new Error('the kernel package is not in the cache, or e2fsprogs is not installed');
  spawnSync(debugfs, ['-R', `dump /bin/busybox ${busybox}`, guest.disk]);
  const file = path.join(xend.folder, 'initrd-virtio');
  const parts = { release, modules: new ModuleTree(modules), busybox: await readFile(busybox), wanted: VIRTIO_MODULES };
  await writeFile(file, buildInitramfs(parts));
  return file;
}

// biome-ignore format: options in pairs
const qemuArguments = (kernel: string, initrd: string, disk: string): string[] => [
  '-accel', 'tcg', '-machine', 'q35', '-m', String(TTYLINUX_MEMORY_MIB), '-smp', '1',
  '-nodefaults', '-display', 'none', '-no-reboot',
  '-kernel', kernel, '-initrd', initrd,
  '-append', `${defaultBootOptions(1)} root=/dev/vda ro console=hvc0`,
  '-drive', `if=none,id=d0,format=raw,file=${disk}`, '-device', 'virtio-blk-pci,drive=d0',
  '-chardev', 'stdio,id=c0,signal=off', '-device', 'virtio-serial-pci', '-device', 'virtconsole,chardev=c0',
];

async function bootQemu({ guest, xend }: BootPlaces, initrd: string, name: string): Promise<number> {
  const disk = path.join(xend.folder, `${name}.img`);
  await copySparsely(guest.disk, disk);
  const started = performance.now();
  const qemu = spawn('qemu-system-x86_64', qemuArguments(guest.kernel, initrd, disk), { stdio: 'pipe' });
  const kill = () => qemu.kill('SIGKILL');
  process.once('exit', kill);
  try {
    const console_ = new ConsoleDriver(qemu);
    await console_.until(LOGIN, LOGIN_S);
    const seconds = (performance.now() - started) / 1000;
    kill();
    await console_.ended(STOP_S);
    return seconds;
  } finally {
    kill();
    process.off('exit', kill);
  }
}

export async function bootRows(places: BootPlaces, runs: number, progress: (text: string) => void): Promise<Row[]> {
  const initrd = qemuVersion() === undefined ? undefined : await virtioInitramfs(places);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let i = 0; i < runs; i++) {
    ours.push(await bootDomain(places, `boot${i}`));
    progress(`boot ${i + 1} of ${runs}: ${ours[i]!.toFixed(1)} s`);
    if (initrd === undefined) continue;
    theirs.push(await bootQemu(places, initrd, `qemu${i}`));
    progress(`  QEMU: ${theirs[i]!.toFixed(1)} s`);
  }
  const beside = theirs.length > 0 ? { beside: { what: 'QEMU TCG', value: median(theirs), runs: theirs } } : {};
  return [
    { id: 'boot.login', what: 'xm create to the login prompt', unit: 's', value: median(ours), runs: ours, ...beside },
  ];
}
