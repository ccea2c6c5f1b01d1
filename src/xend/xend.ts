/**
 * The daemon's books: which domains there are, what was asked of them and what becomes of them when their guests end.
 * Everything it does to a domain goes through that domain's queue; everything it must not forget is in the records. On
 * start it looks at every record, asks every monitor and goes on from there.
 */
import { randomUUID } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { DomainConfig, ExitAction } from '../config/domain-config.ts';
import { consoleLog, consoleSocket, controlSocket, domainRunDir, type Paths, recordsDir } from '../host/paths.ts';
import { nextState } from '../monitor/lifecycle.ts';
import type { MachineExit } from '../monitor/machine-types.ts';
import { BOOT, CREATE, type CreateContext, monitorCall, writeRings, writeTree } from './create.ts';
import { Domain } from './domain.ts';
import { type DomainStore, domain0Tree, homeOf } from './domain-store.ts';
import { XendError } from './errors.ts';
import type { Level, MessageBuffer, XendLog } from './log.ts';
import { MonitorLink } from './monitor-link.ts';
import {
  DOMAIN_OVERHEAD_MIB,
  freeMemoryMiB,
  hostCpuSeconds,
  type NodeInfo,
  nodeInfo,
  totalMemoryMiB,
} from './node-info.ts';
import { operation, perform, undo } from './operation.ts';
import { JsonFile, loadRecords, saveRecord } from './record.ts';
import type { DomainView, ExitView } from './view.ts';

/** A domain that was restarted this often within this time is not restarted again: it would go round for ever. */
export const RESTART_LIMIT = { times: 5, withinMs: 60_000 };
const EXITS_KEPT = 64;
/** A guest that has not taken notice of a shutdown request by now will not (pv-abi 7.4). */
const SHUTDOWN_ANSWER_MS = 60_000;
const DOMID_LIMIT = 0x7ff0;

export interface XendPorts {
  readonly paths: Paths;
  readonly store: DomainStore;
  readonly log: XendLog;
  readonly messages: MessageBuffer;
  now(): number;
}

export type ShutdownReason = 'poweroff' | 'reboot' | 'halt';

export class Xend {
  readonly ports: XendPorts;
  readonly #domains = new Map<string, Domain>();
  readonly #nextDomid: JsonFile<number>;
  readonly #exits: JsonFile<ExitView[]>;
  readonly #exitWaiters = new Set<() => void>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #closing = false;

  constructor(ports: XendPorts) {
    this.ports = ports;
    this.#nextDomid = new JsonFile(path.join(ports.paths.lib, 'next-domid.json'), 1);
    this.#exits = new JsonFile<ExitView[]>(path.join(ports.paths.lib, 'exits.json'), []);
  }

