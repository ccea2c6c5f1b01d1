/** Disks of a running domain: xend, a real monitor, the fake machine, and this test as the guest in the store. */
import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import type { Disk } from '../config/domain-config.ts';
import { storeSocket } from '../host/paths.ts';
import { connectStoreSocket } from '../host/store-socket.ts';
import { StoreClient } from '../store/client.ts';
import { PATIENCE } from './ports.ts';
import { makeHome, openConsole, startXend } from './testing.ts';

const home = makeHome();
const quick = { patience: { ...PATIENCE, diskMs: 200 } };
let xend = await startXend(home, quick);
let store = new StoreClient(await connectStoreSocket(storeSocket(home.paths)));
after(async () => {
  store.close();
  await xend.end();
  home.remove();
});

async function restartXend(): Promise<void> {
  store.close();
  xend.client.close();
  await xend.daemon.stop();
  xend = await startXend(home, quick);
  store = new StoreClient(await connectStoreSocket(storeSocket(home.paths)));
}

function disk(dev: string, mode: 'r' | 'w' = 'w'): Disk {
  const file = path.join(home.dir, `${dev}.img`);
  writeFileSync(file, '');
  truncateSync(file, 1 << 20);
  return { uname: `file:${file}`, dev, mode };
}

async function create(name: string, more: Parameters<typeof home.config>[1] = {}) {
  const made = await xend.client.call('POST /domains', { config: home.config(name, more) });
  const { socket } = await xend.client.call('GET /domains/:name/console', { name });
  const console = await openConsole(socket);
  await xend.client.call('POST /domains/:name/unpause', { name });
  await console.until('login:');
  return { ...made, console };
}
const disks = (name: string) => xend.client.call('GET /domains/:name/disks', { name });
const attach = (name: string, one: Disk) => xend.client.call('POST /domains/:name/disks/attach', { name, disk: one });
const detach = (name: string, dev: string, force?: boolean) =>
  xend.client.call('POST /domains/:name/disks/detach', { name, dev, ...(force && { force }) });
const destroy = (name: string) => xend.client.call('POST /domains/:name/destroy', { name });
const VDEV = 51728; // xvdb
const back = (domid: number, key: string) => `/local/domain/0/backend/vbd/${domid}/${VDEV}/${key}`;
const front = (domid: number, key: string) => `/local/domain/${domid}/device/vbd/${VDEV}/${key}`;
const until = (node: string, wanted: string | undefined) => store.waitFor(node, (value) => value === wanted).value;

/** The frontend's half of the handshake, up to state 4. */
async function connectFrontend(domid: number): Promise<void> {
  await until(back(domid, 'state'), '2');
  await store.write(front(domid, 'ring-ref'), '8');
  await store.write(front(domid, 'event-channel'), '9');
  await store.write(front(domid, 'protocol'), 'x86_64-abi');
  await store.write(front(domid, 'state'), '3');
  await until(back(domid, 'state'), '4');
  await store.write(front(domid, 'state'), '4');
}

test('a disk comes and goes while the domain runs; the guest sees both in the store', async () => {
  const { domid } = await create('plug');
  const view = await attach('plug', disk('sdb'));
  assert.deepEqual([view.idx, view.vdev, view.dev, view.name, view.mode], [0, VDEV, 'sdb', 'xvdb', 'w']);
  await connectFrontend(domid);
  const [shown] = await disks('plug');
  assert.deepEqual([shown?.state, shown?.ringRef, shown?.eventChannel], [4, 8, 9]);
  const gone = detach('plug', 'sdb');
  await until(back(domid, 'state'), '5');
  await store.write(front(domid, 'state'), '6');
  await gone;
  assert.deepEqual(await disks('plug'), []);
  for (const node of [back(domid, 'state'), front(domid, 'state')]) assert.equal(await store.read(node), undefined);
  // The lock is free again.
  await attach('plug', disk('sdb'));
  await destroy('plug');
});

