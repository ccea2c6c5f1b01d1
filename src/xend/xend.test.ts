/** xend with real monitor processes around a machine without a CPU. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, test } from 'node:test';
import { DRAFT } from '../host/atomic-file.ts';
import { apiSocket, controlSocket, domainRunDir, recordsDir, storeSocket, xendLog } from '../host/paths.ts';
import { readPidFile, waitGone } from '../host/process-identity.ts';
import { connectStoreSocket } from '../host/store-socket.ts';
import { ApiError } from '../sdk/client.ts';
import { StoreClient } from '../store/client.ts';
import { AlreadyRunning, startDaemon } from './daemon.ts';
import { makeHome, openConsole, startXend } from './testing.ts';

const home = makeHome();
let xend = await startXend(home);
after(async () => {
  await xend.end();
  home.remove();
});
const { client: firstClient } = xend;
let client = firstClient;

/** Another xend takes over, as after a kill: the old one lets go without a word to the domains. */
async function restartXend(): Promise<void> {
  client.close();
  await xend.daemon.stop();
  xend = await startXend(home);
  client = xend.client;
}

async function create(name: string, more: Parameters<typeof home.config>[1] = {}) {
  const domain = await client.call('POST /domains', { config: home.config(name, more) });
  const { socket } = await client.call('GET /domains/:name/console', { name });
  return { ...domain, console: await openConsole(socket) };
}

const unpause = (name: string) => client.call('POST /domains/:name/unpause', { name });
const view = (name: string) => client.call('GET /domains/:name', { name });
const nothingLeft = (uuid: string, domid: number) => {
  assert.ok(!existsSync(domainRunDir(home.paths, domid, uuid)), 'its run folder');
  assert.ok(!existsSync(path.join(recordsDir(home.paths), `${uuid}.json`)), 'its record');
};

const monitorOf = ({ domid, uuid }: { domid: number; uuid: string }) =>
  readPidFile(path.join(domainRunDir(home.paths, domid, uuid), 'monitor.pid'));

async function storeClient(): Promise<StoreClient> {
  return new StoreClient(await connectStoreSocket(storeSocket(home.paths)));
}

test('the API socket is for its user alone', () => {
  assert.equal(statSync(apiSocket(home.paths)).mode & 0o077, 0);
  assert.equal(statSync(home.paths.run).mode & 0o077, 0);
});

test('a second xend on the same folders is refused', async () => {
  await assert.rejects(startDaemon(home.paths), AlreadyRunning);
});

test('a domain that is to start once it is made runs before the answer comes', async () => {
  const { state, domid } = await client.call('POST /domains', { config: home.config('starts'), startAfterS: 0 });
  assert.equal(state, 'running');
  const { socket } = await client.call('GET /domains/:name/console', { name: 'starts' });
  await (await openConsole(socket)).until(`fake kernel, domain ${domid}`);
  await client.call('POST /domains/:name/destroy', { name: 'starts' });
});

test('a domain whose maker wants to see its first line first starts by itself when that one does not come', async () => {
  const wait = async (name: string, startAfterS: number) => {
    const made = await client.call('POST /domains', { config: home.config(name), startAfterS });
    const { socket } = await client.call('GET /domains/:name/console', { name });
    return { ...made, console: await openConsole(socket) };
  };
  const soon = await wait('soon', 0.01);
  await soon.console.until(`fake kernel, domain ${soon.domid}`);
  const late = await wait('late', 3600);
  await wait('paused', 3600);
  assert.equal(late.state, 'paused');
  await client.call('POST /domains/:name/pause', { name: 'paused' });
  await restartXend();
  await late.console.until(`fake kernel, domain ${late.domid}`);
  assert.equal((await view('late')).state, 'running');
  assert.equal((await view('paused')).state, 'paused', 'somebody has seen to it');
  for (const name of ['soon', 'late', 'paused']) await client.call('POST /domains/:name/destroy', { name });
});

test('a domain is created paused, runs, pauses, and is gone when its guest powers off', async () => {
  const { console, uuid, domid, state } = await create('life', { root: '/dev/sda1 ro', bootOptions: 'a b' });
  assert.equal(state, 'paused');
  assert.equal(console.seen(), '');
  await unpause('life');
  await console.until(`fake kernel, domain ${domid}, line: a b root=/dev/sda1 ro`);
  assert.equal((await view('life')).letters, '-b---');
  await client.call('POST /domains/:name/pause', { name: String(domid) });
  assert.equal((await view(uuid)).letters, '--p--');
  await unpause('life');
  console.type('poweroff\n');
  const { exit } = await client.call('GET /exits/:uuid', { uuid, waitS: 20 });
  assert.equal(exit?.kind, 'poweroff');
  await console.ended();
  await assert.rejects(view('life'), { code: 'domain-not-found' });
  nothingLeft(uuid, domid);
});

