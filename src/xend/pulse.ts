/**
 * A watch on monitors that live and do nothing any more. Each says now and then that it lives (monitor/protocol.ts); one that
 * was not heard of at several looks in a row hangs, and is ended, which endings.ts takes for a crash of its domain. A process
 * that somebody has stopped (a debugger, SIGSTOP) is left alone. Looks are counted, not seconds: time in which this machine
 * slept is not held against anybody.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { readPidFile, signal } from '../host/process-identity.ts';
import { PROTOCOL_ALIVE } from '../monitor/protocol.ts';
import type { Books } from './books.ts';
import type { Domain } from './domain.ts';
import type { MonitorLink } from './monitor-link.ts';
import { logLine, tell, type XendPorts } from './ports.ts';

interface Beat {
  readonly link: MonitorLink;
  /** Messages that had come at the last look, and looks since then that found none more. */
  readonly heard: number;
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
    const { link, status } = domain;
    // A machine that is being built keeps its monitor busy for as long as that takes.
    if (!link || domain.record.phase !== 'alive' || status?.state === 'building') return;
    if ((status?.protocol ?? 0) < PROTOCOL_ALIVE) link.call('status').catch(() => {});
    const { heard } = link;
    const beat = this.#beats.get(domain);
    if (beat?.link !== link || beat.heard !== heard) {
      this.#beats.set(domain, { link, heard, missed: 0 });
      return;
    }
    beat.missed++;
    if (beat.missed >= this.#ports.patience.pulses) this.#end(domain, beat);
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
      `d${domid} "${name}": nothing was heard of its monitor for ${(pulseMs * pulses) / 1000} s: it is ended`,
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
