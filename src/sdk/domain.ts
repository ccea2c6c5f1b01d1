/** A domain in the hands of a program: everything that xm can do to it, and its console. */
import type { Disk } from '../config/domain-config.ts';
import { type CopyOptions, copyFromGuest, copyToGuest } from '../host/guest-files.ts';
import type { XendEvent } from '../xend/events.ts';
import type { ChannelView, DiskView, DomainView, ExitView, Profile, SchedulingView, VcpuView } from '../xend/view.ts';
import { ApiError, type XendClient } from './client.ts';
import { Console } from './console.ts';
import { diskOf } from './domain-init.ts';
import { type EventFilter, events } from './events.ts';
import { AGENT_WAIT_MS, type ExecOptions, type ExecResult, runInGuest } from './exec.ts';
import { GuestProcess, type StartOptions } from './guest-process.ts';
import { openTunnel, type Tunnel } from './tunnel.ts';

/** How long one request to wait for an end lasts; it is repeated. */
const WAIT_S = 50;
/** The same where its end may not be that of the domain: that is looked at in between. */
const KEPT_LOOK_S = 1;

export interface ShutdownOptions {
  /** End it even if its configuration says restart; true when not given. */
  readonly halt?: boolean;
  /** Until it has ended; true when not given. */
  readonly wait?: boolean;
  readonly timeoutMs?: number;
  readonly force?: boolean;
}

export interface ConsoleOptions {
  /** write (the default): type when nobody else does. force: take over. watch: never type. */
  readonly mode?: 'write' | 'force' | 'watch';
}

/** Requests that take nothing but the domain. */
type Plain = `POST /domains/:name/${'unpause' | 'pause' | 'destroy' | 'reset' | 'nmi'}`;

export class Domain implements AsyncDisposable {
  readonly #client: XendClient;
  readonly #release: () => Promise<void>;
  readonly uuid: string;
  readonly domid: number;
  readonly #consoles = new Set<Console>();
  #tunnel: Promise<Tunnel> | undefined;

  /** Made by a Host. `release` is called after the domain was disposed of. */
  constructor(client: XendClient, { uuid, domid }: DomainView, release: () => Promise<void> = async () => {}) {
    this.#client = client;
    this.uuid = uuid;
    this.domid = domid;
    this.#release = release;
  }

  // What it is.

  view(): Promise<DomainView> {
    return this.#client.call('GET /domains/:name', { name: this.uuid });
  }

  disks(): Promise<readonly DiskView[]> {
    return this.#client.call('GET /domains/:name/disks', { name: this.uuid });
  }

  vcpus(): Promise<readonly VcpuView[]> {
    return this.#client.call('GET /domains/:name/vcpus', { name: this.uuid });
  }

  scheduling(): Promise<SchedulingView> {
    return this.#client.call('GET /domains/:name/scheduling', { name: this.uuid });
  }

  // What can be done to it. All reject with an ApiError.

  async unpause(): Promise<void> {
    await this.#do('POST /domains/:name/unpause');
  }

  async pause(): Promise<void> {
    await this.#do('POST /domains/:name/pause');
  }

