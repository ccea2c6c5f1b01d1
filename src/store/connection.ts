/**
 * The server's side of one client: bytes in, requests performed, replies and watch events out. The client is hostile: what
 * breaks the framing ends the connection, everything else is an error reply; what waits for a client that does not read is
 * bounded. Which domain the client is was decided by whoever accepted the stream. pv-abi 7.2, 7.3.
 */
import { concat } from './bytes.ts';
import { canonical, homeOf, inScopeOf } from './path.ts';
import { formatPermission, type Identity, parsePermission } from './permissions.ts';
import { PRIVILEGED_QUEUED_BYTES } from './quota.ts';
import type { DomainConnection, Store } from './store.ts';
import type { ByteStream } from './stream.ts';
import type { Transaction } from './transaction.ts';
import { SPECIAL_WATCHES, type Watch } from './watches.ts';
import {
  decodeStrings,
  type ErrorName,
  encode,
  encodeStrings,
  type Message,
  MessageReader,
  MessageType,
  PAYLOAD_MAX,
} from './wire.ts';

/** Serves one client until either side closes. The caller has established that the client is `who`. */
export function serveConnection(store: Store, who: Identity, stream: ByteStream): ServerConnection {
  return new ServerConnection(store, who, stream);
}

type Reply = Uint8Array | ErrorName;
type Handler = (client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined) => Reply;

const OK = encodeStrings('OK');
/** While more than this waits to be sent, no further request is performed. */
const REPLIES_WAITING = 32768;
/** A longer token leaves no room for the longest path in an event. */
const TOKEN_MAX = 1000;

interface Queued {
  readonly bytes: Uint8Array;
  /** Set for watch events: an equal one that still waits makes a second one needless. */
  readonly event?: string;
}

export class ServerConnection implements DomainConnection {
  readonly store: Store;
  readonly who: Identity;
  readonly watches = new Map<string, Watch>();
  readonly transactions = new Map<number, Transaction>();
  readonly #stream: ByteStream;
  readonly #reader = new MessageReader();
  #lastTransaction = 0;
  #queue: Queued[] = [];
  #queuedBytes = 0;
  readonly #waitingEvents = new Set<string>();
  #blocked = false;
  #paused = false;
  /** Events that a request makes follow its reply. */
  #deferred: Queued[] | undefined;
  #closed = false;

  constructor(store: Store, who: Identity, stream: ByteStream) {
    this.store = store;
    this.who = who;
    this.#stream = stream;
    store.connections.add(this);
    stream.attach({
      bytes: (chunk) => {
        this.#reader.push(chunk);
        this.#serve();
      },
      drained: () => {
        this.#blocked = false;
        this.#flush();
        this.#serve();
      },
      closed: () => this.#end(),
    });
  }