test('a reboot keeps name, id and console, and counts', async () => {
  const { console, uuid, domid } = await create('again');
  await unpause('again');
  await console.until('login:');
  console.type('reboot\n');
  await console.until('login:', 2);
  const after = await view('again');
  assert.deepEqual([after.domid, after.uuid, after.builds, after.state], [domid, uuid, 2, 'running']);
  await client.call('POST /domains/:name/destroy', { name: 'again' });
  nothingLeft(uuid, domid);
});

test('a crash is told with its report, in the exit and in the messages', async () => {
  const { console, uuid, domid } = await create('crasher');
  await unpause('crasher');
  console.type('crash\n');
  const { exit } = await client.call('GET /exits/:uuid', { uuid, waitS: 20 });
  assert.deepEqual([exit?.kind, exit?.report[0]], ['crash', 'fake guest panicked: told to']);
  assert.match(
    (await client.call('GET /node/dmesg', {})).text,
    new RegExp(`d${domid} "crasher" crashed: fake guest panicked: told to`),
  );
});

test('on_crash preserve keeps the domain, with letter c, until it is destroyed', async () => {
  const { console, uuid } = await create('kept', { onCrash: 'preserve' });
  await unpause('kept');
  console.type('crash\n');
  await console.ended();
  const kept = await view('kept');
  assert.deepEqual([kept.letters, kept.shutdownReason], ['----c', 'crash']);
  await assert.rejects(unpause('kept'), { code: 'wrong-state' });
  await client.call('POST /domains/:name/destroy', { name: uuid });
});

test('a guest that reboots for ever is ended', async () => {
  const { console, uuid } = await create('loop');
  await unpause('loop');
  for (let round = 1; round <= 6; round++) {
    await console.until('login:', round);
    console.type('reboot\n');
  }
  const { exit } = await client.call('GET /exits/:uuid', { uuid, waitS: 20 });
  assert.equal(exit?.kind, 'reboot');
});

test('a shutdown request reaches the guest through the store, and -H ends what would restart', async () => {
  const { console, uuid, domid } = await create('asked', { onPoweroff: 'restart' });
  await assert.rejects(
    client.call('POST /domains/:name/shutdown', { name: 'asked', reason: 'halt' }),
    /it is paused and cannot answer/,
  );
  await unpause('asked');
  await console.until('login:');
  const store = await storeClient();
  const request = store.waitFor(`/local/domain/${domid}/control/shutdown`, (value) => value === 'halt');
  await client.call('POST /domains/:name/shutdown', { name: 'asked', reason: 'halt' });
  assert.equal(await request.value, 'halt');
  console.type('poweroff\n');
  assert.equal((await client.call('GET /exits/:uuid', { uuid, waitS: 20 })).exit?.kind, 'poweroff');
  assert.equal(await store.read(`/local/domain/${domid}/name`), undefined);
  store.close();
});

test('-H keeps a domain that its configuration keeps: there is no restart to cancel', async () => {
  const { console, uuid } = await create('stays', { onPoweroff: 'preserve' });
  await unpause('stays');
  await console.until('login:');
  await client.call('POST /domains/:name/shutdown', { name: 'stays', reason: 'halt' });
  console.type('poweroff\n');
  await console.ended();
  const kept = await view('stays');
  assert.deepEqual([kept.letters, kept.shutdownReason], ['---s-', 'poweroff']);
  await client.call('POST /domains/:name/destroy', { name: uuid });
});

test('the store has the domain and both ends of its disk, and nothing when it is gone', async () => {
  const disks = [{ uname: `file:${home.disk}`, dev: 'sda1', mode: 'w' as const }];
  const { uuid, domid } = await create('tree', { disks });
  const store = await storeClient();
  const back = `/local/domain/0/backend/vbd/${domid}/51713`;
  const front = `/local/domain/${domid}/device/vbd/51713`;
  assert.equal(await store.read(`${front}/backend`), back);
  assert.equal(await store.read(`${back}/frontend`), front);
  assert.equal(await store.read(`/local/domain/${domid}/memory/target`), '32768');
  assert.deepEqual(await store.getPermissions(`${front}/state`), [
    { domid, access: 'n' },
    { domid: 0, access: 'r' },
  ]);
  await client.call('POST /domains/:name/destroy', { name: uuid });
  for (const gone of [back, front, `/vm/${uuid}`]) assert.equal(await store.read(gone), undefined);
  store.close();
});