  /**
   * Ask the guest to end, and wait until it has; resolves with undefined when its configuration keeps it then, or nothing is
   * waited for. What has not ended after `timeoutMs` is destroyed with `force`; without, this rejects.
   */
  async shutdown(options: ShutdownOptions = {}): Promise<ExitView | undefined> {
    const { halt = true, wait = true, timeoutMs = Number.POSITIVE_INFINITY, force = false } = options;
    await this.#client.call('POST /domains/:name/shutdown', {
      name: this.uuid,
      reason: halt ? 'halt' : 'poweroff',
    });
    if (!wait) return undefined;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const leftS = (deadline - performance.now()) / 1000;
      const exit = await this.#exit(Math.max(0, Math.min(leftS, KEPT_LOOK_S)));
      if (exit) return exit;
      if (await this.#isKept()) return undefined;
      if (leftS > 0) continue;
      if (!force) throw new ApiError('not-ended', 408, `it has not ended after ${timeoutMs / 1000} s`);
      await this.destroy();
      return this.exited();
    }
  }

  /** Ask the guest to restart, and wait until its new machine runs. */
  async reboot({ wait = true } = {}): Promise<void> {
    const from = await this.#client.call('GET /events', {});
    await this.#client.call('POST /domains/:name/shutdown', { name: this.uuid, reason: 'reboot' });
    if (!wait) return;
    for await (const { type } of this.events({ since: from.last, types: ['domain.restarted', 'domain.gone'] })) {
      if (type === 'domain.restarted') return;
      throw new ApiError('wrong-state', 409, 'it ended instead of restarting');
    }
  }

  /** End it now. Nothing happens when it has ended already. */
  async destroy(): Promise<void> {
    try {
      await this.#do('POST /domains/:name/destroy');
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'domain-not-found')) throw error;
    }
  }

  /** Restart it now, without asking its guest. */
  async reset(): Promise<void> {
    await this.#do('POST /domains/:name/reset');
  }

  async rename(newName: string): Promise<void> {
    await this.#client.call('POST /domains/:name/rename', { name: this.uuid, newName });
  }

  async sysrq(key: string): Promise<void> {
    await this.#client.call('POST /domains/:name/sysrq', { name: this.uuid, key });
  }

  async nmi(): Promise<void> {
    await this.#do('POST /domains/:name/nmi');
  }

  /** Write its memory and registers to a file on xend's machine; resolves with the file's path. */
  async dumpCore(file?: string): Promise<string> {
    return (await this.#client.call('POST /domains/:name/core', { name: this.uuid, file })).file;
  }

  /** Where it spends its time, watched for so many seconds: the guest's functions and its monitor's, and `regions` of its hot code. */
  profile(seconds: number, { regions = 0 } = {}): Promise<Profile> {
    return this.#client.call('POST /domains/:name/profile', { name: this.uuid, seconds, regions });
  }

  /** Its channels: consoles with a name, such as the agent's. */
  channels(): Promise<readonly ChannelView[]> {
    return this.#client.call('GET /domains/:name/channels', { name: this.uuid });
  }

  /** `file:/path,sda2,w`, or its parts. */
  attachDisk(disk: string | Disk): Promise<DiskView> {
    return this.#client.call('POST /domains/:name/disks/attach', { name: this.uuid, disk: diskOf(disk) });
  }

  /** `force`: whether or not its guest lets go. */
  async detachDisk(dev: string, { force = false } = {}): Promise<void> {
    await this.#client.call('POST /domains/:name/disks/detach', { name: this.uuid, dev, force });
  }

  /** Which CPUs a vCPU may run on, or all of its vCPUs. */
  async pin(cpus: readonly number[], vcpu?: number): Promise<void> {
    await this.#client.call('POST /domains/:name/vcpus/pin', { name: this.uuid, cpus: [...cpus], vcpu });
  }

  /** How far its memory may grow; its kernel hears of it when it boots the next time. */
  async setMaxmem(maxmemMiB: number): Promise<void> {
    await this.#client.call('POST /domains/:name/maxmem', { name: this.uuid, maxmemMiB });
  }

  /** Weight against others, and a limit in percent of one CPU. */
  setScheduling(share: { weight?: number; cap?: number }): Promise<SchedulingView> {
    return this.#client.call('POST /domains/:name/scheduling', { name: this.uuid, ...share });
  }

  // What happens to it.

  events(filter: Omit<EventFilter, 'uuid'> = {}): AsyncGenerator<XendEvent, void, void> {
    return events(this.#client, { ...filter, uuid: this.uuid });
  }

  /** Resolves when it is gone, with how it ended. */
  async exited(): Promise<ExitView> {
    for (;;) {
      const exit = await this.#exit(WAIT_S);
      if (exit) return exit;
    }
  }

  async #exit(waitS: number): Promise<ExitView | undefined> {
    return (await this.#client.call('GET /exits/:uuid', { uuid: this.uuid, waitS })).exit;
  }

  /** Its guest has ended and it is kept, or it has just gone. */
  async #isKept(): Promise<boolean> {
    try {
      return (await this.view()).state === 'shutdown';
    } catch (error) {
      if (error instanceof ApiError && error.code === 'domain-not-found') return false;
      throw error;
    }
  }

  /** Attach to its console; what was printed before, as far as it is kept, comes first. */
  async console({ mode = 'write' }: ConsoleOptions = {}): Promise<Console> {
    const path = `/domains/${encodeURIComponent(this.uuid)}/console/stream?mode=${mode}`;
    const console = await Console.open(this.#client.target, path);
    this.#consoles.add(console);
    return console;
  }

  // What its guest does for us, through the agent.

  /**
   * Run a command in the guest: text by its shell, a list of words as it is. A guest that is booting is waited for. Rejects
   * with an AgentError when it cannot be run; how the command ended is in the result.
   */
  async exec(command: string | readonly string[], options?: ExecOptions): Promise<ExecResult> {
    return runInGuest(await this.#agent(), command, options);
  }

  /** Start a command in the guest, to read what it prints as it comes and to type to it. As `exec` in all else. */
  async start(command: string | readonly string[], options: StartOptions = {}): Promise<GuestProcess> {
    return GuestProcess.start(await this.#agent(), command, options);
  }

  /** Copy a file or a folder into the guest, as `cp -r` does. */
  async copyIn(from: string, to: string, options?: CopyOptions): Promise<void> {
    await copyToGuest(await this.#agent(), from, to, { waitMs: AGENT_WAIT_MS, ...options });
  }

  /** Copy a file or a folder out of the guest, as `cp -r` does. */
  async copyOut(from: string, to: string, options?: CopyOptions): Promise<void> {
    await copyFromGuest(await this.#agent(), from, to, { waitMs: AGENT_WAIT_MS, ...options });
  }

  /** The socket of its monitor where commands are asked for, here or by a tunnel. */
  async #agent(): Promise<string> {
    const { socket } = await this.#client.call('GET /domains/:name/agent', { name: this.uuid });
    const { target } = this.#client;
    if (typeof target === 'string') return socket;
    this.#tunnel ??= openTunnel(target, `/domains/${this.uuid}/agent/stream`);
    return (await this.#tunnel).path;
  }

  /** End it, detach its consoles, and give back what was made for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.destroy();
    } finally {
      for (const console of this.#consoles) console.close();
      (await this.#tunnel)?.close();
      await this.#release();
    }
  }

  #do(route: Plain): Promise<unknown> {
    return this.#client.call(route, { name: this.uuid });
  }
}
