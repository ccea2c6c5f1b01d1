/**
 * `node main.ts --warm`: loads all that a monitor and its vCPU thread load, and ends. Node keeps what it has compiled when a
 * process exits (NODE_COMPILE_CACHE), and monitors live long and die hard: without this, every one of a hundred monitors
 * started at once would strip the types off its own sources, with a compiler of 20 MB and half a second of CPU time.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { engineCode } from '../host/engine-code.ts';
import { planLayout } from '../hypervisor/memory.ts';
import './machine.ts';

export async function warm(): Promise<void> {
  engineCode(planLayout(16, 1), 1);
  // Without a domain to work for the threads end in an error, having loaded what they need.
  for (const url of [
    new URL('./vcpu-worker.ts', import.meta.url),
    new URL('./translator-worker.ts', import.meta.url),
  ]) {
    const worker = new Worker(url, { stderr: true, workerData: { engine: '', regions: '' } });
    worker.postMessage(undefined);
    await once(worker, 'exit').catch(() => {});
  }
}
