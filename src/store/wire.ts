/**
 * The xenstore wire protocol: message types, error names, frames, and cutting a byte stream into messages. Knows nothing of
 * what messages mean. Format: public/io/xs_wire.h, pv-abi 7.2.
 */
import { XenstoreHeader } from '../abi/rings.ts';
import { concat, fromLatin1, latin1 } from './bytes.ts';

// biome-ignore format: a table
export const MessageType = {
  CONTROL: 0,           DIRECTORY: 1,       READ: 2,             GET_PERMS: 3,       WATCH: 4,
  UNWATCH: 5,           TRANSACTION_START: 6, TRANSACTION_END: 7, INTRODUCE: 8,      RELEASE: 9,
  GET_DOMAIN_PATH: 10,  WRITE: 11,          MKDIR: 12,           RM: 13,             SET_PERMS: 14,
  WATCH_EVENT: 15,      ERROR: 16,          IS_DOMAIN_INTRODUCED: 17, RESUME: 18,    SET_TARGET: 19,
  RESET_WATCHES: 21,    DIRECTORY_PART: 22,
} as const;

/** The names that an ERROR reply may carry: clients know no others. */
// biome-ignore format: a table
export const ERROR_NAMES = [
  'EINVAL', 'EACCES', 'EEXIST', 'EISDIR', 'ENOENT', 'ENOMEM', 'ENOSPC', 'EIO', 'ENOTEMPTY', 'ENOSYS', 'EROFS', 'EBUSY',
  'EAGAIN', 'EISCONN', 'E2BIG', 'EPERM',
] as const;
export type ErrorName = (typeof ERROR_NAMES)[number];

export const HEADER_SIZE = XenstoreHeader.size;
export const PAYLOAD_MAX = 4096;

export interface Message {
  readonly type: number;
  readonly reqId: number;
  readonly txId: number;
  readonly payload: Uint8Array;
}

export function encode(message: Message): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + message.payload.length);
  const view = new DataView(bytes.buffer);
  XenstoreHeader.type.set(view, 0, message.type);
  XenstoreHeader.req_id.set(view, 0, message.reqId);
  XenstoreHeader.tx_id.set(view, 0, message.txId);
  XenstoreHeader.len.set(view, 0, message.payload.length);
  bytes.set(message.payload, HEADER_SIZE);
  return bytes;
}

/** Each string with the NUL that ends it. */
export const encodeStrings = (...strings: string[]): Uint8Array =>
  fromLatin1(strings.map((string) => `${string}\0`).join(''));

/** The strings of a payload, each of which must be ended by NUL; undefined when the last one is not. */
export function decodeStrings(payload: Uint8Array): string[] | undefined {
  if (payload.length > 0 && payload[payload.length - 1] !== 0) return undefined;
  return latin1(payload).split('\0').slice(0, -1);
}

/**
 * Cuts a stream into messages. Holds what was pushed and not yet taken, so whoever pushes must stop while messages are left
 * untaken. A length above the limit cannot be recovered from: the stream is then `broken`.
 */
export class MessageReader {
  broken = false;
  #chunks: Uint8Array[] = [];
  #length = 0;

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** The next whole message, whose payload is a private copy. */
  next(): Message | undefined {
    if (this.broken || this.#length < HEADER_SIZE) return undefined;
    while (this.#chunks[0]!.length < HEADER_SIZE) this.#chunks.splice(0, 2, concat(this.#chunks.slice(0, 2)));
    const head = this.#chunks[0]!;
    const view = new DataView(head.buffer, head.byteOffset, HEADER_SIZE);
    const length = XenstoreHeader.len.get(view, 0);
    if (length > PAYLOAD_MAX) {
      this.broken = true;
      this.#chunks = [];
      return undefined;
    }
    if (this.#length < HEADER_SIZE + length) return undefined;
    const message = {
      type: XenstoreHeader.type.get(view, 0),
      reqId: XenstoreHeader.req_id.get(view, 0),
      txId: XenstoreHeader.tx_id.get(view, 0),
    };
    this.#skip(HEADER_SIZE);
    return { ...message, payload: this.#take(length) };
  }

  #skip(count: number): void {
    this.#length -= count;
    const head = this.#chunks[0]!;
    if (head.length === count) this.#chunks.shift();
    else this.#chunks[0] = head.subarray(count);
  }

  #take(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const part = this.#chunks[0]!.subarray(0, length - at);
      bytes.set(part, at);
      at += part.length;
      this.#skip(part.length);
    }
    return bytes;
  }
}
