/** xend's end of a monitor's control socket (monitor/protocol.ts), and how a monitor process is started. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import {
  type Failure,
  lineSplitter,
  type Message,
  type Method,
  type MonitorStatus,
  type ParamsOf,
} from '../monitor/protocol.ts';
import { monitorProgram } from './monitor-program.ts';

export class MonitorFailure extends Error {
  readonly kind: Failure['kind'] | 'gone';
  constructor(kind: Failure['kind'] | 'gone', text: string) {
    super(text);
    this.kind = kind;
  }
}

export interface LinkEvents {
  /** In the order the monitor said them: every state message and every answer. */
  state(status: MonitorStatus): void;
  closed(): void;
}

export class MonitorLink {
  readonly #socket: net.Socket;
  readonly #events: LinkEvents;
  readonly #waiting = new Map<number, { resolve(s: MonitorStatus): void; reject(e: Error): void }>();
  #nextId = 1;
  #heard = 0;

  private constructor(socket: net.Socket, events: LinkEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  /** Connect; resolves with the first status, which the monitor sends unasked. */
  static connect(path: string, events: LinkEvents): Promise<MonitorLink> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(path);
      const link = new MonitorLink(socket, events);
      let open = false;
      const split = lineSplitter((line) => {
        const message = JSON.parse(line) as Message;
        link.#heard++;
        if ('event' in message) {
          if (message.event === 'state') events.state(message.status);
          if (!open) resolve(link);
          open = true;
        } else link.#answered(message);
      });
      socket.setEncoding('utf8');
      socket.on('data', (chunk) => {
        try {
          split(chunk as unknown as string);
        } catch {
          socket.destroy();
        }
      });
      socket.on('error', (error) => reject(error));
      socket.on('close', () => {
        reject(new Error('closed'));
        for (const { reject: fail } of link.#waiting.values()) fail(new MonitorFailure('gone', 'has ended'));
        link.#waiting.clear();
        if (open) events.closed();
      });
    });
  }

  call<M extends Method>(method: M, params?: ParamsOf<M>): Promise<MonitorStatus> {
    return new Promise((resolve, reject) => {
      if (!this.#socket.writable) return reject(new MonitorFailure('gone', 'has ended'));
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ id, method, params })}\n`);
    });
  }

  /** How many messages have come: a monitor from which none comes any more hangs. */
  get heard(): number {
    return this.#heard;
  }

  close(): void {
    this.#socket.destroy();
  }

  #answered(message: Exclude<Message, { event: string }>): void {
    const waiter = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if ('error' in message) waiter?.reject(new MonitorFailure(message.error.kind, message.error.text));
    else {
      // Told here and not by whoever waits: the waiter goes on later, when a newer state may have come already.
      this.#events.state(message.result);
      waiter?.resolve(message.result);
    }
  }
}

/**
 * A hundred monitors share the machine: their heaps start small, but so large that a boot and the programs after it see hardly a full collection, of which
 * the guest waits for the end; to move objects together besides is left to an idle thread (host/trim-heap.ts).
 * V8 counts the bytes that a function might have run through
 * before it optimizes it. With its usual budget of 13 million a region of 90 KB is worth a tenth of a second's work after 144 calls.
 * It shall not prepare to inline WebAssembly functions either: each entry of a region that is not optimized yet would look for the place
 * where its calls are counted, a tenth of a fork, and regions call one another through a table, where nothing is to be gained.
 * The first seconds of a domain are the time that TypeScript is compiled in, by the same threads that compile the guest's code: only what has
 * run ten times as often as usual is worth V8's best compiler. A boot took 0.92 of the CPU time of all threads, its compilers 0.88.
 */
export const MONITOR_FLAGS = [
  '--initial-old-space-size=64',
  '--no-compact-with-stack',
  '--wasm-tiering-budget=25000000',
  '--no-wasm-inlining',
  '--invocation-count-for-turbofan=30000',
  // Of node:ffi, at each start (host/v8-code.ts).
  '--disable-warning=ExperimentalWarning',
];
/** For whoever looks into a monitor (docs/profiling.md): further flags of Node, as --cpu-prof. */
export const monitorFlags = (): readonly string[] => [
  ...MONITOR_FLAGS,
  ...(process.env.DOMUS_MONITOR_FLAGS ?? '').split(' ').filter(Boolean),
];

/** A monitor sees no more of our environment than this. */
const ENVIRONMENT = [
  'PATH',
  'LANG',
  'TZ',
  'HOME',
  'DOMUS_MACHINE',
  'DOMUS_DEBUG',
  'DOMUS_ENGINE',
  'NODE_COMPILE_CACHE',
];

/** Start the monitor process of a domain: its own session, output to its log file. Resolves when it runs. */
export function spawnMonitor(runDir: string, logFile: string): Promise<number> {
  const log = openSync(logFile, 'a', 0o600);
  const env = Object.fromEntries(ENVIRONMENT.flatMap((key) => (process.env[key] ? [[key, process.env[key]]] : [])));
  const child = spawn(process.execPath, [...monitorFlags(), monitorProgram(), runDir], {
    cwd: '/',
    // One malloc arena: with more, each of V8's threads keeps what its compilations used once.
    env: { ...env, MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '262144' },
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.unref();
  return new Promise<number>((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid!));
    child.once('error', reject);
  }).finally(() => closeSync(log));
}
