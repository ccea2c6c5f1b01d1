/**
 * What the tests of sudden deaths stand on: a xend that is a process of its own and may be killed, domains on the fake
 * machine with disks of their own, and what there is of a domain in every place.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { diskRoots } from '../../src/devices/blk/nodes.ts';
import { guestDisk } from '../../src/devices/blk/vdev.ts';
import { holders } from '../../src/host/disk-lock.ts';
import { apiSocket, domainRunDir, recordsDir, storeSocket, xendLog } from '../../src/host/paths.ts';
import { type ProcessIdentity, readPidFile, signal, waitGone } from '../../src/host/process-identity.ts';
import { connectStoreSocket } from '../../src/host/store-socket.ts';
import { XendClient } from '../../src/sdk/client.ts';
import { StoreClient } from '../../src/store/client.ts';
import { makeHome, openConsole, type TestHome } from '../../src/xend/testing.ts';

const WAIT_MS = 60_000;
/** The disks that a domain may have here. */
const DEVICES = ['sda1', 'sdb'];

/** A domain that something happens to. */
export interface Victim {
  readonly name: string;
  readonly uuid: string;
  readonly domid: number;
}

export const NOTHING = { record: false, folder: false, store: [] as string[], locks: 0 };

export const newUuid = (number: number): string => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;

export class MortalXend {
  readonly home: TestHome = makeHome();
  readonly client = new XendClient(apiSocket(this.home.paths));
  readonly #monitors: ProcessIdentity[] = [];
  #xend: ChildProcess | undefined;
  #dies: string | undefined;

