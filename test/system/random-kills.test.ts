/**
 * kill -9 in the middle of things: of xend, of a domain's monitor, or of both, at a moment of chance while something is
 * being done to the domain. Afterwards there are whole domains and nothing else. DOMUS_FUZZ_SEED chooses what is done, who
 * dies, and after which part of the time that the work takes when nobody dies; the rest is the machine's own chance.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { holders } from '../../src/host/disk-lock.ts';
import { domainRunDir, recordsDir } from '../../src/host/paths.ts';
import { signal } from '../../src/host/process-identity.ts';
import { Random } from '../cpu/random.ts';
import { eventually, MortalXend, newUuid, type Victim } from './mortal-xend.ts';

const SEED = Number(process.env.DOMUS_FUZZ_SEED ?? 20_050_203);
const ROUNDS = 12;

const host = new MortalXend();
const { client } = host;
/** In the names of our domains: locks on disks are everybody's on this machine. */
const MARK = `r${process.pid}-`;

interface Work {
  before(name: string, uuid: string): Promise<unknown>;
  ask(name: string, uuid: string): Promise<unknown>;
}
const run = (name: string, uuid: string) => host.run(name, uuid, { onReboot: 'restart', onCrash: 'rename-restart' });
const WORK: Readonly<Record<string, Work>> = {
  create: { before: async () => {}, ask: (name, uuid) => host.create(name, uuid) },
  attach: { before: run, ask: (name) => host.attach(name) },
  detach: {
    before: async (name, uuid) => {
      await run(name, uuid);
      await host.attach(name);
    },
    ask: (name) => client.call('POST /domains/:name/disks/detach', { name, dev: 'sdb' }),
  },
  restart: { before: run, ask: (name) => client.call('POST /domains/:name/reset', { name }).then(settled) },
  'rename-restart': { before: run, ask: (name) => host.tell(name, 'crash').then(settled) },
  destroy: { before: run, ask: (name) => client.call('POST /domains/:name/destroy', { name }) },
};

const guests = async () => (await client.call('GET /domains', {})).filter(({ domid }) => domid !== 0);

/** Wait until nothing is being done to any domain, and none has ended without something being done about it. */
const settled = () =>
  eventually(async () => {
    const all = await guests();
    const kept = (name: string) => /\d{8}T\d{6}Z$/.test(name);
    // A monitor that has just died holds no locks, though xend may not have heard of its death.
    const disks = all.flatMap(({ state, config }) => (state === 'shutdown' ? [] : (config?.disks ?? [])));
    if (holders().filter(({ owner }) => owner.startsWith(MARK)).length !== disks.length) return false;
    return all.every((one) => !one.operation && (kept(one.name) || ['running', 'paused'].includes(one.state)));
  }, 'every domain is settled');

/** What there is of domains in any place belongs to a domain that is listed and whole, or to one that was kept. */
async function checkAll(): Promise<void> {
  const { paths } = host.home;
  const all = await guests();
  const folders = all.map(({ domid, uuid }) => path.basename(domainRunDir(paths, domid, uuid)));
  assert.deepEqual(readdirSync(recordsDir(paths)).sort(), all.map(({ uuid }) => `${uuid}.json`).sort());
  assert.deepEqual(readdirSync(path.join(paths.run, 'domains')).sort(), folders.sort());
  const [homes, backends] = await host.store(async (store) => [
    (await store.list('/local/domain')) ?? [],
    (await store.list('/local/domain/0/backend/vbd')) ?? [],
  ]);
  const ids = all.map(({ domid }) => String(domid));
  assert.deepEqual(homes.filter((domid) => domid !== '0').sort(), ids.sort());
  assert.ok(backends.every((domid) => ids.includes(domid)));
  const alive = all.filter(({ state }) => state !== 'shutdown');
  const disks = alive.flatMap(({ config }) => config?.disks ?? []);
  assert.equal(holders().filter(({ owner }) => owner.startsWith(MARK)).length, disks.length, 'locks on disks');
  for (const one of alive) await host.checkWhole(one);
}

describe(`kill -9 at moments of chance, seed ${SEED}`, () => {
  const usualMs = new Map<string, number>();
  let number = 0;

  async function perform(what: string, kill?: (victim: Victim) => Promise<void>): Promise<void> {
    const { before, ask } = WORK[what]!;
    const [name, uuid] = [`${MARK}${++number}`, newUuid(number)];
    const victim = { name, uuid, domid: host.nextDomid };
    await before(name, uuid);
    const begun = performance.now();
    const asked = ask(name, uuid).catch(() => {}); // Whoever asked is told something; what is there afterwards is judged.
    if (kill) await kill(victim);
    else {
      await asked;
      usualMs.set(what, performance.now() - begun);
    }
    await settled();
    await asked;
    await checkAll();
    for (const one of await guests()) await client.call('POST /domains/:name/destroy', { name: one.uuid });
  }

  for (const what of Object.keys(WORK)) {
    test(`nobody dies during ${what}`, async () => {
      await host.start();
      await perform(what);
    });
  }

  const random = new Random(SEED);
  for (let round = 0; round < ROUNDS; round++) {
    const what = random.pick(Object.keys(WORK));
    const who = random.pick(['xend', 'the monitor', 'xend and the monitor']);
    const part = random.below(1000) / 1000;
    test(`${who}: after ${part} of ${what}`, async () => {
      await perform(what, async (victim) => {
        await sleep(part * usualMs.get(what)!);
        const monitor = who.includes('monitor') ? host.monitorOf(victim) : undefined;
        if (monitor) signal(monitor, 'SIGKILL');
        if (!who.includes('xend')) return;
        await host.kill();
        await host.start();
      });
    });
  }
});
