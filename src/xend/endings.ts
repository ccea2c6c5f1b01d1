/**
 * What becomes of a domain whose guest or whose monitor has ended: it is destroyed, restarted or kept, as it was asked to
 * be or as its configuration says. Listens to the monitors; everything it does to a domain goes through its queue.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { ExitAction } from '../config/domain-config.ts';
import { recordsDir } from '../host/paths.ts';
import { isCrash } from '../monitor/lifecycle.ts';
import type { MachineExit } from '../monitor/machine-types.ts';
import type { Books } from './books.ts';
import {
  BOOT,
  CREATE,
  type CreateContext,
  machineConfig,
  monitorCall,
  stopMonitor,
  writeRings,
  writeTree,
} from './create.ts';
import type { Domain } from './domain.ts';
import { XendError } from './errors.ts';
import type { Exits } from './exits.ts';
import type { LinkEvents } from './monitor-link.ts';
import { type Course, type Operation, operation, perform, step, undo } from './operation.ts';
import { logLine, tell, type XendPorts } from './ports.ts';
import { saveRecord } from './record.ts';
import { stateEvents } from './state-events.ts';
import { type Follow, RENAME_RESTART, type SuccessionContext, succeed } from './successor.ts';

/** A domain that was restarted this often within this time is not restarted again: it would go round for ever. */
export const RESTART_LIMIT = { times: 5, withinMs: 60_000 };

type RestartContext = CreateContext & { answered(): void };

/** A new machine in the same monitor, for a guest that has ended. */
export const RESTART: Operation<RestartContext> = operation('restart', [
  // The old machine must be gone before the tree is new, or its backends would write into it.
  step('release the old machine', (c) => monitorCall(c, 'release')),
  step('write its store tree', writeTree),
  step('build it again', (c) => monitorCall(c, 'rebuild', { machine: machineConfig(c) })),
  step('note that it lives', (c) => {
    c.answered();
    return writeRings(c);
  }),
]);

export class Endings {
  readonly #ports: XendPorts;
  readonly #books: Books;
  readonly #exits: Exits;
  readonly #follow: Follow;
  #closing = false;

  constructor(ports: XendPorts, books: Books, exits: Exits, follow: Follow) {
    this.#follow = follow;
    this.#ports = ports;
    this.#books = books;
    this.#exits = exits;
  }

  /** Take no notice of monitors any more: xend lets go of them. */
  close(): void {
    this.#closing = true;
  }

  /** What the steps of create.ts work with. */
  context(domain: Domain): CreateContext {
    return {
      domain,
      paths: this.#ports.paths,
      store: this.#ports.store,
      consolePortBase: this.#ports.consolePortBase,
      pulseMs: this.#ports.patience.pulseMs,
      reserve: (one) => this.#books.reserve(one),
      forget: (one) => this.#books.strike(one),
      events: (one) => this.events(one),
    };
  }

