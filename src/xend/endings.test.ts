/** What becomes of domains: every action after an end, and what can be asked of a running one. The fake machine obeys words. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { storeSocket } from '../host/paths.ts';
import { connectStoreSocket } from '../host/store-socket.ts';
import { StoreClient } from '../store/client.ts';
import { PATIENCE } from './ports.ts';
import { makeHome, openConsole, startXend } from './testing.ts';

const home = makeHome();
const xend = await startXend(home, { patience: { ...PATIENCE, pulseMs: 50, pulses: 40 } });
const { client } = xend;
after(async () => {
  await xend.end();
  home.remove();
});

const view = (name: string) => client.call('GET /domains/:name', { name });
const exitOf = async (uuid: string) => (await client.call('GET /exits/:uuid', { uuid, waitS: 20 })).exit;
const destroy = (name: string) => client.call('POST /domains/:name/destroy', { name });
const dumps = () => {
  const folder = path.join(home.paths.lib, 'dump');
  return existsSync(folder) ? readdirSync(folder).map((name) => path.join(folder, name)) : [];
};

async function consoleOf(name: string) {
  return openConsole((await client.call('GET /domains/:name/console', { name })).socket);
}

async function run(name: string, more: Parameters<typeof home.config>[1] = {}) {
  const made = await client.call('POST /domains', { config: home.config(name, more) });
  const console = await consoleOf(name);
  await client.call('POST /domains/:name/unpause', { name });
  await console.until('login:');
  return { ...made, console };
}

/** Wait for the next event of this type about a domain of this name, and not about that with this id. */
async function event(type: string, name: string, other?: number): Promise<void> {
  const { events } = xend.daemon.xend.ports;
  let since = events.last;
  for (;;) {
    await events.wait(since, 20_000);
    const found = events
      .after(since)
      .events.some((one) => one.type === type && one.domain?.name === name && one.domain.domid !== other);
    if (found) return;
    since = events.last;
  }
}

test('coredump-destroy leaves a core and no domain, and tells where', async () => {
  const { console, uuid, domid } = await run('dumped', { onCrash: 'coredump-destroy' });
  console.type('crash\n');
  assert.equal((await exitOf(uuid))?.kind, 'crash');
  const [file] = dumps();
  assert.match(path.basename(file!), new RegExp(`^\\d{8}T\\d{6}Z-dumped\\.${domid}\\.core$`));
  assert.equal(readFileSync(file!, 'utf8'), `fake core of domain ${domid}`);
  assert.ok((await client.call('GET /node/dmesg', {})).text.includes(`d${domid} "dumped": core in ${file}`));
});

test('with (enable-dump yes) every crash leaves a core, other ends none', async (t) => {
  const own = makeHome();
  mkdirSync(own.paths.etc, { recursive: true });
  writeFileSync(path.join(own.paths.etc, 'xend-config.sxp'), '(enable-dump yes)');
  const daemon = await startXend(own);
  t.after(async () => {
    await daemon.end();
    own.remove();
  });
  for (const word of ['crash', 'poweroff']) {
    const { uuid } = await daemon.client.call('POST /domains', { config: own.config(word, { onCrash: 'destroy' }) });
    const console = await openConsole((await daemon.client.call('GET /domains/:name/console', { name: word })).socket);
    await daemon.client.call('POST /domains/:name/unpause', { name: word });
    console.type(`${word}\n`);
    assert.equal((await daemon.client.call('GET /exits/:uuid', { uuid, waitS: 20 })).exit?.kind, word);
  }
  assert.deepEqual(
    readdirSync(path.join(own.paths.lib, 'dump')).map((name) => name.replace(/^.*-(.*)\.\d+\.core$/, '$1')),
    ['crash'],
  );
});

test('coredump-restart leaves a core and goes on', async () => {
  const { console, domid } = await run('phoenix', { onCrash: 'coredump-restart' });
  console.type('crash\n');
  await console.until('login:', 2);
  assert.deepEqual([(await view('phoenix')).builds, dumps().length], [2, 2]);
  assert.equal((await view('phoenix')).domid, domid);
  await destroy('phoenix');
});

test('rename-restart keeps what crashed under another name, without its disks, beside a new domain', async () => {
  const disks = [{ uname: `file:${home.disk}`, dev: 'sda1', mode: 'w' as const }];
  const { console, uuid, domid } = await run('twice', { onCrash: 'rename-restart', disks });
  const running = event('domain.started', 'twice', domid);
  console.type('crash\n');
  await running;
  const now = await view('twice');
  assert.notEqual(now.domid, domid);
  assert.deepEqual([now.state, now.config?.disks], ['running', disks]);
  const kept = await view(uuid);
  assert.match(kept.name, /^twice-\d{8}T\d{6}Z$/);
  assert.deepEqual([kept.letters, kept.shutdownReason], ['----c', 'crash']);
  for (const name of ['twice', kept.name]) await destroy(name);
});

test('a bite of the guest’s watchdog has an action of its own', async () => {
  const { console, uuid } = await run('bitten', { onCrash: 'destroy', onWatchdog: 'preserve' });
  console.type('watchdog\n');
  await console.ended();
  const kept = await view('bitten');
  assert.deepEqual([kept.letters, kept.shutdownReason], ['----c', 'watchdog']);
  await destroy(uuid);
});