test('another xend finds the domains again and goes on, also with what happened meanwhile', async () => {
  const running = await create('survivor');
  const ending = await create('ender');
  await unpause('survivor');
  await unpause('ender');
  await running.console.until('login:');
  await ending.console.until('login:');
  client.close();
  await xend.daemon.stop();
  running.console.type('still here\n');
  await running.console.until('[still here]');
  ending.console.type('reboot\n');
  await ending.console.until('[reboot]');
  xend = await startXend(home);
  client = xend.client;
  assert.equal((await view('survivor')).state, 'running');
  await ending.console.until('login:', 2);
  assert.equal((await view('ender')).builds, 2);
  for (const name of ['survivor', 'ender']) await client.call('POST /domains/:name/destroy', { name });
});

test('a domain that runs and whose record was lost, or is no record, gets one of what its monitor was given', async () => {
  const recordOf = ({ uuid }: { uuid: string }) => path.join(recordsDir(home.paths), `${uuid}.json`);
  const lost = await create('lost', {
    args: 'some options',
    disks: [{ uname: `file:${home.disk}`, dev: 'sda1', mode: 'w' }],
  });
  const torn = await create('torn');
  for (const name of ['lost', 'torn']) await unpause(name);
  const before = await view('lost');
  rmSync(recordOf(lost));
  writeFileSync(recordOf(torn), '{"version":');
  await restartXend();
  const after = await view('lost');
  for (const key of ['domid', 'uuid', 'name', 'state', 'memoryMiB', 'consolePort'] as const)
    assert.equal(after[key], before[key], key);
  assert.deepEqual([after.config?.args, after.config?.disks], ['some options', before.config?.disks]);
  assert.match(xend.daemon.log.text(), /WARNING .*"lost" runs and had no record/);
  for (const one of [lost, torn]) {
    one.console.type('hello\n');
    await one.console.until('[hello]');
    one.console.type('reboot\n');
    await one.console.until('fake kernel', 2);
    await client.call('POST /domains/:name/destroy', { name: one.uuid });
    nothingLeft(one.uuid, one.domid);
  }
});

test('a xend that was killed while creating leaves nothing after the next start', async () => {
  const { uuid, domid } = await create('half');
  const file = path.join(recordsDir(home.paths), `${uuid}.json`);
  const monitor = monitorOf({ domid, uuid })!;
  await xend.daemon.stop();
  writeFileSync(file, readFileSync(file, 'utf8').replace('"alive"', '"creating"'));
  xend = await startXend(home);
  client.close();
  client = xend.client;
  assert.ok(await waitGone(monitor, 10_000));
  nothingLeft(uuid, domid);
  await assert.rejects(view('half'), { code: 'domain-not-found' });
});

test('a monitor that dies is noticed: the domain ends, or starts anew where its configuration says so', async () => {
  const mortal = await create('mortal');
  const phoenix = await create('phoenix', { onCrash: 'restart' });
  const old = monitorOf(phoenix)!;
  for (const { name, console } of [mortal, phoenix]) {
    await unpause(name);
    await console.until('login:');
    console.type('die\n');
  }
  const { exit } = await client.call('GET /exits/:uuid', { uuid: mortal.uuid, waitS: 20 });
  assert.deepEqual(
    [exit?.kind, exit?.report[0]],
    ['crash', 'its monitor process ended unexpectedly; see its log file'],
  );
  await phoenix.console.ended();
  // xend may hear of the death after us: wait until another process runs the domain.
  while (monitorOf(phoenix)?.pid === old.pid || (await view('phoenix')).state !== 'running')
    await new Promise(setImmediate);
  const { socket } = await client.call('GET /domains/:name/console', { name: 'phoenix' });
  await (await openConsole(socket)).until('login:');
  await client.call('POST /domains/:name/destroy', { name: 'phoenix' });
});

test('a monitor killed while no xend ran is found dead', async () => {
  const { uuid, domid } = await create('unlucky');
  const monitor = monitorOf({ domid, uuid })!;
  await xend.daemon.stop();
  process.kill(monitor.pid, 'SIGKILL');
  await waitGone(monitor, 5000);
  xend = await startXend(home);
  client.close();
  client = xend.client;
  assert.equal((await client.call('GET /exits/:uuid', { uuid })).exit?.kind, 'crash');
  nothingLeft(uuid, domid);
});

