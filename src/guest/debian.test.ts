import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sourcesOf } from './debian.ts';
import { GuestError } from './errors.ts';
import { run } from './run.ts';

test('of a deb822 file, the stanzas of Debian itself are kept', () => {
  const debian = 'Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\nComponents: main';
  const security = 'Types: deb\nURIs: http://mirror/security\nSuites: bookworm-security\nComponents: main';
  const vendor = 'Types: deb\nURIs: http://vendor\nSuites: nodistro\nComponents: main';
  assert.equal(
    sourcesOf(`${debian}\n\n${vendor}\n\n${security}\n`, 'a.sources', 'bookworm'),
    `${debian}\n\n${security}\n\n`,
  );
  assert.equal(sourcesOf(vendor, 'a.sources', 'bookworm'), '');
});

test('of one-line sources, other vendors, comments and source packages are dropped', () => {
  const text = [
    '# deb http://mirror/debian bookworm main',
    'deb http://mirror/debian bookworm main',
    'deb [signed-by=/k.gpg arch=amd64] http://mirror/debian bookworm-updates main',
    'deb-src http://mirror/debian bookworm main',
    'deb http://vendor/apt cloud-sdk-bookworm main',
    'deb http://mirror/debian stable main',
  ].join('\n');
  assert.deepEqual(sourcesOf(text, 'sources.list', 'bookworm').trim().split('\n'), [
    'deb http://mirror/debian bookworm main',
    'deb [signed-by=/k.gpg arch=amd64] http://mirror/debian bookworm-updates main',
    'deb http://mirror/debian stable main',
  ]);
});

test('a program that fails becomes one line with what it said', async () => {
  const script = "process.stderr.write('W: a warning\\nE: Unable to locate package x\\nlast\\n'); process.exit(100)";
  const failing = run(process.execPath, ['-e', script], { purpose: 'looking up x' });
  await assert.rejects(
    failing,
    (error) => error instanceof GuestError && error.message === 'looking up x: Unable to locate package x',
  );
  await assert.rejects(run('/nonexistent/program', [], { purpose: 'trying' }), /^GuestError: trying: cannot run/);
});
