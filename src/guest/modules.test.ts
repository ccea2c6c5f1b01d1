import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { GuestError } from './errors.ts';
import { buildInitramfs } from './initramfs.ts';
import { ModuleTree, readModinfo } from './modules.ts';

/** An ELF file with a .modinfo section and a table of section names, nothing else. */
function koFile(modinfo: readonly string[]): Buffer {
  const names = '\0.modinfo\0.shstrtab\0';
  const records = modinfo.map((record) => `${record}\0`).join('');
  const body = Buffer.from(records + names, 'latin1');
  const sections = [
    { name: 0, offset: 0, size: 0 },
    { name: 1, offset: 64, size: records.length },
    { name: 10, offset: 64 + records.length, size: names.length },
  ];
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeBigUInt64LE(BigInt(64 + body.length), 0x28);
  header.writeUInt16LE(64, 0x3a);
  header.writeUInt16LE(sections.length, 0x3c);
  header.writeUInt16LE(2, 0x3e);
  const table = sections.map(({ name, offset, size }) => {
    const entry = Buffer.alloc(64);
    entry.writeUInt32LE(name, 0);
    entry.writeBigUInt64LE(BigInt(offset), 24);
    entry.writeBigUInt64LE(BigInt(size), 32);
    return entry;
  });
  return Buffer.concat([header, body, ...table]);
}

const folder = mkdtempSync(join(tmpdir(), 'domus-modules-'));
after(() => rmSync(folder, { recursive: true }));

function tree(name: string, files: Record<string, Buffer>, builtin: string[] = []): ModuleTree {
  const root = join(folder, name);
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(root, 'kernel', path)), { recursive: true });
    writeFileSync(join(root, 'kernel', path), bytes);
  }
  writeFileSync(join(root, 'modules.builtin'), builtin.map((path) => `${path}\n`).join(''));
  return new ModuleTree(root);
}

const FILES = {
  'fs/ext4.ko': koFile(['license=GPL', 'depends=jbd2,mbcache', 'softdep=pre: crc32c']),
  'fs/jbd2.ko': koFile(['depends=']),
  'fs/mbcache.ko.gz': gzipSync(koFile(['depends='])),
  'drivers/block/xen-blkfront.ko': koFile(['alias=xenblk', 'alias=xen:vbd', 'depends=']),
};

test('modinfo gives every record, also those with the same key', () => {
  assert.deepEqual(readModinfo(FILES['drivers/block/xen-blkfront.ko']), [
    ['alias', 'xenblk'],
    ['alias', 'xen:vbd'],
    ['depends', ''],
  ]);
});

test('what is no module, or one with its tables cut off, is refused and read no further', () => {
  assert.throws(() => readModinfo(Buffer.from('no ELF')), GuestError);
  for (let length = 0; length < 300; length += 9) {
    assert.throws(() => readModinfo(FILES['fs/ext4.ko'].subarray(0, length)), GuestError);
  }
});

test('modules come after what they depend on, packed ones unpacked, built-in ones not at all', () => {
  const modules = tree('order', FILES, ['kernel/crypto/crc32c_generic.ko']);
  const chosen = modules.closure(['xen-blkfront', 'ext4', 'crc32c_generic', 'jbd2']);
  assert.deepEqual(
    chosen.map(({ name, path }) => [name, path]),
    [
      ['xen_blkfront', 'kernel/drivers/block/xen-blkfront.ko'],
      ['jbd2', 'kernel/fs/jbd2.ko'],
      ['mbcache', 'kernel/fs/mbcache.ko'],
      ['ext4', 'kernel/fs/ext4.ko'],
    ],
  );
  assert.equal(chosen[2].bytes[0], 0x7f);
});

test('a module that the kernel does not have at all is an error that names it', () => {
  assert.throws(() => tree('missing', FILES).closure(['xen-netfront']), /no module xen-netfront/);
});

test('modules that need each other are an error, not an endless walk', () => {
  const files = { 'a.ko': koFile(['depends=b']), 'b.ko': koFile(['depends=a']) };
  assert.throws(() => tree('circle', files).closure(['a']), /need each other: a, b/);
});

test('the initramfs lists dependencies in modules.dep and carries every module', () => {
  const archive = Buffer.from(
    buildInitramfs({
      release: '6.1',
      modules: tree('initramfs', FILES),
      busybox: Buffer.from('bb'),
      wanted: ['xen-blkfront', 'ext4'],
    }),
  ).toString('latin1');
  assert.match(archive, /kernel\/fs\/ext4\.ko: kernel\/fs\/mbcache\.ko kernel\/fs\/jbd2\.ko\n/);
  assert.match(archive, /kernel\/drivers\/block\/xen-blkfront\.ko:\n/);
  assert.match(archive, /xen_blkfront jbd2 mbcache ext4\n/);
  for (const path of ['init', 'bin/busybox', 'dev/console', 'lib/modules/6.1/kernel/fs/mbcache.ko']) {
    assert.ok(archive.includes(`${path}\0`), path);
  }
});