const refused = (more: Parameters<typeof home.config>[1], name = 'wrong') =>
  client.call('POST /domains', { config: home.config(name, more) });

// biome-ignore format: a table
const REFUSALS: [what: string, more: () => Parameters<typeof home.config>[1], text: RegExp][] = [
  ['a missing kernel',             () => ({ kernel: '/nope' }),                              /^Kernel image does not exist: \/nope \(no such file\)$/],
  ['a folder as kernel',           () => ({ kernel: home.dir }),                             /it is a folder/],
  ['a corrupt kernel',             () => ({ kernel: home.badKernel }),                       /^cannot build domain "wrong": .*is no kernel/],
  ['a missing ramdisk',            () => ({ ramdisk: '/nope' }),                             /^Kernel ramdisk does not exist: \/nope/],
  ['a missing disk',               () => ({ disks: [{ uname: 'file:/nope', dev: 'sda1', mode: 'r' }] }), /^vbd: Segment not found: uname=file:\/nope/],
  ['a file as phy: disk',          () => ({ disks: [{ uname: `phy:${home.disk}`, dev: 'sda1', mode: 'r' }] }), /it is not a block device; write file:/],
  ['a device name nobody knows',   () => ({ disks: [{ uname: `file:${home.disk}`, dev: 'floppy', mode: 'r' }] }), /^vbd: Device not found: floppy/],
  ['the same device twice',        () => ({ disks: [{ uname: `file:${home.disk}`, dev: 'sda1', mode: 'r' }, { uname: `file:${home.kernel}`, dev: 'hda1', mode: 'r' }] }), /two disks would be xvda1/],
  ['more memory than there is',    () => ({ memoryMiB: 9e8, maxmemMiB: 9e8 }),               /^not enough memory for domain "wrong": it needs 9000000\d\d MiB, \d+ MiB are free/],
  ['maxmem below memory',          () => ({ maxmemMiB: 16 }),                                /maxmem \(16\) is less than memory \(32\)/],
  ['a name with a blank',          () => ({ name: 'a b' }),                                  /invalid vm name/],
  ["Domain-0's name",              () => ({ name: 'Domain-0' }),                             /^vm name clash: Domain-0/],
  ['a value of the wrong type',    () => ({ vcpus: 'many' as never }),                       /vcpus must be integer/],
  ['a field nobody knows',         () => ({ colour: 'red' } as never),                       /must NOT have additional properties/],
];

for (const [what, more, text] of REFUSALS) {
  test(`create refuses ${what} in one line and leaves nothing behind`, async () => {
    const before = [readdirSync(recordsDir(home.paths)), readdirSync(path.join(home.paths.run, 'domains'))];
    await assert.rejects(refused(more()), (error: unknown) => {
      assert.ok(error instanceof ApiError);
      assert.match(error.message, text);
      assert.ok(!error.message.includes('\n'));
      return true;
    });
    assert.deepEqual([readdirSync(recordsDir(home.paths)), readdirSync(path.join(home.paths.run, 'domains'))], before);
    await assert.rejects(view('wrong'), { code: 'domain-not-found' });
  });
}

test('a name and a uuid in use are refused, and the one who has them is not touched', async () => {
  const { uuid, domid } = await create('taken');
  await assert.rejects(refused({}, 'taken'), {
    code: 'name-clash',
    message: `vm name clash: taken (domain ${domid} has that name)`,
  });
  await assert.rejects(refused({ uuid }, 'other'), { code: 'uuid-clash' });
  assert.equal((await view('taken')).state, 'paused');
  await client.call('POST /domains/:name/destroy', { name: 'taken' });
});

test('two creations with one name at once: one wins, one is refused', async () => {
  const results = await Promise.allSettled([refused({}, 'twin'), refused({}, 'twin')]);
  assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  assert.equal((await view('twin')).state, 'paused');
  await client.call('POST /domains/:name/destroy', { name: 'twin' });
});

test('destroy twice at once ends the domain once', async () => {
  const { uuid } = await create('twice');
  await Promise.allSettled([1, 2].map(() => client.call('POST /domains/:name/destroy', { name: uuid })));
  assert.equal((await client.call('GET /exits/:uuid', { uuid })).exit?.kind, 'destroyed');
});

