/**
 * The machine inside a monitor process: builds the domain in a new shared memory, starts its vCPU thread and serves its
 * devices on this thread. xend reaches it through the shell; what a guest can do, it does through rings and event channels.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type MessagePort, Worker } from 'node:worker_threads';
import { SHUTDOWN } from '../abi/numbers.ts';
import type { StreamDisk } from '../devices/blk/stream-disk.ts';
import { guestDisk } from '../devices/blk/vdev.ts';
import { Channel } from '../devices/console/channel.ts';
import { ConsoleBackend } from '../devices/console/console.ts';
import { BackendEvents, type BoundPort, guestPages } from '../devices/guest.ts';
import { connectBackendStore, connectGuestStore } from '../devices/xenstore.ts';
import { openKernel, type UnpackedKernel } from '../guest/kernel-cache.ts';
import { KernelError } from '../guest/kernel-error.ts';
import { writeCoreFile } from '../host/core-file.ts';
import { connectStoreSocket } from '../host/store-socket.ts';
import { compilersYield, everyCpu, pinThread, SchedulingError, threadFacts, weighProcess } from '../host/threads.ts';
import { buildDomain, BuildError as KernelBuildError } from '../hypervisor/builder/index.ts';
import { CodeWrites } from '../hypervisor/code-writes.ts';
import { CONTROL_VCPU, controlVcpu, VcpuActivity, VcpuCommand } from '../hypervisor/control.ts';
import { coreHead } from '../hypervisor/core-dump.ts';
import { EventChannels } from '../hypervisor/event-channels.ts';
import { GrantTable } from '../hypervisor/grant-table.ts';
import { GuestMemory, PAGE_SIZE } from '../hypervisor/memory.ts';
import type { Clock } from '../hypervisor/ports.ts';
import { STATE } from '../x86/state.ts';
import { AGENT_CHANNEL } from './agent/channel.ts';
import { clockOrigin, domainClock } from './clock.ts';
import { Disks } from './disks.ts';
import { memoryProblem, PAGES_PER_MIB, planMemory, WASM_PAGE } from './machine-size.ts';
import {
  BuildError,
  type DiskConfig,
  type Machine,
  type MachineConfig,
  type MachineExit,
  type MachineInfo,
  type MachinePorts,
  type Scheduling,
} from './machine-types.ts';
import { Profiler } from './profile/profiler.ts';
import type { Profile, VcpuProfile } from './profile/types.ts';
import { type PluggedDisk, StreamDisks } from './stream-disks.ts';
import { takeVcpuThread, type VcpuThread } from './vcpu-thread.ts';
import type { VcpuMessage } from './vcpu-worker.ts';

const TRANSLATOR_YOUNG_MIB = 32;

/** The agent's channel is plugged in when the guest has found a disk: it has booted so far. Or then, if it never does. */
const AGENT_PLUG_MS = 30_000;

/** SHUTDOWN reasons as the tool stack knows them. */
const EXIT_KINDS: Readonly<Record<number, MachineExit['kind']>> = {
  [SHUTDOWN.poweroff]: 'poweroff',
  [SHUTDOWN.reboot]: 'reboot',
  [SHUTDOWN.suspend]: 'suspend',
};

function allocate(config: MachineConfig): { wasmMemory: WebAssembly.Memory; memory: GuestMemory } {
  const memoryMiB = Math.max(config.maxmemMiB, config.memoryMiB);
  const problem = memoryProblem(memoryMiB);
  if (problem) throw new BuildError(problem);
  const layout = planMemory(memoryMiB);
  const pages = layout.bytes / WASM_PAGE;
  try {
    const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    return { wasmMemory, memory: new GuestMemory(wasmMemory.buffer as SharedArrayBuffer, layout) };
  } catch {
    throw new BuildError(`the host cannot give ${config.memoryMiB} MiB of memory to the domain`);
  }
}

function readRamdisk(path: string | undefined): Uint8Array | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw unreadable('ramdisk', path, error);
  }
}

