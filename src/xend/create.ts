/**
 * Making a domain, as steps with undo. RESERVE makes it exist in xend's books, BOOT makes it exist as a process. Undoing
 * them ends a domain, however far it had come; doing BOOT again restarts one whose monitor died.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { SCHED_CREDIT } from '../abi/numbers.ts';
import type { Disk, DomainConfig } from '../config/domain-config.ts';
import { kernelLine, kernelLineProblem } from '../config/kernel-line.ts';
import { nameProblem } from '../config/name.ts';
import {
  backendStoreSocket,
  consoleLog,
  controlSocket,
  guestStoreSocket,
  monitorLog,
  type Paths,
  recordsDir,
} from '../host/paths.ts';
import { identify, isAlive, readPidFile, signal, waitGone } from '../host/process-identity.ts';
import { everyCpu } from '../host/threads.ts';
import type { MachineConfig, Scheduling } from '../monitor/machine-types.ts';
import type { MonitorConfig } from '../monitor/main.ts';
import type { Method, ParamsOf } from '../monitor/protocol.ts';
import { homeOf } from '../store/path.ts';
import { diskNodes } from './disk-nodes.ts';
import type { Domain } from './domain.ts';
import { type DomainStore, domainTree, treeRoots } from './domain-store.ts';
import { XendError } from './errors.ts';
import { type LinkEvents, MonitorFailure, MonitorLink, spawnMonitor } from './monitor-link.ts';
import { type Operation, operation, step } from './operation.ts';
import { removeRecord, saveRecord } from './record.ts';

export interface CreateContext {
  readonly domain: Domain;
  readonly paths: Paths;
  readonly store: DomainStore;
  readonly consolePortBase: number;
  readonly pulseMs: number;
  /** Take name, id and memory in the books; throws when they are taken. */
  reserve(domain: Domain): void;
  /** Strike the domain out of the books; false when another has its uuid. */
  forget(domain: Domain): boolean;
  /** Handlers for what the monitor tells unasked. */
  events(domain: Domain): LinkEvents;
}

const STARTUP_TIMEOUT_MS = 15_000;
const DESTROY_TIMEOUT_MS = 10_000;

export const RESERVE: Operation<CreateContext> = operation('create', [
  step('check files', ({ domain }) => checkFiles(domain.config)),
  step(
    'reserve name, id and memory',
    (c) => c.reserve(c.domain),
    (c) => {
      if (c.forget(c.domain)) removeRecord(recordsDir(c.paths), c.domain.uuid);
    },
  ),
]);

export const BOOT: Operation<CreateContext> = operation('create', [
  step('make its folder', makeFolder, ({ domain }) => rmSync(domain.runDir, { recursive: true, force: true })),
  step('write its store tree', writeTree, async ({ domain, store }) => {
    await store.release(domain.domid);
    await store.remove(treeRoots(domain.domid, domain.uuid));
  }),
  step('start its monitor', startMonitor, stopMonitor),
  step('build it', build),
  step('note that it lives', (c) => {
    c.domain.record.phase = 'alive';
    delete c.domain.record.exit; // Of the monitor before this one, ...
    delete c.domain.record.changing; // ... and a disk that was being attached to the machine before this one.
    saveRecord(recordsDir(c.paths), c.domain.record);
  }),
]);

export const CREATE: Operation<CreateContext> = operation('create', [...RESERVE.steps, ...BOOT.steps]);

/** Find what is wrong with a configuration and its files before anything is begun. */
export function checkFiles(config: DomainConfig): void {
  const problem = nameProblem(config.name) ?? kernelLineProblem(config);
  if (problem) throw new XendError('bad-config', problem);
  if (config.maxmemMiB < config.memoryMiB) {
    throw new XendError('bad-config', `maxmem (${config.maxmemMiB}) is less than memory (${config.memoryMiB})`);
  }
  const kernel = fileProblem(config.kernel, 'r');
  if (kernel) throw new XendError('kernel-missing', config.kernel, kernel);
  const ramdisk = config.ramdisk === undefined ? undefined : fileProblem(config.ramdisk, 'r');
  if (ramdisk) throw new XendError('ramdisk-missing', config.ramdisk!, ramdisk);
  for (const disk of config.disks) checkDisk(disk);
  diskNodes(config.disks);
  for (const cpus of config.cpus ?? []) checkCpus(cpus);
}