test('a domain can be given another name, for everybody; one that is taken is refused', async () => {
  const { domid, uuid } = await run('before');
  await run('other');
  const rename = (newName: string) => client.call('POST /domains/:name/rename', { name: 'before', newName });
  await assert.rejects(rename('other'), { code: 'name-clash' });
  await assert.rejects(rename('a b'), { code: 'bad-config' });
  await rename('after');
  assert.deepEqual([(await view('after')).uuid, (await view(String(domid))).name], [uuid, 'after']);
  await assert.rejects(view('before'), { code: 'domain-not-found' });
  const store = new StoreClient(await connectStoreSocket(storeSocket(home.paths)));
  assert.equal(await store.read(`/local/domain/${domid}/name`), 'after');
  assert.equal(await store.read(`/vm/${uuid}/name`), 'after');
  store.close();
  // Its log files have that name too, with what they held.
  const { log } = await client.call('GET /domains/:name/console', { name: 'after' });
  assert.match(readFileSync(log, 'latin1'), /fake login: /);
  assert.equal(path.basename(log), 'after.log');
  const logs = readdirSync(path.join(home.paths.log, 'domains'));
  assert.deepEqual([logs.includes('after.log'), logs.includes('before.log')], [true, false]);
  for (const name of ['after', 'other']) await destroy(name);
});

test('reset restarts a guest without asking it, paused or not', async () => {
  const { console, domid } = await run('knocked', { onReboot: 'destroy' });
  await client.call('POST /domains/:name/reset', { name: 'knocked' });
  await console.until('login:', 2);
  await client.call('POST /domains/:name/pause', { name: 'knocked' });
  await client.call('POST /domains/:name/reset', { name: 'knocked' });
  await console.until('login:', 3);
  assert.deepEqual([(await view('knocked')).domid, (await view('knocked')).builds], [domid, 3]);
  await destroy('knocked');
});

test('SysRq keys, NMIs, shares and CPUs reach the guest or its machine', async () => {
  const { console, domid } = await run('asked');
  await client.call('POST /domains/:name/sysrq', { name: 'asked', key: 's' });
  const store = new StoreClient(await connectStoreSocket(storeSocket(home.paths)));
  assert.equal(await store.read(`/local/domain/${domid}/control/sysrq`), 's');
  store.close();
  await client.call('POST /domains/:name/nmi', { name: 'asked' });
  await console.until('[nmi]');
  await client.call('POST /domains/:name/scheduling', { name: 'asked', weight: 512 });
  await client.call('POST /domains/:name/scheduling', { name: 'asked', cap: 30 });
  await client.call('POST /domains/:name/vcpus/pin', { name: 'asked', vcpu: 0, cpus: [0] });
  await console.until('[weight 512 cap 30 cpus [[0]]]');
  await assert.rejects(
    client.call('POST /domains/:name/vcpus/pin', { name: 'asked', cpus: [4000] }),
    /has no CPU 4000/,
  );
  await assert.rejects(client.call('POST /domains/:name/vcpus/pin', { name: 'asked', vcpu: 7, cpus: [] }), /no vCPU 7/);
  const [vcpu] = await client.call('GET /domains/:name/vcpus', { name: 'asked' });
  assert.deepEqual([vcpu?.state, vcpu?.affinity], ['blocked', [0]]);
  // They are part of the domain: the next machine has them too.
  assert.deepEqual((await view('asked')).config?.cpus, [[0]]);
  await destroy('asked');
});

test('a core can be had of a running domain; a file that is there is not written over', async () => {
  await run('photo');
  const file = path.join(home.dir, 'photo.core');
  assert.deepEqual(await client.call('POST /domains/:name/core', { name: 'photo', file }), { file });
  assert.match(readFileSync(file, 'utf8'), /^fake core/);
  await assert.rejects(client.call('POST /domains/:name/core', { name: 'photo', file }), { code: 'core-failed' });
  assert.equal((await view('photo')).state, 'running');
  await destroy('photo');
});

test('a monitor that hangs is ended, which its domain’s on_crash deals with', async () => {
  const { console, uuid } = await run('stuck');
  const other = await run('well');
  console.type('hang\n');
  const exit = await exitOf(uuid);
  assert.deepEqual(
    [exit?.kind, exit?.report],
    ['crash', ['its monitor process did not answer any more and was ended']],
  );
  assert.equal((await view('well')).state, 'running');
  await destroy(other.uuid);
});

test('an end that was dealt with is not told again, nor dealt with, by the next xend', async (t) => {
  const own = makeHome();
  let daemon = await startXend(own);
  t.after(async () => {
    await daemon.end();
    own.remove();
  });
  await daemon.client.call('POST /domains', { config: own.config('kept', { onPoweroff: 'preserve' }) });
  await daemon.client.call('POST /domains/:name/unpause', { name: 'kept' });
  const console = await openConsole((await daemon.client.call('GET /domains/:name/console', { name: 'kept' })).socket);
  console.type('poweroff\n');
  await console.ended(); // Which is when it is kept.
  await daemon.client.call('POST /domains/:name/rename', { name: 'kept', newName: 'kept-on' }); // After what came before.
  for (const _ of [1, 2]) {
    daemon.client.close();
    await daemon.daemon.stop();
    daemon = await startXend(own);
  }
  const { events } = daemon.daemon.xend.ports;
  assert.equal(events.after(0).events.filter(({ type }) => type === 'domain.exited').length, 1);
  assert.equal((await daemon.client.call('GET /domains/:name', { name: 'kept-on' })).shutdownReason, 'poweroff');
});

test('a domain that is refused because another has its uuid leaves that other as it was', async () => {
  const { uuid } = await run('first');
  const second = client.call('POST /domains', { config: { ...home.config('second'), uuid } });
  await assert.rejects(second, { code: 'uuid-clash' });
  assert.ok(existsSync(path.join(home.paths.lib, 'domains', `${uuid}.json`)));
  await destroy('first');
});
