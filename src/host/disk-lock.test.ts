import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { DiskError } from './disk-error.ts';
import { holders, lockDisk } from './disk-lock.ts';
import { hostUses, identifyDisk } from './disk-use.ts';

const options = { skip: process.platform === 'linux' ? false : 'locks need the abstract sockets of Linux' };
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'domus-lock-'));
after(() => fs.rmSync(folder, { recursive: true }));
let files = 0;

function newFile(): string {
  const file = path.join(folder, `disk${++files}`);
  fs.writeFileSync(file, 'x');
  return file;
}

const lock = (file: string, mode: 'r' | 'w', name = 'web1', shared = false) =>
  lockDisk({
    stat: fs.statSync(file, { bigint: true }),
    uname: `file:${file}`,
    mode,
    owner: { domid: 3, name },
    shared,
  });

test('any number of readers or one writer use a disk', options, async () => {
  const file = newFile();
  const readers = [await lock(file, 'r'), await lock(file, 'r', 'web2'), await lock(file, 'r')];
  // It names one of them: the kernel lists sockets in an order of its own.
  const said = await lock(file, 'w').then(
    () => '',
    (error: DiskError) => error.message,
  );
  const oneOf = ['web1', 'web2'].map(
    (name) => `vbd: Segment file:${file} is in read-only use by domain ${name} (id 3)`,
  );
  assert.ok(oneOf.includes(said), said);
  for (const reader of readers) await reader.release();
  const writer = await lock(file, 'w', 'db');
  const refused = { name: 'DiskError', message: `vbd: Segment file:${file} is in writable use by domain db (id 3)` };
  await assert.rejects(lock(file, 'r'), refused);
  await assert.rejects(lock(file, 'w'), refused);
  await writer.release();
  await (await lock(file, 'w')).release();
});

test('a lock under another name of its owner is the same lock', options, async () => {
  const file = newFile();
  const writer = await lock(file, 'w', 'before');
  await writer.rename({ domid: 3, name: 'after' });
  await assert.rejects(lock(file, 'r'), { message: /in writable use by domain after \(id 3\)$/ });
  await writer.release();
  await (await lock(file, 'w')).release();
});

test('a disk is known by what it is, not by its path', options, async () => {
  const file = newFile();
  fs.symlinkSync(file, `${file}.symbolic`);
  fs.linkSync(file, `${file}.hard`);
  const writer = await lock(file, 'w');
  for (const other of [`${file}.symbolic`, `${file}.hard`]) await assert.rejects(lock(other, 'r'), DiskError);
  const another = await lock(newFile(), 'w');
  await another.release();
  await writer.release();
});

test('an exclamation mark shares a disk, and the others know of it', options, async () => {
  const file = newFile();
  const first = await lock(file, 'w');
  const second = await lock(file, 'w', 'cluster', true);
  await first.release();
  await assert.rejects(lock(file, 'w'), /in writable use by domain cluster/);
  await second.release();
});

test('of many who want to write at once, one may', options, async () => {
  const file = newFile();
  const results = await Promise.allSettled(Array.from({ length: 12 }, (_, i) => lock(file, 'w', `d${i}`)));
  const got = results.filter((result) => result.status === 'fulfilled');
  assert.equal(got.length, 1);
  await got[0]!.value.release();
});

test('names of domains may be long and strange', options, async () => {
  for (const name of ['ä'.repeat(100), 'a/b c', '%', '\u{1f427}'.repeat(30), '']) {
    const file = newFile();
    const held = await lock(file, 'w', name);
    const id = identifyDisk(fs.statSync(file, { bigint: true })).id;
    const owner = holders().find((holder) => holder.id === id)!.owner;
    const shown = owner.slice(0, -' (id 3)'.length);
    assert.ok(name.startsWith(shown) && (name === '' || shown !== ''), owner);
    await assert.rejects(lock(file, 'w'), DiskError);
    await held.release();
  }
});

test('a lock ends with its process, however that ends', options, async () => {
  const file = newFile();
  const child = spawn(process.execPath, [
    '--input-type=module',
    '--eval',
    `import fs from 'node:fs';
     import { lockDisk } from ${JSON.stringify(new URL('./disk-lock.ts', import.meta.url).href)};
     const stat = fs.statSync(${JSON.stringify(file)}, { bigint: true });
     await lockDisk({ stat, uname: 'file:x', mode: 'w', owner: { domid: 9, name: 'other' } });
     console.log('locked');
     setInterval(() => {}, 1000);`,
  ]);
  await once(child.stdout!, 'data');
  await assert.rejects(lock(file, 'r'), /in writable use by domain other \(id 9\)/);
  await killed(child);
  await (await lock(file, 'w')).release();
});

