/**
 * What a telnet client sends besides what is typed: negotiation (RFC 854, 855), which nobody here asked for and a guest must
 * not take for input. Only well-formed commands are taken out; a lone byte 255 of a program that speaks plain bytes
 * stays. Whoever has sent a command speaks telnet, so its Enter, CR NUL or CR LF, becomes the CR of a keyboard.
 */

// biome-ignore format: a table
const TELNET = { IAC: 255, DONT: 254, DO: 253, WONT: 252, WILL: 251, SB: 250, NOP: 241, SE: 240 } as const;
const [CR, LF, NUL] = [13, 10, 0];
/** A suboption longer than this is none. */
const SUBOPTION_MAX = 512;

export class TelnetFilter {
  #speaksTelnet = false;
  /** The beginning of a command whose end has not come. */
  #open: number[] = [];
  #afterCr = false;

  /** What was typed, of bytes as they came. */
  typed(bytes: Uint8Array): Uint8Array {
    if (!this.#speaksTelnet && this.#open.length === 0 && !bytes.includes(TELNET.IAC)) return bytes;
    const out: number[] = [];
    for (const byte of bytes) {
      if (this.#open.length > 0 || byte === TELNET.IAC) {
        this.#open.push(byte);
        this.#close(out);
      } else this.#key(byte, out);
    }
    return Uint8Array.from(out);
  }

  /** Is what is open a whole command, or none at all? */
  #close(out: number[]): void {
    const [, verb, ...rest] = this.#open;
    if (verb === undefined) return;
    const negotiation = verb >= TELNET.WILL && verb < TELNET.IAC;
    if (negotiation && rest.length === 0) return;
    const suboption = verb === TELNET.SB;
    const ended = rest.at(-2) === TELNET.IAC && rest.at(-1) === TELNET.SE;
    if (suboption && !ended && rest.length < SUBOPTION_MAX) return;
    const bytes = this.#open;
    this.#open = [];
    if (negotiation || ended || (verb >= TELNET.NOP && verb < TELNET.SB)) this.#speaksTelnet = true;
    // A client that speaks telnet says 255 twice for once.
    else if (verb === TELNET.IAC && this.#speaksTelnet) out.push(TELNET.IAC);
    else for (const byte of bytes) this.#key(byte, out);
  }

  #key(byte: number, out: number[]): void {
    const ofEnter = this.#afterCr && (byte === NUL || byte === LF);
    this.#afterCr = byte === CR;
    if (!(this.#speaksTelnet && ofEnter)) out.push(byte);
  }
}
