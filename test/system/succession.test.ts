/**
 * kill -9 of xend, alone and with the monitor of what is kept, at every step of `rename-restart` and of making the domain
 * that follows. Whatever died: the one that follows exists once and runs, if the one that crashed was noted as kept.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { signal } from '../../src/host/process-identity.ts';
import { RENAME_RESTART } from '../../src/xend/successor.ts';
import { eventually, MortalXend, NOTHING, newUuid, type Victim } from './mortal-xend.ts';

const host = new MortalXend();
const { client } = host;

interface Case {
  /** Where xend dies: `which` of the two does it concern? */
  readonly which: 'kept' | 'follows';
  readonly at: string;
  readonly monitorToo: boolean;
}

const KEEPING = 'deal with the end of its guest';
const [, NOTED, ...AFTER] = RENAME_RESTART.steps.map(({ name }) => name);
const KEPT = [...RENAME_RESTART.steps.map(({ name }) => name), 'ended'].map((step) => `${KEEPING}: ${step}`);
/** The one that follows is made as any other (recovery.test.ts): here are a beginning, a middle, and both ends. */
const FOLLOWS = ['create: check files', 'create: build it', 'create: ended', 'start: ended'];
// biome-ignore format: a table
const CASES: readonly Case[] = [
  ...KEPT.map((at)    => ({ which: 'kept',    at, monitorToo: false } as const)),
  ...KEPT.map((at)    => ({ which: 'kept',    at, monitorToo: true  } as const)),
  ...FOLLOWS.map((at) => ({ which: 'follows', at, monitorToo: false } as const)),
  { which: 'follows', at: 'create: build it', monitorToo: true },
];

const domains = async () => (await client.call('GET /domains', {})).filter(({ domid }) => domid !== 0);

const victimOf = (number: number) => ({ name: `victim${number}`, first: `first${number}`, uuid: newUuid(number) });
function killPoint(number: number): string | undefined {
  const one = CASES[number];
  const { name, uuid } = victimOf(number);
  return one && `${one.which === 'kept' ? uuid : name}/${one.at}`;
}

async function die({ which, at, monitorToo }: Case, number: number): Promise<void> {
  const { name, first, uuid } = victimOf(number);
  await host.start(killPoint(number));
  const victim: Victim = { name: first, uuid, domid: host.nextDomid };
  // Born under another name, so that only the one that follows is created under this one.
  await host.run(first, uuid, { onCrash: 'rename-restart' });
  await client.call('POST /domains/:name/rename', { name: first, newName: name });
  await host.tell(name, 'crash');
  await host.dead();
  const monitor = host.monitorOf(victim);
  assert.ok(monitor);
  if (monitorToo) {
    signal(monitor, 'SIGKILL');
    await host.monitorGone(monitor);
  }
  await host.start();

  const isKept = !monitorToo;
  // Without its monitor the one that crashed is gone, and nothing follows what was not noted as kept.
  const follows = isKept || which === 'follows' || [...AFTER, 'ended'].some((step) => at === `${KEEPING}: ${step}`);
  const names = [...(follows ? [/^victim\d+$/] : []), ...(isKept ? [/^victim\d+-\d{8}T\d{6}Z$/] : [])];
  await eventually(async () => {
    const all = await domains();
    return all.length === names.length && all.every(({ state, operation }) => state !== 'building' && !operation);
  }, `${names.length} domains`);
  const all = await domains();
  for (const [index, pattern] of names.entries()) assert.match(all[index]!.name, pattern);
  const follower = all.find((one) => one.name === name);
  if (follower) {
    assert.equal(follower.state, 'running', 'it was started without anybody’s asking');
    await host.checkWhole(follower);
  }
  const kept = all.find((one) => one.uuid === uuid);
  if (kept) {
    assert.deepEqual([kept.letters, kept.shutdownReason], ['----c', 'crash']);
    // Another start of xend, the one that the next case needs, changes nothing more.
    await host.start(killPoint(number + 1));
    const ids = (list: typeof all) => list.map((one) => [one.name, one.uuid, one.state]);
    assert.deepEqual(ids(await domains()), ids(all));
  }
  for (const one of all) await client.call('POST /domains/:name/destroy', { name: one.uuid });
  for (const one of [victim, ...(follower ? [follower] : [])]) assert.deepEqual(await host.traces(one), NOTHING);
}

describe('kill -9 during rename-restart', () => {
  assert.ok(NOTED && AFTER.length > 0);
  for (const [at, one] of CASES.entries()) {
    const who = one.monitorToo ? 'xend and the monitor die' : 'xend dies';
    test(`${who} at "${one.which}: ${one.at}"`, () => die(one, at));
  }
});