async function killed(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

test('a lock does not keep its process from ending', options, async () => {
  const child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `import fs from 'node:fs';
       import { lockDisk } from ${JSON.stringify(new URL('./disk-lock.ts', import.meta.url).href)};
       const stat = fs.statSync(${JSON.stringify(newFile())}, { bigint: true });
       await lockDisk({ stat, uname: 'file:x', mode: 'w', owner: { domid: 9, name: 'other' } });`,
    ],
    { stdio: 'inherit' },
  );
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

/** A machine with /dev/sda (8:0) of two partitions and /dev/sdb (8:16), as far as the files tell. */
function machine(files: Record<string, string>): string {
  const root = fs.mkdtempSync(path.join(folder, 'root'));
  const put = (name: string, text: string) => {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    fs.writeFileSync(path.join(root, name), text);
  };
  // biome-ignore format: a table
  const disks: [string, string][] = [
    ['sys/devices/sda/dev',           '8:0\n'],
    ['sys/devices/sda/sda1/dev',      '8:1\n'],
    ['sys/devices/sda/sda1/partition', '1\n'],
    ['sys/devices/sda/sda2/dev',      '8:2\n'],
    ['sys/devices/sda/sda2/partition', '2\n'],
    ['sys/devices/sdb/dev',           '8:16\n'],
  ];
  for (const [name, text] of [...disks, ...Object.entries(files)]) put(name, text);
  fs.mkdirSync(path.join(root, 'sys/dev/block'), { recursive: true });
  for (const [name, target] of Object.entries({ '8:0': 'sda', '8:1': 'sda/sda1', '8:2': 'sda/sda2', '8:16': 'sdb' })) {
    fs.symlinkSync(`../../devices/${target}`, path.join(root, 'sys/dev/block', name));
  }
  return root;
}

/** What stat says of block device 8:`minor`. */
const blockDevice = (minor: number) =>
  Object.assign(fs.statSync(folder, { bigint: true }), {
    rdev: BigInt(8 * 256 + minor),
    isBlockDevice: () => true,
    isFile: () => false,
  });

test('a whole disk and its partitions are related, partitions among each other are not', () => {
  const root = machine({});
  assert.deepEqual(identifyDisk(blockDevice(0), root), { id: 'b8:0', related: ['b8:1', 'b8:2'] });
  assert.deepEqual(identifyDisk(blockDevice(1), root), { id: 'b8:1', related: ['b8:0'] });
  assert.deepEqual(identifyDisk(blockDevice(16), root), { id: 'b8:16', related: [] });
});

test("what the machine itself has mounted counts as used, through a disk's partitions too", () => {
  const root = machine({
    'proc/self/mountinfo': [
      '22 27 8:1 / /mnt/my\\040disk rw,relatime shared:1 - ext4 /dev/sda1 rw',
      '23 27 8:16 / /cdrom ro,relatime - iso9660 /dev/sdb ro',
    ].join('\n'),
    'sys/devices/sda/sda2/holders/dm-0': '',
  });
  assert.deepEqual(hostUses(blockDevice(1), root), [{ mode: 'w', how: 'as file system /mnt/my disk of this machine' }]);
  assert.deepEqual(hostUses(blockDevice(16), root), [{ mode: 'r', how: 'as file system /cdrom of this machine' }]);
  assert.deepEqual(
    hostUses(blockDevice(0), root).map(({ how }) => how),
    ['as file system /mnt/my disk of this machine', 'as part of dm-0 of this machine'],
  );
});

test('an image file behind a loop device of the machine is in use', () => {
  const root = machine({ 'images/disk.img': 'x' });
  const image = path.join(root, 'images/disk.img');
  const stat = fs.statSync(image, { bigint: true });
  assert.deepEqual(hostUses(stat, root), []);
  for (const [name, text] of [
    ['loop/backing_file', '/images/disk.img\n'],
    ['ro', '0\n'],
  ] as const) {
    const file = path.join(root, 'sys/block/loop3', name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
  assert.deepEqual(hostUses(stat, root), [{ mode: 'w', how: 'through /dev/loop3 of this machine' }]);
});
