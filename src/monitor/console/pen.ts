/**
 * Who types on a console that many look at: one at a time. Whoever attaches and finds nobody typing has the pen; when its
 * holder leaves it goes to who has waited longest; somebody may take it. Watchers never get it.
 */

export interface Attached {
  /** For the others: "root, process 4242" or an address. */
  readonly who: string;
  /** Attached to look only, or done with typing. */
  watches: boolean;
  /** Was told, in so many words, that somebody else types. */
  told: boolean;
  /** A line from the console itself among what the guest prints. */
  notice(text: string): void;
  /** It is its turn now. */
  turn?(): void;
}

export class Pen {
  /** In the order they came. */
  readonly #attached = new Set<Attached>();
  #holder: Attached | undefined;

  get holder(): Attached | undefined {
    return this.#holder;
  }

  get size(): number {
    return this.#attached.size;
  }

  /** `take`: whoever types now becomes a watcher. */
  attach(one: Attached, take: boolean): void {
    this.#attached.add(one);
    if (one.watches) return;
    const before = this.#holder;
    if (before === undefined || take) this.#holder = one;
    if (before === undefined || !take) return;
    before.told = true;
    before.notice(`${one.who} has taken over; you are watching`);
  }

  detach(one: Attached): void {
    this.#attached.delete(one);
    this.release(one);
  }

  /** It types no more; it may go on watching. */
  release(one: Attached): void {
    one.watches = true;
    if (this.#holder !== one) return;
    this.#holder = [...this.#attached].find(({ watches }) => !watches);
    const next = this.#holder;
    if (next === undefined) return;
    if (next.told) next.notice(`${one.who} types no more: now what you type goes to the guest`);
    next.told = false;
    next.turn?.();
  }

  /** Somebody typed without being entitled to: it is told once why nothing happens. */
  refused(one: Attached, what: string): void {
    if (one.told) return;
    one.told = true;
    one.notice(`${this.#holder?.who ?? 'nobody'} types; ${what}`);
  }
}