test('what is being done to a domain is shown, and destroy does not wait for it', async () => {
  const { events } = xend.daemon.xend.ports;
  const from = events.last;
  const creating = assert.rejects(refused({ kernel: home.endlessKernel }, 'endless'), {
    code: 'wrong-state',
    message: 'domain "endless": it is being destroyed',
  });
  const at = (type: string, step?: string) =>
    events.after(from).events.find((e) => e.type === type && (!step || e.data?.step === step));
  while (!at('operation.step', 'build it')) await events.wait(events.last, 20_000);
  const { operation, state, uuid, domid } = await view('endless');
  assert.deepEqual(
    [state, operation?.name, operation?.step, operation?.at, operation?.of, operation?.waiting],
    ['building', 'create', 'build it', 6, 7, 0],
  );
  assert.equal(operation?.id, at('operation.begun')?.seq);
  const monitor = monitorOf({ domid, uuid })!;
  const waiting = assert.rejects(unpause('endless'), { code: 'wrong-state' });
  while ((await view('endless')).operation?.waiting !== 1) await new Promise(setImmediate);
  await client.call('POST /domains/:name/destroy', { name: 'endless' });
  await Promise.all([creating, waiting]);
  nothingLeft(uuid, domid);
  assert.ok(await waitGone(monitor, 1000));
  assert.equal((await client.call('GET /exits/:uuid', { uuid })).exit?.kind, 'destroyed');
  assert.match(String(at('operation.ended')?.data?.error), /is being destroyed/);
});

test('every change of a domain is an event', async () => {
  const { events } = xend.daemon.xend.ports;
  const from = events.last;
  const { console, uuid } = await create('eventful');
  await unpause('eventful');
  await console.until('login:');
  await client.call('POST /domains/:name/pause', { name: 'eventful' });
  await unpause('eventful');
  console.type('reboot\n');
  await console.until('login:', 2);
  await client.call('POST /domains/:name/shutdown', { name: 'eventful', reason: 'poweroff' });
  console.type('poweroff\n');
  await client.call('GET /exits/:uuid', { uuid, waitS: 20 });
  const of = events.after(from).events.filter(({ domain }) => domain?.uuid === uuid);
  assert.deepEqual(
    of.map(({ type }) => type).filter((type) => type.startsWith('domain.')),
    [
      'domain.created',
      'domain.started',
      'domain.paused',
      'domain.unpaused',
      'domain.exited',
      'domain.restarted',
      'domain.asked',
      'domain.exited',
      'domain.gone',
    ],
  );
  const steps = of.filter(({ type, data }) => type === 'operation.step' && data?.name === 'create');
  assert.deepEqual(
    steps.map(({ data }) => data?.at),
    [1, 2, 3, 4, 5, 6, 7],
  );
});

test('a disk that is full keeps a domain from being made, in one line, and none from being destroyed', async () => {
  const { uuid, domid, console } = await create('stuck');
  await unpause('stuck');
  await console.until('login:');
  // Whatever is written there finds no room, as with a full disk. A draft is named after its file and this process.
  const full = (file: string) => symlinkSync('/dev/full', `${file}.${process.pid}${DRAFT}`);
  full(path.join(home.paths.lib, 'next-domid.json'));
  await assert.rejects(client.call('POST /domains', { config: home.config('more') }), {
    code: 'no-space',
    status: 507,
    message: 'xend cannot write to its disk: ENOSPC: no space left on device, write',
  });
  full(path.join(recordsDir(home.paths), `${uuid}.json`));
  full(path.join(home.paths.lib, 'exits.json'));
  await client.call('POST /domains/:name/destroy', { name: 'stuck' });
  nothingLeft(uuid, domid);
  assert.equal((await client.call('GET /exits/:uuid', { uuid })).exit?.kind, 'destroyed');
  assert.match(readFileSync(xendLog(home.paths), 'utf8'), /the record of domain \d+ "stuck" cannot be written: ENOSPC/);
  await create('more');
  await client.call('POST /domains/:name/destroy', { name: 'more' });
});

test('requests that xend does not have are refused in its own words', async () => {
  await assert.rejects(client.call('GET /nonsense' as 'GET /node', {}), /xend has no GET \/nonsense/);
});

test('a control client that speaks nonsense is cut off and the monitor lives', async () => {
  const { uuid, domid, console } = await create('tough');
  const stranger = net.connect(controlSocket(domainRunDir(home.paths, domid, uuid)));
  stranger.end('{"id":1,"method":"selfdestruct"}\nrubbish\n').resume();
  await once(stranger, 'close');
  await unpause('tough');
  await console.until('login:');
  await restartXend();
  assert.equal((await view('tough')).state, 'running');
  await client.call('POST /domains/:name/destroy', { name: 'tough' });
});
