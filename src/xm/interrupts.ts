/**
 * SIGINT, SIGTERM and SIGHUP while a command does what it must not leave half done: it hears of them and tidies up. The second of a
 * kind ends xm at once.
 */
import os from 'node:os';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** The exit code of what a signal ended, as shells tell it: with the signal's number on top. */
const SIGNALLED = 128;

export class Interrupts implements Disposable {
  readonly #abort = new AbortController();
  readonly #heard = (name: NodeJS.Signals): void => this.#abort.abort(name);

  constructor() {
    for (const name of SIGNALS) process.once(name, this.#heard);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Undefined when none has come. */
  get exitCode(): number | undefined {
    const { aborted, reason } = this.signal;
    return aborted ? SIGNALLED + os.constants.signals[reason as NodeJS.Signals] : undefined;
  }

  [Symbol.dispose](): void {
    for (const name of SIGNALS) process.off(name, this.#heard);
  }
}
