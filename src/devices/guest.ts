/**
 * What a device backend sees of its guest: granted frames and event ports, as narrow ports, and what gives them over a real
 * domain. Backends hold no other reference to guest memory.
 */
import type { CodeWrites } from '../hypervisor/code-writes.ts';
import type { EventChannels } from '../hypervisor/event-channels.ts';
import type { GrantTable } from '../hypervisor/grant-table.ts';
import { type GuestMemory, PAGE_SHIFT } from '../hypervisor/memory.ts';

/** Frames that the guest has granted to domain 0. */
export interface GuestPages {
  /** The linear memory that addresses are offsets in; shared with the guest, which may be writing it. */
  readonly memory: SharedArrayBuffer;
  /** Begin to use a granted frame: its linear address, or 'bad' when the guest has not granted that. */
  acquire(gref: number, write: boolean): number | 'bad';
  /** End a use, with the arguments that began it. */
  release(gref: number, write: boolean): void;
  /** A device has written into the frame at this address. Said before the guest hears that the request is done. */
  written(address: number): void;
}

/** One end of an event channel. */
export interface BoundPort {
  /** Send the guest an event. Nothing happens when the guest has closed its end. */
  notify(): void;
  close(): void;
}

export interface EventPorts {
  /**
   * Bind to a port that the guest has left unbound for us; undefined when `port` is no such port. `onEvent` is called for the
   * guest's events, and once soon in any case.
   */
  bind(port: number, onEvent: () => void): BoundPort | undefined;
  /** Run something in a later turn of the device thread, so that a busy guest does not keep it from everything else. */
  later(run: () => void): void;
}

export function guestPages(memory: GuestMemory, grants: GrantTable, code: CodeWrites): GuestPages {
  return {
    memory: memory.buffer,
    acquire(gref, write) {
      const frame = grants.resolve(gref, undefined, write);
      return frame < 0 ? 'bad' : memory.at(frame);
    },
    release: (gref, write) => grants.release(gref, write),
    written: (address) => code.report((address - memory.layout.ramBase) >>> PAGE_SHIFT),
  };
}

/** Leads the guest's events to the backends: `dispatch` is to be called whenever the device thread is woken. */
export class BackendEvents implements EventPorts {
  readonly #events: EventChannels;
  readonly #handlers = new Map<number, () => void>();
  readonly later: (run: () => void) => void;

  /** `later` is the host's setImmediate or the like. */
  constructor(events: EventChannels, later: (run: () => void) => void) {
    this.#events = events;
    this.later = later;
  }

  bind(port: number, onEvent: () => void): BoundPort | undefined {
    return this.#events.bindBackend(port) ? this.adopt(port, onEvent) : undefined;
  }

  /** For a port that is bound to domain 0 already: the builder's, or any port of a restored domain. */
  adopt(port: number, onEvent: () => void): BoundPort {
    // One closure a binding: it tells this one from a later one after the guest closed the port and used its number again.
    const handler = () => onEvent();
    this.#handlers.set(port, handler);
    const current = () => this.#handlers.get(port) === handler;
    return {
      notify: () => {
        if (current()) this.#events.notifyGuest(port);
      },
      close: () => {
        if (!current()) return;
        this.#handlers.delete(port);
        this.#events.unbindBackend(port);
      },
    };
  }

  dispatch(): void {
    for (const port of this.#events.takePendingForBackend()) this.#handlers.get(port)?.();
  }
}
