/**
 * A Unix socket as the store's `ByteStream`, for the server's side and the client's.
 */
import { createConnection, type Socket } from 'node:net';
import type { ByteStream, StreamHandlers } from '../store/stream.ts';

export class SocketStream implements ByteStream {
  readonly #socket: Socket;
  #handlers: StreamHandlers | undefined;
  #closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    // An error is followed by 'close', which says all that matters here.
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#closed) return;
      this.#closed = true;
      this.#handlers?.closed();
    });
  }

  attach(handlers: StreamHandlers): void {
    this.#handlers = handlers;
    this.#socket.on('data', (chunk: Buffer) => {
      if (!this.#closed) handlers.bytes(chunk);
    });
    this.#socket.on('drain', () => {
      if (!this.#closed) handlers.drained();
    });
    if (this.#closed) queueMicrotask(() => handlers.closed());
  }

  write(bytes: Uint8Array): boolean {
    return this.#closed || !this.#socket.writable || this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#closed = true;
    this.#socket.destroy();
  }
}

/** Connects to a store's socket; rejects when nobody listens there. */
export function connectStoreSocket(path: string): Promise<ByteStream> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(new SocketStream(socket));
    });
  });
}
