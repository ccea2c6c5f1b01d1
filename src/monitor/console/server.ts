/**
 * A domain's console, as seen from the host: everything the guest prints goes to the log file, to a scrollback in memory
 * and to everyone attached; what the one who has the pen types goes to the guest. People attach on the monitor's own socket
 * (host/console-link.ts has its first lines) or on a TCP port of this machine (tcp-port.ts); after that, both carry plain
 * bytes, and who attaches gets the scrollback first.
 *
 * Nobody watching, or a watcher that stands still, never holds up the guest nor anybody else. A watcher that is more than
 * WATCHER_QUEUE_MAX behind gets nothing new until it has read all of that, and is then told how many bytes it missed.
 */
import net from 'node:net';
import {
  type ConsoleHello,
  type ConsoleMode,
  type ConsoleResize,
  type ConsoleWelcome,
  parseJson,
  readFirstLine,
  SIZE_MAX,
  type TerminalSize,
} from '../../host/console-link.ts';
import { ConsoleLog } from './log.ts';
import { type Attached, Pen } from './pen.ts';
import { Scrollback } from './scrollback.ts';
import { ConsolePort } from './tcp-port.ts';
import { TelnetFilter } from './telnet.ts';

const WATCHER_QUEUE_MAX = 4 << 20;
const INPUT_QUEUE_MAX = 64 << 10;
/** Output of one turn is written in one piece, up to so much. */
const BATCH_BYTES = 64 << 10;
/** A guest that takes no input is asked again, less and less often: it may be paused for days. */
const RETRY_MS = { first: 50, last: 10_000 };
const CLOSE_MS = 1000;
const MODES: readonly ConsoleMode[] = ['write', 'force', 'watch'];

export interface ConsolePorts {
  /** Typed bytes for the guest; returns how many were taken. */
  input(bytes: Uint8Array): number;
  log(text: string): void;
  /** Somebody came, went or took over: the status has changed. */
  changed?(): void;
  /** The terminal of who types has this size. */
  resized?(size: TerminalSize): void;
}

/** What is told about a console: `xm consoles`, events. */
export interface ConsoleStatus {
  /** The TCP port, once it is open. */
  readonly port?: number;
  /** Everyone attached. */
  readonly attached: number;
  /** Who types: an address with a port, or what a client on the socket calls itself. */
  readonly writer?: string | undefined;
  readonly bytesOut: number;
  readonly bytesIn: number;
}

interface Watcher extends Attached {
  readonly session: number;
  readonly socket: net.Socket;
  /** Its input waits for its turn instead of being dropped. */
  readonly patient: boolean;
  size: TerminalSize | undefined;
  /** Bytes that were not sent because it was too far behind. */
  skipped: number;
  /** May be a telnet client. */
  readonly telnet: TelnetFilter | undefined;
}

export class ConsoleServer {
  readonly #server: net.Server;
  readonly #watchers = new Map<number, Watcher>();
  readonly #unnamed = new Set<net.Socket>();
  readonly #pen = new Pen();
  readonly #scrollback = new Scrollback();
  readonly #log: ConsoleLog;
  readonly #ports: ConsolePorts;
  readonly #port: ConsolePort;
  readonly #input: Uint8Array[] = [];
  #inputBytes = 0;
  readonly #batch = new Uint8Array(BATCH_BYTES);
  #batched = 0;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS.first;
  #sizeTold: TerminalSize | undefined;
  #ended = false;
  #sessions = 0;
  #bytesOut = 0;
  #bytesIn = 0;

