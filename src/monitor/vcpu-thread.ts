/**
 * A vCPU's thread as its machine sees it. Loading its program takes longer than building a domain, so that it is begun as soon as
 * there is a process for one: the thread waits for what it is to run.
 */
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { regionsDir } from '../host/paths.ts';
import type { VcpuFolders, VcpuMessage, VcpuWorkerData } from './vcpu-worker.ts';

/**
 * Young generation of the vCPU's thread. The guest waits while it is collected, as long as what has survived takes: with 48 MiB 8 ms, with 6 MiB some 2 ms. Of
 * the two or three hundred milliseconds of a boot that go into this it makes no difference.
 */
const YOUNG_MIB = 6;

export interface VcpuThreadEvents {
  message(message: VcpuMessage): void;
  /** It failed: our mistake, not the guest's. */
  error(error: Error): void;
}

/** Started before it is wanted. */
let prepared: VcpuThread | undefined;

const foldersBelow = (lib: string): VcpuFolders => ({
  engine: path.join(lib, 'cache', 'engine'),
  regions: regionsDir(lib),
});

/** A domain will be built soon, with its files below `lib`: its vCPU's thread begins to load. */
export function prepareVcpuThread(lib: string): void {
  prepared ??= new VcpuThread(foldersBelow(lib));
}

/** The thread that was prepared, or a new one. */
export function takeVcpuThread(lib: string): VcpuThread {
  const thread = prepared ?? new VcpuThread(foldersBelow(lib));
  prepared = undefined;
  return thread;
}

export class VcpuThread {
  readonly #worker: Worker;
  /** It has ended. */
  readonly ended: Promise<unknown>;

  constructor(folders: VcpuFolders) {
    this.#worker = new Worker(new URL('./vcpu-worker.ts', import.meta.url), {
      name: 'vcpu0',
      workerData: folders,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
    });
    this.ended = new Promise((resolve) => this.#worker.once('exit', resolve));
  }

  /** The domain is there, paused. */
  begin(data: VcpuWorkerData, events: VcpuThreadEvents): void {
    this.#worker.on('message', events.message);
    this.#worker.on('error', events.error);
    this.#worker.postMessage(data);
  }

  /** There will be no domain. */
  async giveUp(): Promise<void> {
    await this.#worker.terminate();
  }
}
