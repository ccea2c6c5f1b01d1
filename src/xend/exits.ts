/** How the latest domains ended that are no longer there; whoever waits for an end is told. */
import path from 'node:path';
import { XendError } from './errors.ts';
import { logLine, type XendPorts } from './ports.ts';
import { JsonFile } from './record.ts';
import type { ExitView } from './view.ts';

const EXITS_KEPT = 64;

export class Exits {
  readonly #ports: XendPorts;
  readonly #kept: JsonFile<ExitView[]>;
  readonly #waiters = new Set<() => void>();
  #closing = false;

  constructor(ports: XendPorts) {
    this.#ports = ports;
    this.#kept = new JsonFile<ExitView[]>(path.join(ports.paths.lib, 'exits.json'), []);
  }

  note(exit: Omit<ExitView, 'atMs'>): void {
    this.#kept.value.push({ ...exit, atMs: this.#ports.now() });
    this.#kept.value.splice(0, this.#kept.value.length - EXITS_KEPT);
    try {
      this.#kept.save();
    } catch (error) {
      // A full disk costs what the next xend knows of it.
      logLine(this.#ports, 'ERROR', `how domains ended cannot be written: ${(error as Error).message}`);
    }
  }

  /** How the domain with this uuid ended; waits for it, up to a time. Undefined: `isHere` still says yes. */
  async wait(uuid: string, timeoutMs: number, isHere: () => boolean): Promise<ExitView | undefined> {
    const deadline = this.#ports.now() + timeoutMs;
    for (;;) {
      if (!isHere()) {
        const exit = this.#kept.value.findLast((one) => one.uuid === uuid);
        if (exit) return exit;
        throw new XendError('exit-not-found', uuid);
      }
      const rest = deadline - this.#ports.now();
      if (rest <= 0 || this.#closing) return undefined;
      await this.#change(rest);
    }
  }

  /** A domain has left the books. */
  wake(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  close(): void {
    this.#closing = true;
    this.wake();
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#waiters.add(done);
    });
  }
}
