/**
 * A domain's console, as seen from the host: everything the guest prints goes to the log file, to a scrollback in memory
 * and to every watcher; what any watcher types goes to the guest. The socket carries plain bytes both ways. A watcher that
 * connects gets the scrollback first. Nobody watching, or a watcher that stands still, never holds up the guest: a watcher
 * that is too far behind is told how many bytes it missed.
 */
import { closeSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import net from 'node:net';

export const SCROLLBACK_BYTES = 1 << 20;
const WATCHER_QUEUE_MAX = 4 << 20;
const LOG_MAX_BYTES = 16 << 20;
const INPUT_QUEUE_MAX = 64 << 10;

/** What a line of `lastLines` may have. */
const LINE_BYTES_MAX = 512;
/** Terminal control sequences: colours, cursor movements, titles. */
const CONTROL_SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>])/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** The last `capacity` bytes of a stream. */
export class Scrollback {
  readonly #ring: Uint8Array;
  #total = 0;

  constructor(capacity: number = SCROLLBACK_BYTES) {
    this.#ring = new Uint8Array(capacity);
  }

  push(bytes: Uint8Array): void {
    const capacity = this.#ring.length;
    const kept = bytes.length > capacity ? bytes.subarray(bytes.length - capacity) : bytes;
    const at = (this.#total + bytes.length - kept.length) % capacity;
    const first = Math.min(kept.length, capacity - at);
    this.#ring.set(kept.subarray(0, first), at);
    this.#ring.set(kept.subarray(first), 0);
    this.#total += bytes.length;
  }

  /** A copy, oldest byte first. */
  contents(): Uint8Array {
    const capacity = this.#ring.length;
    if (this.#total <= capacity) return this.#ring.slice(0, this.#total);
    const at = this.#total % capacity;
    const all = new Uint8Array(capacity);
    all.set(this.#ring.subarray(at));
    all.set(this.#ring.subarray(0, at), capacity - at);
    return all;
  }
}

/** Appends to a file and starts a new one (keeping one old) when it is long. A full disk costs the log, not the domain. */
export class ConsoleLog {
  readonly #path: string;
  #fd: number;
  #size: number;
  #failed = false;
  readonly #onError: (text: string) => void;

  constructor(path: string, onError: (text: string) => void) {
    this.#path = path;
    this.#onError = onError;
    this.#fd = openSync(path, 'a', 0o600);
    this.#size = statSync(path).size;
  }

  write(bytes: Uint8Array): void {
    try {
      if (this.#size > LOG_MAX_BYTES) {
        renameSync(this.#path, `${this.#path}.1`);
        closeSync(this.#fd);
        this.#fd = openSync(this.#path, 'a', 0o600);
        this.#size = 0;
      }
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
      this.#size += bytes.length;
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#onError(`console log ${this.#path}: ${(error as Error).message}`);
      this.#failed = true;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

interface Watcher {
  readonly socket: net.Socket;
  /** Bytes that were not sent because it was too far behind. */
  skipped: number;
}

export interface ConsolePorts {
  /** Typed bytes for the guest; returns how many were taken. */
  input(bytes: Uint8Array): number;
  log(text: string): void;
}

export class ConsoleServer {
  readonly #server: net.Server;
  readonly #watchers = new Set<Watcher>();
  readonly #scrollback = new Scrollback();
  readonly #log: ConsoleLog;
  readonly #ports: ConsolePorts;
  readonly #input: Uint8Array[] = [];
  #inputBytes = 0;
  #retry: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(logFile: string, ports: ConsolePorts) {
    this.#ports = ports;
    this.#log = new ConsoleLog(logFile, ports.log);
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#attach(socket));
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, () => resolve());
    });
  }

  /** The last lines printed, as plain text: a guest's control characters are for its console's watchers only. */
  lastLines(count: number): string[] {
    const bytes = this.#scrollback.contents();
    const text = new TextDecoder().decode(bytes.subarray(-count * LINE_BYTES_MAX)).replace(CONTROL_SEQUENCE, '');
    const lines = text
      .replaceAll('\r', '')
      .split('\n')
      .slice(-count - 1);
    if (lines.at(-1) === '') lines.pop();
    return lines.slice(-count).map((line) => line.slice(-LINE_BYTES_MAX).replace(CONTROL, '\uFFFD'));
  }

  /** Bytes from the guest. */
  output(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#log.write(bytes);
    this.#scrollback.push(bytes);
    let copy: Uint8Array | undefined; // Sockets keep what they could not send yet; the ring's owner reuses its buffer.
    for (const watcher of this.#watchers) {
      if (watcher.skipped > 0 || watcher.socket.writableLength > WATCHER_QUEUE_MAX) watcher.skipped += bytes.length;
      else watcher.socket.write((copy ??= bytes.slice()));
    }
  }

  /** The guest takes input again. */
  drainInput(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    while (this.#input.length > 0) {
      const chunk = this.#input[0]!;
      const taken = this.#ports.input(chunk);
      this.#inputBytes -= taken;
      if (taken < chunk.length) {
        this.#input[0] = chunk.subarray(taken);
        this.#retry = setTimeout(() => this.drainInput(), 50);
        return;
      }
      this.#input.shift();
    }
    for (const { socket } of this.#watchers) if (socket.isPaused()) socket.resume();
  }

  /** No more output will come: watchers get end of file, later ones the scrollback and end of file. */
  end(): void {
    this.#ended = true;
    for (const { socket } of this.#watchers) socket.end();
  }

  /** A new machine runs behind the same console. */
  reopen(): void {
    this.#ended = false;
    this.#input.length = 0;
    this.#inputBytes = 0;
  }

  /** Ends every connection; resolves when what was printed has been sent, or after a moment. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
    this.end();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const limit = setTimeout(() => {
      for (const { socket } of this.#watchers) socket.destroy();
    }, 1000);
    await closed;
    clearTimeout(limit);
    this.#log.close();
  }

  #attach(socket: net.Socket): void {
    const watcher: Watcher = { socket, skipped: 0 };
    this.#watchers.add(watcher);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#watchers.delete(watcher));
    // End of input (`xm console < file`) leaves the watcher watching; a closed connection shows as an error on writing.
    socket.on('end', () => this.#ended && socket.end());
    socket.on('data', (chunk) => this.#typed(socket, chunk as Buffer));
    socket.on('drain', () => {
      if (watcher.skipped === 0) return;
      socket.write(`\r\n[console: ${watcher.skipped} bytes were skipped here; they are in the console log]\r\n`);
      watcher.skipped = 0;
    });
    socket.write(this.#scrollback.contents());
    if (this.#ended) socket.end();
  }

  #typed(from: net.Socket, chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#input.push(chunk);
    this.#inputBytes += chunk.length;
    if (this.#inputBytes > INPUT_QUEUE_MAX) from.pause();
    if (this.#retry === undefined) this.drainInput();
  }
}
