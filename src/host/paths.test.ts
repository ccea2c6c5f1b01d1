import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { consoleLog, findPaths, makeFolders } from './paths.ts';

// biome-ignore format: a table
const PLACES: [env: NodeJS.ProcessEnv, uid: number, etc: string, run: string, lib: string][] = [
  [{ DOMUS_HOME: '/d', HOME: '/h' },                     0,    '/d/etc',            '/d/run',                        '/d/lib'],
  [{ HOME: '/root' },                                    0,    '/etc/xen',          '/var/run/xend',                 '/var/lib/xend'],
  [{ HOME: '/h' },                                       1000, '/h/.config/domus',  '/h/.local/state/domus/run',     '/h/.local/state/domus/lib'],
  [{ HOME: '/h', XDG_RUNTIME_DIR: '/r', XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: '/s' }, 1000, '/c/domus', '/r/domus',  '/s/domus/lib'],
];
for (const [env, uid, etc, run, lib] of PLACES) {
  test(`files of uid ${uid} with ${JSON.stringify(env)}`, () => {
    const paths = findPaths(env, uid);
    assert.deepEqual([paths.etc, paths.run, paths.lib], [etc, run, lib]);
  });
}

test('folders are made private, and a place where none can be made is told', () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-paths-'));
  try {
    const paths = findPaths({ DOMUS_HOME: path.join(dir, 'a/b') });
    makeFolders(paths);
    makeFolders(paths);
    assert.equal(statSync(paths.run).mode & 0o777, 0o700);
    assert.throws(
      () => makeFolders(findPaths({ DOMUS_HOME: '/dev/null/x' })),
      /cannot make the folder|ENOTDIR|\/dev\/null/,
    );
    assert.throws(
      () => makeFolders(findPaths({ DOMUS_HOME: path.join(dir, 'x'.repeat(90)) })),
      /too long a path for sockets/,
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('a domain name with a slash stays one file', () => {
  assert.equal(consoleLog(findPaths({ DOMUS_HOME: '/d' }), 'a/../b'), '/d/log/console/a%2f..%2fb.log');
});
