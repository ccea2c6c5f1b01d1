import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectLocally, StoreClient, StoreError } from './client.ts';
import { permissions } from './permissions.ts';
import { Store } from './store.ts';
import { createPipe } from './stream.ts';
import { DOM0, guest, TestClient, TestStream } from './testing.ts';

/** Lets everything happen that is ready to: the pipe delivers in microtasks. */
const settle = async () => {
  for (let i = 0; i < 50; i++) await undefined;
};

test('reads, writes, lists and removes; a missing node is undefined', async () => {
  const client = connectLocally(new Store());
  await client.write('/a/name', 'Grüße €');
  await client.writeAll('/a', { state: 4, type: 'phy' });
  assert.equal(await client.read('/a/name'), 'Grüße €');
  assert.equal(await client.read('/a/state'), '4');
  assert.deepEqual(await client.list('/a'), ['name', 'state', 'type']);
  assert.equal(await client.read('/a/none'), undefined);
  assert.equal(await client.list('/none'), undefined);
  await client.write('/raw', Uint8Array.of(0, 255, 1));
  assert.deepEqual(await client.readBytes('/raw'), Uint8Array.of(0, 255, 1));
  await client.setPermissions('/a', permissions('n0,r5'));
  assert.deepEqual(await client.getPermissions('/a'), permissions('n0,r5'));
  await client.remove('/a');
  await client.remove('/a');
  await client.remove('/none/at/all');
  assert.equal(await client.read('/a/name'), undefined);
});

test('an error says what was tried and which error it was', async () => {
  const client = connectLocally(new Store(), guest(3));
  await assert.rejects(client.write('/vm/x', '1'), (error) => {
    assert.ok(error instanceof StoreError);
    assert.equal(error.code, 'EACCES');
    assert.equal(error.message, 'xenstore: write /vm/x: EACCES');
    return true;
  });
  await assert.rejects(client.write('data', 'x'.repeat(5000)), { code: 'E2BIG' });
});

test('a directory of any length is listed', async () => {
  const store = new Store();
  const client = connectLocally(store);
  const names = Array.from({ length: 2000 }, (_, i) => `domain-${i}`);
  await Promise.all(names.map((name) => client.mkdir(`/d/${name}`)));
  assert.deepEqual(await client.list('/d'), names);
});

test('a transaction is run again until nobody interferes', async () => {
  const store = new Store();
  const client = connectLocally(store);
  const other = new TestClient(store, DOM0);
  await client.write('/counter', '0');
  let runs = 0;
  const result = await client.transaction(async (view) => {
    const now = Number(await view.read('/counter'));
    if (++runs < 4) other.ask('WRITE', `/counter|${now + 10}`);
    await view.write('/counter', now + 1);
    return now;
  });
  assert.equal(runs, 4);
  assert.equal(result, 30);
  assert.equal(await client.read('/counter'), '31');
});

test('a transaction whose function throws leaves nothing', async () => {
  const client = connectLocally(new Store());
  const failing = client.transaction(async (view) => {
    await view.write('/a', '1');
    throw new Error('changed my mind');
  });
  await assert.rejects(failing, /changed my mind/);
  assert.equal(await client.read('/a'), undefined);
});

test('a watch calls at once and after changes, and never after its removal', async () => {
  const store = new Store();
  const client = connectLocally(store);
  const other = new TestClient(store, DOM0);
  const seen: string[] = [];
  other.ask('MKDIR', '/w|');
  const watch = await client.watch('/w', (path) => seen.push(path));
  await settle();
  other.ask('WRITE', '/w/x|1');
  await settle();
  assert.deepEqual(seen, ['/w', '/w/x']);
  other.ask('WRITE', '/w/y|1');
  await watch.remove();
  await settle();
  assert.deepEqual(seen, ['/w', '/w/x']);
});

test('waitFor ends when the value is as wanted, or when cancelled', async () => {
  const store = new Store();
  const client = connectLocally(store);
  const other = new TestClient(store, DOM0);
  const waiting = client.waitFor('/state', (value) => value === '4');
  for (const state of ['1', '2', '4', '5']) {
    other.ask('WRITE', `/state|${state}`);
    await settle();
  }
  assert.equal(await waiting.value, '4');
  const never = client.waitFor('/state', (value) => value === '6');
  never.cancel();
  await assert.rejects(never.value, { code: 'cancelled' });
  await settle();
  assert.equal([...store.connections].length, 2);
});

test('what is under way when the connection ends is rejected, and later calls too', async () => {
  const [ours, theirs] = createPipe();
  const client = new StoreClient(ours);
  let lost = 0;
  client.onClosed(() => lost++);
  const reading = client.read('/a');
  theirs.close();
  await assert.rejects(reading, { code: 'closed' });
  await assert.rejects(client.read('/a'), { code: 'closed' });
  assert.equal(lost, 1);
});

test('a pipe delivers in order, keeps back what the reader paused for, and tells when there is room', async () => {
  const [left, right] = createPipe();
  const drains: string[] = [];
  left.attach({ bytes: () => {}, drained: () => drains.push('drained'), closed: () => {} });
  const got: number[] = [];
  right.attach({ bytes: (chunk) => got.push(chunk[0]!), drained: () => {}, closed: () => got.push(-1) });
  right.pause();
  let accepted = 0;
  while (left.write(new Uint8Array(1000).fill(accepted)) && accepted < 1000) accepted++;
  assert.equal(accepted, 65);
  await settle();
  assert.deepEqual(got, []);
  right.resume();
  await settle();
  assert.deepEqual(
    got,
    Array.from({ length: 66 }, (_, i) => i),
  );
  assert.deepEqual(drains, ['drained']);
  left.close();
  await settle();
  assert.equal(got[66], -1);
});

test('a server that answers with the wrong type is an error, not a value', async () => {
  const stream = new TestStream();
  const client = new StoreClient(stream);
  const reading = client.read('/a');
  const reply = stream.written[0]!.slice(0, 16);
  const view = new DataView(reply.buffer);
  view.setUint32(0, 11, true);
  view.setUint32(12, 0, true);
  stream.receive(reply);
  await assert.rejects(reading, { code: 'EIO' });
});
