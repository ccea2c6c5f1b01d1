/**
 * An ordered byte stream in both directions: the shape that sockets, the guest's ring and the in-memory pair below share, so
 * that server, client and link need not know which one they sit on.
 */
export interface StreamHandlers {
  /** Bytes arrived; they are the receiver's to keep. */
  bytes(chunk: Uint8Array): void;
  /** After `write` returned false: room again. */
  drained(): void;
  /** The other side is gone. Not called after one's own `close`. */
  closed(): void;
}

export interface ByteStream {
  /** Called once. Nothing arrives before it. */
  attach(handlers: StreamHandlers): void;
  /** Takes all bytes, which the caller gives away. False asks the caller to wait for `drained` before writing more. */
  write(bytes: Uint8Array): boolean;
  /** Deliver no more bytes for now. One chunk that is on its way may still come. */
  pause(): void;
  resume(): void;
  /** Ends both directions at once. */
  close(): void;
}

/** Bytes that one direction of a pipe holds before `write` answers false. */
const PIPE_BYTES = 65536;

/** Two connected ends inside one process. Bytes arrive later than the call that wrote them, as with a socket. */
export function createPipe(): [ByteStream, ByteStream] {
  const left = new PipeEnd();
  const right = new PipeEnd();
  left.peer = right;
  right.peer = left;
  return [left, right];
}

class PipeEnd implements ByteStream {
  peer!: PipeEnd;
  #handlers: StreamHandlers | undefined;
  /** What the peer wrote and we have not delivered. */
  #queue: Uint8Array[] = [];
  #queued = 0;
  #paused = false;
  #scheduled = false;
  #peerWaits = false;
  #peerClosed = false;
  #closed = false;

  attach(handlers: StreamHandlers): void {
    this.#handlers = handlers;
    this.#schedule();
  }

  write(bytes: Uint8Array): boolean {
    return this.#closed || this.peer.#receive(bytes);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.peer.#peerClosed = true;
    this.peer.#schedule();
  }

  #receive(bytes: Uint8Array): boolean {
    if (this.#closed) return true;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#schedule();
    this.#peerWaits ||= this.#queued > PIPE_BYTES;
    return !this.#peerWaits;
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    Promise.resolve().then(() => this.#deliver());
  }

  #deliver(): void {
    this.#scheduled = false;
    while (this.#handlers && !this.#paused && !this.#closed && this.#queue.length > 0) {
      const chunk = this.#queue.shift()!;
      this.#queued -= chunk.length;
      this.#handlers.bytes(chunk);
    }
    if (this.#closed || !this.#handlers || this.#queue.length > 0) return;
    if (this.#peerClosed) {
      this.#closed = true;
      this.#handlers.closed();
    } else if (this.#peerWaits) {
      this.#peerWaits = false;
      this.peer.#handlers?.drained();
    }
  }
}