/** A thread needs a CPU of this machine; none named means any. */
export function checkCpus(cpus: readonly number[]): void {
  const online = everyCpu();
  const missing = cpus.filter((cpu) => !online.includes(cpu));
  if (missing.length > 0)
    throw new XendError('bad-config', `this machine has no CPU ${missing.join(', ')}: there are ${online.join(', ')}`);
}

export function checkDisk({ uname, mode }: Disk): void {
  const where = backingPath(uname);
  if (where === undefined) throw new XendError('disk-form', uname, 'it begins neither with file: nor with phy:');
  const wrong = fileProblem(where, mode, uname.startsWith('phy:'));
  if (wrong) throw new XendError('disk-missing', uname, wrong);
}

/** The file or device behind a disk's name: relative phy: names are below /dev (xm-xend 3.1). */
export function backingPath(uname: string): string | undefined {
  if (uname.startsWith('file:')) return uname.slice(5);
  if (uname.startsWith('phy:')) return path.resolve('/dev', uname.slice(4));
  return undefined;
}

function fileProblem(file: string, mode: 'r' | 'w', device = false): string | undefined {
  if (!path.isAbsolute(file)) return 'the path is not absolute';
  try {
    const stat = statSync(file);
    if (stat.isDirectory()) return 'it is a folder';
    if (device && !stat.isBlockDevice()) return 'it is not a block device; write file: for a file';
    if (!device && !stat.isFile() && !stat.isBlockDevice()) return 'it is not a regular file';
    accessSync(file, mode === 'w' ? constants.R_OK | constants.W_OK : constants.R_OK);
    closeSync(openSync(file, 'r'));
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'no such file';
    if (code === 'EACCES' || code === 'EPERM') return mode === 'w' ? 'no permission to write it' : 'no permission';
    return message;
  }
}

export const schedulingOf = ({ cpuWeight, cpuCap, cpus }: DomainConfig): Scheduling => ({
  weight: cpuWeight ?? SCHED_CREDIT.weight,
  cap: cpuCap ?? 0,
  affinity: cpus ?? [],
});

/** What a domain's machine is to be, by the configuration as it is now. */
export function machineConfig({ domain, paths }: Pick<CreateContext, 'domain' | 'paths'>): MachineConfig {
  const { config, domid, uuid, runDir } = domain;
  return {
    domid,
    uuid,
    name: config.name,
    memoryMiB: config.memoryMiB,
    maxmemMiB: config.maxmemMiB,
    vcpus: config.vcpus,
    kernel: config.kernel,
    ramdisk: config.ramdisk,
    cmdline: kernelLine(config),
    disks: config.disks,
    scheduling: schedulingOf(config),
    paths: { run: runDir, lib: paths.lib, log: paths.log },
    store: { guestSocket: guestStoreSocket(runDir), backendSocket: backendStoreSocket(runDir) },
  };
}

function makeFolder(c: CreateContext): void {
  const { domain, paths, consolePortBase, pulseMs } = c;
  const { runDir, config, domid } = domain;
  rmSync(runDir, { recursive: true, force: true });
  delete domain.record.loggedAs;
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const monitor: MonitorConfig = {
    machine: machineConfig(c),
    consoleLog: consoleLog(paths, domain.name),
    consolePort: { port: config.consolePort ?? consolePortBase + domid, fixed: config.consolePort !== undefined },
    monitorLog: monitorLog(paths, domain.name),
    pulseMs,
  };
  writeFileSync(path.join(runDir, 'config.json'), `${JSON.stringify(monitor, null, 1)}\n`, { mode: 0o600 });
}

