/**
 * kill -9 of xend, and of xend and a monitor together, at every step of what xend does to a domain. The steps come from the
 * operations' own tables, so a new step is a new case. After the next start of xend the domain is whole or gone, another
 * domain has gone on, nothing is half made, and the log says what happened. Processes are real, the machine is the fake one.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { guestDisk } from '../../src/devices/blk/vdev.ts';
import { holders } from '../../src/host/disk-lock.ts';
import { apiSocket, domainRunDir, recordsDir, storeSocket, xendLog } from '../../src/host/paths.ts';
import { isAlive, type ProcessIdentity, readPidFile, signal, waitGone } from '../../src/host/process-identity.ts';
import { connectStoreSocket } from '../../src/host/store-socket.ts';
import { XendClient } from '../../src/sdk/client.ts';
import { StoreClient } from '../../src/store/client.ts';
import { CREATE } from '../../src/xend/create.ts';
import { ATTACH, DETACH } from '../../src/xend/disks.ts';
import { diskRoots } from '../../src/xend/domain-store.ts';
import { RESTART } from '../../src/xend/endings.ts';
import { makeHome, openConsole } from '../../src/xend/testing.ts';

const home = makeHome();
const { paths } = home;
const WAIT_MS = 60_000;
const client = new XendClient(apiSocket(paths));
let xend: ChildProcess | undefined;
let dies: string | undefined;

/** A xend process; `killAt` is where it is to die: DOMAIN/WORK: STEP. One that is to die there and runs already will do. */
async function start(killAt?: string): Promise<void> {
  if (xend && dies === killAt) return;
  await killXend();
  dies = killAt;
  const env = { ...process.env, DOMUS_HOME: path.dirname(paths.run), ...(killAt && { DOMUS_KILL_XEND_AT: killAt }) };
  const bin = path.resolve(import.meta.dirname, '../../bin/xend');
  xend = spawn(bin, ['start', '--foreground'], { env, stdio: 'inherit' });
  await eventually(
    () =>
      client
        .call('GET /xend', {})
        .then(() => true)
        .catch(() => false),
    'xend serves',
  );
}

async function killXend(): Promise<void> {
  xend?.kill('SIGKILL');
  await dead();
}

/** Wait for the death of xend. */
async function dead(): Promise<void> {
  if (xend && xend.exitCode === null && xend.signalCode === null) await once(xend, 'exit');
  xend = undefined;
}

