/** Someone at a console who waits for words and types: on the pipes of `xm create -c`, or of any other program. */
import type { ChildProcess } from 'node:child_process';

/** Terminal control sequences; BusyBox's shell asks for the cursor's position (ESC [ 6 n) at every prompt. */
const CONTROL_SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\^_=>])/g;
const LAST_LINES = 25;

/** What was waited for did not come; the message has the console's last lines. */
export class ConsoleFailure extends Error {
  override readonly name = 'ConsoleFailure';
}

export class ConsoleDriver {
  readonly #child: ChildProcess;
  #raw = '';
  /** What was shown up to here has been answered already. */
  #read = 0;
  #ended: string | undefined;
  #waiters = new Set<() => void>();

  /** `show` gets what the console prints, as it comes. */
  constructor(child: ChildProcess, show: (text: string) => void = () => {}) {
    this.#child = child;
    const changed = () => {
      for (const wake of this.#waiters) wake();
    };
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#raw += text;
        show(text.replace(CONTROL_SEQUENCE, ''));
        changed();
      });
    }
    child.stdin?.on('error', () => {}); // The program may end before it has read everything.
    child.on('error', (error) => {
      this.#ended = error.message;
      changed();
    });
    child.on('close', (code, signal) => {
      this.#ended ??= signal ? `ended by ${signal}` : `ended with exit code ${code}`;
      changed();
    });
  }

  /** Everything shown so far, without control sequences and carriage returns. */
  get text(): string {
    return this.#raw.replace(CONTROL_SEQUENCE, '').replaceAll('\r', '');
  }

  /** Wait for something new that matches; returns what was shown up to and with it. */
  async until(what: RegExp, seconds: number): Promise<string> {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
      const { text } = this;
      const match = what.exec(text.slice(this.#read));
      if (match) {
        const start = this.#read;
        this.#read += match.index + match[0].length;
        return text.slice(start, this.#read);
      }
      if (this.#ended !== undefined) throw this.#failure(`the console ${this.#ended}`, what);
      const rest = deadline - performance.now();
      if (rest <= 0) throw this.#failure(`nothing like it within ${seconds} s`, what);
      await this.#change(rest);
    }
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Wait for the program's end. */
  async ended(seconds: number): Promise<void> {
    const deadline = performance.now() + seconds * 1000;
    while (this.#ended === undefined) {
      const rest = deadline - performance.now();
      if (rest <= 0) throw new ConsoleFailure(`the console did not end within ${seconds} s\n${this.lastLines()}`);
      await this.#change(rest);
    }
  }

  lastLines(): string {
    const lines = this.text.trimEnd().split('\n').slice(-LAST_LINES);
    return ["the console's last lines:", ...lines.map((line) => `  | ${line}`)].join('\n');
  }

  #failure(why: string, what: RegExp): ConsoleFailure {
    return new ConsoleFailure(`waiting for ${what.source}: ${why}\n${this.lastLines()}`);
  }

  #change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiters.add(done);
    });
  }
}
