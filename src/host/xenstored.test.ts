/** The store on real sockets, and a process that is killed. (Debian's own tools as its clients: test/clients.) */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { connectBackendStore } from '../devices/xenstore.ts';
import { StoreClient } from '../store/client.ts';
import { connectStoreSocket } from './store-socket.ts';
import { Xenstored } from './xenstored.ts';

const scratch = mkdtempSync(path.join(tmpdir(), 'domus-store-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
let folders = 0;
const place = (name: string) => path.join(scratch, `${name}${++folders}`);

const DOM0 = { domid: 0, privileged: true };
const ports = (socket: string) => ({
  connect: () => connectStoreSocket(socket),
  after: (ms: number, run: () => void) => void setTimeout(run, ms),
});

test('sockets are private, and each says who its clients are', async () => {
  const daemon = new Xenstored();
  const [tools, domu] = [place('s'), place('s')];
  // Left by a process that was killed.
  writeFileSync(tools, '');
  await daemon.listen(tools, DOM0);
  await daemon.listen(domu, { domid: 7, privileged: false });
  assert.equal(statSync(tools).mode & 0o777, 0o600);
  const [a, b] = [new StoreClient(await connectStoreSocket(tools)), new StoreClient(await connectStoreSocket(domu))];
  await a.write('/local/domain/7/name', 'web1');
  await assert.rejects(b.read('name'), { code: 'EACCES' });
  await assert.rejects(b.introduce(8, 1, 1), { code: 'EACCES' });
  await a.introduce(7, 1, 1);
  const lost = new Promise<void>((resolve) => b.onClosed(resolve));
  await a.release(7);
  await lost;
  daemon.unlisten(domu);
  await assert.rejects(connectStoreSocket(domu));
  daemon.close();
  assert.equal(existsSync(tools), false);
});

test('a socket where none can be made is one clear line', async () => {
  const daemon = new Xenstored();
  await assert.rejects(daemon.listen(path.join(scratch, 'no/such/folder'), DOM0), /no\/such\/folder: cannot listen: /);
  daemon.close();
});

test('a journal that is none, and one that cannot be read, are one clear line', () => {
  const journal = place('j');
  writeFileSync(journal, 'something else entirely');
  assert.throws(() => new Xenstored({ journal }), { message: `${journal}: not a store journal` });
  assert.equal(readFileSync(journal, 'utf8'), 'something else entirely');
  assert.throws(() => new Xenstored({ journal: scratch }), /EISDIR/);
});

test('a journal file grows, is written anew and read back', async () => {
  const journal = place('j');
  const lines: string[] = [];
  const daemon = new Xenstored({ journal, log: (text) => lines.push(text) });
  const client = daemon.client();
  for (let i = 0; i < 700; i++) await client.write('/a', `${i}`.padEnd(4000));
  assert.ok(statSync(journal).size < 2_500_000);
  daemon.close();
  const again = new Xenstored({ journal });
  assert.equal((await again.client().read('/a'))?.trim(), '699');
  assert.deepEqual(lines, []);
  again.close();
});

test('killed with -9 while clients work, started again: nothing confirmed is lost and clients go on', async () => {
  const [socket, journal] = [place('s'), place('j')];
  const program = `
    import { Xenstored } from ${JSON.stringify(new URL('./xenstored.ts', import.meta.url).href)};
    const daemon = new Xenstored({ journal: ${JSON.stringify(journal)} });
    await daemon.listen(${JSON.stringify(socket)}, { domid: 0, privileged: true });
    process.stdout.write('up');`;
  const start = (): Promise<ChildProcess> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      child.once('error', reject);
      child.stdout!.once('data', () => resolve(child));
    });
  const killed = (child: ChildProcess) =>
    new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.kill('SIGKILL');
    });
  let child = await start();
  const { client, close } = connectBackendStore(ports(socket));
  let wake = () => {};
  let seen = '';
  await client.watch('/n', async () => {
    seen = (await client.read('/n')) ?? '';
    wake();
  });
  let confirmed = 0;
  let working = true;
  const work = (async () => {
    while (working) {
      await client.transaction(async (view) => {
        const now = Number((await view.read('/n')) ?? '0');
        assert.ok(now >= confirmed);
        await view.write('/n', now + 1);
      });
      confirmed++;
    }
  })();
  for (let round = 0; round < 2; round++) {
    const target = confirmed + 50;
    while (confirmed < target) await new Promise((resolve) => setImmediate(resolve));
    await killed(child);
    child = await start();
  }
  const target = confirmed + 10;
  while (confirmed < target) await new Promise((resolve) => setImmediate(resolve));
  working = false;
  await work;
  assert.ok(Number(await client.read('/n')) >= confirmed);
  const last = new Promise<void>((resolve) => {
    wake = () => {
      if (seen === 'last') resolve();
    };
  });
  await client.write('/n', 'last');
  await last;
  close();
  await killed(child);
});
