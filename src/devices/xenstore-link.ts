/**
 * Keeps one client of the store connected while the store's process dies and comes back. Between the client's stream (the
 * guest's ring, or a backend's pipe) and a server stream that is made anew each time, it follows the messages:
 *
 *   watches that were registered        are registered again; each fires once, as at any registration
 *   requests without a transaction      are sent again when their reply had not come: all of them can be done twice
 *   open transactions                   are lost. Their changes are answered OK and forgotten, their reads answered from
 *                                       outside, their end EAGAIN, whereupon every client does the whole of it again
 *   requests made meanwhile             wait
 *
 * A commit that was performed just before the store died, but not yet answered, is answered EAGAIN and so done twice.
 * Transaction ids are translated, because the new server may give out those of the old one again. pv-abi 7.2, 7.3.
 */
import { latin1 } from '../store/bytes.ts';
import type { ByteStream } from '../store/stream.ts';
import { decodeStrings, encode, encodeStrings, type Message, MessageReader, MessageType } from '../store/wire.ts';

export interface XenstoreLinkPorts {
  /** A new connection to the store, on which the server knows who we are. */
  connect(): Promise<ByteStream>;
  after(milliseconds: number, run: () => void): void;
}

interface Entry {
  readonly message: Message;
  state: 'waiting' | 'sent' | 'answered';
  /** A watch that is registered again: the client knows nothing of it. */
  readonly internal: boolean;
  reply?: Message;
}

/** Requests that the client may have under way; further ones stay with it. */
const REQUESTS_MAX = 32;
const RETRY_MS = { first: 20, last: 1000 } as const;
const OK = encodeStrings('OK');

export class XenstoreLink {
  readonly #client: ByteStream;
  readonly #ports: XenstoreLinkPorts;
  #fromClient = new MessageReader();
  #fromServer = new MessageReader();
  #server: ByteStream | undefined;
  #serverBlocked = false;
  #connecting = false;
  #retryMs = 0;
  #clientPaused = false;
  /** The client does not read its replies: nothing more is taken from it that would make further ones. */
  #clientFull = false;
  /** `off`: the client broke the protocol, or is gone. */
  #state: 'on' | 'off' | 'closed' = 'on';
  /** In the client's order; replies leave in this order. */
  #entries: Entry[] = [];
  /** Payloads of WATCH requests, by path and token. */
  readonly #watches = new Map<string, Uint8Array>();
  /** The client's transaction ids: the server's, or undefined when the server that knew it is gone. */
  readonly #transactions = new Map<number, number | undefined>();
  #lastTransaction = 0;

  constructor(client: ByteStream, ports: XenstoreLinkPorts) {
    this.#client = client;
    this.#ports = ports;
    this.#connect();
    client.attach({
      bytes: (chunk) => {
        if (this.#state !== 'on') return;
        this.#fromClient.push(chunk);
        this.#take();
      },
      drained: () => {
        this.#clientFull = false;
        this.#server?.resume();
        this.#take();
      },
      closed: () => this.#stop('off'),
    });
  }

  get connected(): boolean {
    return this.#server !== undefined;
  }

  /** The client begins anew: it has no watches, transactions and requests any more. */
  restart(): void {
    if (this.#state === 'closed') return;
    this.#stop('on');
    this.#connectLater();
  }

  close(): void {
    this.#stop('closed');
  }

  #stop(state: 'on' | 'off' | 'closed'): void {
    this.#state = state;
    this.#server?.close();
    this.#server = undefined;
    this.#serverBlocked = false;
    this.#clientPaused = false;
    this.#clientFull = false;
    this.#entries = [];
    this.#watches.clear();
    this.#transactions.clear();
    this.#fromClient = new MessageReader();
  }

  #connectLater(): void {
    this.#retryMs = Math.min(Math.max(this.#retryMs * 2, RETRY_MS.first), RETRY_MS.last);
    this.#ports.after(this.#retryMs, () => this.#connect());
  }

  #connect(): void {
    if (this.#connecting || this.#server || this.#state !== 'on') return;
    this.#connecting = true;
    this.#ports.connect().then(
      (stream) => {
        this.#connecting = false;
        if (this.#state === 'on') this.#connected(stream);
        else stream.close();
      },
      () => {
        this.#connecting = false;
        if (this.#state === 'on') this.#connectLater();
      },
    );
  }

  #connected(server: ByteStream): void {
    this.#server = server;
    this.#fromServer = new MessageReader();
    const again = [...this.#watches.values()].map((payload): Entry => {
      const message = { type: MessageType.WATCH, reqId: 0, txId: 0, payload };
      return { message, state: 'waiting', internal: true };
    });
    this.#entries = [...again, ...this.#entries];
    // A stream that was closed may still have something to say.
    const current = () => this.#server === server;
    server.attach({
      bytes: (chunk) => {
        if (current()) this.#receive(chunk);
      },
      drained: () => {
        this.#serverBlocked = false;
        if (current()) this.#take();
      },
      closed: () => {
        if (current()) this.#lost();
      },
    });
    for (const entry of this.#entries) if (entry.state === 'waiting') this.#send(entry);
    this.#answer();
    this.#take();
  }

