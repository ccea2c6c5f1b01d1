/**
 * A typed client of the store over a byte stream: what backends and the tool stack use. It does not reconnect; a stream that
 * should survive the server's death is a link's (devices/xenstore-link.ts). Protocol: pv-abi 7.2, 7.3.
 */
import { concat, fromLatin1, fromUtf8, latin1, utf8 } from './bytes.ts';
import { serveConnection } from './connection.ts';
import { formatPermission, type Identity, type Permissions, parsePermission } from './permissions.ts';
import type { Store } from './store.ts';
import { type ByteStream, createPipe } from './stream.ts';
import { decodeStrings, encode, encodeStrings, type Message, MessageReader, MessageType, PAYLOAD_MAX } from './wire.ts';

/** The store's answer was an error. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  /** An error name of the protocol, or `closed` when the connection is gone. */
  readonly code: string;

  constructor(code: string, what: string) {
    super(`xenstore: ${what}: ${code}`);
    this.code = code;
  }
}

/** Reads and writes; on the client itself each on its own, inside `transaction` all or none. */
export interface StoreView {
  /** The value as UTF-8 text, undefined when there is no such node. */
  read(path: string): Promise<string | undefined>;
  readBytes(path: string): Promise<Uint8Array | undefined>;
  write(path: string, value: string | number | Uint8Array): Promise<void>;
  /** Several keys below `path`. */
  writeAll(path: string, values: Readonly<Record<string, string | number>>): Promise<void>;
  mkdir(path: string): Promise<void>;
  /** Nothing happens when there is no such node. */
  remove(path: string): Promise<void>;
  /** Names of the children, undefined when there is no such node. */
  list(path: string): Promise<string[] | undefined>;
  getPermissions(path: string): Promise<Permissions | undefined>;
  setPermissions(path: string, permissions: Permissions): Promise<void>;
}

export interface StoreWatch {
  /** No event is delivered after this call, also while its promise is pending. */
  remove(): Promise<void>;
}

const CONFLICTS_MAX = 1000;

class View implements StoreView {
  readonly #requests: Requests;
  readonly #txId: number;

  constructor(requests: Requests, txId: number) {
    this.#requests = requests;
    this.#txId = txId;
  }

  async read(path: string): Promise<string | undefined> {
    const bytes = await this.readBytes(path);
    return bytes && utf8(bytes);
  }