  /** What a domain's monitor tells. */
  events(domain: Domain): LinkEvents {
    const queue = (name: string, work: (course: Course) => Promise<void>) =>
      void domain.enqueue(name, work).catch((error) => {
        // A domain that is being destroyed takes no more work, and needs none.
        if (domain.destroying === undefined) logLine(this.#ports, 'ERROR', String(error));
      });
    return {
      state: (status) => {
        for (const { type, data } of stateEvents(domain.status, status, domain.decided))
          this.#ports.events.emit(type, domain, data);
        domain.status = status;
        if (status.state !== 'shutdown' || status.builds <= domain.decided) return;
        domain.decided = status.builds;
        queue('deal with the end of its guest', (course) => this.#guestEnded(domain, course));
      },
      closed: () => {
        if (this.#closing || domain.link === undefined || domain.record.phase !== 'alive') return;
        domain.link = undefined;
        domain.status = undefined;
        const how = domain.hung ? 'did not answer any more and was ended' : 'ended unexpectedly; see its log file';
        domain.hung = false;
        const report = [`its monitor process ${how}`];
        queue('deal with the death of its monitor', (course) =>
          this.#monitorDied(domain, { kind: 'crash', report }, course),
        );
      },
    };
  }

  /** End a domain now, whatever is being done to it: that gives up, and its monitor is not waited for. */
  destroy(domain: Domain): Promise<void> {
    domain.destroying ??= this.#destroy(domain);
    return domain.destroying;
  }

  async #destroy(domain: Domain): Promise<void> {
    // Noted first, so that a xend that is killed meanwhile goes on with it. A record that is not there yet stays away.
    domain.record.phase = 'ending';
    if (this.#books.holds(domain)) this.#save(domain);
    await domain.work.overtake(
      'destroy',
      new XendError('wrong-state', domain.name, 'it is being destroyed'),
      () => stopMonitor(this.context(domain)),
      (course) => this.end(domain, undefined, course),
    );
  }

  /** End a domain as part of `course`: note why, then undo everything that made it. Asked for twice, it is done once. */
  end(domain: Domain, exit: MachineExit | undefined, course: Course): Promise<void> {
    domain.ending ??= this.#endOnce(domain, domain.destroying ? undefined : exit, course);
    return domain.ending;
  }

  async #endOnce(domain: Domain, exit: MachineExit | undefined, course: Course): Promise<void> {
    domain.record.phase = 'ending';
    domain.record.exit = exit;
    this.#save(domain);
    const { uuid, name, domid } = domain;
    const kind = exit?.kind ?? 'destroyed';
    this.#exits.note({ uuid, name, domid, kind, report: exit?.report ?? [] });
    await undo(CREATE, this.context(domain), course);
    tell(this.#ports, `d${domid} "${name}" is gone: ${kind}`);
    this.#ports.events.emit('domain.gone', domain, { reason: kind });
    this.#exits.wake();
  }

  /** Decide what becomes of a domain whose guest has ended, and see to it. */
  async #guestEnded(domain: Domain, course: Course): Promise<void> {
    if (domain.record.phase !== 'alive') return;
    const exit: MachineExit = domain.status?.exit ?? { kind: 'crash' };
    if (isCrash(exit.kind)) this.#tellCrash(domain, exit.report ?? []);
    const action = decide(domain, exit.kind);
    logLine(this.#ports, 'INFO', `domain ${domain.domid} "${domain.name}" ended: ${exit.kind}; now: ${action}`);
    if (action.startsWith('coredump-') || (isCrash(exit.kind) && this.#ports.dumpsCrashes))
      await this.#saveCore(domain);
    switch (action) {
      case 'preserve':
        await monitorCall({ domain }, 'keep');
        domain.record.decided = domain.decided;
        return this.#answered(domain);
      case 'rename-restart':
        return this.#renameRestart(domain, exit, course);
      case 'coredump-restart':
      case 'restart':
        return this.#restart(domain, exit, course);
      case 'coredump-destroy':
      case 'destroy':
        return this.end(domain, exit, course);
    }
  }

  /** Where a core of this domain goes when nobody says. */
  coreFile({ name, domid }: Domain): string {
    const file = `${stamp(this.#ports.now())}-${name.replaceAll('/', '%2f')}.${domid}.core`;
    return path.join(this.#ports.paths.lib, 'dump', file);
  }

  /** Memory and registers into a file that must not be there yet. */
  async dumpCore(domain: Domain, file: string): Promise<void> {
    await monitorCall({ domain }, 'dumpCore', { file }, (name, why) => new XendError('core-failed', name, why));
    this.#ports.events.emit('domain.dumped', domain, { file });
  }

  /** A core that cannot be written is told, and keeps nothing from going on. */
  async #saveCore(domain: Domain): Promise<void> {
    const file = this.coreFile(domain);
    try {
      mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
      await this.dumpCore(domain, file);
      tell(this.#ports, `d${domain.domid} "${domain.name}": core in ${file}`);
    } catch (error) {
      tell(this.#ports, `d${domain.domid} "${domain.name}": ${(error as Error).message}`);
    }
  }

  /** Keep what is left of the domain under another name, and make a new one with its own. */
  async #renameRestart(domain: Domain, exit: MachineExit, course: Course): Promise<void> {
    if (!this.#mayRestart(domain)) return this.end(domain, exit, course);
    const keptAs = `${domain.name}-${stamp(this.#ports.now())}`;
    await perform(RENAME_RESTART, { ...this.#succession(domain), keptAs }, course);
  }

  #succession(domain: Domain): Omit<SuccessionContext, 'keptAs'> {
    return { domain, ports: this.#ports, books: this.#books, follow: this.#follow };
  }

  /** Make the domain that another xend noted to follow this one. */
  succeed(domain: Domain): Promise<void> {
    return succeed(this.#succession(domain));
  }

  /** Start a domain that is to run by itself and is built; whether it still is to is in its record. */
  async start(domain: Domain): Promise<void> {
    if (!domain.record.starts) return;
    await monitorCall({ domain }, 'unpause');
    this.forgetStart(domain);
  }

  /** Somebody has run it, or paused it: it does not start by itself any more. */
  forgetStart(domain: Domain): void {
    if (!domain.record.starts) return;
    delete domain.record.starts;
    this.#save(domain);
  }

  #tellCrash({ domid, name }: Domain, [why, ...rest]: readonly string[]): void {
    tell(this.#ports, `d${domid} "${name}" crashed${why ? `: ${why}` : ''}`);
    for (const line of rest) tell(this.#ports, `d${domid} ${line}`);
  }

  /** What was asked for is done; a xend killed before this does it again. */
  #answered(domain: Domain): void {
    delete domain.record.wanted;
    this.#save(domain);
  }

  /** May it be restarted once more? Notes the restart. */
  #mayRestart(domain: Domain): boolean {
    const { record } = domain;
    const since = this.#ports.now() - RESTART_LIMIT.withinMs;
    record.restartsMs = [...record.restartsMs.filter((at) => at > since), this.#ports.now()];
    this.#save(domain);
    if (record.restartsMs.length <= RESTART_LIMIT.times) return true;
    const limit = `${RESTART_LIMIT.times} times in ${RESTART_LIMIT.withinMs / 1000} s`;
    logLine(this.#ports, 'ERROR', `VM ${domain.name} restarting too fast: ${limit}`);
    tell(this.#ports, `d${domain.domid} "${domain.name}" is restarting too fast: it ends`);
    return false;
  }

  async #restart(domain: Domain, exit: MachineExit, course: Course): Promise<void> {
    if (!this.#mayRestart(domain)) return this.end(domain, exit, course);
    try {
      await perform(RESTART, { ...this.context(domain), answered: () => this.#answered(domain) }, course);
    } catch (error) {
      const { message } = error as Error;
      if (!domain.destroying)
        logLine(this.#ports, 'ERROR', `restarting domain ${domain.domid} "${domain.name}": ${message}`);
      await this.end(domain, { kind: 'crash', report: [`it could not be restarted: ${message}`] }, course);
    }
  }

  async #monitorDied(domain: Domain, exit: MachineExit, course: Course): Promise<void> {
    if (domain.record.phase !== 'alive') return;
    tell(this.#ports, `d${domain.domid} "${domain.name}": ${exit.report?.[0]}`);
    // Nothing is left that could be kept or dumped.
    if (!decide(domain, 'crash').endsWith('restart') || !this.#mayRestart(domain))
      return this.end(domain, exit, course);
    const context = this.context(domain);
    domain.decided = 0;
    // A xend that is killed until it is built again cleans up what there is of it.
    const { record } = domain;
    Object.assign(record, { phase: 'creating', starts: true, exit });
    delete record.decided;
    this.#save(domain);
    try {
      await undo(BOOT, context, course);
      await perform(BOOT, context, course);
      await this.start(domain);
    } catch {
      await this.end(domain, exit, course);
    }
  }

  /** What cannot be written, as on a full disk, keeps no domain from ending: only a xend that is killed now would not know. */
  #save(domain: Domain): void {
    try {
      saveRecord(recordsDir(this.#ports.paths), domain.record);
    } catch (error) {
      const line = `the record of domain ${domain.domid} "${domain.name}" cannot be written: ${(error as Error).message}`;
      logLine(this.#ports, 'ERROR', line);
    }
  }
}

/** 20261127T182300Z: sorts by time and can be part of a name. */
const stamp = (ms: number): string => new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '');

/**
 * What was asked for is stronger than the configuration, except after a crash. That no restart was wanted is no reason not to
 * keep a domain.
 */
function decide({ config, record }: Domain, kind: MachineExit['kind']): ExitAction {
  const actions: Record<MachineExit['kind'], ExitAction> = {
    poweroff: config.onPoweroff,
    reboot: config.onReboot,
    crash: config.onCrash,
    watchdog: config.onWatchdog ?? config.onCrash,
    suspend: 'preserve',
  };
  const usual = actions[kind];
  if (record.wanted === undefined || isCrash(kind)) return usual;
  return record.wanted === 'destroy' && !usual.endsWith('restart') ? usual : record.wanted;
}
