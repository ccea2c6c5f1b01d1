/**
 * The daemon's face: what can be asked about domains and done to them (routes.ts). What it does to a domain goes through
 * that domain's queue; what it must not forget is in the records. On start it looks at every record, asks every monitor and
 * goes on from there. The books are books.ts; what happens by itself is endings.ts.
 */
import { randomUUID } from 'node:crypto';
import type { DomainConfig } from '../config/domain-config.ts';
import { agentSocket, consoleLog, consoleSocket, controlSocket, recordsDir } from '../host/paths.ts';
import { nextState } from '../monitor/lifecycle.ts';
import { homeOf } from '../store/path.ts';
import { Books, isDomain0 } from './books.ts';
import { Controls } from './controls.ts';
import { CREATE, monitorCall, writeRings } from './create.ts';
import { Disks } from './disks.ts';
import { Domain } from './domain.ts';
import { moveLogs } from './domain-logs.ts';
import { domain0Tree } from './domain-store.ts';
import { domain0View } from './domain0.ts';
import { Endings } from './endings.ts';
import { XendError } from './errors.ts';
import type { XendEvent } from './events.ts';
import { Exits } from './exits.ts';
import { MonitorLink } from './monitor-link.ts';
import { type NodeInfo, nodeInfo } from './node-info.ts';
import { type Course, perform } from './operation.ts';
import { logLine, tell, type XendPorts } from './ports.ts';
import { Pulse } from './pulse.ts';
import { loadRecords, type Successor, saveRecord } from './record.ts';
import { findStrays } from './strays.ts';
import type { DomainView, ExitView } from './view.ts';

/** A guest that has not taken notice of a shutdown request by now will not (pv-abi 7.4). */
const SHUTDOWN_ANSWER_MS = 60_000;

export type ShutdownReason = 'poweroff' | 'reboot' | 'halt';

export class Xend {
  readonly ports: XendPorts;
  readonly #books: Books;
  readonly #exits: Exits;
  readonly #endings: Endings;
  readonly disks: Disks;
  readonly controls: Controls;
  readonly #pulse: Pulse;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #stopping = new AbortController();

