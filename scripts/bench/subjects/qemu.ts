/** The programs as processes of the same kernel with the same disk in QEMU's software emulation. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { defaultBootOptions } from '../../../src/config/boot-options.ts';
import { onPath } from '../../../src/guest/debian.ts';
import type { Guest } from '../../../src/guest/index.ts';
import { buildInitramfs } from '../../../src/guest/initramfs.ts';
import { ModuleTree } from '../../../src/guest/modules.ts';
import type { BenchDisk } from '../disk.ts';
import { Missing } from '../missing.ts';
import { guestWords, processCpuMs, Runner, type Subject } from '../subject.ts';

const PROGRAM = 'qemu-system-x86_64';
const VIRTIO_MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4', 'crc32c_generic'];

export function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(PROGRAM, ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version (\S+)/.exec(stdout)?.[1] : undefined;
}

export interface QemuMachine {
  readonly guest: Guest;
  readonly initrd: string;
  /** Root disk, and how the kernel mounts it. */
  readonly disk: string;
  readonly readOnly: boolean;
  readonly memoryMiB: number;
  readonly append: string;
}

// biome-ignore format: options in pairs
const qemuArguments = ({ guest, initrd, disk, readOnly, memoryMiB, append }: QemuMachine): string[] => [
  '-accel', 'tcg', '-machine', 'q35', '-m', String(memoryMiB), '-smp', '1',
  '-nodefaults', '-display', 'none', '-no-reboot',
  '-kernel', guest.kernel, '-initrd', initrd,
  '-append', `${defaultBootOptions(1)} root=/dev/vda ro console=hvc0 ${append}`.trim(),
  '-drive', `if=none,id=d0,format=raw,file=${disk}${readOnly ? ',readonly=on,file.locking=off' : ''}`, '-device', 'virtio-blk-pci,drive=d0',
  '-chardev', 'stdio,id=c0,signal=off', '-device', 'virtio-serial-pci', '-device', 'virtconsole,chardev=c0',
];

/** The domain's initramfs with virtio's modules in place of Xen's. The packages that prepareGuest unpacked are in its cache folder. */
export async function virtioInitramfs(guest: Guest, cacheDir: string, folder: string): Promise<string> {
  const { release, version } = guest;
  const kernelTree = path.join(cacheDir, 'packages', `linux-image-${release}_${version}`.replaceAll(':', '%3a'));
  const modules = ['lib', 'usr/lib'].map((lib) => path.join(kernelTree, lib, 'modules', release)).find(existsSync);
  const busybox = path.join(folder, 'busybox');
  const debugfs = onPath('debugfs');
  if (!modules || !debugfs) throw new Error('the kernel package is not in the cache, or e2fsprogs is not installed');
  spawnSync(debugfs, ['-R', `dump /bin/busybox ${busybox}`, guest.disk]);
  const file = path.join(folder, 'initrd-virtio');
  const parts = { release, modules: new ModuleTree(modules), busybox: await readFile(busybox), wanted: VIRTIO_MODULES };
  await writeFile(file, buildInitramfs(parts));
  return file;
}

/** With its console on the pipes. It ends with this process at the latest. */
export function spawnQemu(machine: QemuMachine) {
  const child = spawn(PROGRAM, qemuArguments(machine), { stdio: 'pipe' });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}

export async function startQemu(disk: BenchDisk, guest: Guest, initrd: string, memoryMiB: number): Promise<Subject> {
  const version = qemuVersion();
  if (version === undefined) throw new Missing('QEMU is not installed (package qemu-system-x86)');
  const child = spawnQemu({ guest, initrd, disk: disk.image, readOnly: true, memoryMiB, append: 'quiet' });
  const runner = new Runner(child, { cpu: () => processCpuMs(child.pid!) });
  await runner.ready();
  return {
    name: 'qemu',
    versions: { qemu: version },
    run: (program) => runner.run(guestWords(program)),
    async stop() {
      child.kill('SIGKILL');
    },
  };
}