function unreadable(what: string, path: string, error: unknown): Error {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined) return error as Error;
  const why = code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'permission denied' : code;
  return new BuildError(`${what} ${path}: ${why}`);
}

/** The domain in its memory, as it is before its first instruction. */
async function build(config: MachineConfig, clock: Clock) {
  let kernel: UnpackedKernel | undefined;
  try {
    kernel = await openKernel(config.kernel, join(config.paths.lib, 'cache'));
    const initrd = readRamdisk(config.ramdisk);
    const { wasmMemory, memory } = allocate(config);
    const built = buildDomain(memory, {
      elf: kernel,
      ...(initrd ? { initrd } : {}),
      cmdline: config.cmdline,
      domid: config.domid,
      pages: config.memoryMiB * PAGES_PER_MIB,
      clock,
    });
    return { wasmMemory, memory, built };
  } catch (error) {
    if (error instanceof KernelError || error instanceof KernelBuildError)
      throw new BuildError(`kernel ${config.kernel}: ${error.message}`);
    throw error;
  } finally {
    void kernel?.close();
  }
}

export async function createMachine(config: MachineConfig, ports: MachinePorts): Promise<Machine> {
  compilersYield();
  const thread = takeVcpuThread(config.paths.lib);
  try {
    return await assemble(config, ports, thread);
  } catch (error) {
    await thread.giveUp();
    throw error;
  }
}

async function assemble(config: MachineConfig, ports: MachinePorts, thread: VcpuThread): Promise<Machine> {
  const origin = clockOrigin();
  const clock = domainClock(origin);
  const { wasmMemory, memory, built } = await build(config, clock);
  const disks = await Disks.open(config, ports);
  let machine: DomainMachine | undefined;
  try {
    machine = new DomainMachine(config, ports, { thread, memory, wasmMemory, built, disks, origin, clock });
    if (config.scheduling) machine.schedule(config.scheduling);
    return machine;
  } catch (error) {
    await machine?.destroy();
    await disks.close();
    throw error;
  }
}

interface Parts {
  readonly thread: VcpuThread;
  readonly memory: GuestMemory;
  readonly wasmMemory: WebAssembly.Memory;
  readonly built: ReturnType<typeof buildDomain>;
  readonly disks: Disks;
  readonly origin: ReturnType<typeof clockOrigin>;
  readonly clock: ReturnType<typeof domainClock>;
}

class DomainMachine implements Machine {
  readonly #config: MachineConfig;
  readonly #ports: MachinePorts;
  readonly #memory: GuestMemory;
  readonly #parts: Parts;
  readonly #events: BackendEvents;
  readonly #console: ConsoleBackend;
  readonly #agent: Channel;
  readonly #streams: StreamDisks;
  readonly #store: ReturnType<typeof connectGuestStore>;
  readonly #backendStore: ReturnType<typeof connectBackendStore>;
  #exited: ((exit: MachineExit) => void) | undefined;
  #consoleReady: (() => void) | undefined;
  /** One for each that has not ended. */
  readonly #translators = new Set<Promise<void>>();
  #ended = false;
  #pauseWaiters: (() => void)[] = [];
  #profiler: Profiler | undefined;
  #destroyed: Promise<void> | undefined;
  /** The vCPU's thread as the host's kernel numbers it; 0: not known (yet). */
  #thread = 0;
  #scheduling: Scheduling | undefined;
  /** Its thread may not use every CPU. */
  #bound = false;