  constructor(ports: XendPorts) {
    this.ports = ports;
    this.#books = new Books(ports);
    this.#exits = new Exits(ports);
    this.#endings = new Endings(ports, this.#books, this.#exits, (successor) => this.#follow(successor));
    this.disks = new Disks(ports, this.#books);
    this.controls = new Controls(ports, this.#books, this.#endings);
    this.#pulse = new Pulse(ports, this.#books);
  }

  /** Find the domains again that another xend left, finish what it had begun to undo, and go on. */
  async start(): Promise<void> {
    const { paths, store } = this.ports;
    const records = loadRecords(recordsDir(paths), (text) => logLine(this.ports, 'ERROR', text));
    for (const record of findStrays(paths, records, this.ports.now())) {
      const line = `domain ${record.domid} "${record.config.name}" runs and had no record: it has one of what its monitor was given`;
      logLine(this.ports, 'WARNING', line);
      records.push(record);
    }
    await store.write(domain0Tree());
    await store.keepOnly(records);
    for (const record of records) {
      this.#books.enter(new Domain(record, this.ports));
    }
    await Promise.all(
      this.#books.all().map((domain) => domain.enqueue('find again', (course) => this.#adopt(domain, course))),
    );
    for (const domain of this.#books.all()) {
      if (domain.record.successor)
        void domain.enqueue('make the one that follows', () => this.#endings.succeed(domain));
    }
    this.#pulse.start();
  }

  async #adopt(domain: Domain, course: Course): Promise<void> {
    if (domain.record.phase !== 'alive') {
      const { domid, name, record } = domain;
      logLine(this.ports, 'WARNING', `domain ${domid} "${name}" was ${record.phase}: cleaning up`);
      return this.#endings.end(domain, record.exit, course);
    }
    try {
      domain.link = await MonitorLink.connect(controlSocket(domain.runDir), this.#endings.events(domain));
    } catch {
      await this.#endings.succeed(domain);
      const report = ['its monitor process had ended while xend was not running'];
      return this.#endings.end(domain, { kind: 'crash', report }, course);
    }
    await this.ports.store.introduce(domain.domid, domain.runDir);
    await writeRings(this.#endings.context(domain));
    await this.controls.writeName(domain);
    await moveLogs(domain, this.ports);
    await this.disks.settle(domain, course);
    await this.#endings.start(domain);
    logLine(this.ports, 'INFO', `found domain ${domain.domid} "${domain.name}" again: ${domain.status?.state}`);
    this.ports.events.emit('domain.found', domain, { state: domain.status?.state });
  }

  /** Let go of everything; the domains run on. */
  async stop(): Promise<void> {
    this.#endings.close();
    this.#pulse.stop();
    this.#stopping.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    for (const domain of this.#books.all()) domain.link?.close();
    this.#exits.close();
    await this.ports.store.close();
  }

  // What there is.

  async list(): Promise<DomainView[]> {
    const domains = this.#books.all();
    await Promise.all(domains.map((domain) => domain.refresh()));
    const now = this.ports.now();
    return [this.#domain0(), ...domains.map((domain) => domain.view(now))].sort((a, b) => compare(a.name, b.name));
  }

  async view(name: string): Promise<DomainView> {
    if (isDomain0(name)) return this.#domain0();
    const domain = this.#books.find(name);
    await domain.refresh();
    return domain.view(this.ports.now());
  }

  node(): NodeInfo {
    return nodeInfo(this.#books.memoryInUse());
  }

  #domain0(): DomainView {
    return domain0View(this.#books.memoryInUse(), this.ports.now());
  }

  console(name: string): { socket: string; log: string; uuid: string } {
    if (isDomain0(name)) throw new XendError('no-console', name);
    const domain = this.#books.find(name);
    return {
      socket: consoleSocket(domain.runDir),
      log: consoleLog(this.ports.paths, domain.logName),
      uuid: domain.uuid,
    };
  }

  /** Where commands in the guest are asked for (host/agent-link.ts). */
  agent(name: string): { socket: string; uuid: string } {
    if (isDomain0(name)) throw new XendError('domain-0', 'run commands by an agent in');
    const domain = this.#books.find(name);
    return { socket: agentSocket(domain.runDir), uuid: domain.uuid };
  }

  /** How the domain with this uuid ended; waits for it, up to a time. Undefined: it still is. */
  exitOf(uuid: string, timeoutMs: number): Promise<ExitView | undefined> {
    return this.#exits.wait(uuid, timeoutMs, () => this.#books.has(uuid));
  }

  /** The events after number `since`; when there are none yet, waits for the next one, up to a time. */
  async eventsAfter(
    since: number,
    timeoutMs: number,
  ): Promise<{ events: XendEvent[]; complete: boolean; last: number }> {
    const { events: log } = this.ports;
    if (timeoutMs > 0) await log.wait(since, timeoutMs, this.#stopping.signal);
    const { events, complete } = log.after(since);
    return { events: [...events], complete, last: log.last };
  }

  // What can be done.

  /**
   * Make a domain, paused before its first instruction. With `startAfterS` it runs so many seconds later whatever becomes of who wanted it,
   * or of this xend: with 0 before this returns, and where that fails there is no domain.
   */
  async create(
    config: DomainConfig,
    {
      startAfterS,
      restartsMs = [],
    }: { readonly startAfterS?: number | undefined; readonly restartsMs?: number[] } = {},
  ): Promise<DomainView> {
    const uuid = config.uuid ?? randomUUID();
    const domid = this.#books.takeDomid();
    const domain = new Domain(
      {
        version: 1,
        uuid,
        domid,
        config: { ...config, uuid },
        phase: 'creating',
        createdAtMs: this.ports.now(),
        restartsMs,
        ...(startAfterS !== undefined && { starts: true }),
      },
      this.ports,
    );
    await domain.enqueue('create', (course) => perform(CREATE, this.#endings.context(domain), course));
    this.ports.events.emit('domain.created', domain, { memoryMiB: config.memoryMiB, vcpus: config.vcpus });
    tell(this.ports, `d${domid} "${domain.name}" created: ${config.memoryMiB} MiB, ${config.vcpus} vCPU(s)`);
    if (startAfterS === 0) await this.#startMade(domain);
    else if (startAfterS !== undefined) this.#later(startAfterS * 1000, () => this.#start(domain));
    return domain.view(this.ports.now());
  }

  /** After a domain that was kept under another name: made and started. */
  async #follow({ config, restartsMs }: Successor): Promise<void> {
    await this.create(config, { restartsMs, startAfterS: 0 });
  }

  /** It runs from now on, unless it is gone, or was paused or run meanwhile. */
  async #start(domain: Domain): Promise<void> {
    if (this.#books.holds(domain)) await domain.enqueue('start', () => this.#endings.start(domain));
  }

  async #startMade(domain: Domain): Promise<void> {
    try {
      await this.#start(domain);
    } catch (error) {
      await this.#endings.destroy(domain).catch(() => {});
      throw error;
    }
  }

  async pause(name: string): Promise<void> {
    const domain = this.#books.guest(name, 'pause');
    await domain.enqueue('pause', () => {
      this.#endings.forgetStart(domain);
      return monitorCall({ domain }, 'pause');
    });
  }

  async unpause(name: string): Promise<void> {
    const domain = this.#books.guest(name, 'unpause');
    await domain.enqueue('unpause', async () => {
      await monitorCall({ domain }, 'unpause');
      this.#endings.forgetStart(domain);
    });
  }

  /** Ask the guest to end itself. Whether it does is its own affair. */
  async shutdown(name: string, reason: ShutdownReason): Promise<{ uuid: string; builds: number }> {
    const domain = this.#books.guest(name, 'shut down');
    return domain.enqueue(`ask for ${reason}`, async () => {
      const state = domain.status?.state ?? 'building';
      if (state === 'paused')
        throw new XendError('wrong-state', domain.name, 'it is paused and cannot answer: xm unpause it');
      if (nextState(state, 'pause') === undefined)
        throw new XendError('wrong-state', domain.name, `it is ${state} already`);
      domain.record.wanted = reason === 'reboot' ? 'restart' : reason === 'halt' ? 'destroy' : undefined;
      saveRecord(recordsDir(this.ports.paths), domain.record);
      const node = `${homeOf(domain.domid)}/control/shutdown`;
      await this.ports.store.write([{ path: node, value: reason, perms: `n${domain.domid}` }]);
      this.ports.events.emit('domain.asked', domain, { reason });
      this.#later(SHUTDOWN_ANSWER_MS, async () => {
        if (!this.#books.holds(domain) || (await this.ports.store.read(node)) !== reason) return;
        const { domid, name } = domain;
        logLine(this.ports, 'WARNING', `domain ${domid} "${name}" does not answer the request to ${reason}`);
      });
      return { uuid: domain.uuid, builds: domain.status?.builds ?? 0 };
    });
  }

  async destroy(name: string): Promise<void> {
    await this.#endings.destroy(this.#books.guest(name, 'destroy'));
  }

  #later(ms: number, work: () => Promise<void>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work().catch((error) => logLine(this.ports, 'ERROR', String(error)));
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