  #lost(): void {
    this.#server = undefined;
    this.#serverBlocked = false;
    for (const id of this.#transactions.keys()) this.#transactions.set(id, undefined);
    this.#entries = this.#entries.filter((entry) => !entry.internal);
    for (const entry of this.#entries) {
      if (entry.state !== 'sent') continue;
      entry.state = 'waiting';
      const { type, payload } = entry.message;
      // Not registering it again is all that is needed.
      if (type === MessageType.UNWATCH && this.#watches.delete(watchKey(payload))) answerLocally(entry, OK);
      if (type === MessageType.RESET_WATCHES) {
        this.#watches.clear();
        answerLocally(entry, OK);
      }
    }
    this.#answer();
    this.#connectLater();
  }

  /** Takes requests from the client as far as there is room. */
  #take(): void {
    while (this.#state === 'on' && !this.#full()) {
      const message = this.#fromClient.next();
      if (!message) break;
      const entry: Entry = { message, state: 'waiting', internal: false };
      this.#entries.push(entry);
      if (this.#server) this.#send(entry);
      this.#answer();
    }
    if (this.#fromClient.broken && this.#state === 'on') {
      this.#stop('off');
      this.#client.close();
    }
    if (this.#state !== 'on' || this.#full() === this.#clientPaused) return;
    this.#clientPaused = !this.#clientPaused;
    if (this.#clientPaused) this.#client.pause();
    else this.#client.resume();
  }

  #full(): boolean {
    return this.#serverBlocked || this.#clientFull || this.#entries.length >= REQUESTS_MAX;
  }

  #send(entry: Entry): void {
    const { message } = entry;
    const local = message.txId === 0 ? undefined : this.#replyWithoutServer(message);
    if (local !== undefined) {
      answerLocally(entry, local);
      return;
    }
    entry.state = 'sent';
    // 0 for a read in a lost transaction, too.
    const txId = this.#transactions.get(message.txId) ?? 0;
    if (!this.#server!.write(encode({ ...message, txId }))) this.#serverBlocked = true;
  }

  /** What a request in a transaction is answered that the server does not know, as far as it is not simply read outside. */
  #replyWithoutServer({ type, txId, payload }: Message): Uint8Array | string | undefined {
    if (!this.#transactions.has(txId)) return 'ENOENT';
    if (this.#transactions.get(txId) !== undefined) return undefined;
    switch (type) {
      case MessageType.WRITE:
      case MessageType.MKDIR:
      case MessageType.RM:
      case MessageType.SET_PERMS:
        return OK;
      case MessageType.TRANSACTION_START:
        return 'EBUSY';
      case MessageType.TRANSACTION_END: {
        const how = latin1(payload);
        if (how !== 'T\0' && how !== 'F\0') return 'EINVAL';
        this.#transactions.delete(txId);
        return how === 'T\0' ? 'EAGAIN' : OK;
      }
      default:
        return undefined;
    }
  }

  #receive(chunk: Uint8Array): void {
    const server = this.#server;
    this.#fromServer.push(chunk);
    for (let message = this.#fromServer.next(); message; message = this.#fromServer.next()) {
      if (message.type === MessageType.WATCH_EVENT) this.#deliver(message);
      else this.#reply(message);
      if (this.#server !== server) return;
    }
    if (this.#fromServer.broken) this.#distrust();
    else this.#take();
  }

  #reply(reply: Message): void {
    const entry = this.#entries[0];
    if (entry?.state !== 'sent') {
      this.#distrust();
      return;
    }
    this.#retryMs = 0;
    const { type, reqId, txId, payload } = entry.message;
    const failed = reply.type === MessageType.ERROR;
    let answer = reply.payload;
    if (type === MessageType.WATCH && !failed) this.#watches.set(watchKey(payload), payload);
    if (type === MessageType.UNWATCH && !failed) this.#watches.delete(watchKey(payload));
    if (type === MessageType.TRANSACTION_START && !failed) answer = encodeStrings(`${this.#newTransaction(answer)}`);
    if (type === MessageType.TRANSACTION_END && !(failed && latin1(answer) === 'EINVAL\0'))
      this.#transactions.delete(txId);
    if (type === MessageType.RESET_WATCHES && !failed) {
      this.#watches.clear();
      this.#transactions.clear();
    }
    entry.state = 'answered';
    entry.reply = { type: reply.type, reqId, txId, payload: answer };
    this.#answer();
  }

  #newTransaction(reply: Uint8Array): number {
    do this.#lastTransaction = this.#lastTransaction >= 0x7fffffff ? 1 : this.#lastTransaction + 1;
    while (this.#transactions.has(this.#lastTransaction));
    this.#transactions.set(this.#lastTransaction, Number(latin1(reply, 0, reply.length - 1)));
    return this.#lastTransaction;
  }

  /** Hands over the replies at the head. */
  #answer(): void {
    for (let entry = this.#entries[0]; entry?.state === 'answered'; entry = this.#entries[0]) {
      this.#entries.shift();
      if (!entry.internal) this.#deliver(entry.reply!);
    }
  }

  #deliver(message: Message): void {
    if (this.#client.write(encode(message))) return;
    this.#clientFull = true;
    this.#server?.pause();
  }

  /** What came is no answer to what was sent: nothing on this connection can be relied on. */
  #distrust(): void {
    this.#server?.close();
    this.#lost();
  }
}

function answerLocally(entry: Entry, answer: Uint8Array | string): void {
  const { type, reqId, txId } = entry.message;
  entry.state = 'answered';
  const failed = typeof answer === 'string';
  entry.reply = {
    type: failed ? MessageType.ERROR : type,
    reqId,
    txId,
    payload: failed ? encodeStrings(answer) : answer,
  };
}

const watchKey = (payload: Uint8Array): string => (decodeStrings(payload) ?? []).slice(0, 2).join('\0');
