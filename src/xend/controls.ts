/**
 * What can be asked of a domain besides running, pausing and ending it: another name, a SysRq key, an NMI, a core file, its
 * memory, its share of the CPUs. Each is one piece of work in the domain's queue.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { SCHED_CREDIT } from '../abi/numbers.ts';
import { nameProblem } from '../config/name.ts';
import { recordsDir } from '../host/paths.ts';
import { nextState } from '../monitor/lifecycle.ts';
import { memoryProblem } from '../monitor/machine-size.ts';
import type { Profile } from '../monitor/profile/types.ts';
import { PROTOCOL_ALIVE } from '../monitor/protocol.ts';
import { homeOf } from '../store/path.ts';
import { type Books, isDomain0 } from './books.ts';
import { channelsOf } from './channels.ts';
import { checkCpus, monitorCall, schedulingOf } from './create.ts';
import type { Domain } from './domain.ts';
import { moveLogs } from './domain-logs.ts';
import { domain0Vcpus } from './domain0.ts';
import type { Endings } from './endings.ts';
import { XendError } from './errors.ts';
import type { XendPorts } from './ports.ts';
import { saveRecord } from './record.ts';
import type { ChannelView, SchedulingView, VcpuView } from './view.ts';

export class Controls {
  readonly #ports: XendPorts;
  readonly #books: Books;
  readonly #endings: Endings;

  constructor(ports: XendPorts, books: Books, endings: Endings) {
    this.#ports = ports;
    this.#books = books;
    this.#endings = endings;
  }

  async rename(name: string, newName: string): Promise<void> {
    const domain = this.#books.guest(name, 'rename');
    await domain.enqueue('rename', async () => {
      const problem = nameProblem(newName);
      if (problem) throw new XendError('bad-config', problem);
      const before = domain.name;
      this.#books.rename(domain, newName);
      await this.writeName(domain);
      await moveLogs(domain, this.#ports);
      this.#ports.events.emit('domain.renamed', domain, { before });
    });
  }

  /** Where the guest and the store's other readers find a domain's name. */
  async writeName({ domid, uuid, name }: Domain): Promise<void> {
    const perms = `n0,r${domid}`;
    await this.#ports.store.write([
      { path: `${homeOf(domid)}/name`, value: name, perms },
      { path: `/vm/${uuid}/name`, value: name, perms },
    ]);
  }

  /** Send away everyone who is attached to the console. */
  async disconnect(name: string): Promise<void> {
    const domain = this.#books.guest(name, 'disconnect the console of');
    if ((domain.status?.protocol ?? 0) < PROTOCOL_ALIVE) throw new XendError('not-implemented', 'disconnect');
    await monitorCall({ domain }, 'disconnect');
  }

  async channels(name: string): Promise<ChannelView[]> {
    return channelsOf(this.#books.guest(name, 'list the channels of'), this.#ports.store);
  }

  /** A key that the guest's kernel is to take as typed with SysRq. */
  async sysrq(name: string, key: string): Promise<void> {
    const domain = this.#books.guest(name, 'send a SysRq to');
    await domain.enqueue('sysrq', async () => {
      needRunning(domain);
      const node = `${homeOf(domain.domid)}/control/sysrq`;
      await this.#ports.store.write([{ path: node, value: key, perms: `n${domain.domid}` }]);
    });
  }

  async nmi(name: string): Promise<void> {
    const domain = this.#books.guest(name, 'send an NMI to');
    await domain.enqueue('nmi', () => monitorCall({ domain }, 'nmi'));
  }

  /** As the button on a machine's front: its guest is not asked. */
  async reset(name: string): Promise<void> {
    const domain = this.#books.guest(name, 'reset');
    await domain.enqueue('reset', async () => {
      if (nextState(domain.status?.state ?? 'building', 'guestExit') === undefined)
        throw new XendError('wrong-state', domain.name, `it is ${domain.status?.state ?? 'building'}`);
      domain.record.wanted = 'restart';
      this.#save(domain);
      await monitorCall({ domain }, 'reset');
    });
  }

  /** Write memory and registers to a file, by default in the folder of cores; returns its path. */
  async dumpCore(name: string, file: string | undefined): Promise<string> {
    const domain = this.#books.guest(name, 'dump');
    const target = file ?? this.#endings.coreFile(domain);
    if (!path.isAbsolute(target)) throw new XendError('bad-request', `the path ${target} is not absolute`);
    if (file === undefined) mkdirSync(path.dirname(target), { recursive: true, mode: 0o700 });
    await domain.enqueue('dump its core', () => this.#endings.dumpCore(domain, target));
    return target;
  }

  /** Where the domain spends its time, watched for some seconds in which everything else can be done with it. */
  async profile(name: string, seconds: number, regions: number): Promise<Profile> {
    const domain = this.#books.guest(name, 'profile');
    const file = path.join(domain.runDir, `profile-${randomUUID()}`);
    try {
      const wanted = { seconds, regions, file };
      await monitorCall({ domain }, 'profile', wanted, (who, why) => new XendError('wrong-state', who, why));
      return JSON.parse(readFileSync(file, 'utf8')) as Profile;
    } finally {
      rmSync(file, { force: true });
    }
  }

  // Memory and vCPUs.

  /** To have what it has is no change; for another amount its guest would have to give memory back or take it. */
  setMemory(name: string, memoryMiB: number): void {
    const { config } = this.#books.guest(name, 'change the memory of');
    if (memoryMiB === config.memoryMiB) return;
    throw new XendError('fixed', config.name, `its ${config.memoryMiB} MiB of memory`, 'ballooning is not implemented');
  }

  /** How far its memory may grow; its kernel hears of it when it boots the next time. */
  async setMaxmem(name: string, maxmemMiB: number): Promise<void> {
    const domain = this.#books.guest(name, 'change the memory of');
    await domain.enqueue('set its maxmem', async () => {
      const { memoryMiB } = domain.config;
      if (maxmemMiB < memoryMiB)
        throw new XendError('bad-request', `maxmem (${maxmemMiB}) is less than memory (${memoryMiB})`);
      const problem = memoryProblem(maxmemMiB);
      if (problem) throw new XendError('bad-request', problem);
      domain.record.config = { ...domain.config, maxmemMiB };
      this.#save(domain);
      this.#ports.events.emit('domain.maxmem', domain, { maxmemMiB });
    });
  }

  setVcpus(name: string, vcpus: number): void {
    const { config } = this.#books.guest(name, 'change the vCPUs of');
    if (vcpus === config.vcpus) return;
    const has = config.vcpus === 1 ? 'its one vCPU' : `its ${config.vcpus} vCPUs`;
    throw new XendError('fixed', config.name, has, 'adding and taking away CPUs is not implemented');
  }

  // Scheduling.

  async vcpus(name: string): Promise<VcpuView[]> {
    if (isDomain0(name)) return domain0Vcpus();
    const domain = this.#books.find(name);
    await domain.refresh();
    const { vcpus } = domain.config;
    return Array.from({ length: vcpus }, (_, vcpu) => {
      const { state = 'offline', cpu, cpuTimeNs = 0 } = domain.status?.info?.vcpus?.[vcpu] ?? {};
      return { vcpu, cpu, state, cpuTimeS: cpuTimeNs / 1e9, affinity: domain.config.cpus?.[vcpu] ?? [] };
    });
  }

  /** Let a vCPU, or all of them, run on these CPUs only; on any when there is none. */
  async pin(name: string, vcpu: number | undefined, cpus: readonly number[]): Promise<void> {
    const domain = this.#books.guest(name, 'pin');
    checkCpus(cpus);
    const { vcpus } = domain.config;
    if (vcpu !== undefined && vcpu >= vcpus)
      throw new XendError('bad-request', `domain "${domain.name}" has no vCPU ${vcpu}`);
    await domain.enqueue('pin', async () => {
      const before = Array.from({ length: vcpus }, (_, id) => domain.config.cpus?.[id] ?? []);
      const after = before.map((old, id) => (vcpu === undefined || vcpu === id ? [...cpus] : old));
      await this.#schedule(domain, { cpus: after });
    });
  }

  scheduling(name: string): SchedulingView {
    // What runs beside the domains has this machine's usual share.
    if (isDomain0(name)) return { weight: SCHED_CREDIT.weight, cap: 0 };
    const { weight, cap } = schedulingOf(this.#books.find(name).config);
    return { weight, cap };
  }

  async setScheduling(name: string, wanted: Partial<SchedulingView>): Promise<SchedulingView> {
    const domain = this.#books.guest(name, 'schedule');
    await domain.enqueue('schedule', () =>
      this.#schedule(domain, {
        ...(wanted.weight !== undefined && { cpuWeight: wanted.weight }),
        ...(wanted.cap !== undefined && { cpuCap: wanted.cap }),
      }),
    );
    return this.scheduling(name);
  }

  /** Done first and noted then: what the host refuses is not tried again at every reboot. */
  async #schedule(domain: Domain, change: Partial<Domain['config']>): Promise<void> {
    const config = { ...domain.config, ...change };
    const refusal = (_name: string, why: string) => new XendError('scheduling', why);
    await monitorCall({ domain }, 'schedule', { scheduling: schedulingOf(config) }, refusal);
    domain.record.config = config;
    this.#save(domain);
    this.#ports.events.emit('domain.scheduled', domain, change);
  }

  #save(domain: Domain): void {
    saveRecord(recordsDir(this.#ports.paths), domain.record);
  }
}

export function needRunning(domain: Domain): void {
  const state = domain.status?.state ?? 'building';
  if (state !== 'running') throw new XendError('wrong-state', domain.name, `it is ${state}`);
}