  constructor(logFile: string, ports: ConsolePorts) {
    this.#ports = ports;
    this.#log = new ConsoleLog(logFile, ports.log);
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#greet(socket));
    this.#port = new ConsolePort(
      (socket, who) => this.#attach(socket, { mode: 'write', who }, undefined, new TelnetFilter()),
      ports.log,
    );
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, () => resolve());
    });
  }

  /** Open the TCP port; rejects when it has to be that one and cannot be had. Safe to repeat. */
  async openPort(port: number, fixed: boolean): Promise<void> {
    await this.#port.open(port, fixed);
    this.#ports.changed?.();
  }

  status(): ConsoleStatus {
    const { port } = this.#port;
    const writer = this.#pen.holder?.who;
    return {
      ...(port === undefined ? {} : { port }),
      attached: this.#watchers.size,
      ...(writer === undefined ? {} : { writer }),
      bytesOut: this.#bytesOut,
      bytesIn: this.#bytesIn,
    };
  }

  /** The size of the terminal that types, for a guest that begins to ask. */
  get size(): TerminalSize | undefined {
    return this.#holder?.size;
  }

  lastLines(count: number): string[] {
    this.#flush();
    return this.#scrollback.lastLines(count);
  }

  /** Bytes from the guest, which are taken before this returns. */
  output(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#bytesOut += bytes.length;
    if (this.#batched + bytes.length > BATCH_BYTES) this.#flush();
    if (bytes.length > BATCH_BYTES) {
      this.#deliver(bytes.slice());
      return;
    }
    // Written in the same turn of this thread or the next: a guest that floods its console costs few writes, not many.
    if (this.#batched === 0) setImmediate(() => this.#flush());
    this.#batch.set(bytes, this.#batched);
    this.#batched += bytes.length;
  }

  #flush(): void {
    if (this.#batched === 0) return;
    const bytes = this.#batch.slice(0, this.#batched);
    this.#batched = 0;
    this.#deliver(bytes);
  }

  #deliver(bytes: Uint8Array): void {
    this.#log.write(bytes);
    this.#scrollback.push(bytes);
    for (const watcher of this.#watchers.values()) {
      if (watcher.skipped > 0 || watcher.socket.writableLength > WATCHER_QUEUE_MAX) watcher.skipped += bytes.length;
      else watcher.socket.write(bytes);
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
        this.#retryMs = taken > 0 ? RETRY_MS.first : Math.min(2 * this.#retryMs, RETRY_MS.last);
        this.#retry = setTimeout(() => this.drainInput(), this.#retryMs);
        return;
      }
      this.#input.shift();
      this.#retryMs = RETRY_MS.first;
    }
    const { socket } = this.#holder ?? {};
    if (socket?.isPaused()) socket.resume();
  }

  /** No more output will come: watchers get end of file, later ones the scrollback and end of file. */
  end(): void {
    this.#flush();
    this.#ended = true;
    for (const { socket } of this.#watchers.values()) socket.end();
  }

  /** The log goes on in this file. */
  logTo(file: string): void {
    this.#flush();
    this.#log.moveTo(file);
  }

  /** Everyone attached is sent away; whoever wants may come again. */
  disconnect(): void {
    this.#flush();
    for (const { socket } of this.#watchers.values()) socket.end(() => socket.destroy());
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
    for (const socket of this.#unnamed) socket.destroy();
    const closed = Promise.all([
      new Promise<void>((resolve) => this.#server.close(() => resolve())),
      this.#port.close(),
    ]);
    const limit = setTimeout(() => {
      for (const { socket } of this.#watchers.values()) socket.destroy();
    }, CLOSE_MS);
    await closed;
    clearTimeout(limit);
    this.#log.close();
  }

  get #holder(): Watcher | undefined {
    return this.#pen.holder as Watcher | undefined;
  }

  /** A connection on our own socket says in its first line what it wants. */
  #greet(socket: net.Socket): void {
    this.#unnamed.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#unnamed.delete(socket));
    readFirstLine(socket, (line, rest) => {
      this.#unnamed.delete(socket);
      const wish = parseJson(line);
      const size = sizeOf(wish);
      if (isResize(wish)) {
        if (size) this.#resize(wish.resize, size);
        socket.end();
        return;
      }
      if (!isHello(wish)) {
        socket.end('{"error":"no hello"}\n');
        return;
      }
      this.#attach(socket, { mode: wish.mode, who: printable(wish.who), ...(size ? { size } : {}) }, rest);
    });
  }

  #attach(socket: net.Socket, { mode, who, size }: ConsoleHello, typed?: Uint8Array, telnet?: TelnetFilter): void {
    const watcher: Watcher = {
      session: ++this.#sessions,
      socket,
      who,
      watches: mode === 'watch',
      patient: typed !== undefined && size === undefined,
      size,
      told: false,
      skipped: 0,
      telnet,
      notice: (text) => void socket.write(`\r\n[console: ${text}]\r\n`),
      turn: () => {
        if (socket.isPaused()) socket.resume();
      },
    };
    const byName = typed !== undefined;
    const before = this.#pen.holder;
    this.#watchers.set(watcher.session, watcher);
    this.#pen.attach(watcher, mode === 'force');
    const writes = this.#pen.holder === watcher;
    if (byName) {
      const writer = this.#pen.holder?.who;
      const welcome: ConsoleWelcome = { session: watcher.session, writes, ...(writer ? { writer } : {}) };
      socket.write(`${JSON.stringify(welcome)}\n`);
    } else {
      socket.on('error', () => socket.destroy());
    }
    socket.on('close', () => {
      this.#watchers.delete(watcher.session);
      this.#pen.detach(watcher);
      this.#changed();
    });
    // End of input (`xm console < file`) leaves the watcher watching; a closed connection shows as an error on writing.
    socket.on('end', () => {
      this.#pen.release(watcher);
      if (this.#ended) socket.end();
      this.#changed();
    });
    socket.on('data', (chunk) => this.#typed(watcher, chunk as Buffer));
    socket.on('drain', () => {
      if (watcher.skipped === 0) return;
      watcher.notice(`${watcher.skipped} bytes were skipped here; they are in the console log`);
      watcher.skipped = 0;
    });
    this.#flush();
    socket.write(this.#scrollback.contents());
    if (before && !writes && mode === 'write') {
      const what = watcher.patient ? 'what you send waits' : 'you are watching';
      this.#pen.refused(watcher, `${what} (xm console -f takes over)`);
    }
    if (typed && typed.length > 0) this.#typed(watcher, typed);
    if (this.#ended) socket.end();
    this.#changed();
  }

  #typed(from: Watcher, chunk: Uint8Array): void {
    if (this.#ended) return;
    if (this.#pen.holder !== from) {
      if (from.watches) return;
      if (from.patient) {
        // What a program sends must not be lost: it stays in its socket until it is its turn.
        from.socket.pause();
        from.socket.unshift(chunk);
      }
      this.#pen.refused(from, from.patient ? 'what you send waits' : 'what you type is ignored');
      return;
    }
    const keys = from.telnet?.typed(chunk) ?? chunk;
    if (keys.length === 0) return;
    this.#bytesIn += keys.length;
    this.#input.push(keys);
    this.#inputBytes += keys.length;
    if (this.#inputBytes > INPUT_QUEUE_MAX) from.socket.pause();
    if (this.#retry === undefined) this.drainInput();
  }

  #resize(session: number, size: TerminalSize): void {
    const watcher = this.#watchers.get(session);
    if (!watcher) return;
    watcher.size = size;
    if (this.#pen.holder === watcher) this.#ports.resized?.(size);
  }

  /** Somebody came or went, and with that the pen may have. */
  #changed(): void {
    const { size } = this;
    if (size && size !== this.#sizeTold) this.#ports.resized?.(size);
    this.#sizeTold = size;
    this.#ports.changed?.();
  }
}

function isHello(wish: unknown): wish is ConsoleHello {
  const hello = wish as Partial<ConsoleHello> | null | undefined;
  return typeof hello === 'object' && hello !== null && MODES.includes(hello.mode!) && typeof hello.who === 'string';
}

function isResize(wish: unknown): wish is ConsoleResize {
  return typeof (wish as Partial<ConsoleResize> | null | undefined)?.resize === 'number';
}

function sizeOf(wish: unknown): TerminalSize | undefined {
  const { columns, rows } = (wish as { size?: Partial<TerminalSize> } | null | undefined)?.size ?? {};
  const good = (n: unknown): n is number => Number.isInteger(n) && (n as number) > 0 && (n as number) <= SIZE_MAX;
  return good(columns) && good(rows) ? { columns, rows } : undefined;
}

/** What a client calls itself is shown on other people's terminals. */
function printable(who: string): string {
  return who.replace(/[^\x20-\x7e]/g, '?').slice(0, 80) || 'somebody';
}
