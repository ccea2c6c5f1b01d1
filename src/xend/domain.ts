/** One domain as xend holds it: its record on disk, the link to its monitor, and the queue of work on it. */
import type { DomainConfig } from '../config/domain-config.ts';
import { domainRunDir } from '../host/paths.ts';
import type { ConsoleStatus } from '../monitor/console/server.ts';
import { isCrash, stateLetters } from '../monitor/lifecycle.ts';
import type { MonitorStatus } from '../monitor/protocol.ts';
import type { MonitorLink } from './monitor-link.ts';
import type { Course } from './operation.ts';
import { observeWork, type XendPorts } from './ports.ts';
import type { DomainRecord } from './record.ts';
import type { DomainView } from './view.ts';
import { WorkQueue } from './work-queue.ts';

/** As the old daemon had it. */
function consoleView(status: ConsoleStatus | undefined, id: number): Pick<DomainView, 'console' | 'consolePort'> {
  if (!status) return {};
  const { port: consolePort, ...rest } = status;
  const how = rest.writer !== undefined ? 'connected' : consolePort !== undefined ? 'listening' : 'new';
  return { ...(consolePort === undefined ? {} : { consolePort }), console: { id, status: how, ...rest } };
}

export class Domain {
  readonly record: DomainRecord;
  readonly runDir: string;
  readonly work: WorkQueue;
  link: MonitorLink | undefined;
  status: MonitorStatus | undefined;
  /** The build whose end is being or has been dealt with. */
  decided: number;
  /** Its monitor was ended because it hung. */
  hung = false;
  /** Set while the domain is being ended. */
  ending: Promise<void> | undefined;
  /** Set when somebody wanted it ended at once. */
  destroying: Promise<void> | undefined;

  constructor(record: DomainRecord, ports: XendPorts) {
    this.record = record;
    this.decided = record.decided ?? 0;
    this.runDir = domainRunDir(ports.paths, record.domid, record.uuid);
    this.work = new WorkQueue(observeWork(ports, this));
  }

  get config(): DomainConfig {
    return this.record.config;
  }

  get name(): string {
    return this.record.config.name;
  }

  /** The name of its log files. */
  get logName(): string {
    return this.record.loggedAs ?? this.name;
  }

  get domid(): number {
    return this.record.domid;
  }

  get uuid(): string {
    return this.record.uuid;
  }

  /** Do `work` after what was asked for before on this domain. */
  enqueue<T>(name: string, work: (course: Course) => Promise<T>): Promise<T> {
    return this.work.enqueue(name, work);
  }

  /** Ask the monitor how the domain is; keeps the last known answer when there is none soon. */
  async refresh(timeoutMs = 1000): Promise<void> {
    if (!this.link) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), timeoutMs);
    });
    await Promise.race([this.link.call('status').catch(() => undefined), late]);
    clearTimeout(timer);
  }

  view(now: number): DomainView {
    const { record, status, work } = this;
    const state = record.phase === 'ending' ? 'dead' : (status?.state ?? 'building');
    const exit = state === 'shutdown' || state === 'dead' ? (record.exit ?? status?.exit) : undefined;
    return {
      domid: record.domid,
      uuid: record.uuid,
      name: this.name,
      memoryMiB: status?.info?.memoryMiB ?? this.config.memoryMiB,
      maxmemMiB: this.config.maxmemMiB,
      vcpus: status?.info?.vcpusOnline ?? this.config.vcpus,
      state,
      letters: stateLetters(state, status?.info?.running ?? false, isCrash(exit?.kind)),
      cpu: status?.info?.cpu ?? 0,
      cpuTimeS: (status?.info?.cpuTimeNs ?? 0) / 1e9,
      upTimeS: Math.max(0, (now - (status?.startedAtMs ?? now)) / 1000),
      startTime: (status?.startedAtMs ?? record.createdAtMs) / 1000,
      builds: status?.builds ?? 0,
      shutdownReason: exit?.kind,
      ...consoleView(status?.console, record.domid),
      operation: work.current && { ...work.current, waiting: work.waiting },
      ...(status?.info?.diskIo && { diskIo: [...status.info.diskIo] }),
      config: this.config,
    };
  }
}
