/**
 * A domain's console for programs: write, wait for words, read on. What is matched is the text without colours, cursor
 * movements and carriage returns, as a person would have read it.
 */
import type { Target } from './client.ts';
import { openStream, type WebSocket } from './stream.ts';

/** Terminal control sequences, and one that has only begun. */
const CONTROL_SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>])/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?$/;
/** So much of what nobody has read is kept, in characters. */
const UNREAD_MAX = 4 << 20;
const LAST_LINES = 20;

export interface Match {
  /** What matched. */
  readonly text: string;
  /** What was printed before it and had not been read yet. */
  readonly before: string;
  /** A regular expression's groups, from 1: index 0 is `text`. */
  readonly groups: readonly (string | undefined)[];
  readonly named: Readonly<Record<string, string | undefined>>;
}

export interface ExpectOptions {
  readonly timeoutMs?: number;
}

/** What was waited for did not come; the message ends with the last lines that did. */
export class ExpectError extends Error {
  override readonly name = 'ExpectError';
}

export const EXPECT_MS = 30_000;

export class Console implements AsyncDisposable {
  #socket: WebSocket | undefined;
  readonly #decoder = new TextDecoder();
  #writes: boolean | undefined;
  #unread = '';
  #rest = '';
  #shown = '';
  #ended: string | undefined;
  readonly #waiters = new Set<() => void>();

  private constructor() {}

  /** Attach by a path of xend's API; resolves when attached. */
  static async open(target: Target, path: string): Promise<Console> {
    const console = new Console();
    console.#socket = await openStream(target, path, {
      // The first text is about the connection.
      text: (message) => {
        console.#writes ??= (JSON.parse(message) as { writes?: boolean }).writes === true;
        console.#wake();
      },
      bytes: (message) => console.#take(message),
      closed: (reason) => {
        console.#ended ??= reason || 'the connection to xend broke';
        console.#wake();
      },
    });
    while (console.#writes === undefined && console.#ended === undefined) await console.#change();
    return console;
  }

  /** It is this connection that types. */
  get writes(): boolean {
    return this.#writes === true;
  }

  /** Type. Bytes go as they are; text as UTF-8. */
  write(what: string | Uint8Array): void {
    if (this.#ended !== undefined) throw new ExpectError(`the console is closed: ${this.#ended}`);
    this.#socket?.send(typeof what === 'string' ? Buffer.from(what) : what);
  }

  /** Type a line, and the key that ends it. */
  line(text: string): void {
    this.write(`${text}\n`);
  }

  /** Tell the guest the size of the terminal. */
  resize(columns: number, rows: number): void {
    this.#socket?.send(JSON.stringify({ columns, rows }));
  }

  /**
   * Wait until something is printed that was not read before and matches; what comes after it is read next. Rejects with an
   * ExpectError after the time, or when the console ends.
   */
  async expect(what: string | RegExp, { timeoutMs = EXPECT_MS }: ExpectOptions = {}): Promise<Match> {
    const pattern = typeof what === 'string' ? what : new RegExp(what.source, what.flags.replace(/[gy]/g, ''));
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const match = find(this.#unread, pattern);
      if (match) {
        this.#unread = this.#unread.slice(match.before.length + match.text.length);
        return match;
      }
      if (this.#ended !== undefined) throw this.#failure(what, this.#ended);
      const rest = deadline - performance.now();
      if (rest <= 0) throw this.#failure(what, `it did not come within ${timeoutMs / 1000} s`);
      await this.#change(rest);
    }
  }

  /** Text as it comes, what was not read yet first; ends when the console does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, void> {
    for (;;) {
      const text = this.#unread;
      this.#unread = '';
      if (text !== '') yield text;
      else if (this.#ended !== undefined) return;
      else await this.#change();
    }
  }

  /** Whole lines, without the character that ends them; the last may have had none. */
  async *lines(): AsyncGenerator<string, void, void> {
    for (;;) {
      const end = this.#unread.indexOf('\n');
      if (end >= 0) {
        const line = this.#unread.slice(0, end);
        this.#unread = this.#unread.slice(end + 1);
        yield line;
      } else if (this.#ended !== undefined) {
        if (this.#unread !== '') yield this.#unread;
        this.#unread = '';
        return;
      } else await this.#change();
    }
  }

  /** Detach; the domain runs on. */
  close(): void {
    this.#ended ??= 'it was closed here';
    this.#socket?.close();
    this.#wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #take(bytes: Buffer): void {
    const raw = this.#rest + this.#decoder.decode(bytes, { stream: true });
    const unfinished = UNFINISHED.exec(raw);
    this.#rest = unfinished ? unfinished[0].slice(0, 256) : '';
    const whole = unfinished ? raw.slice(0, unfinished.index) : raw;
    const text = whole.replace(CONTROL_SEQUENCE, '').replaceAll('\r', '');
    this.#unread = (this.#unread + text).slice(-UNREAD_MAX);
    this.#shown = (this.#shown + text).slice(-8192);
    this.#wake();
  }

  #failure(what: string | RegExp, why: string): ExpectError {
    const lines = this.#shown.trimEnd().split('\n').slice(-LAST_LINES);
    const shown = lines.map((line) => `  | ${line}`).join('\n');
    return new ExpectError(`waiting for ${what instanceof RegExp ? what : JSON.stringify(what)}: ${why}\n${shown}`);
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  #change(timeoutMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(done, timeoutMs);
      this.#waiters.add(done);
    });
  }
}

function find(text: string, pattern: string | RegExp): Match | undefined {
  if (typeof pattern === 'string') {
    const at = text.indexOf(pattern);
    return at < 0 ? undefined : { text: pattern, before: text.slice(0, at), groups: [pattern], named: {} };
  }
  const found = pattern.exec(text);
  if (!found) return undefined;
  return { text: found[0], before: text.slice(0, found.index), groups: [...found], named: { ...found.groups } };
}
