/**
 * For tests: a client of the wire protocol whose every byte and moment the test decides, and seeded chance.
 */
import { fromLatin1, latin1 } from './bytes.ts';
import { type ServerConnection, serveConnection } from './connection.ts';
import type { Identity } from './permissions.ts';
import type { Store } from './store.ts';
import type { ByteStream, StreamHandlers } from './stream.ts';
import { encode, type Message, MessageReader, MessageType } from './wire.ts';

export const DOM0: Identity = { domid: 0, privileged: true };
export const guest = (domid: number): Identity => ({ domid, privileged: false });

/** One end of a stream in the test's hands. Everything happens inside the call that causes it. */
export class TestStream implements ByteStream {
  handlers: StreamHandlers | undefined;
  written: Uint8Array[] = [];
  /** False: `write` says that it is full. */
  open = true;
  paused = false;
  closed = false;

  attach(handlers: StreamHandlers): void {
    this.handlers = handlers;
  }

  write(bytes: Uint8Array): boolean {
    this.written.push(bytes);
    return this.open;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.closed = true;
  }

  receive(bytes: Uint8Array): void {
    this.handlers!.bytes(bytes);
  }

  drain(): void {
    this.open = true;
    this.handlers!.drained();
  }

  /** The messages written since the last call. */
  messages(): Message[] {
    const reader = new MessageReader();
    for (const bytes of this.written) reader.push(bytes);
    this.written = [];
    const messages: Message[] = [];
    for (let message = reader.next(); message; message = reader.next()) messages.push(message);
    return messages;
  }
}

type RequestName = keyof typeof MessageType;

/** Speaks to a store as `who`; payloads are text with "|" for NUL, as the protocol's table writes them. */
export class TestClient {
  readonly stream = new TestStream();
  readonly connection: ServerConnection;
  /** Events that came, "path|token". */
  events: string[] = [];
  #lastRequest = 100;

  constructor(store: Store, who: Identity) {
    this.connection = serveConnection(store, who, this.stream);
  }

  /** The reply's payload, or "!" and the error's name. */
  ask(name: RequestName, payload: string, txId = 0): string {
    return this.askType(MessageType[name], payload, txId);
  }

  askType(type: number, payload: string, txId = 0): string {
    const reqId = ++this.#lastRequest;
    this.stream.receive(encode({ type, reqId, txId, payload: fromLatin1(payload.replaceAll('|', '\0')) }));
    let answer: string | undefined;
    for (const reply of this.stream.messages()) {
      if (reply.type === MessageType.WATCH_EVENT) {
        if (reply.reqId !== 0 || reply.txId !== 0) throw new Error('an event with a request id');
        this.events.push(text(reply).slice(0, -1));
        continue;
      }
      if (answer !== undefined || reply.reqId !== reqId || reply.txId !== txId) throw new Error('a reply to nothing');
      if (reply.type !== type && reply.type !== MessageType.ERROR) throw new Error(`a reply of type ${reply.type}`);
      answer = reply.type === MessageType.ERROR ? `!${text(reply).slice(0, -1)}` : text(reply);
    }
    return answer ?? '(no reply)';
  }

  /** The events since the last call. */
  takeEvents(): string[] {
    for (const message of this.stream.messages()) this.events.push(text(message).slice(0, -1));
    const { events } = this;
    this.events = [];
    return events;
  }

  begin(): number {
    return Number(this.ask('TRANSACTION_START', '|').slice(0, -1));
  }
}

const text = (message: Message): string => latin1(message.payload).replaceAll('\0', '|');

/** The same seed gives the same numbers: `next(n)` is a whole number from 0 to n - 1. */
export function chance(seed: number): { next(n: number): number; pick<T>(from: readonly T[]): T } {
  let state = seed >>> 0;
  const next = (n: number): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0) % n;
  };
  return { next, pick: (from) => from[next(from.length)]! };
}
