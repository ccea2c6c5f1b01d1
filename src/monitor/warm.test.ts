/** What one process has loaded and compiled, the next takes from the compile cache. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

test('after --warm all that a monitor loads is in the compile cache, for its main thread and for its vCPU', (t) => {
  const cache = mkdtempSync(path.join(tmpdir(), 'warm-'));
  t.after(() => rmSync(cache, { recursive: true }));
  const load = (): Map<string, number> => {
    const env = { PATH: process.env.PATH, NODE_COMPILE_CACHE: cache };
    const { status, stderr } = spawnSync(process.execPath, [MAIN, '--warm'], { env, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    const files = readdirSync(cache, { recursive: true, encoding: 'utf8' }).map((name) => path.join(cache, name));
    return new Map(files.filter((file) => statSync(file).isFile()).map((file) => [file, statSync(file).mtimeMs]));
  };
  const first = load();
  // Two of each source: without its types, and compiled.
  assert.ok(first.size > 200, `${first.size} files`);
  assert.deepEqual(load(), first, 'the second process has written nothing');
});
