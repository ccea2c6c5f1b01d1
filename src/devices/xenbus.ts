/**
 * The backend's half of the handshake by which a device is connected, closed and connected again: one state key on each side
 * of the store, ours written here only. What a kind of device announces, reads and does is the device's. Every step looks at
 * the store afresh, so that lost, merged and spurious watch events change nothing. Follows pv-abi 7.5, 7.6.
 */
import { type StoreClient, StoreError, type StoreWatch } from '../store/client.ts';

export const XenbusState = {
  unknown: 0,
  initialising: 1,
  initWait: 2,
  initialised: 3,
  connected: 4,
  closing: 5,
  closed: 6,
  reconfiguring: 7,
  reconfigured: 8,
} as const;
export type XenbusState = (typeof XenbusState)[keyof typeof XenbusState];

export type XenbusStore = Pick<StoreClient, 'read' | 'watch' | 'transaction'>;
export type Keys = Readonly<Record<string, string | number>>;
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** The guest's folder. Everything in it is the guest's to choose. */
export interface FrontKeys {
  read(key: string): Promise<string | undefined>;
  /** A decimal number up to `max`; undefined when the key is missing, NaN when it is anything else. */
  number(key: string, max: number): Promise<number | undefined>;
}

export interface XenbusDevice {
  /** Keys that the guest may read before it connects. */
  announce(): Keys;
  /** Begin to serve what the guest's keys describe: our keys, or in one line what is wrong with the guest's. */
  connect(front: FrontKeys): Promise<{ readonly keys: Keys } | { readonly wrong: string }>;
  /** Finish what is under way and let go of the guest. Also called when not connected. */
  disconnect(): Promise<void>;
}

export interface XenbusPorts {
  readonly store: XenbusStore;
  /** Our folder: /local/domain/0/backend/KIND/DOMID/ID. */
  readonly back: string;
  /** The device's name at the head of log lines. */
  readonly name: string;
  log(level: LogLevel, text: string): void;
  /** The device was unplugged and has let go of the guest. Called at most once. */
  gone?(): void;
}

export type XenbusStep = 'announce' | 'connect' | 'reconnect' | 'reopen' | 'closing' | 'closed' | undefined;

const S = XenbusState;
/** States of a frontend that holds nothing of ours. */
const APART: ReadonlySet<number> = new Set([S.unknown, S.initialising, S.initWait, S.closed]);

/**
 * What to do, given our state and the frontend's. `wasConnected`: the frontend was seen in state 4 since we connected, so
 * that 3 is a new ring (a resumed guest goes from 4 to 3) and not the old one. `holds`: the ring that the guest gave is still
 * in use, so that a guest which did not let go of a device that was to be unplugged can have it back.
 */
export function nextStep(
  ours: XenbusState,
  front: number,
  online: boolean,
  wasConnected: boolean,
  holds = false,
): XenbusStep {
  if (!online) {
    if (APART.has(front)) return ours === S.closed ? undefined : 'closed';
    return ours === S.closing || ours === S.closed ? undefined : 'closing';
  }
  switch (front) {
    case S.unknown:
      return ours === S.initialising ? 'announce' : ours === S.connected ? 'closed' : undefined;
    case S.initialising:
      return ours === S.initWait ? undefined : 'announce';
    case S.initialised:
      if (ours === S.connected) return wasConnected ? 'reconnect' : undefined;
      return connectOrAnnounce(ours);
    case S.connected:
      return holds && ours === S.closing ? 'reopen' : connectOrAnnounce(ours);
    case S.closing:
      return ours === S.closing || ours === S.closed ? undefined : 'closing';
    case S.closed:
      return ours === S.closed ? undefined : 'closed';
    default:
      return undefined;
  }
}

function connectOrAnnounce(ours: XenbusState): XenbusStep {
  return ours === S.initWait ? 'connect' : ours === S.initialising ? 'announce' : undefined;
}

const MESSAGES_MAX = 20;

export class XenbusBackend {
  readonly #ports: XenbusPorts;
  readonly #device: XenbusDevice;
  #front = '';
  #state: XenbusState = S.initialising;
  #frontWasConnected = false;
  #holds = false;
  #watches: StoreWatch[] = [];
  #busy = false;
  #looking: Promise<void> = Promise.resolve();
  #lookAgain = false;
  #failure: string | undefined;
  /** Keys to write while connected. A guest that connects later is told the new values anyway. */
  #changed: Keys | undefined;
  #ended = false;
  readonly #said = new Set<string>();

  constructor(ports: XenbusPorts, device: XenbusDevice) {
    this.#ports = ports;
    this.#device = device;
  }

  get state(): XenbusState {
    return this.#state;
  }

