/**
 * kill -9 of xend, and of xend and a monitor together, at every step of what xend does to a domain. The steps come from the
 * operations' own tables, so a new step is a new case. After the next start of xend the domain is whole or gone, another
 * domain has gone on, nothing is half made, and the log says what happened. Processes are real, the machine is the fake one.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isAlive, signal } from '../../src/host/process-identity.ts';
import { BOOT, CREATE } from '../../src/xend/create.ts';
import { ATTACH, DETACH } from '../../src/xend/disks.ts';
import { RESTART } from '../../src/xend/endings.ts';
import { MortalXend, NOTHING, newUuid, type Victim } from './mortal-xend.ts';

const host = new MortalXend();
const { client } = host;

interface Work {
  readonly work: string;
  readonly steps: readonly string[];
  /** What there has to be. */
  before(name: string, uuid: string): Promise<void>;
  ask(name: string, uuid: string): Promise<unknown>;
  /** Has the domain a monitor when this step begins? */
  hasMonitor(step: string, at: number): boolean;
  /** Is the domain there after a death of xend alone? */
  survives(step: string): boolean;
}

const names = (steps: readonly { readonly name: string }[]): string[] => steps.map(({ name }) => name);
const undoing = (steps: typeof CREATE.steps): string[] =>
  names(steps.filter(({ undo }) => undo).toReversed()).map((name) => `undo: ${name}`);
const always = () => true;

/** How to have each operation performed on a domain. */
const WORK: readonly Work[] = [
  {
    work: 'create',
    steps: names(CREATE.steps),
    before: async () => {},
    ask: (name, uuid) => host.create(name, uuid),
    hasMonitor: (_step, at) => at > names(CREATE.steps).indexOf('start its monitor'),
    survives: (step) => step === 'ended',
  },
  {
    work: ATTACH.name,
    steps: names(ATTACH.steps),
    before: (name, uuid) => host.run(name, uuid),
    ask: (name) => host.attach(name),
    hasMonitor: always,
    survives: always,
  },
  {
    work: DETACH.name,
    steps: names(DETACH.steps),
    before: async (name, uuid) => {
      await host.run(name, uuid);
      await host.attach(name);
    },
    ask: (name) => client.call('POST /domains/:name/disks/detach', { name, dev: 'sdb' }),
    hasMonitor: always,
    survives: always,
  },
  {
    work: 'deal with the end of its guest',
    steps: names(RESTART.steps),
    before: (name, uuid) => host.run(name, uuid),
    ask: (name) => client.call('POST /domains/:name/reset', { name }),
    hasMonitor: always,
    survives: always,
  },
  {
    work: 'deal with the death of its monitor',
    steps: [...undoing(BOOT.steps), ...names(BOOT.steps)],
    before: (name, uuid) => host.run(name, uuid, { onCrash: 'restart' }),
    ask: (name) => host.tell(name, 'die'),
    hasMonitor: () => false, // Of the two that it has in this, one is dead.
    survives: (step) => step === 'ended',
  },
  {
    work: 'destroy',
    steps: undoing(CREATE.steps),
    before: (name, uuid) => host.run(name, uuid),
    ask: (name) => client.call('POST /domains/:name/destroy', { name }),
    hasMonitor: (step) => step === 'undo: start its monitor',
    survives: () => false,
  },
];

interface Case {
  readonly name: string;
  readonly uuid: string;
  readonly work: Work;
  readonly step: string;
  readonly monitorToo: boolean;
}

const CASES: Case[] = WORK.flatMap((work) =>
  [...work.steps, 'ended'].flatMap((step, at) =>
    [false, true]
      // Without a monitor there is nobody who could die with xend.
      .filter((monitorToo) => !monitorToo || work.hasMonitor(step, at))
      .map((monitorToo) => ({ work, step, monitorToo })),
  ),
).map((one, at) => ({ ...one, name: `victim${at + 1}`, uuid: newUuid(at + 1) }));

const killPoint = ({ uuid, work, step }: Case): string => `${uuid}/${work.work}: ${step}`;

/** One death: before, the work, the death, perhaps the monitor's as well, the next xend, and what it made of it. */
async function die(one: Case, next: Case | undefined): Promise<void> {
  const { name, uuid, work, step, monitorToo } = one;
  await host.start(killPoint(one));
  const domid = host.nextDomid;
  await work.before(name, uuid);
  await work.ask(name, uuid).catch(() => {}); // xend dies of it.
  await host.dead();
  const victim: Victim = { name, uuid, domid };
  const monitor = host.monitorOf(victim);
  if (monitorToo) {
    assert.ok(monitor && signal(monitor, 'SIGKILL'), 'it has a monitor');
    await host.monitorGone(monitor);
  }
  const logged = host.log().length;
  // The xend that finds things again is the one that the next case needs.
  await host.start(next && killPoint(next));
  const listed = (await client.call('GET /domains', {})).some((domain) => domain.uuid === uuid);
  assert.equal(listed, work.survives(step) && !monitorToo);
  if (listed) {
    await host.checkWhole(victim);
    await client.call('POST /domains/:name/destroy', { name });
  }
  assert.deepEqual(await host.traces(victim), NOTHING);
  if (monitor) await host.monitorGone(monitor);
  await host.talk('bystander', `after ${step}`);
  // What was there when xend died is spoken of by the next one.
  if (monitor) assert.ok(host.log(logged).includes(`"${name}"`));
}

describe('kill -9 at every step', () => {
  test('a domain that nobody touches is made', async () => {
    await host.start();
    await host.run('bystander', newUuid(0));
    const monitor = host.monitorOf(await client.call('GET /domains/:name', { name: 'bystander' }));
    await host.talk('bystander', 'here');
    await host.kill();
    assert.ok(monitor && isAlive(monitor));
  });

  for (const [at, one] of CASES.entries()) {
    const who = one.monitorToo ? 'xend and the monitor die' : 'xend dies';
    test(`${who} at "${one.work.work}: ${one.step}"`, () => die(one, CASES[at + 1]));
  }
});