  /** Find the domains again that another xend left, finish what it had begun to undo, and go on. */
  async start(): Promise<void> {
    const { paths, store } = this.ports;
    const records = loadRecords(recordsDir(paths), (text) => this.#log('ERROR', text));
    await store.write(domain0Tree());
    await store.keepOnly(records);
    for (const record of records) {
      this.#domains.set(record.uuid, new Domain(record, domainRunDir(paths, record.domid, record.uuid)));
    }
    await Promise.all([...this.#domains.values()].map((domain) => domain.enqueue(() => this.#adopt(domain))));
    this.#removeStrayFolders();
  }

  async #adopt(domain: Domain): Promise<void> {
    if (domain.record.phase !== 'alive') {
      this.#log('WARNING', `domain ${domain.domid} "${domain.name}" was ${domain.record.phase}: cleaning up`);
      return this.#end(domain, domain.record.exit);
    }
    try {
      domain.link = await MonitorLink.connect(controlSocket(domain.runDir), this.#events(domain));
    } catch {
      const report = ['its monitor process had ended while xend was not running'];
      return this.#end(domain, { kind: 'crash', report });
    }
    await this.ports.store.introduce(domain.domid, domain.runDir);
    await writeRings(this.#context(domain));
    this.#log('INFO', `found domain ${domain.domid} "${domain.name}" again: ${domain.status?.state}`);
  }

  /** Folders under run/domains that no record speaks of, left by a machine that stopped: sockets without processes. */
  #removeStrayFolders(): void {
    const base = path.join(this.ports.paths.run, 'domains');
    const known = new Set([...this.#domains.values()].map(({ runDir }) => path.basename(runDir)));
    for (const name of readdirSync(base)) {
      if (!known.has(name)) rmSync(path.join(base, name), { recursive: true, force: true });
    }
  }

  /** Let go of everything; the domains run on. */
  async stop(): Promise<void> {
    this.#closing = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const domain of this.#domains.values()) domain.link?.close();
    for (const wake of this.#exitWaiters) wake();
    await this.ports.store.close();
  }

  // What there is.

  find(name: string): Domain {
    const domains = [...this.#domains.values()];
    const domain =
      domains.find((one) => one.name === name) ??
      domains.find((one) => String(one.domid) === name || one.uuid === name.toLowerCase());
    if (domain) return domain;
    throw new XendError('domain-not-found', name);
  }

  /** As `find`, for what cannot be done to Domain-0. */
  #guest(name: string, verb: string): Domain {
    if (name === 'Domain-0' || name === '0') throw new XendError('domain-0', verb);
    return this.find(name);
  }

  async list(): Promise<DomainView[]> {
    const domains = [...this.#domains.values()];
    await Promise.all(domains.map((domain) => domain.refresh()));
    const now = this.ports.now();
    return [this.#domain0(), ...domains.map((domain) => domain.view(now))].sort((a, b) => compare(a.name, b.name));
  }

  async view(name: string): Promise<DomainView> {
    if (name === 'Domain-0' || name === '0') return this.#domain0();
    const domain = this.find(name);
    await domain.refresh();
    return domain.view(this.ports.now());
  }

  node(): NodeInfo {
    return nodeInfo(this.#memoryInUse());
  }

  #memoryInUse(): number[] {
    return [...this.#domains.values()].map(({ config }) => config.memoryMiB);
  }

  #domain0(): DomainView {
    const total = totalMemoryMiB();
    const upTimeS = process.uptime();
    return {
      domid: 0,
      uuid: '00000000-0000-0000-0000-000000000000',
      name: 'Domain-0',
      memoryMiB: total - this.#memoryInUse().reduce((sum, memory) => sum + memory, 0),
      maxmemMiB: total,
      vcpus: this.node().cores,
      state: 'running',
      letters: 'r----',
      cpu: 0,
      cpuTimeS: hostCpuSeconds(),
      upTimeS,
      startTime: this.ports.now() / 1000 - upTimeS,
      builds: 1,
    };
  }

  console(name: string): { socket: string; log: string; uuid: string } {
    if (name === 'Domain-0' || name === '0') throw new XendError('no-console', name);
    const domain = this.find(name);
    return {
      socket: consoleSocket(domain.runDir),
      log: consoleLog(this.ports.paths, domain.name),
      uuid: domain.uuid,
    };
  }

  // What can be done.

  /** Make a domain, paused before its first instruction. */
  async create(config: DomainConfig): Promise<DomainView> {
    const uuid = config.uuid ?? randomUUID();
    const domid = this.#takeDomid();
    const domain = new Domain(
      {
        version: 1,
        uuid,
        domid,
        config: { ...config, uuid },
        phase: 'creating',
        createdAtMs: this.ports.now(),
        restartsMs: [],
      },
      domainRunDir(this.ports.paths, domid, uuid),
    );
    await domain.enqueue(() => perform(CREATE, this.#context(domain), this.#progress(domain)));
    this.#message(`d${domid} "${domain.name}" created: ${config.memoryMiB} MiB, ${config.vcpus} vCPU(s)`);
    return domain.view(this.ports.now());
  }

  async pause(name: string): Promise<void> {
    const domain = this.#guest(name, 'pause');
    await domain.enqueue(() => monitorCall({ domain }, 'pause'));
  }

  async unpause(name: string): Promise<void> {
    const domain = this.#guest(name, 'unpause');
    await domain.enqueue(() => monitorCall({ domain }, 'unpause'));
  }

  /** Ask the guest to end itself. Whether it does is its own affair. */
  async shutdown(name: string, reason: ShutdownReason): Promise<{ uuid: string; builds: number }> {
    const domain = this.#guest(name, 'shut down');
    return domain.enqueue(async () => {
      const state = domain.status?.state ?? 'building';
      if (state === 'paused')
        throw new XendError('wrong-state', domain.name, 'it is paused and cannot answer: xm unpause it');
      if (nextState(state, 'pause') === undefined)
        throw new XendError('wrong-state', domain.name, `it is ${state} already`);
      domain.record.wanted = reason === 'reboot' ? 'restart' : reason === 'halt' ? 'destroy' : undefined;
      saveRecord(recordsDir(this.ports.paths), domain.record);
      const node = `${homeOf(domain.domid)}/control/shutdown`;
      await this.ports.store.write([{ path: node, value: reason, perms: `n${domain.domid}` }]);
      this.#later(SHUTDOWN_ANSWER_MS, async () => {
        if (this.#domains.get(domain.uuid) !== domain || (await this.ports.store.read(node)) !== reason) return;
        this.#log('WARNING', `domain ${domain.domid} "${domain.name}" does not answer the request to ${reason}`);
      });
      return { uuid: domain.uuid, builds: domain.status?.builds ?? 0 };
    });
  }

  async destroy(name: string): Promise<void> {
    const domain = this.#guest(name, 'destroy');
    // Not through the queue: destroy is what one asks for when something else does not come to an end.
    await this.#end(domain, undefined);
  }

  /** How the domain with this uuid ended; waits for it, up to a time. Undefined: it still is. */
  async exitOf(uuid: string, timeoutMs: number): Promise<ExitView | undefined> {
    const deadline = this.ports.now() + timeoutMs;
    for (;;) {
      if (!this.#domains.has(uuid)) {
        const exit = this.#exits.value.findLast((one) => one.uuid === uuid);
        if (exit) return exit;
        throw new XendError('exit-not-found', uuid);
      }
      const rest = deadline - this.ports.now();
      if (rest <= 0 || this.#closing) return undefined;
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          this.#exitWaiters.delete(done);
          resolve();
        };
        const timer = setTimeout(done, rest);
        this.#exitWaiters.add(done);
      });
    }
  }

  // What happens by itself.

  #events(domain: Domain): ReturnType<CreateContext['events']> {
    return {
      state: (status) => {
        domain.status = status;
        if (status.state === 'shutdown' && status.builds > domain.decided) {
          domain.decided = status.builds;
          void domain.enqueue(() => this.#guestEnded(domain)).catch((error) => this.#log('ERROR', String(error)));
        }
      },
      closed: () => {
        if (this.#closing || domain.link === undefined || domain.record.phase !== 'alive') return;
        domain.link = undefined;
        domain.status = undefined;
        const exit: MachineExit = {
          kind: 'crash',
          report: ['its monitor process ended unexpectedly; see its log file'],
        };
        void domain.enqueue(() => this.#monitorDied(domain, exit)).catch((error) => this.#log('ERROR', String(error)));
      },
    };
  }

  /** Decide what becomes of a domain whose guest has ended, and see to it. */
  async #guestEnded(domain: Domain): Promise<void> {
    if (domain.record.phase !== 'alive') return;
    const exit: MachineExit = domain.status?.exit ?? { kind: 'crash' };
    if (exit.kind === 'crash') this.#tellCrash(domain, exit.report ?? []);
    const action = this.#decide(domain, exit.kind);
    this.#log('INFO', `domain ${domain.domid} "${domain.name}" ended: ${exit.kind}; now: ${action}`);
    if (action === 'preserve') {
      await monitorCall({ domain }, 'keep');
      return this.#answered(domain);
    }
    if (action === 'restart') return this.#restart(domain, exit);
    await this.#end(domain, exit);
  }

  #tellCrash({ domid, name }: Domain, [why, ...rest]: readonly string[]): void {
    this.#message(`d${domid} "${name}" crashed${why ? `: ${why}` : ''}`);
    for (const line of rest) this.#message(`d${domid} ${line}`);
  }

  #decide(domain: Domain, kind: MachineExit['kind']): 'destroy' | 'restart' | 'preserve' {
    const { config, record } = domain;
    const { wanted } = record;
    if (wanted !== undefined && kind !== 'crash') return wanted;
    const action: ExitAction = {
      poweroff: config.onPoweroff,
      reboot: config.onReboot,
      crash: config.onCrash,
      suspend: 'preserve' as const,
    }[kind];
    if (action === 'restart' || action === 'rename-restart' || action === 'coredump-restart') return 'restart';
    return action === 'preserve' ? 'preserve' : 'destroy';
  }

  /** What was asked for is done; a xend killed before this does it again. */
  #answered(domain: Domain): void {
    delete domain.record.wanted;
    saveRecord(recordsDir(this.ports.paths), domain.record);
  }

  /** May it be restarted once more? Notes the restart. */
  #mayRestart(domain: Domain): boolean {
    const { record } = domain;
    const since = this.ports.now() - RESTART_LIMIT.withinMs;
    record.restartsMs = [...record.restartsMs.filter((at) => at > since), this.ports.now()];
    saveRecord(recordsDir(this.ports.paths), record);
    if (record.restartsMs.length <= RESTART_LIMIT.times) return true;
    this.#log(
      'ERROR',
      `VM ${domain.name} restarting too fast: ${RESTART_LIMIT.times} times in ${RESTART_LIMIT.withinMs / 1000} s`,
    );
    this.#message(`d${domain.domid} "${domain.name}" is restarting too fast: it ends`);
    return false;
  }

  async #restart(domain: Domain, exit: MachineExit): Promise<void> {
    if (!this.#mayRestart(domain)) return this.#end(domain, exit);
    try {
      // The old machine must be gone before the tree is new, or its backends would write into it.
      await monitorCall({ domain }, 'release');
      await writeTree(this.#context(domain));
      await monitorCall({ domain }, 'rebuild');
      this.#answered(domain);
      await writeRings(this.#context(domain));
    } catch (error) {
      this.#log('ERROR', `restarting domain ${domain.domid} "${domain.name}": ${(error as Error).message}`);
      await this.#end(domain, { kind: 'crash', report: [`it could not be restarted: ${(error as Error).message}`] });
    }
  }

  async #monitorDied(domain: Domain, exit: MachineExit): Promise<void> {
    if (domain.record.phase !== 'alive') return;
    this.#message(`d${domain.domid} "${domain.name}": ${exit.report?.[0]}`);
    if (this.#decide(domain, 'crash') !== 'restart' || !this.#mayRestart(domain)) return this.#end(domain, exit);
    const context = this.#context(domain);
    try {
      await undo(BOOT, context, this.#progress(domain));
      domain.decided = 0;
      await perform(BOOT, context, this.#progress(domain));
      await monitorCall({ domain }, 'unpause');
    } catch {
      await this.#end(domain, exit);
    }
  }

  /** End a domain: note why, then undo everything that made it. */
  #end(domain: Domain, exit: MachineExit | undefined): Promise<void> {
    domain.ending ??= this.#endOnce(domain, exit);
    return domain.ending;
  }

  async #endOnce(domain: Domain, exit: MachineExit | undefined): Promise<void> {
    domain.record.phase = 'ending';
    domain.record.exit = exit;
    saveRecord(recordsDir(this.ports.paths), domain.record);
    const { uuid, name, domid } = domain;
    const kind = exit?.kind ?? 'destroyed';
    this.#exits.value.push({ uuid, name, domid, kind, report: exit?.report ?? [], atMs: this.ports.now() });
    this.#exits.value.splice(0, this.#exits.value.length - EXITS_KEPT);
    this.#exits.save();
    await undo(operation('destroy', CREATE.steps), this.#context(domain), this.#progress(domain));
    this.#message(`d${domid} "${name}" is gone: ${kind}`);
    this.#wakeExitWaiters();
  }

  #wakeExitWaiters(): void {
    for (const wake of [...this.#exitWaiters]) wake();
  }

  // The books.

  #context(domain: Domain): CreateContext {
    return {
      domain,
      paths: this.ports.paths,
      store: this.ports.store,
      reserve: (one) => this.#reserve(one),
      forget: (one) => {
        if (this.#domains.get(one.uuid) === one) this.#domains.delete(one.uuid);
      },
      events: (one) => this.#events(one),
    };
  }

  #reserve(domain: Domain): void {
    const { config, uuid, name } = domain;
    if (name === 'Domain-0') throw new XendError('name-clash', name, '0');
    for (const other of this.#domains.values()) {
      if (other.name === name) throw new XendError('name-clash', name, String(other.domid));
      if (other.uuid === uuid) throw new XendError('uuid-clash', uuid, other.name);
    }
    const free = freeMemoryMiB(totalMemoryMiB(), this.#memoryInUse());
    const need = config.memoryMiB + DOMAIN_OVERHEAD_MIB;
    if (need > free) throw new XendError('no-memory', name, String(need), String(free));
    this.#domains.set(uuid, domain);
    saveRecord(recordsDir(this.ports.paths), domain.record);
  }

  #takeDomid(): number {
    const used = new Set([...this.#domains.values()].map(({ domid }) => domid));
    let domid = this.#nextDomid.value;
    while (domid >= DOMID_LIMIT || domid < 1 || used.has(domid)) domid = domid >= DOMID_LIMIT ? 1 : domid + 1;
    this.#nextDomid.value = domid + 1;
    this.#nextDomid.save();
    return domid;
  }

  #later(ms: number, work: () => Promise<void>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work().catch((error) => this.#log('ERROR', String(error)));
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  #progress(domain: Domain): (text: string) => void {
    return (text) => this.#log('DEBUG', `domain ${domain.domid} "${domain.name}": ${text}`);
  }

  #message(text: string): void {
    this.ports.messages.add(text);
    this.#log('INFO', text);
  }

  #log(level: Level, text: string): void {
    this.ports.log.write(level, 'xend', text);
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