  constructor() {
    after(async () => {
      await this.kill();
      const folder = path.join(this.home.paths.run, 'domains');
      const left = existsSync(folder) ? readdirSync(folder) : [];
      for (const name of left) this.#note(readPidFile(path.join(folder, name, 'monitor.pid')));
      for (const who of this.#monitors) signal(who, 'SIGKILL');
      this.client.close();
      this.home.remove();
    });
  }

  /** A xend process; `killAt` is where it is to die: DOMAIN/WORK: STEP. One that is to die there and runs already will do. */
  async start(killAt?: string): Promise<void> {
    if (this.#xend && this.#dies === killAt) return;
    await this.kill();
    this.#dies = killAt;
    const DOMUS_HOME = path.dirname(this.home.paths.run);
    const env = { ...process.env, DOMUS_HOME, ...(killAt && { DOMUS_KILL_XEND_AT: killAt }) };
    const bin = path.resolve(import.meta.dirname, '../../bin/xend');
    this.#xend = spawn(bin, ['start', '--foreground'], { env, stdio: 'inherit' });
    const serves = () =>
      this.client
        .call('GET /xend', {})
        .then(() => true)
        .catch(() => false);
    await eventually(serves, 'xend serves');
  }

  /** kill -9, if it lives. */
  async kill(): Promise<void> {
    this.#xend?.kill('SIGKILL');
    await this.dead();
  }

  /** Wait for its death. */
  async dead(): Promise<void> {
    const xend = this.#xend;
    if (xend && xend.exitCode === null && xend.signalCode === null) await once(xend, 'exit');
    this.#xend = undefined;
  }

  /** The id that the next domain gets. */
  get nextDomid(): number {
    const file = path.join(this.home.paths.lib, 'next-domid.json');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 1;
  }

  /** What the log says from a place in it on. */
  log(from = 0): string {
    return readFileSync(xendLog(this.home.paths), 'utf8').slice(from);
  }

  /** A disk with an image of its own: its lock tells whether somebody has it. */
  disk(name: string, dev: string): { uname: string; dev: string; mode: 'w' } {
    const file = path.join(this.home.dir, `${name}-${dev}.img`);
    writeFileSync(file, '');
    truncateSync(file, 1 << 20);
    return { uname: `file:${file}`, dev, mode: 'w' };
  }

  async create(name: string, uuid: string, more: Parameters<TestHome['config']>[1] = {}): Promise<void> {
    const config = this.home.config(name, { disks: [this.disk(name, 'sda1')], ...more });
    await this.client.call('POST /domains', { config: { ...config, uuid } });
  }

  async run(name: string, uuid: string, more: Parameters<TestHome['config']>[1] = {}): Promise<void> {
    await this.create(name, uuid, more);
    await this.client.call('POST /domains/:name/unpause', { name });
  }

  attach(name: string): Promise<unknown> {
    return this.client.call('POST /domains/:name/disks/attach', { name, disk: this.disk(name, 'sdb') });
  }

  /** Its monitor, which is ended with this xend at the latest. */
  monitorOf({ domid, uuid }: Victim): ProcessIdentity | undefined {
    return this.#note(readPidFile(path.join(domainRunDir(this.home.paths, domid, uuid), 'monitor.pid')));
  }

  #note(who: ProcessIdentity | undefined): ProcessIdentity | undefined {
    if (who) this.#monitors.push(who);
    return who;
  }

  async monitorGone(who: ProcessIdentity): Promise<void> {
    assert.ok(await waitGone(who, WAIT_MS), `monitor ${who.pid} is gone`);
  }

  async store<T>(use: (store: StoreClient) => Promise<T>): Promise<T> {
    const store = new StoreClient(await connectStoreSocket(storeSocket(this.home.paths)));
    try {
      return await use(store);
    } finally {
      store.close();
    }
  }

  /** What there is of a domain, in every place. */
  traces({ name, uuid, domid }: Victim): Promise<typeof NOTHING> {
    const devices = DEVICES.map((dev) => guestDisk(dev)!.vdev);
    const nodes = [`/local/domain/${domid}`, `/vm/${uuid}`, ...devices.flatMap((vdev) => diskRoots(domid, vdev))];
    return this.store(async (store) => {
      const present: string[] = [];
      for (const node of nodes) if ((await store.read(node)) !== undefined) present.push(node);
      return {
        record: existsSync(path.join(recordsDir(this.home.paths), `${uuid}.json`)),
        folder: existsSync(domainRunDir(this.home.paths, domid, uuid)),
        store: present.sort(),
        locks: holders().filter(({ owner }) => owner === `${name} (id ${domid})`).length,
      };
    });
  }

  /** The domain is listed, obeys, has its console, and exactly the disks that xend says. */
  async checkWhole(victim: Victim): Promise<void> {
    const { name, uuid, domid } = victim;
    const record = JSON.parse(readFileSync(path.join(recordsDir(this.home.paths), `${uuid}.json`), 'utf8'));
    assert.deepEqual([record.phase, record.changing, record.successor], ['alive', undefined, undefined]);
    const disks = await this.client.call('GET /domains/:name/disks', { name: uuid });
    assert.deepEqual(await this.traces(victim), {
      record: true,
      folder: true,
      store: [`/local/domain/${domid}`, `/vm/${uuid}`, ...disks.flatMap(({ vdev }) => diskRoots(domid, vdev))].sort(),
      locks: disks.length,
    });
    for (const verb of ['unpause', 'pause', 'unpause'] as const)
      await this.client.call(`POST /domains/:name/${verb}`, { name });
    await this.talk(name, 'hello');
  }

  /** Somebody types at the domain's console and is heard. */
  async talk(name: string, word: string): Promise<void> {
    const { socket } = await this.client.call('GET /domains/:name/console', { name });
    const console = await openConsole(socket);
    await console.until('login:');
    console.type(`${word}\n`);
    await console.until(`[${word}]`);
    console.close();
  }

  /** Somebody types what makes the guest end, and does not wait for an echo. */
  async tell(name: string, word: string): Promise<void> {
    const { socket } = await this.client.call('GET /domains/:name/console', { name });
    const console = await openConsole(socket);
    console.type(`${word}\n`);
    await console.until(`[${word}]`);
    console.close();
  }
}

export async function eventually(what: () => Promise<boolean> | boolean, story: string): Promise<void> {
  for (const deadline = Date.now() + WAIT_MS; !(await what()); ) {
    if (Date.now() > deadline) throw new Error(`not within ${WAIT_MS / 1000} s: ${story}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
