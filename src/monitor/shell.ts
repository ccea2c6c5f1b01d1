/**
 * The shell of one domain's monitor process: it owns the life-cycle state, the control socket and the console, and holds
 * the machine. What to do when a guest has ended is xend's decision (it knows the restart policy): the shell waits for
 * `rebuild`, `keep` or `destroy`, also across a death of xend.
 */
import { writeFile } from 'node:fs/promises';
import net from 'node:net';
import type { StreamDisk } from '../devices/blk/stream-disk.ts';
import type { AgentLink } from './agent/link.ts';
import type { ConsoleServer } from './console/server.ts';
import { PortInUse } from './console/tcp-port.ts';
import { type DomainEvent, type DomainState, isCrash, nextState } from './lifecycle.ts';
import type { CreateMachine, LogLevel, Machine, MachineConfig, MachineExit } from './machine-types.ts';
import {
  type Failure,
  lineSplitter,
  METHODS,
  type Message,
  type Method,
  type MonitorStatus,
  type ParamsOf,
  PROTOCOL_VERSION,
  type Request,
} from './protocol.ts';
import type { PluggedDisk } from './stream-disks.ts';

/** Lines of the console that a crash report ends with: a kernel's own report is thirty to sixty, headline first. */
const LAST_WORDS = 80;

class Refusal extends Error {
  readonly kind: Failure['kind'];
  constructor(kind: Failure['kind'], text: string) {
    super(text);
    this.kind = kind;
  }
}

export interface ShellPorts {
  readonly createMachine: CreateMachine;
  readonly console: ConsoleServer;
  readonly agent: AgentLink;
  /** The console's TCP port; `fixed` when it has to be that one. */
  readonly consolePort?: { readonly port: number; readonly fixed: boolean };
  log(level: LogLevel, text: string): void;
  /** `log` goes on in this file. */
  logTo?(file: string): void;
  now(): number;
  /** The domain is gone: end the process. */
  exit(): void;
}

export class Shell {
  #config: MachineConfig;
  readonly #ports: ShellPorts;
  readonly #clients = new Set<net.Socket>();
  readonly #server: net.Server;
  #state: DomainState = 'building';
  #machine: Machine | undefined;
  #started = false;
  #builds = 0;
  #startedAtMs: number | undefined;
  #exit: MachineExit | undefined;
  /** Commands run one after another. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(config: MachineConfig, ports: ShellPorts) {
    this.#config = config;
    this.#ports = ports;
    this.#server = net.createServer((socket) => this.#attach(socket));
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, () => resolve());
    });
  }

  get state(): DomainState {
    return this.#state;
  }

  get builds(): number {
    return this.#builds;
  }

  get clients(): number {
    return this.#clients.size;
  }

  status(): MonitorStatus {
    return {
      protocol: PROTOCOL_VERSION,
      pid: process.pid,
      domid: this.#config.domid,
      uuid: this.#config.uuid,
      state: this.#state,
      builds: this.#builds,
      startedAtMs: this.#startedAtMs,
      exit: this.#exit,
      info: this.#machine?.info(),
      console: this.#ports.console.status(),
      agent: this.#ports.agent.present,
    };
  }

  /** Perform one command, after those that came before it. */
  command<M extends Method>(method: M, params?: ParamsOf<M>): Promise<MonitorStatus> {
    const run = this.#run[method] as (params: ParamsOf<M>) => Promise<void>;
    // A profile takes its time, in which everything else goes on.
    if (method === 'profile') return run(params ?? ({} as ParamsOf<M>)).then(() => this.status());
    const done = this.#queue.then(() => run(params ?? ({} as ParamsOf<M>))).then(() => this.status());
    this.#queue = done.catch(() => {});
    return done;
  }

