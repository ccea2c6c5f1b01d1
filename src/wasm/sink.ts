/** A growing byte buffer with WebAssembly's number encodings (LEB128). */
/** Buffers of sinks that are done with: translating makes many, and typed arrays cost the collector more than other objects. */
const spare: Uint8Array[] = [];
const SPARES = 32;
const EMPTY = new Uint8Array(0);

export class Sink {
  bytes: Uint8Array;
  length = 0;

  constructor(capacity = 1024) {
    this.bytes = spare.pop() ?? new Uint8Array(capacity);
  }

  /** The end of this sink: another may have its buffer. */
  release(): void {
    if (spare.length < SPARES && this.bytes.length > 0) spare.push(this.bytes);
    this.bytes = EMPTY;
    this.length = 0;
  }

  private room(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 4, this.length + count));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  byte(value: number): void {
    if (this.length === this.bytes.length) this.room(1);
    this.bytes[this.length++] = value;
  }

  raw(bytes: Uint8Array): void {
    this.room(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  append(other: Sink): void {
    this.raw(other.bytes.subarray(0, other.length));
  }

  /** Unsigned, 32 bits. */
  uleb(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.byte(rest);
  }

  /** Signed, 32 bits. */
  sleb(value: number): void {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  /** Signed, 64 bits, from halves. */
  sleb64(lo: number, hi: number): void {
    if (hi === lo >> 31) {
      this.sleb(lo);
      return;
    }
    let low = lo | 0;
    let high = hi | 0;
    for (;;) {
      const seven = low & 0x7f;
      low = (low >>> 7) | (high << 25);
      high >>= 7;
      const done =
        (high === 0 && low === 0 && (seven & 0x40) === 0) || (high === -1 && low === -1 && (seven & 0x40) !== 0);
      if (done) {
        this.byte(seven);
        return;
      }
      this.byte(seven | 0x80);
    }
  }

  name(text: string): void {
    this.uleb(text.length);
    for (let i = 0; i < text.length; i++) this.byte(text.charCodeAt(i));
  }

  finish(): Uint8Array<ArrayBuffer> {
    const result = this.bytes.slice(0, this.length) as Uint8Array<ArrayBuffer>;
    this.release();
    return result;
  }
}
