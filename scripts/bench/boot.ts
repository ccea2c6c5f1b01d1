/**
 * From the command to the login prompt of ttylinux: `xm create` here, QEMU's software emulation and User-Mode Linux beside it, in
 * turns. The same BusyBox and disk; QEMU has the same kernel, its initramfs has virtio's modules instead of Xen's, and its console
 * is hvc0 too. User-Mode Linux is a kernel of its own with its drivers built in, and its console is tty0.
 */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { copySparsely } from '../../src/guest/copy-sparsely.ts';
import { onPath } from '../../src/guest/debian.ts';
import { ConsoleDriver } from '../lib/console-driver.ts';
import { TTYLINUX_MEMORY_MIB, writeTtylinux } from '../lib/ttylinux.ts';
import type { ProgramRow } from './compare.ts';
import { median } from './report.ts';
import type { SubjectName } from './subject.ts';
import { qemuVersion, spawnQemu, virtioInitramfs } from './subjects/qemu.ts';
import { spawnUml, UML } from './subjects/uml.ts';
import type { TablePlaces } from './tabled.ts';

const LOGIN = /ttylinux login: /;
const LOGIN_S = 600;
const STOP_S = 30;

/** Seconds from `xm create -c` to the prompt. */
export async function bootDomain({ guest, xend }: TablePlaces, name: string, leave = false): Promise<number> {
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

async function bootQemu({ guest, xend }: TablePlaces, initrd: string, name: string): Promise<number> {
  const disk = path.join(xend.folder, `${name}.img`);
  await copySparsely(guest.disk, disk);
  const started = performance.now();
  const qemu = spawnQemu({ guest, initrd, disk, readOnly: false, memoryMiB: TTYLINUX_MEMORY_MIB, append: '' });
  try {
    const console_ = new ConsoleDriver(qemu);
    await console_.until(LOGIN, LOGIN_S);
    const seconds = (performance.now() - started) / 1000;
    qemu.kill('SIGKILL');
    await console_.ended(STOP_S);
    return seconds;
  } finally {
    qemu.kill('SIGKILL');
  }
}

/** A copy of ttylinux's disk whose login is on tty0. */
async function umlDisk({ guest, xend }: TablePlaces, name: string): Promise<string> {
  const disk = path.join(xend.folder, `${name}.img`);
  await copySparsely(guest.disk, disk);
  const inittab = path.join(xend.folder, 'inittab');
  const debugfs = (...args: string[]): string => spawnSync(onPath('debugfs')!, args, { encoding: 'utf8' }).stdout;
  await writeFile(inittab, debugfs('-R', 'cat /etc/inittab', disk).replaceAll('hvc0', 'tty0'));
  debugfs('-w', '-R', 'rm /etc/inittab', disk);
  debugfs('-w', '-R', `write ${inittab} /etc/inittab`, disk);
  return disk;
}

async function bootUml(places: TablePlaces, name: string): Promise<number> {
  const disk = await umlDisk(places, name);
  const control = path.join(places.xend.folder, `${name}.control`);
  const started = performance.now();
  const uml = spawnUml({ control, disk, readOnly: false, memoryMiB: TTYLINUX_MEMORY_MIB, options: [] });
  try {
    const console_ = new ConsoleDriver(uml.child);
    await console_.until(LOGIN, LOGIN_S);
    return (performance.now() - started) / 1000;
  } finally {
    uml.kill();
  }
}

/** `firstMs`: what the first boot of this xend took, if it is known. */
export async function bootRow(
  places: TablePlaces,
  subjects: readonly SubjectName[],
  rounds: number,
  firstMs: number | undefined,
  progress: (text: string) => void,
): Promise<ProgramRow> {
  const withQemu = subjects.includes('qemu') && qemuVersion() !== undefined;
  const initrd = withQemu ? await virtioInitramfs(places.guest, places.cacheDir, places.xend.folder) : undefined;
  const withUml = subjects.includes('uml') && onPath(UML) !== undefined && onPath('debugfs') !== undefined;
  const runs: { domus: number[]; qemu: number[]; uml: number[] } = { domus: [], qemu: [], uml: [] };
  for (let round = 0; round < rounds; round++) {
    if (subjects.includes('domus')) {
      runs.domus.push(1000 * (await bootDomain(places, `boot${round}`)));
      progress(`boot ${round + 1} of ${rounds}: ${(runs.domus[round]! / 1000).toFixed(1)} s`);
    }
    if (initrd !== undefined) {
      runs.qemu.push(1000 * (await bootQemu(places, initrd, `qemu${round}`)));
      progress(`  QEMU: ${(runs.qemu[round]! / 1000).toFixed(1)} s`);
    }
    if (withUml) {
      runs.uml.push(1000 * (await bootUml(places, `uml${round}`)));
      progress(`  UML: ${(runs.uml[round]! / 1000).toFixed(1)} s`);
    }
  }
  const ms: Partial<Record<SubjectName, number>> = {};
  for (const name of ['domus', 'qemu', 'uml'] as const) if (runs[name].length > 0) ms[name] = median(runs[name]);
  const row = {
    id: 'login',
    group: 'boot',
    what: 'xm create to the login prompt',
    ms,
    cpuMs: {},
    runs,
    wrong: {},
  } as const;
  return firstMs === undefined ? row : { ...row, firstMs };
}
