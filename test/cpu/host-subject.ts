/**
 * The host's CPU as its own subject: a second oracle. Agreement shows that cases are repeatable and that nothing leaks from
 * one case into the next; it is the baseline of the comparison, and what there is to run where no engine exists yet.
 */
import { Oracle } from './oracle.ts';
import type { Subject } from './subject.ts';

export class HostSubject implements Subject {
  readonly name = 'host';
  readonly #oracle = new Oracle();

  run(cases: Uint8Array, count: number): Promise<Uint8Array> {
    return this.#oracle.run(cases, count);
  }
  detail(): undefined {}
  close(): void {
    this.#oracle.close();
  }
}
