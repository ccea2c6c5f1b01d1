/** A monitor's files, joined. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const JOIN = fileURLToPath(new URL('./monitor-program.ts', import.meta.url));
const HOOKS = `import { registerHooks } from 'node:module';
import { writeSync } from 'node:fs';
registerHooks({ load: (url, context, next) => (writeSync(1, url + '\\n'), next(url, context)) });`;

test('a joined monitor consists of a file for each thread and loads no others', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'joined-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const program = path.join(folder, 'program');
  const joined = spawnSync(process.execPath, [JOIN, program], { encoding: 'utf8' });
  assert.equal(joined.status, 0, joined.stderr);
  assert.deepEqual(readdirSync(folder), ['program']);
  assert.deepEqual(readdirSync(program).sort(), ['main.mjs', 'translator-worker.mjs', 'vcpu-worker.mjs']);

  const hooks = `data:text/javascript,${encodeURIComponent(HOOKS)}`;
  const args = ['--import', hooks, path.join(program, 'main.mjs'), '--warm'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    env: { PATH: process.env.PATH },
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  const files = new Set(
    stdout
      .split('\n')
      .filter((url) => url.startsWith('file:'))
      .map((url) => path.basename(url)),
  );
  assert.deepEqual([...files].sort(), ['main.mjs', 'translator-worker.mjs', 'vcpu-worker.mjs']);

  // Another process has made the same meanwhile: what is there stays, and nothing is left beside it.
  const again = spawnSync(process.execPath, [JOIN, program], { encoding: 'utf8' });
  assert.notEqual(again.status, 0);
  assert.deepEqual(readdirSync(folder), ['program']);
});
