/**
 * The work on one domain: one piece after another, in the order asked for. What is under way can be watched, and one piece,
 * destroying the domain, overtakes: it makes what is under way give up, refuses what waits, and is the last.
 */
import type { Course } from './operation.ts';

/** Work that is under way. */
export interface Running {
  readonly id: number;
  readonly name: string;
  readonly startedAtMs: number;
  /** The latest step, and which of how many it is. */
  step?: string;
  at?: number;
  of?: number;
}

export interface WorkObserver {
  now(): number;
  /** Work begins; returns its number. */
  begun(name: string): number;
  step(work: Running): void;
  note(work: Running, text: string): void;
  ended(work: Running, error?: Error): void;
}

export class WorkQueue {
  readonly #observer: WorkObserver;
  readonly #giveUp = new AbortController();
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #current: Running | undefined;

  constructor(observer: WorkObserver) {
    this.#observer = observer;
  }

  get current(): Running | undefined {
    return this.#current;
  }

  /** Pieces of work that wait for the present one. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Resolves when all that was asked for until now has been done, well or not. */
  async idle(): Promise<void> {
    await this.#tail;
  }

  /** Do `work` after what was asked for before. */
  enqueue<T>(name: string, work: (course: Course) => Promise<T>): Promise<T> {
    this.#waiting++;
    const done = this.#tail.then(() => {
      this.#waiting--;
      this.#giveUp.signal.throwIfAborted();
      return this.#run(name, this.#giveUp.signal, work);
    });
    this.#tail = done.catch(() => {});
    return done;
  }

  /**
   * Do `work` next and as the last: what is under way gives up at its next step, everything that waits or comes later is
   * refused with `reason`. `hurry` ends what the present work may be waiting for.
   */
  async overtake<T>(
    name: string,
    reason: Error,
    hurry: () => Promise<void>,
    work: (course: Course) => Promise<T>,
  ): Promise<T> {
    this.#giveUp.abort(reason);
    if (this.#current) await hurry();
    await this.#tail;
    return this.#run(name, new AbortController().signal, work);
  }

  async #run<T>(name: string, signal: AbortSignal, work: (course: Course) => Promise<T>): Promise<T> {
    const running: Running = { id: this.#observer.begun(name), name, startedAtMs: this.#observer.now() };
    this.#current = running;
    const course: Course = {
      signal,
      step: (step, at, of) => {
        Object.assign(running, { step, at, of });
        this.#observer.step(running);
      },
      note: (text) => this.#observer.note(running, text),
    };
    let failure: Error | undefined;
    try {
      return await work(course);
    } catch (error) {
      // Work that was made to give up fails for that reason, whatever it came across.
      failure = (signal.aborted ? signal.reason : error) as Error;
      throw failure;
    } finally {
      this.#current = undefined;
      this.#observer.ended(running, failure);
    }
  }
}