export async function writeTree({ domain, store }: CreateContext): Promise<void> {
  await store.remove(treeRoots(domain.domid, domain.uuid));
  await store.write(domainTree(domain.domid, domain.uuid, domain.config, diskNodes(domain.config.disks)));
  await store.introduce(domain.domid, domain.runDir);
}

/** Tell the store where the guest's rings are: for people and tools, Linux knows from its start_info. */
export async function writeRings({ domain, store }: CreateContext): Promise<void> {
  const rings = domain.status?.info?.rings;
  if (!rings) return;
  const home = homeOf(domain.domid);
  const perms = `n0,r${domain.domid}`;
  await store.write([
    { path: `${home}/store/port`, value: String(rings.storePort), perms },
    { path: `${home}/store/ring-ref`, value: String(rings.storeFrame), perms },
    { path: `${home}/console/port`, value: String(rings.consolePort), perms },
    { path: `${home}/console/ring-ref`, value: String(rings.consoleFrame), perms },
  ]);
}

async function startMonitor(c: CreateContext, gaveUp: AbortSignal): Promise<void> {
  const { domain, paths } = c;
  const logFile = monitorLog(paths, domain.name);
  const who = identify(await spawnMonitor(domain.runDir, logFile));
  const socket = controlSocket(domain.runDir);
  const deadline = Date.now() + STARTUP_TIMEOUT_MS;
  for (;;) {
    // It takes some tenths of a second to listen: a look is cheaper than a connection refused.
    if (existsSync(socket)) {
      domain.link = await MonitorLink.connect(socket, c.events(domain)).catch(() => undefined);
      if (domain.link) return;
    }
    if (gaveUp.aborted) {
      // It has not said yet who it is, so that whoever undoes this step might not find it.
      signal(who, 'SIGKILL');
      await waitGone(who, DESTROY_TIMEOUT_MS);
      throw gaveUp.reason;
    }
    if (!isAlive(who)) throw new XendError('monitor-failed', domain.name, `ended while starting; see ${logFile}`);
    if (Date.now() > deadline) {
      signal(who, 'SIGKILL');
      throw new XendError('monitor-failed', domain.name, `does not start; see ${logFile}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** End the monitor: it is asked, then killed. Works from its pid file alone, so also for what another xend left. */
export async function stopMonitor({ domain }: CreateContext): Promise<void> {
  const who = readPidFile(path.join(domain.runDir, 'monitor.pid'));
  let { link } = domain;
  domain.link = undefined;
  if (who && isAlive(who)) {
    const quiet: LinkEvents = { state() {}, closed() {} };
    link ??= await MonitorLink.connect(controlSocket(domain.runDir), quiet).catch(() => undefined);
    link?.call('destroy').catch(() => {});
    // A machine that is being built has nothing to write back, and its build may take long.
    if (domain.status?.state === 'building') signal(who, 'SIGKILL');
    else if (!link) signal(who, 'SIGTERM');
    if (!(await waitGone(who, DESTROY_TIMEOUT_MS))) {
      signal(who, 'SIGKILL');
      await waitGone(who, 2000);
    }
  }
  link?.close();
}

async function build(c: CreateContext): Promise<void> {
  await monitorCall(c, 'build');
  await writeRings(c);
}

/** Call the monitor; its refusals become ours. `refusal` is for what people can mend. */
export async function monitorCall<M extends Method>(
  c: { readonly domain: Domain },
  method: M,
  params?: ParamsOf<M>,
  refusal: (name: string, why: string) => XendError = (name, why) => new XendError('build-failed', name, why),
): Promise<void> {
  const { domain } = c;
  try {
    if (!domain.link) throw new MonitorFailure('gone', 'has ended');
    await domain.link.call(method, params);
  } catch (error) {
    if (!(error instanceof MonitorFailure)) throw error;
    if (error.kind === 'build') throw refusal(domain.name, error.message);
    if (error.kind === 'state') throw new XendError('wrong-state', domain.name, error.message);
    const what = error.kind === 'gone' ? error.message : `failed: ${error.message}; see its log file`;
    throw new XendError('monitor-failed', domain.name, what);
  }
}