async function eventually(what: () => Promise<boolean> | boolean, story: string): Promise<void> {
  for (const deadline = Date.now() + WAIT_MS; !(await what()); ) {
    if (Date.now() > deadline) throw new Error(`not within ${WAIT_MS / 1000} s: ${story}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const monitors: ProcessIdentity[] = [];
after(async () => {
  await killXend();
  for (const who of monitors) signal(who, 'SIGKILL');
  client.close();
  home.remove();
});

/** A disk image of its own for each use: its lock tells whether somebody has it. */
function image(name: string): string {
  const file = path.join(home.dir, `${name}.img`);
  writeFileSync(file, '');
  truncateSync(file, 1 << 20);
  return file;
}
const diskOf = (name: string, dev: string) => ({ uname: `file:${image(`${name}-${dev}`)}`, dev, mode: 'w' as const });

interface Victim {
  readonly name: string;
  readonly uuid: string;
  readonly domid: number;
}

const monitorOf = ({ domid, uuid }: Victim) => readPidFile(path.join(domainRunDir(paths, domid, uuid), 'monitor.pid'));

async function create(name: string, uuid: string): Promise<void> {
  await client.call('POST /domains', { config: { ...home.config(name, { disks: [diskOf(name, 'sda1')] }), uuid } });
}

async function run(name: string, uuid: string): Promise<void> {
  await create(name, uuid);
  await client.call('POST /domains/:name/unpause', { name });
}

interface Work {
  readonly work: string;
  readonly steps: readonly string[];
  /** What there has to be. */
  before(name: string, uuid: string): Promise<void>;
  ask(name: string, uuid: string): Promise<unknown>;
  /** Has the domain a monitor when this step begins? */
  hasMonitor(step: string, at: number): boolean;
}

const names = (steps: readonly { readonly name: string }[]): string[] => steps.map(({ name }) => name);
const always = () => true;

/** How to have each operation performed on a domain. */
const WORK: readonly Work[] = [
  {
    work: 'create',
    steps: names(CREATE.steps),
    before: async () => {},
    ask: create,
    hasMonitor: (_step, at) => at > names(CREATE.steps).indexOf('start its monitor'),
  },
  {
    work: ATTACH.name,
    steps: names(ATTACH.steps),
    before: run,
    ask: (name) => client.call('POST /domains/:name/disks/attach', { name, disk: diskOf(name, 'sdb') }),
    hasMonitor: always,
  },
  {
    work: DETACH.name,
    steps: names(DETACH.steps),
    before: async (name, uuid) => {
      await run(name, uuid);
      await client.call('POST /domains/:name/disks/attach', { name, disk: diskOf(name, 'sdb') });
    },
    ask: (name) => client.call('POST /domains/:name/disks/detach', { name, dev: 'sdb' }),
    hasMonitor: always,
  },
  {
    work: 'deal with the end of its guest',
    steps: names(RESTART.steps),
    before: run,
    ask: (name) => client.call('POST /domains/:name/reset', { name }),
    hasMonitor: always,
  },
  {
    work: 'destroy',
    steps: names(CREATE.steps.filter(({ undo }) => undo).toReversed()).map((name) => `undo: ${name}`),
    before: run,
    ask: (name) => client.call('POST /domains/:name/destroy', { name }),
    hasMonitor: (step) => step === 'undo: start its monitor',
  },
];

/** What there is of a domain, in every place. */
async function traces(store: StoreClient, { name, uuid, domid }: Victim) {
  const devices = ['sda1', 'sdb'].map((dev) => guestDisk(dev)!.vdev);
  const nodes = [`/local/domain/${domid}`, `/vm/${uuid}`, ...devices.flatMap((vdev) => diskRoots(domid, vdev))];
  const present: string[] = [];
  for (const node of nodes) if ((await store.read(node)) !== undefined) present.push(node);
  return {
    record: existsSync(path.join(recordsDir(paths), `${uuid}.json`)),
    folder: existsSync(domainRunDir(paths, domid, uuid)),
    store: present.sort(),
    locks: holders().filter(({ owner }) => owner === `${name} (id ${domid})`).length,
  };
}

const NOTHING = { record: false, folder: false, store: [], locks: 0 };

/** The domain is listed, obeys, has its console, and exactly the disks that xend says. */
async function checkWhole(store: StoreClient, victim: Victim): Promise<void> {
  const { name, uuid, domid } = victim;
  const record = JSON.parse(readFileSync(path.join(recordsDir(paths), `${uuid}.json`), 'utf8'));
  assert.equal(record.phase, 'alive');
  assert.equal(record.changing, undefined);
  const disks = await client.call('GET /domains/:name/disks', { name: uuid });
  assert.deepEqual(await traces(store, victim), {
    record: true,
    folder: true,
    store: [`/local/domain/${domid}`, `/vm/${uuid}`, ...disks.flatMap(({ vdev }) => diskRoots(domid, vdev))].sort(),
    locks: disks.length,
  });
  await client.call('POST /domains/:name/unpause', { name });
  await client.call('POST /domains/:name/pause', { name });
  await client.call('POST /domains/:name/unpause', { name });
  await talk(name, 'hello');
}

/** Somebody types at the domain's console and is heard. */
async function talk(name: string, word: string): Promise<void> {
  const { socket } = await client.call('GET /domains/:name/console', { name });
  const console = await openConsole(socket);
  await console.until('login:');
  console.type(`${word}\n`);
  await console.until(`[${word}]`);
  console.close();
}

interface Case {
  readonly name: string;
  readonly uuid: string;
  readonly work: (typeof WORK)[number];
  readonly step: string;
  readonly monitorToo: boolean;
}

const newUuid = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;

const CASES: Case[] = WORK.flatMap((work) =>
  [...work.steps, 'ended'].flatMap((step, at) =>
    [false, true]
      // Without a monitor there is nobody who could die with xend.
      .filter((monitorToo) => !monitorToo || work.hasMonitor(step, at))
      .map((monitorToo) => ({ work, step, monitorToo })),
  ),
).map((one, at) => ({ ...one, name: `victim${at + 1}`, uuid: newUuid(at + 1) }));

const killPoint = ({ name, work, step }: Case): string => `${name}/${work.work}: ${step}`;

/** Is the domain there afterwards? */
function survives({ work, step, monitorToo }: Case): boolean {
  if (work.work === 'create') return step === 'ended' && !monitorToo;
  return work.work !== 'destroy' && !monitorToo;
}

/** One death: before, the work, the death, perhaps the monitor's as well, the next xend, and what it made of it. */
async function die(one: Case, next: Case | undefined): Promise<void> {
  const { name, uuid, work, step, monitorToo } = one;
  await start(killPoint(one));
  const domid = Number(readFileSync(path.join(paths.lib, 'next-domid.json'), 'utf8'));
  await work.before(name, uuid);
  await work.ask(name, uuid).catch(() => {}); // xend dies of it.
  await dead();
  const victim: Victim = { name, uuid, domid };
  const monitor = monitorOf(victim);
  if (monitor) monitors.push(monitor);
  if (monitorToo) {
    assert.ok(monitor && signal(monitor, 'SIGKILL'), 'it has a monitor');
    assert.ok(await waitGone(monitor, WAIT_MS));
  }
  const logged = readFileSync(xendLog(paths), 'utf8').length;
  // The xend that finds things again is the one that the next case needs.
  await start(next && killPoint(next));
  const store = new StoreClient(await connectStoreSocket(storeSocket(paths)));
  try {
    const listed = (await client.call('GET /domains', {})).some((domain) => domain.uuid === uuid);
    assert.equal(listed, survives(one));
    if (listed) {
      await checkWhole(store, victim);
      await client.call('POST /domains/:name/destroy', { name });
    }
    assert.deepEqual(await traces(store, victim), NOTHING);
    if (monitor) assert.ok(await waitGone(monitor, WAIT_MS), 'its monitor is gone');
    await talk('bystander', `after ${step}`);
    // What was there when xend died is spoken of by the next one.
    if (monitor) assert.ok(readFileSync(xendLog(paths), 'utf8').slice(logged).includes(`"${name}"`));
  } finally {
    store.close();
  }
}

describe('kill -9 at every step', () => {
  test('a domain that nobody touches is made', async () => {
    await start();
    await run('bystander', newUuid(0));
    monitors.push(monitorOf(await client.call('GET /domains/:name', { name: 'bystander' }))!);
    await talk('bystander', 'here');
    await killXend();
    assert.ok(isAlive(monitors[0]!));
  });

  for (const [at, one] of CASES.entries()) {
    const who = one.monitorToo ? 'xend and the monitor die' : 'xend dies';
    test(`${who} at "${one.work.work}: ${one.step}"`, () => die(one, CASES[at + 1]));
  }
});