test('a disk that the guest keeps is not taken away, and works on; -f takes it', async () => {
  const { domid } = await create('held');
  await attach('held', disk('sdb'));
  await connectFrontend(domid);
  await assert.rejects(detach('held', 'sdb'), {
    code: 'disk-held',
    message: 'vbd: xvdb could not be disconnected: the guest does not let go of it (-f takes it away all the same)',
  });
  assert.equal((await disks('held')).length, 1);
  assert.equal(await until(back(domid, 'state'), '4'), '4');
  await detach('held', 'xvdb', true);
  assert.deepEqual(await disks('held'), []);
  assert.equal(await store.read(front(domid, 'state')), undefined);
  await destroy('held');
});

test('attached disks are there after a reboot and after a restart of xend, detached ones are not', async () => {
  const { console } = await create('stay', { disks: [disk('sda1')] });
  await attach('stay', disk('sdb', 'r'));
  await detach('stay', 'sda1');
  console.type('reboot\n');
  await console.until('login:', 2);
  assert.deepEqual(
    (await disks('stay')).map(({ dev, mode, state }) => [dev, mode, state > 0]),
    [['sdb', 'r', true]],
  );
  await restartXend();
  assert.deepEqual(
    (await disks('stay')).map(({ dev }) => dev),
    ['sdb'],
  );
  await detach('stay', '0');
  assert.deepEqual(await disks('stay'), []);
  await destroy('stay');
});

test('what cannot be attached is refused in one line, and nothing is left of it', async () => {
  const { domid } = await create('refuse', { disks: [disk('sda1')], root: '/dev/sda1 ro' });
  const used = disk('sdz');
  await create('owner', { disks: [used] });
  const before = await store.list(`/local/domain/${domid}/device/vbd`);
  // biome-ignore format: a table
  const refusals: [Disk, RegExp][] = [
    [{ uname: 'file:/nope', dev: 'sdb', mode: 'w' },              /^vbd: Segment not found: uname=file:\/nope \(no such file\)$/],
    [{ ...disk('sdb'), dev: 'sda1' },                             /^two disks would be xvda1/],
    [{ ...disk('sdb'), dev: 'tape' },                             /^vbd: Device not found: tape$/],
    [{ uname: used.uname, dev: 'sdb', mode: 'r' },                /^vbd: Segment .*sdz\.img is in writable use by domain owner \(id \d+\)$/],
  ];
  for (const [wanted, text] of refusals) await assert.rejects(attach('refuse', wanted), { message: text });
  await attach('refuse', { uname: used.uname, dev: 'sdb', mode: 'r', shared: true });
  await detach('refuse', 'sdb');
  await assert.rejects(detach('refuse', 'sdc'), {
    message: 'domain "refuse" has no disk sdc (xm block-list shows them)',
  });
  await assert.rejects(detach('refuse', 'sda1'), {
    message: /could not be disconnected: the root file system is on it/,
  });
  assert.deepEqual(await store.list(`/local/domain/${domid}/device/vbd`), before);
  for (const name of ['refuse', 'owner']) await destroy(name);
});

test('a disk in use is in use by the domain of that name, whatever its name was before, also after a reboot', async () => {
  const used = disk('sdy');
  const { console } = await create('earlier', { disks: [used] });
  await create('wants');
  await attach('earlier', disk('sdx'));
  await xend.client.call('POST /domains/:name/rename', { name: 'earlier', newName: 'later' });
  const wanted = (uname: string) => attach('wants', { uname, dev: 'sdb', mode: 'r' });
  const refused = { message: /is in writable use by domain later \(id \d+\)$/ };
  for (const { uname } of [used, disk('sdx')]) await assert.rejects(wanted(uname), refused);
  console.type('reboot\n');
  await console.until('login:', 2);
  await assert.rejects(wanted(used.uname), refused);
  for (const name of ['wants', 'later']) await destroy(name);
});

test('a disk can be had by a paused domain, which keeps it unless it is taken', async () => {
  const { domid } = await create('still');
  await attach('still', disk('sdb'));
  await connectFrontend(domid);
  await xend.client.call('POST /domains/:name/pause', { name: 'still' });
  await assert.rejects(detach('still', 'sdb'), { message: /could not be disconnected: the domain is paused/ });
  await detach('still', 'sdb', true);
  await attach('still', disk('sdc'));
  await destroy('still');
});
