/**
 * A watch on monitors that live and do not answer. Each is asked now and then how it is; one that leaves several questions
 * without an answer hangs, and is ended, which endings.ts takes for a crash of its domain. A process that somebody has
 * stopped (a debugger, SIGSTOP) is left alone. Questions are counted, not seconds: time in which this machine slept is not
 * held against anybody.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { readPidFile, signal } from '../host/process-identity.ts';
import type { Books } from './books.ts';
import type { Domain } from './domain.ts';
import { logLine, tell, type XendPorts } from './ports.ts';

interface Beat {
  answered: boolean;
  missed: number;
}

export class Pulse {
  readonly #ports: XendPorts;
  readonly #books: Books;
  readonly #beats = new WeakMap<Domain, Beat>();
  #timer: NodeJS.Timeout | undefined;

  constructor(ports: XendPorts, books: Books) {
    this.#ports = ports;
    this.#books = books;
  }

  start(): void {
    this.#timer = setInterval(() => {
      for (const domain of this.#books.all()) this.#feel(domain);
    }, this.#ports.patience.pulseMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #feel(domain: Domain): void {
    // A machine that is being built keeps its monitor busy for as long as that takes.
    if (!domain.link || domain.record.phase !== 'alive' || domain.status?.state === 'building') return;
    const last = this.#beats.get(domain);
    if (last && !last.answered) {
      last.missed++;
      if (last.missed >= this.#ports.patience.pulses) this.#end(domain, last);
      return;
    }
    const beat: Beat = { answered: false, missed: 0 };
    this.#beats.set(domain, beat);
    const answered = () => {
      beat.answered = true;
    };
    domain.link.call('status').then(answered, answered);
  }

  #end(domain: Domain, beat: Beat): void {
    const who = readPidFile(path.join(domain.runDir, 'monitor.pid'));
    const { domid, name } = domain;
    if (!who) return;
    if (isStopped(who.pid)) {
      if (beat.missed === this.#ports.patience.pulses)
        logLine(this.#ports, 'WARNING', `the monitor of domain ${domid} "${name}", process ${who.pid}, is stopped`);
      return;
    }
    domain.hung = true;
    const { pulseMs, pulses } = this.#ports.patience;
    tell(
      this.#ports,
      `d${domid} "${name}": its monitor has not answered for ${(pulseMs * pulses) / 1000} s and is ended`,
    );
    signal(who, 'SIGKILL');
  }
}

/** proc(5): the third field of stat is T for a stopped process, t for one under a debugger. */
function isStopped(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return /^[Tt]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