  constructor(config: MachineConfig, ports: MachinePorts, parts: Parts) {
    this.#config = config;
    this.#ports = ports;
    this.#parts = parts;
    const { memory, built } = parts;
    this.#memory = memory;
    this.#events = new BackendEvents(new EventChannels(memory, config.domid), (run) => void setImmediate(run));
    this.#command(VcpuCommand.pause);

    const consolePort: BoundPort = this.#events.adopt(built.consolePort, () => this.#console.onEvent());
    this.#console = new ConsoleBackend({
      memory,
      frame: built.consoleMfn,
      notify: () => consolePort.notify(),
      output: (bytes) => {
        ports.consoleOut(bytes);
        return bytes.length;
      },
      inputReady: () => this.#consoleReady?.(),
      log: ports.log,
    });

    const link = (socket: string): Parameters<typeof connectBackendStore>[0] => ({
      connect: () => connectStoreSocket(socket),
      after: (ms, run) => void setTimeout(run, ms),
    });
    const storePort: BoundPort = this.#events.adopt(built.storePort, () => this.#store.onEvent());
    this.#store = connectGuestStore(
      { memory, frame: built.storeMfn, notify: () => storePort.notify() },
      link(config.store.guestSocket),
    );
    this.#backendStore = connectBackendStore(link(config.store.backendSocket));
    const surroundings = {
      guest: guestPages(memory, new GrantTable(memory, config.domid), new CodeWrites(memory)),
      events: this.#events,
      store: this.#backendStore.client,
    };
    this.#agent = new Channel({
      ...surroundings,
      back: `/local/domain/0/backend/console/${config.domid}/${AGENT_CHANNEL.id}`,
      name: AGENT_CHANNEL.name,
      output: (bytes) => ports.agentOut?.(bytes),
      inputReady: () => ports.agentReady?.(),
      changed: (connected) => ports.agentChanged?.(connected),
      log: ports.log,
    });
    // A store tree without it is of a xend that knows no agents.
    const ready = this.#agent.start().catch((error: Error) => ports.log('warn', error.message));
    const plug = once(() => void ready.then(() => this.#agent.plug()).catch(() => {}));
    parts.disks.attach({ ...surroundings, connected: plug });
    this.#streams = new StreamDisks({ ...surroundings, domid: config.domid, log: ports.log });
    if (config.disks.length === 0) plug();
    else setTimeout(plug, AGENT_PLUG_MS).unref();

    parts.thread.begin(
      {
        wasmMemory: parts.wasmMemory,
        layout: memory.layout,
        domid: config.domid,
        uuid: uuidBytes(config.uuid),
        maxPages: memory.layout.pages,
        origin: parts.origin,
        boot: { stackPointer: built.stackPointer, pinned: built.pinned },
      },
      { message: (message) => this.#hear(message), error: (error) => this.#failed(error) },
    );
  }

  #command(command: number): void {
    const word = controlVcpu(0, CONTROL_VCPU.command) >>> 2;
    Atomics.store(this.#memory.i32, word, command);
    this.#wake();
  }

  #wake(): void {
    Atomics.notify(this.#memory.i32, controlVcpu(0, CONTROL_VCPU.command) >>> 2);
    const kick = (this.#memory.vcpuBase(0) + STATE.kick) >>> 2;
    Atomics.store(this.#memory.i32, kick, 1);
    Atomics.notify(this.#memory.i32, kick);
  }

  #hear(message: VcpuMessage): void {
    switch (message.kind) {
      case 'events':
        this.#events.dispatch();
        return;
      case 'console':
        this.#ports.consoleOut(message.bytes);
        return;
      case 'log':
        this.#ports.log(message.level, message.text);
        return;
      case 'ready':
        this.#thread = message.thread;
        try {
          this.#bind();
        } catch (error) {
          this.#ports.log('warn', (error as Error).message);
        }
        return;
      case 'translator':
        this.#translate(message.port);
        return;
      case 'paused':
        for (const waiter of this.#pauseWaiters.splice(0)) waiter();
        return;
      case 'profile':
        this.#profiled(message.profile);
        return;
      case 'crashed':
        this.#finish({ kind: message.watchdog ? 'watchdog' : 'crash', report: message.report });
        return;
      case 'shutdown':
        this.#finish({ kind: EXIT_KINDS[message.reason] ?? 'poweroff' });
        return;
      default:
        return;
    }
  }

  /** Starts the vCPU's translator. It ends by itself: this process waits for it only when it is torn down. */
  #translate(port: MessagePort): void {
    const worker = new Worker(new URL('./translator-worker.ts', import.meta.url), {
      workerData: port,
      transferList: [port],
      name: 'translator',
      resourceLimits: { maxYoungGenerationSizeMb: TRANSLATOR_YOUNG_MIB },
    });
    worker.on('error', (error: Error) => this.#failed(error));
    const ended = new Promise<void>((resolve) => worker.once('exit', resolve));
    this.#translators.add(ended);
    void ended.then(() => this.#translators.delete(ended));
  }

  /** Our mistake, not the guest's: say all that is known and end the domain. */
  #failed(error: Error): void {
    const report = [`the monitor failed: ${error.message}`, ...(error.stack ?? '').split('\n').slice(1)];
    this.#finish({ kind: 'crash', report });
  }

  #finish(exit: MachineExit): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#profiled(undefined);
    for (const waiter of this.#pauseWaiters.splice(0)) waiter();
    // What the guest wrote to its console last is still in the ring.
    this.#console.onEvent();
    this.#exited?.(exit);
  }

  start(): void {
    this.#command(VcpuCommand.run);
  }

  pause(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.#pauseWaiters.push(resolve);
      this.#command(VcpuCommand.pause);
      if (this.#activity() === VcpuActivity.paused) for (const waiter of this.#pauseWaiters.splice(0)) waiter();
    });
  }

  unpause(): Promise<void> {
    this.#command(VcpuCommand.run);
    return Promise.resolve();
  }

  destroy(): Promise<void> {
    this.#destroyed ??= this.#tearDown();
    return this.#destroyed;
  }

  async #tearDown(): Promise<void> {
    this.#exited = undefined;
    this.#ended = true;
    this.#profiled(undefined);
    this.#command(VcpuCommand.stop);
    await this.#parts.thread.ended;
    await Promise.all(this.#translators);
    this.#store.close();
    await this.#agent.close();
    await this.closeDisks();
    this.#backendStore.close();
  }

  onExit(callback: (exit: MachineExit) => void): void {
    this.#exited = callback;
  }

  consoleIn(bytes: Uint8Array): number {
    return this.#console.input(bytes);
  }

  agentIn(bytes: Uint8Array): number {
    return this.#agent.input(bytes);
  }

  onConsoleReady(callback: () => void): void {
    this.#consoleReady = callback;
  }

  async openDisk(disk: DiskConfig): Promise<void> {
    if (this.#streams.holds(guestDisk(disk.dev)?.vdev ?? 0))
      throw new BuildError(`vbd: files are being copied by way of ${disk.dev}: it is free when they are`);
    await this.#parts.disks.open(disk);
  }

  offerDisk(vdev: number): Promise<void> {
    return this.#parts.disks.offer(vdev);
  }

  closeDisk(vdev: number): Promise<void> {
    return this.#parts.disks.closeOne(vdev);
  }

  plugStream(disk: StreamDisk): Promise<PluggedDisk | undefined> {
    return this.#streams.plug(disk);
  }

  async closeDisks(): Promise<void> {
    await this.#streams.close();
    await this.#parts.disks.close();
  }

  rename(name: string): Promise<void> {
    return this.#parts.disks.rename(name);
  }

  schedule(scheduling: Scheduling): void {
    const before = this.#scheduling;
    this.#scheduling = scheduling;
    try {
      if (scheduling.weight !== before?.weight) weighProcess(scheduling.weight);
      this.#bind();
    } catch (error) {
      if (before) this.#scheduling = before;
      throw error instanceof SchedulingError ? new BuildError(error.message) : error;
    }
    this.#record(CONTROL_VCPU.cap, scheduling.cap);
  }

  /** The thread has a number only after it began; what was asked before is done then. */
  #bind(): void {
    const cpus = this.#scheduling?.affinity[0] ?? [];
    if (this.#thread === 0) return;
    if (cpus.length > 0) pinThread(this.#thread, cpus);
    else if (this.#bound) pinThread(this.#thread, everyCpu());
    this.#bound = cpus.length > 0;
  }

  sendNmi(): void {
    this.#record(CONTROL_VCPU.nmi, 1);
  }

  /** Change a word of the vCPU's record, and have its thread see it. */
  #record(offset: number, value: number): void {
    Atomics.store(this.#memory.i32, controlVcpu(0, offset) >>> 2, value);
    this.#look();
  }

  /** Have the vCPU's thread look at its record. */
  #look(): void {
    const command = controlVcpu(0, CONTROL_VCPU.command) >>> 2;
    // A paused thread looks when it goes on.
    const was = Atomics.compareExchange(this.#memory.i32, command, VcpuCommand.run, VcpuCommand.look);
    if (was === VcpuCommand.run) this.#wake();
  }

  profile(seconds: number, regions: number): Promise<Profile> {
    if (this.#ended) throw new BuildError('the guest has ended');
    if (this.#profiler) throw new BuildError('it is being profiled already');
    if (this.#activity() === VcpuActivity.paused) throw new BuildError('it is paused: unpause it first');
    const { layout } = this.#memory;
    const profiler = new Profiler(
      {
        isRunning: () => this.#activity() === VcpuActivity.running,
        isPaused: () => this.#activity() === VcpuActivity.paused,
        look: () => this.#look(),
        observe: (on) => this.#record(CONTROL_VCPU.profile, on ? 1 + regions : 0),
        ram: this.#memory.u8.subarray(layout.ramBase, layout.ramBase + layout.pages * PAGE_SIZE),
      },
      seconds,
    );
    this.#profiler = profiler;
    return profiler.result.finally(() => {
      this.#profiler = undefined;
    });
  }

  #profiled(found: VcpuProfile | undefined): void {
    this.#profiler?.finish(found);
  }

  async dumpCore(file: string): Promise<void> {
    const { layout } = this.#memory;
    const halt = !this.#ended && this.#activity() !== VcpuActivity.paused;
    if (halt) await this.pause();
    try {
      const ram = this.#memory.u8.subarray(layout.ramBase, layout.ramBase + layout.pages * PAGE_SIZE);
      await writeCoreFile(file, coreHead(this.#memory), ram);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw code === undefined ? error : new BuildError(`${file} cannot be written: ${message}`);
    } finally {
      if (halt) await this.unpause();
    }
  }

  #activity(): number {
    return Atomics.load(this.#memory.i32, controlVcpu(0, CONTROL_VCPU.activity) >>> 2);
  }

  info(): MachineInfo {
    const { built, clock } = this.#parts;
    const view = this.#memory.view;
    const activity = this.#activity();
    const running = activity === VcpuActivity.running;
    // The kernel's own account is better than ours: it does not count time that other threads had the CPU.
    const facts = this.#ended ? undefined : threadFacts(this.#thread);
    const since = view.getFloat64(controlVcpu(0, CONTROL_VCPU.runningSince), true);
    const used = view.getFloat64(controlVcpu(0, CONTROL_VCPU.cpuTime), true);
    const cpuTimeNs = facts?.cpuTimeNs ?? used + (running ? Math.max(0, clock.now() - since) : 0);
    const state = running ? 'running' : activity === VcpuActivity.idle ? 'blocked' : 'paused';
    return {
      cpuTimeNs,
      running,
      cpu: facts?.cpu,
      vcpus: [{ state: this.#ended ? 'offline' : state, cpuTimeNs, cpu: facts?.cpu }],
      disks: this.#parts.disks.numbers(),
      diskIo: this.#parts.disks.io(),
      memoryMiB: this.#config.memoryMiB,
      vcpusOnline: 1,
      rings: {
        storeFrame: built.storeMfn,
        storePort: built.storePort,
        consoleFrame: built.consoleMfn,
        consolePort: built.consolePort,
      },
    };
  }
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (!done) run();
    done = true;
  };
}

function uuidBytes(uuid: string): Uint8Array {
  const hex = uuid.replaceAll('-', '');
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