  readBytes(path: string): Promise<Uint8Array | undefined> {
    return orAbsent(this.#send(MessageType.READ, encodeStrings(path), `read ${path}`));
  }

  async write(path: string, value: string | number | Uint8Array): Promise<void> {
    const bytes = value instanceof Uint8Array ? value : fromUtf8(`${value}`);
    await this.#send(MessageType.WRITE, concat([encodeStrings(path), bytes]), `write ${path}`);
  }

  async writeAll(path: string, values: Readonly<Record<string, string | number>>): Promise<void> {
    await Promise.all(Object.entries(values).map(([key, value]) => this.write(`${path}/${key}`, value)));
  }

  async mkdir(path: string): Promise<void> {
    await this.#send(MessageType.MKDIR, encodeStrings(path), `mkdir ${path}`);
  }

  async remove(path: string): Promise<void> {
    await orAbsent(this.#send(MessageType.RM, encodeStrings(path), `rm ${path}`));
  }

  async list(path: string): Promise<string[] | undefined> {
    try {
      const names = await orAbsent(this.#send(MessageType.DIRECTORY, encodeStrings(path), `directory ${path}`));
      return names && decodeStrings(names);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'E2BIG') throw error;
      return this.#listInParts(path);
    }
  }

  async getPermissions(path: string): Promise<Permissions | undefined> {
    const reply = await orAbsent(this.#send(MessageType.GET_PERMS, encodeStrings(path), `permissions of ${path}`));
    return reply && (decodeStrings(reply) ?? []).map(parsePermission).filter((permission) => permission !== undefined);
  }

  async setPermissions(path: string, permissions: Permissions): Promise<void> {
    const payload = encodeStrings(path, ...permissions.map(formatPermission));
    await this.#send(MessageType.SET_PERMS, payload, `set permissions of ${path}`);
  }

  async #listInParts(path: string): Promise<string[] | undefined> {
    const names: string[] = [];
    let offset = 0;
    let generation: string | undefined;
    for (;;) {
      const request = encodeStrings(path, `${offset}`);
      const reply = await orAbsent(this.#send(MessageType.DIRECTORY_PART, request, `directory ${path}`));
      if (!reply) return undefined;
      const [now, ...part] = decodeStrings(reply) ?? [];
      if (generation !== undefined && now !== generation) {
        // Changed between two parts: begin again.
        names.length = 0;
        offset = 0;
        generation = undefined;
        continue;
      }
      generation = now;
      const last = part[part.length - 1] === '';
      names.push(...(last ? part.slice(0, -1) : part));
      if (last) return names;
      offset += part.reduce((sum, name) => sum + name.length + 1, 0);
    }
  }

  #send(type: number, payload: Uint8Array, what: string): Promise<Uint8Array> {
    return this.#requests.send(type, payload, what, this.#txId);
  }
}

async function orAbsent(reply: Promise<Uint8Array>): Promise<Uint8Array | undefined> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof StoreError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

interface Pending {
  readonly what: string;
  readonly type: number;
  readonly resolve: (payload: Uint8Array) => void;
  readonly reject: (error: StoreError) => void;
}

/** Requests in flight and the events between their replies. */
class Requests {
  readonly #stream: ByteStream;
  readonly #reader = new MessageReader();
  readonly #pending = new Map<number, Pending>();
  readonly #watches = new Map<string, (path: string) => void>();
  #lastRequest = 0;
  #lastToken = 0;
  closed = false;
  onClosed: (() => void) | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    stream.attach({ bytes: (chunk) => this.#receive(chunk), drained: () => {}, closed: () => this.#lost() });
  }

  send(type: number, payload: Uint8Array, what: string, txId = 0): Promise<Uint8Array> {
    if (this.closed) return Promise.reject(new StoreError('closed', what));
    if (payload.length > PAYLOAD_MAX) return Promise.reject(new StoreError('E2BIG', what));
    do this.#lastRequest = (this.#lastRequest + 1) >>> 0;
    while (this.#pending.has(this.#lastRequest));
    const reqId = this.#lastRequest;
    return new Promise((resolve, reject) => {
      this.#pending.set(reqId, { what, type, resolve, reject });
      this.#stream.write(encode({ type, reqId, txId, payload }));
    });
  }

  newWatch(changed: (path: string) => void): string {
    const token = `${++this.#lastToken}`;
    this.#watches.set(token, changed);
    return token;
  }

  forgetWatch(token: string): boolean {
    return this.#watches.delete(token);
  }

  close(): void {
    this.#stream.close();
    this.closed = true;
    this.#watches.clear();
    for (const { reject, what } of this.#pending.values()) reject(new StoreError('closed', what));
    this.#pending.clear();
  }

  #lost(): void {
    if (this.closed) return;
    this.close();
    this.onClosed?.();
  }

  #receive(chunk: Uint8Array): void {
    this.#reader.push(chunk);
    for (let message = this.#reader.next(); message; message = this.#reader.next()) this.#dispatch(message);
    if (this.#reader.broken) this.#lost();
  }

  #dispatch({ type, reqId, payload }: Message): void {
    if (type === MessageType.WATCH_EVENT) {
      const [path, token] = decodeStrings(payload) ?? [];
      // Later, so that a handler's exception is its own and does not stop what follows; unless removed by then.
      Promise.resolve().then(() => this.#watches.get(token ?? '')?.(path ?? ''));
      return;
    }
    const pending = this.#pending.get(reqId);
    if (!pending) return;
    this.#pending.delete(reqId);
    if (type === pending.type) pending.resolve(payload);
    else
      pending.reject(
        new StoreError(type === MessageType.ERROR ? latin1(payload, 0, payload.length - 1) : 'EIO', pending.what),
      );
  }
}

export class StoreClient extends View {
  readonly #requests: Requests;

  constructor(stream: ByteStream) {
    const requests = new Requests(stream);
    super(requests, 0);
    this.#requests = requests;
  }

  get closed(): boolean {
    return this.#requests.closed;
  }

  /** Calls `lost` once when the other side ends the connection. */
  onClosed(lost: () => void): void {
    this.#requests.onClosed = lost;
  }

  close(): void {
    this.#requests.close();
  }

  /**
   * Calls `changed` once soon, and then after every change at or below `path` with the path that changed. Events may be
   * spurious and several changes may be one event: read again what matters. `path` may be @introduceDomain or @releaseDomain.
   */
  async watch(path: string, changed: (path: string) => void, depth?: number): Promise<StoreWatch> {
    const token = this.#requests.newWatch(changed);
    const strings = depth === undefined ? [path, token] : [path, token, `${depth}`];
    try {
      await this.#requests.send(MessageType.WATCH, encodeStrings(...strings), `watch ${path}`);
    } catch (error) {
      this.#requests.forgetWatch(token);
      throw error;
    }
    return {
      remove: async () => {
        if (!this.#requests.forgetWatch(token) || this.closed) return;
        await this.#requests.send(MessageType.UNWATCH, encodeStrings(path, token), `unwatch ${path}`);
      },
    };
  }

  /** Resolves with the value of `path` (undefined: no such node) as soon as `wanted` says so. */
  waitFor(
    path: string,
    wanted: (value: string | undefined) => boolean,
  ): { value: Promise<string | undefined>; cancel(): void } {
    let watch: Promise<StoreWatch> | undefined;
    let finish: (value: string | undefined) => void = () => {};
    let fail: (error: unknown) => void = () => {};
    const value = new Promise<string | undefined>((resolve, reject) => {
      finish = resolve;
      fail = reject;
    });
    const look = () =>
      this.read(path).then((now) => {
        if (wanted(now)) finish(now);
      }, fail);
    watch = this.watch(path, look);
    watch.catch(fail);
    const stop = () => watch?.then((active) => active.remove()).catch(() => {});
    value.then(stop, stop);
    return { value, cancel: () => fail(new StoreError('cancelled', `wait for ${path}`)) };
  }

  /**
   * Runs `act` on a snapshot and makes its changes visible all at once, or none when it throws. When somebody else changed
   * what it read or wrote, it runs again: it must not do anything outside the view that cannot be done twice.
   */
  async transaction<T>(act: (view: StoreView) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const id = Number(
        latin1(await this.#requests.send(MessageType.TRANSACTION_START, encodeStrings(''), 'transaction')).slice(0, -1),
      );
      const end = (how: 'T' | 'F') =>
        this.#requests.send(MessageType.TRANSACTION_END, encodeStrings(how), 'transaction', id);
      let result: T;
      try {
        result = await act(new View(this.#requests, id));
      } catch (error) {
        await end('F').catch(() => {});
        throw error;
      }
      try {
        await end('T');
        return result;
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== 'EAGAIN' || attempt >= CONFLICTS_MAX) throw error;
      }
    }
  }

  async introduce(domid: number, frame: number, port: number): Promise<void> {
    await this.#requests.send(
      MessageType.INTRODUCE,
      encodeStrings(`${domid}`, `${frame}`, `${port}`),
      `introduce domain ${domid}`,
    );
  }

  async release(domid: number): Promise<void> {
    await this.#requests.send(MessageType.RELEASE, encodeStrings(`${domid}`), `release domain ${domid}`);
  }

  async isIntroduced(domid: number): Promise<boolean> {
    const reply = await this.#requests.send(
      MessageType.IS_DOMAIN_INTRODUCED,
      encodeStrings(`${domid}`),
      `look for domain ${domid}`,
    );
    return reply[0] === fromLatin1('T')[0];
  }
}

/** A client inside the store's own process. */
export function connectLocally(store: Store, who: Identity = { domid: 0, privileged: true }): StoreClient {
  const [ours, theirs] = createPipe();
  serveConnection(store, who, theirs);
  return new StoreClient(ours);
}