  /** Resolves when the guest can see the device's announcement. */
  async start(): Promise<void> {
    const { store, back } = this.#ports;
    this.#front = (await store.read(`${back}/frontend`)) ?? '';
    if (this.#front === '') throw new Error(`xenstore: ${back} names no frontend`);
    for (const path of [`${this.#front}/state`, `${back}/online`]) {
      this.#watches.push(await store.watch(path, () => void this.#look()));
    }
    await this.#look();
  }

  /** The device cannot go on with what the guest gave it: close; the guest may connect anew. */
  fail(why: string): void {
    this.#failure ??= why;
    void this.#look();
  }

  /** Change keys of a connected device; the guest is made to look by writing the state again. */
  update(keys: Keys): Promise<void> {
    this.#changed = { ...this.#changed, ...keys };
    return this.#look();
  }

  /** Let go of the guest because the domain ends. The store, which may be away, stays as it is and is not waited for. */
  async close(): Promise<void> {
    this.#ended = true;
    void this.#unwatch();
    await this.#disconnect();
  }

  /** One look at a time; what changes meanwhile is looked at afterwards. */
  #look(): Promise<void> {
    if (this.#busy) this.#lookAgain = true;
    else {
      this.#busy = true;
      this.#looking = this.#lookUntilStill();
    }
    return this.#looking;
  }

  async #lookUntilStill(): Promise<void> {
    do {
      this.#lookAgain = false;
      try {
        if (!this.#ended) await this.#step();
      } catch (error) {
        // The store's connection goes with the domain; anything else is worth a line.
        if (error instanceof StoreError && error.code === 'closed') this.#ended = true;
        else this.#say('error', (error as Error).message);
      }
    } while (this.#lookAgain && !this.#ended);
    // In the same turn as the last test: no change can be noted between them and be forgotten.
    this.#busy = false;
  }

  async #step(): Promise<void> {
    const { store, back } = this.#ports;
    const [ours, online, frontText] = await Promise.all([
      store.read(`${back}/state`),
      store.read(`${back}/online`),
      store.read(`${this.#front}/state`),
    ]);
    if (ours === undefined) return this.#leave();
    const front = /^\d$/.test(frontText ?? '') ? Number(frontText) : S.unknown;
    if (this.#failure !== undefined) {
      const why = this.#failure;
      this.#failure = undefined;
      this.#say('error', why);
      await this.#disconnect();
      if (this.#state === S.connected) await this.#write({}, S.closing);
    }
    const step = nextStep(this.#state, front, online !== '0', this.#frontWasConnected, this.#holds);
    if (front === S.connected && this.#state === S.connected) this.#frontWasConnected = true;
    switch (step) {
      case 'announce':
        await this.#disconnect();
        await this.#write(this.#device.announce(), S.initWait);
        break;
      case 'reconnect':
        await this.#disconnect();
        await this.#connect();
        break;
      case 'connect':
        await this.#connect();
        break;
      case 'reopen':
        await this.#write({}, S.connected);
        break;
      case 'closing':
        // The guest may still be finishing its requests.
        await this.#write({}, S.closing);
        break;
      case 'closed':
        await this.#disconnect();
        await this.#write({}, S.closed);
        break;
    }
    if (step !== undefined) {
      this.#lookAgain = true;
      return;
    }
    const changed = this.#changed;
    this.#changed = undefined;
    if (changed && this.#state === S.connected) await this.#write(changed, S.connected);
    if (online === '0' && this.#state === S.closed) await this.#leave();
  }

  async #connect(): Promise<void> {
    this.#frontWasConnected = false;
    const answer = await this.#device.connect(this.#frontKeys());
    if ('keys' in answer) {
      this.#holds = true;
      await this.#write(answer.keys, S.connected);
      return;
    }
    this.#say('error', answer.wrong);
    await this.#write({}, S.closing);
  }

  async #disconnect(): Promise<void> {
    this.#holds = false;
    await this.#device.disconnect();
  }

  #frontKeys(): FrontKeys {
    const read = (key: string) => this.#ports.store.read(`${this.#front}/${key}`);
    return {
      read,
      async number(key, max) {
        const text = await read(key);
        if (text === undefined) return undefined;
        return /^\d{1,15}$/.test(text) && Number(text) <= max ? Number(text) : Number.NaN;
      },
    };
  }

  /** Keys first, so that whoever sees the state sees them; nothing when our folder is gone: a write would bring it back. */
  async #write(keys: Keys, state: XenbusState): Promise<void> {
    const { store, back } = this.#ports;
    await store.transaction(async (view) => {
      if ((await view.read(`${back}/state`)) === undefined) return;
      await view.writeAll(back, keys);
      await view.write(`${back}/state`, state);
    });
    this.#state = state;
  }

  async #leave(): Promise<void> {
    this.#ended = true;
    this.#state = S.closed;
    await this.#disconnect();
    await this.#unwatch();
    this.#ports.gone?.();
  }

  async #unwatch(): Promise<void> {
    await Promise.all(this.#watches.splice(0).map((watch) => watch.remove().catch(() => {})));
  }

  /** The guest can make us say things: each once, and not endlessly many. */
  #say(level: LogLevel, text: string): void {
    if (this.#said.has(text) || this.#said.size >= MESSAGES_MAX) return;
    this.#said.add(text);
    this.#ports.log(level, `${this.#ports.name}: ${text}`);
  }
}
