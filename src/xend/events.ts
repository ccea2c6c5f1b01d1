/**
 * Everything that happens to domains, in order and numbered: kept for those who come later (`since`), told to those who
 * listen. The numbers go on across a restart of xend, and so do the latest events: they are in a file, one JSON line each.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { type Static, Type } from '@sinclair/typebox';
import { writeAtomically } from '../host/atomic-file.ts';

/** What an event can be about, and what its `data` holds. */
// biome-ignore format: a table
export const EVENTS = {
  'xend.started':      'xend serves: version, pid',
  'xend.stopping':     'xend stops; domains run on',
  'domain.found':      'a domain that another xend left was found again: state',
  'domain.created':    'built, paused before its first instruction: memoryMiB, vcpus',
  'domain.started':    'its guest executes for the first time',
  'domain.paused':     'stopped executing',
  'domain.unpaused':   'goes on executing',
  'domain.asked':      'its guest was asked to end or restart: reason',
  'domain.exited':     'its guest ended: reason (poweroff, reboot, crash or suspend), report',
  'domain.restarted':  'a new machine runs in it: builds',
  'domain.gone':       'it is no longer there: reason',
  'domain.renamed':    'it has another name: before',
  'domain.scheduled':  'its share of the CPUs or its CPUs changed: cpuWeight, cpuCap, cpus',
  'domain.maxmem':     'how far its memory may grow changed: maxmemMiB',
  'domain.dumped':     'a core of it was written: file',
  'device.attached':   'it has one device more: kind, dev',
  'device.detached':   'it has one device less: kind, dev',
  'console.connected':    'somebody types on its console now: who',
  'console.disconnected': 'who typed on its console does no more: who',
  'operation.begun':   'work on it begins: operation (this event\'s own number), name',
  'operation.step':    'that work\'s next step: operation, name, step, at, of',
  'operation.ended':   'that work is done, or given up: operation, name, error if it failed',
} as const;
export type EventType = keyof typeof EVENTS;

export const XendEvent = Type.Object(
  {
    seq: Type.Integer({ minimum: 1, description: 'one more than the event before it' }),
    atMs: Type.Integer({ description: 'milliseconds since 1970' }),
    type: Type.Unsafe<EventType>({ type: 'string', enum: Object.keys(EVENTS) }),
    domain: Type.Optional(Type.Object({ domid: Type.Integer(), uuid: Type.String(), name: Type.String() })),
    data: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  },
  {
    $id: 'XendEvent',
    description: Object.entries(EVENTS)
      .map((row) => row.join(': '))
      .join('\n'),
  },
);
export type XendEvent = Static<typeof XendEvent>;

/** Whom an event is about. */
export type Subject = { readonly domid: number; readonly uuid: string; readonly name: string };

export const EVENTS_KEPT = 4096;

export class EventLog {
  readonly #file: string | undefined;
  readonly #now: () => number;
  readonly #listeners = new Set<(event: XendEvent) => void>();
  #kept: XendEvent[] = [];
  /** Lines in the file: more than are kept, as it is rewritten only now and then. */
  #lines = 0;

  /** Without a file the events live as long as this process. */
  constructor(file: string | undefined, now: () => number = Date.now) {
    this.#file = file;
    this.#now = now;
    if (file !== undefined) this.#load(file);
  }

  /** The number of the latest event; 0 before the first. */
  get last(): number {
    return this.#kept.at(-1)?.seq ?? 0;
  }

  emit(type: EventType, subject?: Subject, data?: Record<string, unknown>): XendEvent {
    const event: XendEvent = {
      seq: this.last + 1,
      atMs: this.#now(),
      type,
      ...(subject && { domain: { domid: subject.domid, uuid: subject.uuid, name: subject.name } }),
      ...(data && { data }),
    };
    this.#kept.push(event);
    if (this.#kept.length > EVENTS_KEPT) this.#kept = this.#kept.slice(-EVENTS_KEPT);
    this.#append(event);
    for (const listener of [...this.#listeners]) listener(event);
    return event;
  }

  /**
   * The kept events after number `since`. `complete` is false when there were others between: too long ago, or `since` is a
   * number that was never given (the file was lost).
   */
  after(since: number): { events: readonly XendEvent[]; complete: boolean } {
    if (since > this.last) return { events: this.#kept, complete: false };
    const first = this.#kept[0]?.seq ?? this.last + 1;
    return { events: this.#kept.slice(Math.max(0, since + 1 - first)), complete: since + 1 >= first };
  }

  /** Tells each new event; call what is returned to end it. */
  listen(listener: (event: XendEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves when there is an event after `since`, or after a time, or when `signal` fires. */
  wait(since: number, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    // A number from another life has waited long enough.
    if (this.last !== since || signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        stop();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const stop = this.listen(done);
      const timer = setTimeout(done, timeoutMs);
      signal?.addEventListener('abort', done);
    });
  }

  #load(file: string): void {
    let text = '';
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      return; // The first xend here.
    }
    for (const line of text.split('\n')) {
      try {
        const event = JSON.parse(line) as XendEvent;
        if (event.seq > this.last) this.#kept.push(event);
      } catch {
        // A xend that was killed may have left half a line; the last line is always an empty one.
      }
    }
    this.#kept = this.#kept.slice(-EVENTS_KEPT);
    this.#rewrite(file);
  }

  #append(event: XendEvent): void {
    if (this.#file === undefined) return;
    try {
      if (++this.#lines > 2 * EVENTS_KEPT) this.#rewrite(this.#file);
      else appendFileSync(this.#file, `${JSON.stringify(event)}\n`, { mode: 0o600 });
    } catch {
      // A full disk costs the events' survival, not the domains.
    }
  }

  #rewrite(file: string): void {
    try {
      writeAtomically(file, this.#kept.map((event) => `${JSON.stringify(event)}\n`).join(''));
      this.#lines = this.#kept.length;
    } catch {
      // As above.
    }
  }
}
