/** Debian's own xenstore tools, unmodified, as clients of the store's socket. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { Xenstored } from '../../src/host/xenstored.ts';
import { debianPackage, pathsIn, XENSTORE_TOOLS } from './debian-package.ts';

const { folders, skip } = await debianPackage(...XENSTORE_TOOLS);

describe('Debian’s xenstore tools', { skip }, async () => {
  const scratch = mkdtempSync(path.join(tmpdir(), 'domus-store-'));
  after(() => rmSync(scratch, { recursive: true, force: true }));
  const socket = path.join(scratch, 's');
  const env = { ...pathsIn(folders ?? []), XENSTORED_PATH: socket };
  /** Runs one tool without blocking this process, which is the server. */
  const run = (tool: string, ...args: string[]): Promise<{ code: number; out: string }> =>
    new Promise((resolve, reject) => {
      const child = spawn(tool, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 10_000 });
      let out = '';
      child.stdout.on('data', (chunk) => (out += chunk));
      child.stderr.on('data', (chunk) => (out += chunk));
      child.once('error', reject);
      child.once('close', (code) => resolve({ code: code ?? -1, out }));
    });
  const daemon = new Xenstored();
  await daemon.listen(socket, { domid: 0, privileged: true });
  after(() => daemon.close());

  test('write, read, list, exists, chmod, ls and rm do what they say', async () => {
    assert.deepEqual(await run('xenstore-write', '/local/domain/3/name', 'web1', '/vm/x', 'hello world'), {
      code: 0,
      out: '',
    });
    assert.deepEqual(await run('xenstore-read', '/vm/x'), { code: 0, out: 'hello world\n' });
    assert.deepEqual(await run('xenstore-chmod', '/vm/x', 'n0', 'r3'), { code: 0, out: '' });
    const { out } = await run('xenstore-ls', '-f', '-p');
    assert.match(out, /^\/local\/domain\/3\/name = "web1" {3}\(n0\)$/m);
    assert.match(out, /^\/vm\/x = "hello world" {3}\(n0,r3\)$/m);
    assert.equal((await run('xenstore-list', '/local/domain')).out, '3\n');
    assert.equal((await run('xenstore-exists', '/vm/x')).code, 0);
    assert.deepEqual(await run('xenstore-rm', '/vm/x'), { code: 0, out: '' });
    assert.equal((await run('xenstore-exists', '/vm/x')).code, 1);
    assert.equal((await run('xenstore-read', '/vm/x')).code, 1);
  });

  test('a directory that needs several parts is listed whole', async () => {
    const client = daemon.client();
    for (let i = 0; i < 1000; i++) await client.mkdir(`/many/number-${i}`);
    assert.equal((await run('xenstore-list', '/many')).out.trim().split('\n').length, 1000);
  });

  test('watch prints each change', async () => {
    const client = daemon.client();
    await client.mkdir('/w');
    const watching = run('xenstore-watch', '-n', '3', '/w');
    // Its watch is registered when there is a third connection with one.
    while (
      ![...daemon.store.connections].some(
        (each) => 'watches' in each && (each.watches as Map<string, unknown>).size > 0,
      )
    ) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.write('/w/a', '1');
    await client.remove('/w/a');
    assert.deepEqual((await watching).out, '/w\n/w/a\n/w/a\n');
  });
});
