/**
 * Who makes the functions of regions: the vCPU's own thread, while the guest waits, or another one, while it runs on
 * in the interpreter.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { generateRegions, planOf, type RegionOrder } from '../../translate/region/index.ts';
import type { FunctionCode } from '../../wasm/module.ts';
import type { KeptLoader, LoadingFile } from './kept.ts';
import type { KeptFile, KeptRegion, LoadedFile } from './kept-files.ts';

export interface MadeModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Exports "0", "1", … in the order of the regions. */
  readonly module: WebAssembly.Module;
  readonly codes: readonly FunctionCode[];
}

export interface RegionTranslator {
  /** So long at most the guest waits for what is wanted to be planned, before the rest is left to the next slice's end: milliseconds. */
  readonly planningMs: number;
  /** Asked whenever something is wanted: shall it be ordered now? Or better later, when more is known of it. */
  isReady(): boolean;
  /** Have one module made of these, for the vCPU whose state block is at linear address `cpu`. */
  order(cpu: number, regions: readonly RegionOrder[]): OrderedModule;
}

export interface OrderedModule {
  /** Undefined as long as it is not. */
  readonly made: MadeModule | undefined;
}

/** The functions of these regions, one by one and as a module, for the vCPU whose state block is at linear address `cpu`. */
export function makeRegions(cpu: number, regions: readonly RegionOrder[]): Omit<MadeModule, 'module'> {
  const codes: FunctionCode[] = [];
  const sources = regions.map((region) => ({ name: region.name, plan: planOf(region) }));
  const bytes = generateRegions(cpu, sources, (code) => codes.push(code));
  return { bytes, codes };
}

export function makeModule(cpu: number, regions: readonly RegionOrder[]): MadeModule {
  const made = makeRegions(cpu, regions);
  return { ...made, module: new WebAssembly.Module(made.bytes) };
}

/** Makes what is ordered before `order` returns. */
export class TranslatorAtOnce implements RegionTranslator {
  /** What is made with what shall be alike in each run. */
  readonly planningMs = Number.POSITIVE_INFINITY;
  isReady(): boolean {
    return true;
  }
  order(cpu: number, regions: readonly RegionOrder[]): OrderedModule {
    return { made: makeModule(cpu, regions) };
  }
}

/** To the translating thread. */
export type TranslatorMessage =
  | { readonly kind: 'order'; readonly cpu: number; readonly regions: readonly RegionOrder[] }
  /** Answer with the LoadedFile, or false. */
  | { readonly kind: 'load'; readonly file: KeptFile }
  /** Write these to `folder`, for those that run this `version` of the translator. */
  | {
      readonly kind: 'keep';
      readonly folder: string;
      readonly version: string;
      readonly regions: readonly KeptRegion[];
    }
  | { readonly kind: 'end' };

/** Orders that are made or wait for it at the same time. */
const ORDERS = 2;
/** A thread without orders ends after so long, milliseconds: what it has loaded takes some 10 MiB. */
const IDLE_MS = 5000;
/**
 * What is wanted is ordered when something was wanted so often within so many milliseconds, which is at the end of slices. A guest that
 * runs for a few milliseconds a second, as idle ones do, never gains what a translation costs, nor the 40 ms of CPU for a thread to begin.
 */
const WANTED = { withoutThread: 16, withThread: 4, withinMs: 1000 } as const;

/** What the thread has been asked for. */
class Answer<T> {
  readonly #receive: () => void;
  #value: T | undefined;

  constructor(receive: () => void) {
    this.#receive = receive;
  }
  come(value: unknown): void {
    this.#value = value as T;
  }
  /** Undefined as long as it has not come. */
  get value(): T | undefined {
    if (this.#value === undefined) this.#receive();
    return this.#value;
  }
}
class ThreadOrder extends Answer<MadeModule> implements OrderedModule {
  get made(): MadeModule | undefined {
    return this.value;
  }
}
class ThreadLoading extends Answer<LoadedFile | false> implements LoadingFile {
  get loaded(): LoadedFile | false | undefined {
    return this.value;
  }
}

/** A thread of its own, which lives as long as there is something to do for it: `start` is to run monitor/translator-worker.ts with this port. */
export class TranslatorThread implements RegionTranslator, KeptLoader {
  readonly planningMs = 1;
  readonly #start: (port: MessagePort) => void;
  #port: MessagePort | undefined;
  /** What it has not answered yet, in the order that it will. */
  #asked: (ThreadOrder | ThreadLoading)[] = [];
  #lastUsed = 0;
  readonly #now: () => number;
  /** When something was wanted lately. */
  #wanted: number[] = [];

  /** `now`: milliseconds. */
  constructor(start: (port: MessagePort) => void, now = () => performance.now()) {
    this.#start = start;
    this.#now = now;
  }

  isReady(): boolean {
    const isRunning = this.#port !== undefined;
    const now = this.#now();
    this.#wanted.push(now);
    if (this.#wanted.length > WANTED.withoutThread) this.#wanted.shift();
    const first = this.#wanted.at(isRunning ? -WANTED.withThread : -WANTED.withoutThread);
    if (first === undefined || now - first > WANTED.withinMs) return false;
    this.#receive();
    return this.#asked.filter((asked) => asked instanceof ThreadOrder).length < ORDERS;
  }

  order(cpu: number, regions: readonly RegionOrder[]): OrderedModule {
    this.#send({ kind: 'order', cpu, regions });
    const order = new ThreadOrder(() => this.#receive());
    this.#asked.push(order);
    return order;
  }

  load(file: KeptFile): LoadingFile {
    this.#send({ kind: 'load', file });
    const loading = new ThreadLoading(() => this.#receive());
    this.#asked.push(loading);
    return loading;
  }

  keep(folder: string, version: string, regions: readonly KeptRegion[]): void {
    this.#send({ kind: 'keep', folder, version, regions });
  }

  /** The guest has nothing to do: neither has the thread, perhaps. */
  rest(): void {
    if (this.#port !== undefined && this.#asked.length === 0 && this.#now() - this.#lastUsed > IDLE_MS) this.end();
  }

  /** What is to be kept is written before the thread ends; what was ordered and has not come is not wanted any more. */
  end(): void {
    this.#port?.postMessage({ kind: 'end' } satisfies TranslatorMessage);
    this.#port = undefined;
    this.#asked = [];
  }

  /** Sees to what has come, without waiting. */
  #receive(): void {
    while (this.#asked.length > 0) {
      const answer = receiveMessageOnPort(this.#port!);
      if (answer === undefined) return;
      this.#asked.shift()!.come(answer.message);
    }
  }

  #send(message: TranslatorMessage): void {
    this.#lastUsed = this.#now();
    if (this.#port === undefined) {
      const { port1, port2 } = new MessageChannel();
      this.#port = port1;
      this.#start(port2);
    }
    this.#port.postMessage(message);
  }
}
