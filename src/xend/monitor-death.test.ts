/**
 * A monitor that dies, and a domain that is destroyed, at every step of what xend does to the domain. xend lives on: whoever
 * asked gets an answer, and what is left is a whole domain or none. The steps come from the operations' own tables.
 */
import assert from 'node:assert/strict';
import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { holders } from '../host/disk-lock.ts';
import { domainRunDir, recordsDir, storeSocket } from '../host/paths.ts';
import { readPidFile, signal, waitGone } from '../host/process-identity.ts';
import { connectStoreSocket } from '../host/store-socket.ts';
import { StoreClient } from '../store/client.ts';
import { CREATE } from './create.ts';
import { ATTACH, DETACH } from './disks.ts';
import { RESTART } from './endings.ts';
import type { Subject } from './events.ts';
import { makeHome, startXend } from './testing.ts';

/** In the names of our domains: locks on disks are everybody's on this machine. */
const MARK = String(process.pid);
const home = makeHome();
let happening: { readonly where: string; readonly act: (domain: Subject) => void } | undefined;
const xend = await startXend(home, {
  atStep(domain, work, step) {
    if (happening?.where !== `${work}: ${step}`) return;
    const { act } = happening;
    happening = undefined;
    act(domain);
  },
});
const { client } = xend;
const store = new StoreClient(await connectStoreSocket(storeSocket(home.paths)));
after(async () => {
  store.close();
  await xend.end();
  home.remove();
});

const monitorOf = ({ domid, uuid }: Subject) =>
  readPidFile(path.join(domainRunDir(home.paths, domid, uuid), 'monitor.pid'));
const killMonitor = (domain: Subject): void => {
  const who = monitorOf(domain);
  if (who) signal(who, 'SIGKILL');
};
/** Whether it succeeds is seen by what is there afterwards. */
const destroy = ({ uuid }: Subject): void =>
  void client.call('POST /domains/:name/destroy', { name: uuid }).catch((error) => {
    if (error.code !== 'domain-not-found') console.error(error);
  });

function image(name: string): { uname: string; mode: 'w' } {
  const file = path.join(home.dir, `${name}.img`);
  writeFileSync(file, '');
  truncateSync(file, 1 << 20);
  return { uname: `file:${file}`, mode: 'w' };
}
const create = (name: string) =>
  client.call('POST /domains', { config: home.config(name, { disks: [{ ...image(name), dev: 'sda1' }] }) });
async function run(name: string): Promise<void> {
  await create(name);
  await client.call('POST /domains/:name/unpause', { name });
}
const attach = (name: string) =>
  client.call('POST /domains/:name/disks/attach', { name, disk: { ...image(`${name}-b`), dev: 'sdb' } });

interface Work {
  readonly work: string;
  readonly steps: readonly { readonly name: string }[];
  before(name: string): Promise<unknown>;
  ask(name: string): Promise<unknown>;
}
const WORK: readonly Work[] = [
  { work: 'create', steps: CREATE.steps, before: async () => {}, ask: create },
  { work: ATTACH.name, steps: ATTACH.steps, before: run, ask: attach },
  {
    work: DETACH.name,
    steps: DETACH.steps,
    before: async (name) => {
      await run(name);
      await attach(name);
    },
    ask: (name) => client.call('POST /domains/:name/disks/detach', { name, dev: 'sdb' }),
  },
  {
    work: 'deal with the end of its guest',
    steps: RESTART.steps,
    before: run,
    ask: (name) => client.call('POST /domains/:name/reset', { name }),
  },
];

/** Nothing but the domains that are listed, each of them whole. */
async function checkAll(): Promise<void> {
  const domains = (await client.call('GET /domains', {})).filter(({ domid }) => domid !== 0);
  const { paths } = home;
  assert.deepEqual(readdirSync(recordsDir(paths)).sort(), domains.map(({ uuid }) => `${uuid}.json`).sort());
  const folders = domains.map(({ domid, uuid }) => path.basename(domainRunDir(paths, domid, uuid)));
  assert.deepEqual(readdirSync(path.join(paths.run, 'domains')).sort(), folders.sort());
  const guests = ((await store.list('/local/domain')) ?? []).filter((domid) => domid !== '0');
  assert.deepEqual(guests.sort(), domains.map(({ domid }) => String(domid)).sort());
  const backends = ((await store.list('/local/domain/0/backend/vbd')) ?? []).sort();
  assert.ok(
    backends.every((domid) => guests.includes(domid)),
    `backends of ${backends}`,
  );
  const disks = domains.flatMap(({ config }) => config?.disks ?? []);
  assert.equal(holders().filter(({ owner }) => owner.includes(MARK)).length, disks.length);
}

let number = 0;
for (const { work, steps, before, ask } of WORK) {
  for (const { name: step } of steps) {
    test(`a monitor dies at "${work}: ${step}"`, async () => {
      const name = `dies-${MARK}-${++number}`;
      await before(name);
      happening = { where: `${work}: ${step}`, act: killMonitor };
      await ask(name).catch(() => {});
      happening = undefined;
      await settled(name);
      await checkAll();
      for (const one of await client.call('GET /domains', {})) if (one.domid !== 0) await destroyed(one.uuid);
    });

    test(`a domain is destroyed at "${work}: ${step}"`, async () => {
      const name = `goes-${MARK}-${++number}`;
      await before(name);
      happening = { where: `${work}: ${step}`, act: destroy };
      await ask(name).catch(() => {});
      if (work !== 'create' || step !== 'check files') await gone(name);
      await checkAll();
    });
  }
}

const destroyed = (name: string) => client.call('POST /domains/:name/destroy', { name }).catch(() => {});

type View = Awaited<ReturnType<typeof view>>;
const view = (name: string) => client.call('GET /domains/:name', { name }).catch(() => undefined);
const WAIT_MS = 60_000;

/** Look at the domain after each event, and now and then, until it is as wanted. */
async function until(name: string, wanted: (domain: View) => Promise<boolean> | boolean): Promise<void> {
  const { events } = xend.daemon.xend.ports;
  for (const deadline = Date.now() + WAIT_MS; ; ) {
    const at = events.last;
    const domain = await view(name);
    if (await wanted(domain)) return;
    if (Date.now() > deadline) throw new Error(`it stays so: ${JSON.stringify(domain)}`);
    await events.wait(at, 500);
  }
}

/** Wait until nothing is being done to the domain, if it is there, and its monitor lives. */
const settled = (name: string) =>
  until(name, async (domain) => {
    if (!domain) return true;
    const monitor = monitorOf(domain);
    const alive = monitor !== undefined && !(await waitGone(monitor, 0));
    return alive && !domain.operation && domain.state !== 'building';
  });

const gone = (name: string) => until(name, (domain) => domain === undefined);
