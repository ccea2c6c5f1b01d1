/**
 * The disk of "ttylinux", the first guest of the Xen 2.0 manual: BusyBox and a handful of scripts, root's password is root.
 * `files/ttylinux` has what is in the image as it is; here are the rest of the tree and the permissions.
 */
import { chmod, cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { agentProgram } from './agent/index.ts';
import { GuestError } from './errors.ts';
import type { DeviceNode } from './ext-image.ts';

export const TTYLINUX = { sizeMiB: 64, label: 'ttylinux', inodes: 2048 } as const;

/** The initramfs brings a whole /dev; these are for kernels that start the disk's init directly. */
// biome-ignore format: a table
export const TTYLINUX_NODES: readonly DeviceNode[] = [
  { path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
  { path: 'dev/null',    mode: 0o666, major: 1, minor: 3 },
];

/** "root". 1000 rounds, the least there are: everyone knows this password, and each round is the guest's time at login. */
const ROOT_HASH = '$5$rounds=1000$ttylinux$Tq0bBc5ZGqnRlGHRjDFg8XwMPL1yxae5e3RZrLkbQY4';
const PASSWORD_DAY = 12727; // 2004-11-05, the day of Xen 2.0, so that images do not differ by the day they are made.
const SHADOW = [`root:${ROOT_HASH}`, 'daemon:*', 'nobody:*']
  .map((user) => `${user}:${PASSWORD_DAY}:0:99999:7:::\n`)
  .join('');

// biome-ignore format: a table
const FOLDERS: readonly [path: string, mode: number][] = [
  ['bin', 0o755], ['dev', 0o755], ['etc', 0o755], ['home', 0o755], ['mnt', 0o755], ['proc', 0o555], ['root', 0o700],
  ['run', 0o755], ['sbin', 0o755], ['sys', 0o555], ['tmp', 0o1777], ['usr/bin', 0o755], ['usr/sbin', 0o755], ['var/log', 0o755],
];

// biome-ignore format: a table
const LINKS: readonly [path: string, target: string][] = [
  ['etc/mtab', '../proc/mounts'], ['etc/resolv.conf', '../run/resolv.conf'], ['var/run', '../run'], ['var/tmp', '../tmp'],
];

/** BusyBox programs by the folder they belong to. */
// biome-ignore format: a table
export const APPLETS: Readonly<Record<string, string>> = {
  'bin': `ash cat chgrp chmod chown cp date dd df dmesg dnsdomainname echo ed egrep false fgrep getopt grep gunzip gzip hostname
    ip kill link linux32 linux64 ln login ls mkdir mknod mktemp more mount mt mv netstat nuke pidof ping ping6 ps pwd rm rmdir
    run-parts sed setpriv sh sleep stat stty su sync tar touch true umount uname uncompress usleep vi watch zcat`,
  'sbin': `arp blkdiscard blockdev fdisk findfs freeramdisk fsfreeze fstrim getty halt hwclock ifconfig ifdown ifup init insmod klogd
    losetup lsmod mkdosfs mke2fs mkswap modinfo modprobe nameif pivot_root poweroff reboot rmmod route start-stop-daemon sulogin swapoff
    swapon switch_root sysctl syslogd tunctl udhcpc vconfig`,
  'usr/bin': `[ [[ ar arch arping awk base64 basename bc bunzip2 bzcat bzip2 cal chvt clear cmp comm cpio crc32 crontab cut dc
    deallocvt diff dirname dos2unix du env expand expr factor fallocate find fold free ftpget ftpput groups head hexdump hostid id
    ipcalc killall last less logger logname lzcat lzma md5sum microcom mkfifo mkpasswd nc nl nproc nslookup nsenter od openvt passwd
    paste patch printf readlink realpath renice reset resume rev seq setsid sha1sum sha256sum sha3sum sha512sum shred shuf sort
    split strings tac tail taskset tee telnet test tftp time timeout top tr traceroute traceroute6 truncate ts tty uniq unix2dos
    unlink unlzma unshare unxz unzip uptime uudecode uuencode w wc wget which who whoami xargs xxd xz xzcat yes`,
  'usr/sbin': 'brctl chroot crond httpd loadfont rdate telnetd',
};

/** Makes the tree below `folder`, which has to be there. */
export async function makeTtylinuxTree(
  folder: string,
  busybox: Uint8Array,
  agent: Uint8Array = agentProgram(),
): Promise<void> {
  const files = fileURLToPath(new URL('files/ttylinux', import.meta.url));
  await cp(files, folder, { recursive: true });
  // What a checkout made of the permissions depends on its owner's umask.
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const runs = entry.isDirectory() || (await readFile(path, 'latin1')).startsWith('#!');
    await chmod(path, runs ? 0o755 : 0o644);
  }
  for (const [path, mode] of FOLDERS) {
    await mkdir(join(folder, path), { recursive: true });
    await chmod(join(folder, path), mode);
  }
  for (const [path, target] of LINKS) await symlink(target, join(folder, path));
  await writeFile(join(folder, 'etc/shadow'), SHADOW);
  await chmod(join(folder, 'etc/shadow'), 0o600);
  await writeFile(join(folder, 'bin/busybox'), busybox);
  await chmod(join(folder, 'bin/busybox'), 0o755);
  await writeFile(join(folder, 'sbin/domus-agent'), agent);
  await chmod(join(folder, 'sbin/domus-agent'), 0o755);
  const available = appletsOf(busybox);
  for (const [place, names] of Object.entries(APPLETS)) {
    const target = place === 'bin' ? 'busybox' : `${place.replace(/[^/]+/g, '..')}/bin/busybox`;
    for (const name of names.split(/\s+/)) {
      if (available.has(name)) await symlink(target, join(folder, place, name));
    }
  }
}

/** The names in the program's own table: NUL-separated, sorted, so "[" and "[[" stand at its beginning. Not run: the host may be no x86. */
export function appletsOf(busybox: Uint8Array): Set<string> {
  const bytes = Buffer.from(busybox.buffer, busybox.byteOffset, busybox.byteLength);
  const start = bytes.indexOf('[\0[[\0', 0, 'latin1');
  const end = start < 0 ? -1 : bytes.indexOf('\0\0', start, 'latin1');
  if (end < 0) throw new GuestError('the BusyBox program has no table of its applets');
  return new Set(bytes.subarray(start, end).toString('latin1').split('\0'));
}
