import assert from 'node:assert/strict';
import { test } from 'node:test';
import { S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, writeCpio } from './cpio.ts';

interface Read {
  path: string;
  fields: number[];
  data: string;
}

/** Reads an archive by the format's words alone: 6 bytes of magic, 13 fields of 8 hexadecimal digits, name, data, each padded to 4. */
function read(archive: Uint8Array): Read[] {
  const bytes = Buffer.from(archive);
  const entries: Read[] = [];
  let at = 0;
  for (;;) {
    assert.equal(bytes.toString('latin1', at, at + 6), '070701');
    const fields = Array.from({ length: 13 }, (_, i) =>
      Number.parseInt(bytes.toString('latin1', at + 6 + i * 8, at + 14 + i * 8), 16),
    );
    const nameEnd = at + 110 + fields[11];
    const path = bytes.toString('utf8', at + 110, nameEnd - 1);
    assert.equal(bytes[nameEnd - 1], 0);
    const start = Math.ceil(nameEnd / 4) * 4;
    if (path === 'TRAILER!!!') return entries;
    entries.push({ path, fields, data: bytes.toString('utf8', start, start + fields[6]) });
    at = Math.ceil((start + fields[6]) / 4) * 4;
  }
}

test('files, folders, links, pipes and devices come back as they went in', () => {
  const archive = writeCpio([
    { path: 'dev', mode: S_IFDIR | 0o755 },
    { path: 'dev/console', mode: S_IFCHR | 0o600, major: 5, minor: 1 },
    { path: 'tick', mode: S_IFIFO | 0o600 },
    { path: 'init', mode: S_IFREG | 0o755, data: Buffer.from('#!/bin/sh\n') },
    { path: 'sh', mode: S_IFLNK | 0o777, data: Buffer.from('busybox') },
  ]);
  assert.equal(archive.length % 512, 0);
  const entries = read(archive);
  assert.deepEqual(
    entries.map(({ path, fields, data }) => [path, fields[1].toString(8), data]),
    [
      ['dev', '40755', ''],
      ['dev/console', '20600', ''],
      ['tick', '10600', ''],
      ['init', '100755', '#!/bin/sh\n'],
      ['sh', '120777', 'busybox'],
    ],
  );
  assert.deepEqual(entries[1].fields.slice(9, 11), [5, 1]);
  assert.deepEqual(
    entries.map(({ fields }) => fields[0]),
    [1, 2, 3, 4, 5],
  );
  assert.ok(
    entries.every(({ fields }) => fields[2] === 0 && fields[3] === 0 && fields[5] === 0),
    'owner root, no times',
  );
});

test('names and contents of every length mod 4 keep the entries after them in place', () => {
  const entries = Array.from({ length: 16 }, (_, i) => ({
    path: 'n'.repeat(1 + (i >> 2)) + i,
    mode: S_IFREG | 0o644,
    data: Buffer.alloc(i & 3, 'd'),
  }));
  assert.deepEqual(
    read(writeCpio(entries)).map(({ path, data }) => [path, data]),
    entries.map(({ path, data }) => [path, data.toString()]),
  );
});
