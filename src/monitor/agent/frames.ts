/**
 * What goes over the channel between the monitor and the agent in a guest (guest/files/agent/agent.b): frames of a mark, a
 * type, a session, a length and a check of these. The guest may send anything: what is no frame is passed over, and a frame
 * holds at most FRAME_MAX bytes, so that nothing here grows by a guest's will.
 */

export const FRAME_HEAD = 8;
export const FRAME_MAX = 0xffff;
const MARK = 0xd5;
const CHECK = 0x5aa5;

/** Numbers are little-endian. To the guest: up to Reset and Credit; from it: Credit and from Hello on. */
export const FrameType = {
  /** u8 terminal, u8 0, u16 columns, u16 rows, u16 arguments, u16 variables; folder, arguments, variables, each with a 0 after it. */
  Exec: 1,
  Input: 2,
  InputEnd: 3,
  /** u8 number. */
  Signal: 4,
  /** u16 columns, u16 rows. Session 0: the console's terminal. */
  Size: 5,
  /** u32 bytes that may be sent on top of those allowed before. */
  Credit: 6,
  /** Nobody cares for the session any more. */
  Close: 7,
  /** Nobody cares for any session; the answer is Hello. */
  Reset: 8,
  /** u8 version, u8 sessions at most, u32 bytes of input that a new session takes. */
  Hello: 16,
  Output: 17,
  Errors: 18,
  /** u8 code, u8 signal. */
  Exit: 19,
} as const;

export interface Frame {
  readonly type: number;
  readonly session: number;
  /** Valid until the next bytes are taken. */
  readonly payload: Uint8Array;
}

const check = (type: number, session: number, length: number): number => ((type + session + length) ^ CHECK) & 0xffff;

export function makeFrame(type: number, session: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  if (payload.length > FRAME_MAX) throw new RangeError(`a frame of ${payload.length} bytes`);
  const frame = new Uint8Array(FRAME_HEAD + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint8(0, MARK);
  view.setUint8(1, type);
  view.setUint16(2, session, true);
  view.setUint16(4, payload.length, true);
  view.setUint16(6, check(type, session, payload.length), true);
  frame.set(payload, FRAME_HEAD);
  return frame;
}

export const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
export const u16s = (...values: number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer);

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  readonly #bytes = new Uint8Array(FRAME_HEAD + FRAME_MAX);
  readonly #view = new DataView(this.#bytes.buffer);
  #filled = 0;

  /** Forget what came of a frame. */
  reset(): void {
    this.#filled = 0;
  }

  /** Calls back for every frame that is complete with these bytes. */
  take(bytes: Uint8Array, use: (frame: Frame) => void): void {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + this.#bytes.length - this.#filled);
      this.#bytes.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      this.#cut(use);
    }
  }

  #cut(use: (frame: Frame) => void): void {
    let at = 0;
    while (at + FRAME_HEAD <= this.#filled) {
      const type = this.#view.getUint8(at + 1);
      const session = this.#view.getUint16(at + 2, true);
      const length = this.#view.getUint16(at + 4, true);
      if (this.#view.getUint8(at) !== MARK || this.#view.getUint16(at + 6, true) !== check(type, session, length)) {
        at++;
        continue;
      }
      const end = at + FRAME_HEAD + length;
      if (end > this.#filled) break;
      use({ type, session, payload: this.#bytes.subarray(at + FRAME_HEAD, end) });
      at = end;
    }
    this.#bytes.copyWithin(0, at, this.#filled);
    this.#filled -= at;
  }
}
