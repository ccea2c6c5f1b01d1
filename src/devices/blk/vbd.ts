/**
 * A virtual block device: the keys of its handshake, and the ring while a guest is connected. Follows pv-abi 7.6. Feature
 * choices: no persistent grants (guest memory is read directly, mapping costs nothing here), one queue.
 */
import type { BoundPort, EventPorts, GuestPages } from '../guest.ts';
import { type FrontKeys, type Keys, type LogLevel, XenbusBackend, type XenbusStore } from '../xenbus.ts';
import { type BlockStore, SECTOR_SIZE } from './block-store.ts';
import { INDIRECT_SEGMENTS_MAX } from './request.ts';
import { BlkRing } from './ring.ts';

export interface VbdPorts {
  readonly store: XenbusStore;
  readonly guest: GuestPages;
  readonly events: EventPorts;
  readonly disk: BlockStore;
  /** /local/domain/0/backend/vbd/DOMID/VDEV */
  readonly back: string;
  /** For log lines: xvda. */
  readonly name: string;
  log(level: LogLevel, text: string): void;
  /** A guest has connected. */
  connected?(): void;
  /** Unplugged: nothing uses the disk any more. */
  gone?(): void;
}

const RING_ORDER_MAX = 2;
const INFO_READ_ONLY = 4;
const GREF_MAX = 0xffff_ffff;
const PORT_MAX = 0xffff_ffff;

interface Connection {
  readonly ring: BlkRing;
  readonly port: BoundPort;
  readonly grefs: readonly number[];
}

export class Vbd {
  readonly #ports: VbdPorts;
  readonly #xenbus: XenbusBackend;
  #connection: Connection | undefined;
  #disconnecting: Promise<void> | undefined;
  #paused = false;
  #closed = false;

  constructor(ports: VbdPorts) {
    this.#ports = ports;
    this.#xenbus = new XenbusBackend(
      {
        store: ports.store,
        back: ports.back,
        name: ports.name,
        log: (level, text) => ports.log(level, text),
        gone: () => ports.gone?.(),
      },
      {
        announce: () => ({ 'max-ring-page-order': RING_ORDER_MAX, ...this.#features(false) }),
        connect: (front) => this.#connect(front),
        disconnect: () => this.#disconnect(),
      },
    );
  }

  /** Resolves when the guest can see the device. */
  start(): Promise<void> {
    return this.#xenbus.start();
  }

  /** The disk's size changed: the guest is told. */
  resized(): Promise<void> {
    return this.#xenbus.update({ sectors: this.#ports.disk.sectors });
  }

  /** Take no more requests; resolves when the disk is at rest. For pausing and saving the domain. */
  async pause(): Promise<void> {
    this.#paused = true;
    await this.#connection?.ring.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#connection?.ring.resume();
  }

  /** The domain ends. Resolves when nothing uses the disk or guest memory any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#xenbus.close();
  }

  #features(discardWanted: boolean): Keys {
    const { disk } = this.#ports;
    const discard = discardWanted && disk.discardGranularity > 0;
    return {
      'feature-flush-cache': 1,
      'feature-barrier': 1,
      'feature-persistent': 0,
      'feature-max-indirect-segments': INDIRECT_SEGMENTS_MAX,
      'feature-discard': discard ? 1 : 0,
      ...(discard
        ? { 'discard-granularity': disk.discardGranularity, 'discard-alignment': 0, 'discard-secure': 0 }
        : {}),
    };
  }

  async #connect(front: FrontKeys): Promise<{ keys: Keys } | { wrong: string }> {
    const { disk, store, back } = this.#ports;
    const keys = await readRingKeys(front);
    if ('wrong' in keys) return keys;
    const discardWanted = (await store.read(`${back}/discard-enable`)) !== '0' && !disk.readOnly;
    if (this.#closed) return { wrong: 'the device is being closed' };
    const wrong = this.#open(keys.grefs, keys.port);
    if (wrong !== undefined) return { wrong };
    this.#ports.connected?.();
    return {
      keys: {
        sectors: disk.sectors,
        info: disk.readOnly ? INFO_READ_ONLY : 0,
        'sector-size': SECTOR_SIZE,
        'physical-sector-size': disk.physicalSectorSize,
        ...this.#features(discardWanted),
      },
    };
  }

  /** Take the ring's frames and the port: what is wrong, or undefined. */
  #open(grefs: readonly number[], portNumber: number): string | undefined {
    const { guest, events, disk } = this.#ports;
    const frames: number[] = [];
    const giveBack = () => {
      for (const gref of grefs.slice(0, frames.length)) guest.release(gref, true);
    };
    for (const gref of grefs) {
      const address = guest.acquire(gref, true);
      if (address === 'bad') {
        giveBack();
        return `ring-ref ${gref} is not granted to domain 0 for writing`;
      }
      frames.push(address);
    }
    let ring: BlkRing | undefined;
    const port = events.bind(portNumber, () => ring?.onEvent());
    if (!port) {
      giveBack();
      return `event-channel ${portNumber} is not a port that waits for domain 0`;
    }
    ring = new BlkRing({
      guest,
      frames,
      disk,
      notify: () => port.notify(),
      later: (run) => events.later(run),
      broken: (why) => this.#xenbus.fail(why),
    });
    if (this.#paused) void ring.pause();
    this.#connection = { ring, port, grefs };
    return undefined;
  }

  #disconnect(): Promise<void> {
    const connection = this.#connection;
    if (connection) {
      this.#connection = undefined;
      this.#disconnecting = this.#finish(connection);
    }
    return this.#disconnecting ?? Promise.resolve();
  }

  async #finish({ ring, port, grefs }: Connection): Promise<void> {
    await ring.pause();
    port.close();
    for (const gref of grefs) this.#ports.guest.release(gref, true);
  }
}

/** The ring's references and the port, or what is wrong with the guest's keys. */
async function readRingKeys(front: FrontKeys): Promise<{ grefs: number[]; port: number } | { wrong: string }> {
  const protocol = await front.read('protocol');
  if (protocol !== undefined && protocol !== 'x86_64-abi') {
    return { wrong: `protocol ${JSON.stringify(protocol.slice(0, 32))} is not x86_64-abi` };
  }
  const order = await front.number('ring-page-order', RING_ORDER_MAX);
  if (Number.isNaN(order)) return { wrong: `ring-page-order is not a number up to ${RING_ORDER_MAX}` };
  const grefs: number[] = [];
  for (let i = 0; i < 1 << (order ?? 0); i++) {
    let name = order === undefined ? 'ring-ref' : `ring-ref${i}`;
    let gref = await front.number(name, GREF_MAX);
    // Some frontends name the only page of a ring of order 0 the old way.
    if (gref === undefined && order === 0) gref = await front.number((name = 'ring-ref'), GREF_MAX);
    if (gref === undefined || Number.isNaN(gref)) return { wrong: `${name} is missing or not a number` };
    grefs.push(gref);
  }
  const port = await front.number('event-channel', PORT_MAX);
  if (port === undefined || Number.isNaN(port)) return { wrong: 'event-channel is missing or not a number' };
  return { grefs, port };
}
