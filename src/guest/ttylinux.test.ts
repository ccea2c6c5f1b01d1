import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DebianPackages, onPath } from './debian.ts';
import { findExtTools, makeExtImage } from './ext-image.ts';
import { run } from './run.ts';
import { appletsOf, makeTtylinuxTree, TTYLINUX, TTYLINUX_NODES } from './ttylinux.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-ttylinux-'));
after(() => rmSync(folder, { recursive: true }));
const busybox = Buffer.from('\x7fELF...[\0[[\0ash\0getty\0init\0login\0mount\0poweroff\0reboot\0sh\0\0...', 'latin1');

test('the applets of a BusyBox program are read from its own table', () => {
  assert.deepEqual([...appletsOf(busybox)].slice(0, 4), ['[', '[[', 'ash', 'getty']);
  assert.throws(() => appletsOf(Buffer.from('something else')), /no table of its applets/);
});

test('the tree has what init, getty and login look for, with the right permissions', async () => {
  await makeTtylinuxTree(folder, busybox);
  const mode = (path: string) => (lstatSync(join(folder, path)).mode & 0o7777).toString(8);
  // biome-ignore format: a table
  const modes = {
    'etc': '755', 'etc/init.d': '755', 'etc/init.d/rcS': '755', 'etc/udhcpc.script': '755', 'etc/inittab': '644',
    'etc/passwd': '644', 'etc/shadow': '600', 'root': '700', 'tmp': '1777', 'bin/busybox': '755',
  };
  assert.deepEqual(Object.fromEntries(Object.keys(modes).map((path) => [path, mode(path)])), modes);
  assert.equal(readlinkSync(join(folder, 'sbin/init')), '../bin/busybox');
  assert.equal(readlinkSync(join(folder, 'usr/bin/[')), '../../bin/busybox');
  assert.equal(readlinkSync(join(folder, 'bin/sh')), 'busybox');
  assert.ok(!readdirSync(join(folder, 'bin')).includes('vi'), 'no link to an applet that this BusyBox lacks');
  for (const line of readFileSync(join(folder, 'etc/inittab'), 'utf8').split('\n')) {
    const program = /^[^#:]*::?[^:]*:(\/\S+)/.exec(line)?.[1];
    if (program) assert.ok(statSync(join(folder, program), { throwIfNoEntry: false }), program);
  }
  assert.match(readFileSync(join(folder, 'etc/inittab'), 'utf8'), /^hvc0::respawn:.*getty/m);
});

test('the image is a clean, sparse file system whose files all belong to root', {
  skip: onPath('mke2fs') && onPath('debugfs') && onPath('e2fsck') ? false : 'needs e2fsprogs on the machine',
}, async () => {
  const image = join(folder, '..', `${folder.split('/').at(-1)}.img`);
  after(() => rmSync(image, { force: true }));
  const tools = await findExtTools(new DebianPackages(folder));
  await makeExtImage(tools, { ...TTYLINUX, nodes: TTYLINUX_NODES, image, tree: folder });
  const { size, blocks } = statSync(image);
  assert.equal(size, TTYLINUX.sizeMiB << 20);
  assert.ok(blocks * 512 < 4 << 20, `${blocks} blocks on the disk`);
  await run(onPath('e2fsck') ?? '', ['-fn', image], { purpose: 'checking the image' });
  const ask = async (command: string) =>
    (await run(tools.debugfs, ['-R', command, image], { purpose: command })).stdout;
  for (const path of ['/', '/etc/shadow', '/bin', '/bin/busybox', '/sbin/init', '/dev/console']) {
    assert.match(await ask(`stat ${path}`), /User: +0 +Group: +0 /, path);
  }
  assert.match(await ask('stat /dev/console'), /Type: character special +Mode: +0600[\s\S]*05:01/);
  assert.match(await ask('cat /etc/shadow'), /^root:\$5\$/);
});