  readonly #run: { readonly [M in Method]: (params: ParamsOf<M>) => Promise<void> } = {
    status: async () => {},
    build: async () => {
      if (this.#state !== 'building' || this.#machine) throw new Refusal('state', 'the machine is built already');
      const { console, consolePort } = this.#ports;
      if (consolePort) await console.openPort(consolePort.port, consolePort.fixed);
      await this.#build();
    },
    unpause: async () => {
      if (this.#state === 'running') return;
      this.#need('unpause');
      const machine = this.#machine!;
      if (this.#started) await machine.unpause();
      else machine.start();
      if (!this.#started) this.#startedAtMs = this.#ports.now();
      this.#started = true;
      // The guest may have ended at once, inside the call: then the state has moved on already.
      if (this.#state === 'paused') this.#move('unpause');
      // What was typed meanwhile.
      this.#ports.console.drainInput();
    },
    pause: async () => {
      if (this.#state === 'paused') return;
      this.#need('pause');
      await this.#machine!.pause();
      if (this.#state === 'running') this.#move('pause');
    },
    release: async () => {
      this.#need('rebuild');
      await this.#release();
    },
    rebuild: async ({ machine }) => {
      this.#need('rebuild');
      await this.#release();
      if (machine) this.#config = machine;
      this.#move('rebuild');
      this.#ports.console.reopen();
      await this.#build();
      await this.#run.unpause({});
    },
    keep: async () => {
      if (this.#state !== 'shutdown') throw new Refusal('state', `the domain is ${this.#state}`);
      this.#ports.console.end();
      this.#ports.agent.changed();
      await this.#machine?.closeDisks();
    },
    openDisk: ({ disk }) => this.#live().openDisk(disk),
    offerDisk: ({ vdev }) => this.#live().offerDisk(vdev),
    closeDisk: async ({ vdev }) => this.#machine?.closeDisk(vdev),
    schedule: async ({ scheduling }) => this.#live().schedule(scheduling),
    reset: async () => {
      this.#need('guestExit');
      this.#guestEnded({ kind: 'reboot' });
    },
    nmi: async () => this.#live().sendNmi(),
    dumpCore: async ({ file }) => {
      const machine = this.#machine;
      if (!machine) throw new Refusal('state', `a domain that is ${this.#state} has no memory`);
      await machine.dumpCore(file);
    },
    profile: async ({ seconds, regions, file }) => {
      const profile = await this.#live().profile(seconds, regions);
      await writeFile(file, JSON.stringify(profile), { mode: 0o600 });
    },
    disconnect: async () => this.#ports.console.disconnect(),
    relog: async ({ name, consoleLog, monitorLog }) => {
      if (name !== undefined) {
        this.#config = { ...this.#config, name };
        await this.#machine?.rename(name);
      }
      this.#ports.console.logTo(consoleLog);
      this.#ports.logTo?.(monitorLog);
    },
    destroy: async () => {
      if (this.#state !== 'dead') this.#move('destroy');
      await this.#release();
      await this.#ports.console.close();
      setImmediate(() => this.#ports.exit());
    },
  };

  async #build(): Promise<void> {
    const ports = {
      consoleOut: (bytes: Uint8Array) => this.#ports.console.output(bytes),
      agentOut: (bytes: Uint8Array) => this.#ports.agent.receive(bytes),
      agentChanged: () => this.#ports.agent.changed(),
      agentReady: () => this.#ports.agent.drain(),
      log: (level: LogLevel, text: string) => this.#ports.log(level, text),
    };
    const machine = await this.#ports.createMachine(this.#config, ports);
    this.#machine = machine;
    this.#builds++;
    this.#started = false;
    this.#exit = undefined;
    machine.onExit((exit) => {
      if (this.#machine === machine) this.#guestEnded(exit);
    });
    machine.onConsoleReady?.(() => this.#ports.console.drainInput());
    this.#move('built');
  }

  /** Bytes typed on a console. */
  consoleIn(bytes: Uint8Array): number {
    return this.#machine?.consoleIn(bytes) ?? bytes.length;
  }

  /** A disk for the length of a copy, if the guest can have one now. */
  plugStream(disk: StreamDisk): Promise<PluggedDisk | undefined> {
    return this.#machine?.plugStream?.(disk) ?? Promise.resolve(undefined);
  }

  /** Bytes for the agent in the guest. */
  agentIn(bytes: Uint8Array): number {
    return this.#machine?.agentIn?.(bytes) ?? 0;
  }

  #guestEnded(exit: MachineExit): void {
    if (nextState(this.#state, 'guestExit') === undefined) return;
    this.#exit = exit.report ? { ...exit, report: [...exit.report, ...this.#lastWords()] } : exit;
    this.#ports.log(isCrash(exit.kind) ? 'error' : 'info', `the guest ended: ${exit.kind}`);
    for (const line of this.#exit.report ?? []) this.#ports.log('error', line);
    this.#move('guestExit');
  }

  #lastWords(): string[] {
    const lines = this.#ports.console.lastLines(LAST_WORDS);
    return lines.length === 0 ? [] : ['last lines of its console:', ...lines.map((line) => `  | ${line}`)];
  }

  /** The machine of a guest that has not ended. */
  #live(): Machine {
    if (!this.#machine || (this.#state !== 'running' && this.#state !== 'paused'))
      throw new Refusal('state', `the domain is ${this.#state}`);
    return this.#machine;
  }

  async #release(): Promise<void> {
    const machine = this.#machine;
    this.#machine = undefined;
    this.#startedAtMs = undefined;
    await machine?.destroy();
    this.#ports.agent.changed();
  }

  #need(event: DomainEvent): void {
    if (nextState(this.#state, event) === undefined) {
      throw new Refusal('state', `a domain that is ${this.#state} cannot ${event}`);
    }
  }

  #move(event: DomainEvent): void {
    this.#need(event);
    this.#state = nextState(this.#state, event)!;
    this.announce();
  }

  /** Tell every client that this process is not hanging. */
  beat(): void {
    for (const client of this.#clients) this.#send(client, { event: 'alive' });
  }

  /** Tell every client how things are: something in the status has changed. */
  announce(): void {
    const status = this.status();
    for (const client of this.#clients) this.#send(client, { event: 'state', status });
  }

  #attach(socket: net.Socket): void {
    this.#clients.add(socket);
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#clients.delete(socket));
    const split = lineSplitter((line) => void this.#answer(socket, line));
    socket.on('data', (chunk) => {
      try {
        split(chunk as unknown as string);
      } catch {
        socket.destroy();
      }
    });
    this.#send(socket, { event: 'state', status: this.status() });
  }

  async #answer(socket: net.Socket, line: string): Promise<void> {
    let request: Request;
    try {
      request = JSON.parse(line) as Request;
      if (typeof request?.id !== 'number' || !Object.hasOwn(METHODS, request.method)) throw new Error('no such method');
    } catch (error) {
      this.#ports.log('warn', `control: ${(error as Error).message}: ${line.slice(0, 200)}`);
      socket.destroy();
      return;
    }
    try {
      // A question about the state must not wait for a long build.
      const result = request.method === 'status' ? this.status() : await this.command(request.method, request.params);
      this.#send(socket, { id: request.id, result });
    } catch (error) {
      this.#send(socket, { id: request.id, error: this.#failure(error) });
    }
  }

  #failure(error: unknown): Failure {
    const text = error instanceof Error ? error.message : String(error);
    if (error instanceof Refusal) return { kind: error.kind, text };
    if (error instanceof Error && (error.name === 'BuildError' || error instanceof PortInUse))
      return { kind: 'build', text };
    this.#ports.log('error', error instanceof Error ? (error.stack ?? text) : text);
    return { kind: 'internal', text };
  }

  #send(socket: net.Socket, message: Message): void {
    if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
  }
}
