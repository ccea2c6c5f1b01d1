/** Which files a program reaches: those below its root, whatever links and dots say, and only for reading. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { O } from './linux.ts';
import { Tree } from './tree.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'tree-'));
after(() => rmSync(folder, { recursive: true }));
const root = path.join(folder, 'root');
mkdirSync(path.join(root, 'etc'), { recursive: true });
writeFileSync(path.join(root, 'etc', 'inside'), 'inside');
writeFileSync(path.join(folder, 'outside'), 'outside');
symlinkSync('/etc/inside', path.join(root, 'absolute'));
symlinkSync('etc/../absolute', path.join(root, 'chain'));
symlinkSync('../outside', path.join(root, 'out'));
symlinkSync(path.join(folder, 'outside'), path.join(root, 'away'));
symlinkSync('loop', path.join(root, 'loop'));
const tree = new Tree(root, '/program');

function content(name: string, flags = 0): string {
  const file = tree.open(name, flags);
  const bytes = new Uint8Array(100);
  try {
    return Buffer.from(bytes.subarray(0, file.read(bytes))).toString();
  } finally {
    file.close();
  }
}

// biome-ignore format: a table
const CASES: readonly [story: string, name: string, flags: number, result: RegExp][] = [
  ['a file below the root',                         '/etc/inside',      0,                /^inside$/],
  ['an absolute link leads below the root',         '/absolute',        0,                /^inside$/],
  ['a link to a link, with dots',                   '/chain',           0,                /^inside$/],
  ['dots stop at the root',                         '/../../etc/inside', 0,               /^inside$/],
  ['dots do not lead out of it',                    '/../outside',      0,                /^ENOENT$/],
  ['no relative link leads out of it',              '/out',             0,                /^ENOENT$/],
  ['no absolute link leads out of it',              '/away',            0,                /^ENOENT$/],
  ['a link to itself leads nowhere',                '/loop',            0,                /^ELOOP$/],
  ['a folder is not read',                          '/etc',             0,                /^EISDIR$/],
  ['a file is no folder',                           '/etc/inside',      O.DIRECTORY,      /^ENOTDIR$/],
  ['no file is written',                            '/etc/inside',      1,                /^EROFS$/],
  ['no file is made',                               '/etc/new',         1 | O.CREAT,      /^EROFS$/],
  ['the bit bucket is there, and empty',            '/dev/null',        1,                /^$/],
  ["what the host's kernel tells of us is not",     '/proc/self/maps',  0,                /^ENOENT$/],
];
for (const [story, name, flags, result] of CASES) {
  test(story, () => {
    let found: string;
    try {
      found = content(name, flags);
    } catch (error) {
      found = (error as NodeJS.ErrnoException).code!;
    }
    assert.match(found, result);
  });
}

test('a link itself is told of when it is not to be followed', () => {
  assert.equal(tree.stat('/out', false).isSymbolicLink(), true);
  assert.equal(tree.readlink('/out'), '../outside');
  assert.equal(tree.readlink('/proc/self/exe'), '/program');
});
