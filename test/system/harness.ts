/**
 * What the system tests stand on: a xend of one's own in a temporary folder, domains made of the real guest (a private
 * sparse copy of its disk each), and people at consoles. Everything goes through `xend` and `xm` as a user would; processes
 * are found by what they recorded of themselves, so that nothing is left running whatever a test has done.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before } from 'node:test';
import { ConsoleDriver } from '../../scripts/lib/console-driver.ts';
import { type Finished, OwnXend } from '../../scripts/lib/own-xend.ts';
import { writeTtylinux } from '../../scripts/lib/ttylinux.ts';
import { type Guest, GuestError, prepareGuest } from '../../src/guest/index.ts';
import { holders } from '../../src/host/disk-lock.ts';
import { identifyDisk } from '../../src/host/disk-use.ts';
import { consoleLog, guestCache, monitorLog, pidFile, recordsDir, storeSocket } from '../../src/host/paths.ts';
import { isAlive, type ProcessIdentity, readPidFile, signal, waitGone } from '../../src/host/process-identity.ts';
import { connectStoreSocket } from '../../src/host/store-socket.ts';
import { StoreClient } from '../../src/store/client.ts';

/** Time limits are for machines that are slow and busy: what they bound takes a tenth of it. */
export const BOOT_MS = 240_000;
export const STEP_MS = 60_000;
const INTERRUPT_AGAIN_MS = 3000;
/** So much of a command is echoed without the shell breaking the line. */
const ECHO_SURE = 40;
/** Something may have been printed behind it already. */
const PROMPT = /root@\w+:\S* *[#$] /;

/** The real guest, or the reason why there is none: then its tests are skipped. */
export async function realGuest(): Promise<{ guest: Guest; skip: false } | { guest: undefined; skip: string }> {
  try {
    return { guest: await prepareGuest({ cacheDir: guestCache() }), skip: false };
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    return { guest: undefined, skip: `there is no guest to boot: ${error.message}` };
  }
}

/** Someone at a console. */
export class Person {
  readonly child: ChildProcess;
  readonly #driver: ConsoleDriver;

  constructor(child: ChildProcess) {
    this.child = child;
    this.#driver = new ConsoleDriver(child);
  }

  /** All that this person has seen. */
  get text(): string {
    return this.#driver.text;
  }

  /** Wait for something new; returns what was shown up to and with it. */
  expect(what: string | RegExp, timeoutMs = STEP_MS): Promise<string> {
    const pattern = typeof what === 'string' ? new RegExp(what.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')) : what;
    return this.#driver.until(pattern, timeoutMs / 1000);
  }

  /** True when nothing new is shown for so long. */
  async silentFor(ms: number): Promise<boolean> {
    const before = this.text.length;
    await new Promise((resolve) => setTimeout(resolve, ms));
    return this.text.length === before;
  }

  send(text: string): void {
    this.#driver.type(text);
  }

  /** From here on the kernel says on its console what it must, and nothing else comes between a command and its output. */
  async login(timeoutMs = BOOT_MS): Promise<void> {
    await this.expect('ttylinux login: ', timeoutMs);
    this.send('root\n');
    await this.expect('Password: ');
    this.send('root\n');
    await this.expect(PROMPT);
    // Its echo may be torn still.
    this.send('dmesg -n 1\n');
    await this.expect(PROMPT);
  }

  /** Type a command at the shell; returns what it printed. */
  async run(command: string, timeoutMs = STEP_MS): Promise<string> {
    this.send(`${command}\n`);
    await this.expect(command.slice(0, ECHO_SURE)); // A prompt before this one may not have been read yet.
    const shown = await this.expect(PROMPT, timeoutMs);
    return shown.slice(shown.indexOf('\n') + 1, shown.lastIndexOf('\n') + 1);
  }

  /** Ctrl-C until the shell is back: one that comes while a process just ends goes nowhere, on any Linux. */
  async interrupt(timeoutMs = STEP_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      this.send('\x03');
      const last = performance.now() > deadline;
      try {
        await this.expect(PROMPT, INTERRUPT_AGAIN_MS);
        return;
      } catch (error) {
        if (last) throw error;
      }
    }
  }

  /** Wait for the program's end; returns its exit code. */
  async exitCode(timeoutMs = STEP_MS): Promise<number | null> {
    await this.#driver.ended(timeoutMs / 1000);
    return this.child.exitCode;
  }

  leave(): void {
    this.child.kill('SIGTERM');
  }
}

export interface Made {
  readonly name: string;
  readonly config: string;
  readonly disk: string;
}

/** What a xend and its domains keep outside of guests. */
export interface Traces {
  readonly records: string[];
  readonly folders: string[];
  readonly monitors: number[];
  readonly storeNodes: string[];
  readonly locks: string[];
}
export const NOTHING: Traces = { records: [], folders: [], monitors: [], storeNodes: [], locks: [] };

export class System {
  readonly own = new OwnXend();
  readonly #guest: Guest | undefined;
  readonly #others: ChildProcess[] = [];
  /** Disks made here: other xends on this machine have their own, and locks on them. */
  readonly #disks = new Set<string>();

  /** Made inside a suite: xend runs before its first test and is gone, with all it started, after its last. */
  constructor(guest?: Guest) {
    this.#guest = guest;
    before(() => this.own.start());
    after(() => this.stop());
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.once(name, () => void this.stop().then(() => process.exit(1)));
    }
  }

  async stop(): Promise<void> {
    for (const child of this.#others) child.kill('SIGKILL');
    await this.own.stop();
  }

  /** Configuration file and disk of a new domain; `more` are further lines, which win. */
  async write(name: string, options: { memoryMiB?: number; more?: string } = {}): Promise<Made> {
    if (!this.#guest) throw new Error('this system has no guest');
    const { config, disk, text } = await writeTtylinux(this.#guest, this.own.folder, { name, ...options });
    this.#noteDisk(disk);
    if (options.more) writeFileSync(config, `${text}${options.more}\n`);
    return { name, config, disk };
  }

  #noteDisk(file: string): void {
    this.#disks.add(identifyDisk(statSync(file, { bigint: true })).id);
  }

  /** An empty disk of a MiB. */
  disk(name: string): string {
    const file = this.file(name, new Uint8Array(1 << 20));
    this.#noteDisk(file);
    return file;
  }

  /** A file, such as a configuration that need not be good. */
  file(name: string, text: string | Uint8Array): string {
    const file = path.join(this.own.folder, name);
    writeFileSync(file, text);
    return file;
  }

  /** `xm create -c`. */
  create({ config }: Made, ...options: string[]): Person {
    return this.person('create', '-c', ...options, config);
  }

  /** Any command of xm that shows a console. */
  person(...args: string[]): Person {
    return new Person(this.own.spawn('xm', args, { stdio: ['pipe', 'pipe', 'pipe'] }));
  }

  /** The same on a terminal, which `script` provides. */
  personOnTerminal(command: string, { columns = 80, rows = 25 } = {}): Person {
    const xm = path.resolve(import.meta.dirname, '../../bin/xm');
    const line = `stty columns ${columns} rows ${rows}; exec '${xm}' ${command}`;
    const child = spawn('script', ['-qfec', line, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...this.environment },
    });
    this.#others.push(child);
    return new Person(child);
  }

  get environment(): { DOMUS_HOME: string } {
    return { DOMUS_HOME: path.dirname(this.own.paths.run) };
  }

  xm(...args: string[]): Promise<Finished> {
    return this.own.run('xm', args);
  }

  /** The row of `xm list` about a domain, in columns: name, id, memory, CPU, state, time. */
  async row(name: string): Promise<string[] | undefined> {
    const { output } = await this.xm('list');
    return output
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .find(([first]) => first === name);
  }

  /** Ask until `what` holds. */
  async eventually(what: () => Promise<boolean> | boolean, story: string, timeoutMs = STEP_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await what())) {
      if (performance.now() > deadline) throw new Error(`not within ${timeoutMs / 1000} s: ${story}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async monitorOf(name: string): Promise<ProcessIdentity> {
    const client = this.own.client();
    try {
      const { domid } = await client.call('GET /domains/:name', { name });
      const domains = path.join(this.own.paths.run, 'domains');
      const folder = readdirSync(domains).find((one) => one.startsWith(`${domid}-`));
      return readPidFile(path.join(domains, folder ?? '', 'monitor.pid'))!;
    } finally {
      client.close();
    }
  }

  get xendProcess(): ProcessIdentity {
    return readPidFile(pidFile(this.own.paths))!;
  }

  /** kill -9, and wait until it is gone. */
  async kill(who: ProcessIdentity): Promise<void> {
    signal(who, 'SIGKILL');
    if (!(await waitGone(who, STEP_MS))) throw new Error(`process ${who.pid} does not end`);
  }

  log(of: 'console' | 'monitor', name: string): string {
    return (of === 'console' ? consoleLog : monitorLog)(this.own.paths, name);
  }

  /** The privileged store connection. */
  async store<T>(use: (store: StoreClient) => Promise<T>): Promise<T> {
    const client = new StoreClient(await connectStoreSocket(storeSocket(this.own.paths)));
    try {
      return await use(client);
    } finally {
      client.close();
    }
  }

  /** Everything there is of domains, as a test that ends them all must find it: NOTHING. */
  async traces(): Promise<Traces> {
    const { paths } = this.own;
    const inside = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);
    const alive = this.own.monitors().filter(isAlive);
    return {
      records: inside(recordsDir(paths)),
      folders: inside(path.join(paths.run, 'domains')),
      monitors: alive.map(({ pid }) => pid),
      storeNodes: await this.store(async (store) => {
        const homes = ((await store.list('/local/domain')) ?? []).filter((domid) => domid !== '0');
        const backends = (await store.list('/local/domain/0/backend/vbd')) ?? [];
        return [...homes, ...backends, ...((await store.list('/vm')) ?? [])];
      }),
      locks: holders()
        .filter(({ id }) => this.#disks.has(id))
        .map(({ owner }) => owner),
    };
  }
}
