/** The last bytes of a stream, for who attaches later; and its last lines as plain text, for reports. */

export const SCROLLBACK_BYTES = 1 << 20;
/** What a line of `lastLines` may have. */
const LINE_BYTES_MAX = 512;
/** Terminal control sequences: colours, cursor movements, titles. */
const CONTROL_SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>])/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

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

  /** As plain text: a guest's control characters are for its console's watchers only. */
  lastLines(count: number): string[] {
    const bytes = this.contents();
    const text = new TextDecoder().decode(bytes.subarray(-count * LINE_BYTES_MAX)).replace(CONTROL_SEQUENCE, '');
    const lines = text
      .replaceAll('\r', '')
      .split('\n')
      .slice(-count - 1);
    if (lines.at(-1) === '') lines.pop();
    return lines.slice(-count).map((line) => line.slice(-LINE_BYTES_MAX).replace(CONTROL, '\uFFFD'));
  }
}