  drop(): void {
    if (this.#closed) return;
    this.#end();
    this.#stream.close();
  }

  newTransaction(): number {
    do this.#lastTransaction = this.#lastTransaction >= 0x7fffffff ? 1 : this.#lastTransaction + 1;
    while (this.transactions.has(this.#lastTransaction));
    this.transactions.set(this.#lastTransaction, this.store.begin(this.who));
    return this.#lastTransaction;
  }

  addWatch(watch: Watch): void {
    this.watches.set(`${watch.written}\0${watch.token}`, watch);
    this.store.watches.add(watch);
    watch.deliver(watch.written, watch.token);
  }

  removeWatch(key: string): boolean {
    const watch = this.watches.get(key);
    if (watch) this.store.watches.delete(watch);
    return this.watches.delete(key);
  }

  /** Watches and transactions. */
  forgetAll(): void {
    for (const key of [...this.watches.keys()]) this.removeWatch(key);
    this.transactions.clear();
  }

  sendEvent(path: string, token: string): void {
    if (this.#closed || path.length + token.length + 2 > PAYLOAD_MAX) return;
    const event = `${path}\0${token}`;
    if (this.#waitingEvents.has(event)) return;
    this.#waitingEvents.add(event);
    const payload = encodeStrings(path, token);
    const queued = { bytes: encode({ type: MessageType.WATCH_EVENT, reqId: 0, txId: 0, payload }), event };
    if (this.#deferred) this.#deferred.push(queued);
    else this.#enqueue(queued);
  }

  #serve(): void {
    while (!this.#closed && this.#queuedBytes <= REPLIES_WAITING) {
      const message = this.#reader.next();
      if (!message) break;
      const deferred: Queued[] = [];
      this.#deferred = deferred;
      const reply = this.#perform(message);
      this.#deferred = undefined;
      const { reqId, txId } = message;
      const failed = typeof reply === 'string';
      const payload = failed ? encodeStrings(reply) : reply;
      this.#enqueue({ bytes: encode({ type: failed ? MessageType.ERROR : message.type, reqId, txId, payload }) });
      for (const event of deferred) this.#enqueue(event);
    }
    if (this.#reader.broken) this.drop();
    if (this.#closed) return;
    const pause = this.#queuedBytes > REPLIES_WAITING;
    if (pause === this.#paused) return;
    this.#paused = pause;
    if (pause) this.#stream.pause();
    else this.#stream.resume();
  }

  #perform({ type, txId, payload }: Message): Reply {
    const request = HANDLERS.get(type);
    if (!request) return 'ENOSYS';
    if (request.tools && !this.who.privileged) return 'EACCES';
    if (request.tools && this.who.onlyFor !== undefined) return 'EACCES';
    const transaction = this.transactions.get(txId);
    if (txId !== 0 && !transaction) return 'ENOENT';
    const reply = request.handler(this, payload, transaction);
    if (typeof reply !== 'string' && reply.length > PAYLOAD_MAX) return 'E2BIG';
    if (type === MessageType.TRANSACTION_END && reply !== 'EINVAL') this.transactions.delete(txId);
    return reply;
  }

  #enqueue(queued: Queued): void {
    if (this.#closed) return;
    this.#queue.push(queued);
    this.#queuedBytes += queued.bytes.length;
    this.#flush();
    const limit = this.who.privileged ? PRIVILEGED_QUEUED_BYTES : this.store.quota.queuedBytes;
    if (this.#queuedBytes > limit) this.drop();
  }

  #flush(): void {
    let sent = 0;
    while (!this.#blocked && !this.#closed && sent < this.#queue.length) {
      const { bytes, event } = this.#queue[sent++]!;
      this.#queuedBytes -= bytes.length;
      if (event !== undefined) this.#waitingEvents.delete(event);
      this.#blocked = !this.#stream.write(bytes);
    }
    this.#queue.splice(0, sent);
  }

  #end(): void {
    this.#closed = true;
    this.forgetAll();
    this.#queue = [];
    this.#queuedBytes = 0;
    this.store.connections.delete(this);
  }
}

interface Row {
  readonly type: number;
  readonly name: string;
  /** `tools`: privileged clients only, those that serve one domain not included. */
  readonly tools: boolean;
  readonly handler: Handler;
}

const row = (type: number, name: string, whose: 'any' | 'tools', handler: Handler): Row => {
  return { type, name, tools: whose === 'tools', handler };
};

// Types that are not here, 20 (removed) and 23 to 26 (features and quotas) among them, are ENOSYS.
// biome-ignore format: a table
export const REQUESTS: readonly Row[] = [
  row(0,  'CONTROL',              'tools', () => 'ENOSYS'),
  row(1,  'DIRECTORY',            'any',   directory),
  row(2,  'READ',                 'any',   read),
  row(3,  'GET_PERMS',            'any',   getPermissions),
  row(4,  'WATCH',                'any',   watch),
  row(5,  'UNWATCH',              'any',   unwatch),
  row(6,  'TRANSACTION_START',    'any',   transactionStart),
  row(7,  'TRANSACTION_END',      'any',   transactionEnd),
  row(8,  'INTRODUCE',            'tools', introduce),
  row(9,  'RELEASE',              'tools', release),
  row(10, 'GET_DOMAIN_PATH',      'any',   getDomainPath),
  row(11, 'WRITE',                'any',   write),
  row(12, 'MKDIR',                'any',   mkdir),
  row(13, 'RM',                   'any',   rm),
  row(14, 'SET_PERMS',            'any',   setPermissions),
  row(17, 'IS_DOMAIN_INTRODUCED', 'any',   isDomainIntroduced),
  row(18, 'RESUME',               'tools', () => OK),
  row(19, 'SET_TARGET',           'tools', () => 'ENOSYS'),
  row(21, 'RESET_WATCHES',        'any',   resetWatches),
  row(22, 'DIRECTORY_PART',       'any',   directoryPart),
];
const HANDLERS = new Map(REQUESTS.map((request) => [request.type, request]));

/** The one string that is the whole payload. */
function only(payload: Uint8Array): string | undefined {
  const strings = decodeStrings(payload);
  return strings?.length === 1 ? strings[0] : undefined;
}

/** A path as the client wrote it, made absolute. Paths begin with "/", so an error name is none. */
function resolve(client: ServerConnection, written: string | undefined): string {
  const path = written === undefined ? undefined : canonical(written, client.who.domid);
  if (path === undefined) return 'EINVAL';
  const { onlyFor } = client.who;
  return onlyFor === undefined || inScopeOf(path, onlyFor) ? path : 'EACCES';
}

const isPath = (text: string): boolean => text.startsWith('/');

function readNode(client: ServerConnection, written: string | undefined, transaction: Transaction | undefined) {
  const path = resolve(client, written);
  if (!isPath(path)) return path as ErrorName;
  return (transaction ?? client.store.begin(client.who)).read(path);
}

/** Performs a change in the client's transaction, or in one of its own that is committed at once. */
function change(
  client: ServerConnection,
  transaction: Transaction | undefined,
  written: string | undefined,
  act: (transaction: Transaction, path: string) => 'ok' | ErrorName,
): Reply {
  const path = resolve(client, written);
  if (!isPath(path)) return path as ErrorName;
  const view = transaction ?? client.store.begin(client.who);
  let outcome = act(view, path);
  if (outcome === 'ok' && !transaction) outcome = client.store.commit(view);
  return outcome === 'ok' ? OK : outcome;
}

function directory(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  const node = readNode(client, only(payload), transaction);
  return typeof node === 'string' ? node : encodeStrings(...node.children.keys());
}

function directoryPart(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  const [path, offset, ...more] = decodeStrings(payload) ?? [];
  if (offset === undefined || more.length > 0 || !/^\d{1,9}$/.test(offset)) return 'EINVAL';
  const node = readNode(client, path, transaction);
  if (typeof node === 'string') return node;
  const children = encodeStrings(...node.children.keys());
  const generation = encodeStrings(`${node.generation}`);
  const from = Math.min(Number(offset), children.length);
  // One byte is kept for the empty string that marks the end of the list.
  let to = Math.min(from + PAYLOAD_MAX - generation.length - 1, children.length);
  if (to < children.length) to = children.lastIndexOf(0, to - 1) + 1;
  const end = to === children.length ? [Uint8Array.of(0)] : [];
  return concat([generation, children.subarray(from, Math.max(from, to)), ...end]);
}

function read(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  const node = readNode(client, only(payload), transaction);
  return typeof node === 'string' ? node : node.value;
}

function getPermissions(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  const node = readNode(client, only(payload), transaction);
  return typeof node === 'string' ? node : encodeStrings(...node.permissions.map(formatPermission));
}

function write(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  const end = payload.indexOf(0);
  if (end < 0) return 'EINVAL';
  const path = only(payload.subarray(0, end + 1));
  return change(client, transaction, path, (view, at) => view.write(at, payload.slice(end + 1)));
}

function mkdir(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  return change(client, transaction, only(payload), (view, path) => view.mkdir(path));
}

function rm(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  return change(client, transaction, only(payload), (view, path) => view.remove(path));
}

function setPermissions(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  const [path, ...texts] = decodeStrings(payload) ?? [];
  const list = texts.map(parsePermission).filter((permission) => permission !== undefined);
  if (texts.length === 0 || list.length < texts.length) return 'EINVAL';
  return change(client, transaction, path, (view, at) => view.setPermissions(at, list));
}

function watch(client: ServerConnection, payload: Uint8Array): Reply {
  const [written, token, depthText, ...more] = decodeStrings(payload) ?? [];
  if (written === undefined || token === undefined || more.length > 0) return 'EINVAL';
  if (depthText !== undefined && !/^\d{1,4}$/.test(depthText)) return 'EINVAL';
  if (token.length > TOKEN_MAX) return 'E2BIG';
  let path = written;
  if (written.startsWith('@')) {
    if (!SPECIAL_WATCHES.some((name) => name === written)) return 'EINVAL';
    if (!client.who.privileged || client.who.onlyFor !== undefined) return 'EACCES';
  } else {
    path = resolve(client, written);
    if (!isPath(path)) return path as ErrorName;
  }
  if (client.watches.has(`${written}\0${token}`)) return 'EEXIST';
  if (!client.who.privileged && client.watches.size >= client.store.quota.watches) return 'ENOSPC';
  const depth = depthText === undefined ? Number.POSITIVE_INFINITY : Number(depthText);
  const deliver = (at: string, name: string) => client.sendEvent(at, name);
  client.addWatch({ who: client.who, path, written, token, depth, deliver });
  return OK;
}

function unwatch(client: ServerConnection, payload: Uint8Array): Reply {
  const strings = decodeStrings(payload);
  if (strings?.length !== 2) return 'EINVAL';
  return client.removeWatch(strings.join('\0')) ? OK : 'ENOENT';
}

function transactionStart(client: ServerConnection, _: Uint8Array, transaction: Transaction | undefined): Reply {
  if (transaction) return 'EBUSY';
  if (!client.who.privileged && client.transactions.size >= client.store.quota.transactions) return 'ENOSPC';
  return encodeStrings(`${client.newTransaction()}`);
}

function transactionEnd(client: ServerConnection, payload: Uint8Array, transaction: Transaction | undefined): Reply {
  const how = only(payload);
  if (how !== 'T' && how !== 'F') return 'EINVAL';
  if (!transaction) return 'ENOENT';
  const outcome = how === 'T' ? client.store.commit(transaction) : 'ok';
  return outcome === 'ok' ? OK : outcome;
}

function parseDomid(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) < 0x7ff0 ? Number(text) : undefined;
}

// Frame and port are not looked at: the domain's monitor, which has its memory, carries the bytes.
function introduce(client: ServerConnection, payload: Uint8Array): Reply {
  const [domidText, frame, port] = decodeStrings(payload) ?? [];
  const domid = parseDomid(domidText);
  if (domid === undefined || frame === undefined || port === undefined) return 'EINVAL';
  const outcome = client.store.introduce(domid);
  return outcome === 'ok' ? OK : outcome;
}

function release(client: ServerConnection, payload: Uint8Array): Reply {
  const domid = parseDomid(only(payload));
  if (domid === undefined) return 'EINVAL';
  const outcome = client.store.release(domid);
  return outcome === 'ok' ? OK : outcome;
}

function isDomainIntroduced(client: ServerConnection, payload: Uint8Array): Reply {
  const domid = parseDomid(only(payload));
  if (domid === undefined) return 'EINVAL';
  return encodeStrings(domid === 0 || client.store.introduced.has(domid) ? 'T' : 'F');
}

function getDomainPath(_: ServerConnection, payload: Uint8Array): Reply {
  const domid = parseDomid(only(payload));
  return domid === undefined ? 'EINVAL' : encodeStrings(homeOf(domid));
}

function resetWatches(client: ServerConnection): Reply {
  client.forgetAll();
  return OK;
}
