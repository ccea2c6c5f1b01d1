/** After an installation the commands and monitors of the first minute find what they would have to prepare themselves. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PREPARE = fileURLToPath(new URL('./prepare.mjs', import.meta.url));
const XM = fileURLToPath(new URL('../bin/xm', import.meta.url));

test('what npm has done after an installation: monitors are warm, and xm create has nothing to compile', (t) => {
  const cache = mkdtempSync(path.join(tmpdir(), 'prepare-'));
  t.after(() => rmSync(cache, { recursive: true }));
  const run = (command: string, ...args: string[]) =>
    spawnSync(command, args, { env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: cache }, encoding: 'utf8' });
  const compiled = (): string[] => readdirSync(cache, { recursive: true, encoding: 'utf8' }).sort();
  assert.equal(run(process.execPath, PREPARE).status, 0);
  assert.ok(existsSync(path.join(cache, 'monitors-are-warm')));
  const before = compiled();
  const { stdout, status } = run(XM, 'create', '--dryrun', '/dev/null', 'name=a', `kernel=${PREPARE}`, 'memory=16');
  assert.match(stdout, /\(name a\)/);
  assert.equal(status, 0);
  assert.deepEqual(
    compiled().filter((file) => !before.includes(file)),
    [],
  );
});
