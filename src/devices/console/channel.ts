/**
 * A further PV console: /dev/hvc1 and so on in a Linux guest, a stream of bytes both ways between a program there and this
 * process. Toolstacks call such a console a channel when it has a name. Its ring is the first console's (console.ts), in a
 * page that the guest grants; it comes by the xenbus handshake. Follows pv-abi 7.8 and 8.2.
 */
import type { BoundPort, EventPorts, GuestPages } from '../guest.ts';
import { type FrontKeys, type Keys, type LogLevel, XenbusBackend, XenbusState, type XenbusStore } from '../xenbus.ts';
import { ConsoleBackend } from './console.ts';

export interface ChannelPorts {
  readonly store: XenbusStore;
  readonly guest: GuestPages;
  readonly events: EventPorts;
  /** /local/domain/0/backend/console/DOMID/N, N > 0. */
  readonly back: string;
  readonly name: string;
  /** Bytes from the guest, to be taken before this returns: whoever listens bounds what the guest may send. */
  output(bytes: Uint8Array): void;
  /** Input can be offered again after `input` took less than all. */
  inputReady(): void;
  /** The guest has connected its end, or has let go of it: what was under way either way is lost. */
  changed(connected: boolean): void;
  log(level: LogLevel, text: string): void;
}

interface Connection {
  readonly ring: ConsoleBackend;
  readonly port: BoundPort;
  readonly gref: number;
}

const NUMBER_MAX = 0xffff_ffff;

export class Channel {
  readonly #ports: ChannelPorts;
  readonly #xenbus: XenbusBackend;
  #connection: Connection | undefined;
  #closed = false;

  constructor(ports: ChannelPorts) {
    this.#ports = ports;
    const { store, back, name } = ports;
    this.#xenbus = new XenbusBackend(
      { store, back, name, log: (level, text) => ports.log(level, text) },
      {
        announce: (): Keys => ({}),
        connect: (front) => this.#connect(front),
        disconnect: async () => this.#disconnect(),
      },
    );
  }

  /** Resolves when the device can be plugged in. */
  start(): Promise<void> {
    return this.#xenbus.start();
  }

  /**
   * Show it to the guest. Linux probes a console that is there when it boots before it goes on: a dozen questions to the store
   * that nobody waits for later.
   */
  async plug(): Promise<void> {
    const { store, back } = this.#ports;
    await store.transaction(async (view) => {
      const front = await view.read(`${back}/frontend`);
      if (front === undefined || (await view.read(`${front}/state`)) !== undefined) return;
      await view.write(`${front}/state`, XenbusState.initialising);
    });
  }

  /** Says how many bytes were taken: none while the guest is not connected. */
  input(bytes: Uint8Array): number {
    return this.#connection?.ring.input(bytes) ?? 0;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#xenbus.close();
  }

  async #connect(front: FrontKeys): Promise<{ keys: Keys } | { wrong: string }> {
    const [gref, portNumber] = [await front.number('ring-ref', NUMBER_MAX), await front.number('port', NUMBER_MAX)];
    if (gref === undefined || Number.isNaN(gref)) return { wrong: 'ring-ref is missing or not a number' };
    if (portNumber === undefined || Number.isNaN(portNumber)) return { wrong: 'port is missing or not a number' };
    if (this.#closed) return { wrong: 'the device is being closed' };
    const { guest, events } = this.#ports;
    const address = guest.acquire(gref, true);
    if (address === 'bad') return { wrong: `ring-ref ${gref} is not granted to domain 0 for writing` };
    let ring: ConsoleBackend | undefined;
    const port = events.bind(portNumber, () => ring?.onEvent());
    if (!port) {
      guest.release(gref, true);
      return { wrong: `port ${portNumber} does not wait for domain 0` };
    }
    ring = new ConsoleBackend({
      memory: { buffer: guest.memory, at: (linear) => linear },
      frame: address,
      notify: () => port.notify(),
      output: (bytes) => {
        this.#ports.output(bytes);
        return bytes.length;
      },
      inputReady: () => this.#ports.inputReady(),
      log: (level, text) => this.#ports.log(level, `${this.#ports.name}: ${text}`),
    });
    this.#connection = { ring, port, gref };
    this.#ports.changed(true);
    return { keys: {} };
  }

  #disconnect(): void {
    const connection = this.#connection;
    if (!connection) return;
    this.#connection = undefined;
    connection.port.close();
    this.#ports.guest.release(connection.gref, true);
    this.#ports.changed(false);
  }
}
