/**
 * A vCPU's thread as its machine sees it. Loading its program takes longer than building a domain, so that it is begun before there is
 * one: the thread waits for what it is to run.
 */
import { Worker } from 'node:worker_threads';
import type { VcpuMessage, VcpuWorkerData } from './vcpu-worker.ts';

/**
 * Young generation of the vCPU's thread. While a guest boots, translating its code makes most of the garbage: with a small
 * one, collecting takes a fifth of the boot. What it has grown to is given back when the guest is idle (host/trim-heap.ts).
 */
const YOUNG_MIB = 48;

export interface VcpuThreadEvents {
  message(message: VcpuMessage): void;
  /** It failed: our mistake, not the guest's. */
  error(error: Error): void;
}

export class VcpuThread {
  readonly #worker = new Worker(new URL('./vcpu-worker.ts', import.meta.url), {
    name: 'vcpu0',
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
  });
  /** It has ended. */
  readonly ended: Promise<unknown> = new Promise((resolve) => this.#worker.once('exit', resolve));

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
