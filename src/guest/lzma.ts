/**
 * The LZMA decoder that .lzma files and xz's LZMA2 share, and the .lzma container. Follows the LZMA specification; names are its own.
 * Own code, because kernels pass their code through xz's x86 filter, which the WebAssembly packages on npm leave out,
 * and because it is synchronous. The dictionary is the output buffer itself.
 */
import { CorruptError } from './corrupt.ts';

const HALF = 1024; // Probabilities have 11 bits.
const TOP = 0x1000000;
const STATES = 12;
const POS_STATES_MAX = 16;
const MATCH_MIN = 2;

// Where each model starts in the one array of probabilities.
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * POS_STATES_MAX;
const IS_REP_G0 = IS_REP + STATES;
const IS_REP_G1 = IS_REP_G0 + STATES;
const IS_REP_G2 = IS_REP_G1 + STATES;
const IS_REP0_LONG = IS_REP_G2 + STATES;
const POS_SLOT = IS_REP0_LONG + STATES * POS_STATES_MAX;
const POS_DECODERS = POS_SLOT + 4 * 64;
const ALIGN = POS_DECODERS + 128;
const LENGTH = ALIGN + 16;
const LENGTH_LOW = 2;
const LENGTH_MID = LENGTH_LOW + POS_STATES_MAX * 8;
const LENGTH_HIGH = LENGTH_MID + POS_STATES_MAX * 8;
const LENGTH_SIZE = LENGTH_HIGH + 256;
const REP_LENGTH = LENGTH + LENGTH_SIZE;
const LITERAL = REP_LENGTH + LENGTH_SIZE;

export class LzmaDecoder {
  /** Next byte of the input to read; next byte of the output to write; where the dictionary starts in the output. */
  at = 0;
  to = 0;
  dictionaryStart = 0;
  private readonly input: Uint8Array;
  private readonly output: Uint8Array;
  private probs = new Uint16Array(LITERAL);
  private lc = 0;
  private lpMask = 0;
  private pbMask = 0;
  private state = 0;
  private rep0 = 0;
  private rep1 = 0;
  private rep2 = 0;
  private rep3 = 0;
  private range = 0;
  private code = 0;
  private inputEnd = 0;

  constructor(input: Uint8Array, output: Uint8Array) {
    this.input = input;
    this.output = output;
  }

  /** `byte` packs lc, lp and pb as (pb * 5 + lp) * 9 + lc. */
  setProperties(byte: number): void {
    if (byte >= 225) throw new CorruptError('LZMA properties are out of range', this.at);
    this.lc = byte % 9;
    const lp = Math.floor(byte / 9) % 5;
    this.lpMask = (1 << lp) - 1;
    this.pbMask = (1 << Math.floor(byte / 45)) - 1;
    const wanted = LITERAL + (0x300 << (this.lc + lp));
    if (this.probs.length !== wanted) this.probs = new Uint16Array(wanted);
  }

  resetState(): void {
    this.probs.fill(HALF);
    this.state = this.rep0 = this.rep1 = this.rep2 = this.rep3 = 0;
  }

  startRange(inputEnd: number): void {
    if (inputEnd > this.input.length || this.at + 5 > inputEnd) throw new CorruptError('LZMA data ends early', this.at);
    if (this.input[this.at] !== 0) throw new CorruptError('LZMA data does not begin with a zero byte', this.at);
    this.inputEnd = inputEnd;
    this.range = 0xffffffff;
    this.code = 0;
    this.at++;
    for (let i = 0; i < 4; i++) this.code = ((this.code << 8) | this.input[this.at++]) >>> 0;
  }

  /** A range coder that has told all it was given stands at the end of its bytes with nothing left in `code`. */
  isAtEnd(inputEnd: number): boolean {
    return this.at === inputEnd && this.code === 0;
  }

  /** Decodes until the output is filled to `outputEnd`, or to the end marker: then the result is true. */
  decode(outputEnd: number): boolean {
    const { output, lc, lpMask, pbMask } = this;
    while (this.to < outputEnd) {
      // A truncated stream reads as zeros; looking once per symbol is enough to stop it.
      if (this.at > this.inputEnd) throw new CorruptError('LZMA data ends early', this.inputEnd);
      const position = this.to - this.dictionaryStart;
      const posState = position & pbMask;
      if (this.bit(IS_MATCH + this.state * POS_STATES_MAX + posState) === 0) {
        const previous = position > 0 ? output[this.to - 1] : 0;
        const table = LITERAL + 0x300 * (((position & lpMask) << lc) + (previous >> (8 - lc)));
        let symbol = 1;
        if (this.state >= 7) {
          // After a match the byte at rep0 helps to guess, as long as it agrees.
          let match = output[this.to - this.rep0 - 1];
          do {
            const hint = (match >> 7) & 1;
            match <<= 1;
            const bit = this.bit(table + ((1 + hint) << 8) + symbol);
            symbol = (symbol << 1) | bit;
            if (hint !== bit) break;
          } while (symbol < 0x100);
        }
        while (symbol < 0x100) symbol = (symbol << 1) | this.bit(table + symbol);
        output[this.to++] = symbol;
        this.state = this.state < 4 ? 0 : this.state < 10 ? this.state - 3 : this.state - 6;
        continue;
      }
      let length: number;
      if (this.bit(IS_REP + this.state) !== 0) {
        if (this.bit(IS_REP_G0 + this.state) === 0) {
          if (this.bit(IS_REP0_LONG + this.state * POS_STATES_MAX + posState) === 0) {
            if (this.rep0 >= position) throw new CorruptError('LZMA match points before its data', this.at);
            this.state = this.state < 7 ? 9 : 11;
            output[this.to] = output[this.to - this.rep0 - 1];
            this.to++;
            continue;
          }
        } else {
          let distance = this.rep1;
          if (this.bit(IS_REP_G1 + this.state) !== 0) {
            distance = this.rep2;
            if (this.bit(IS_REP_G2 + this.state) !== 0) {
              distance = this.rep3;
              this.rep3 = this.rep2;
            }
            this.rep2 = this.rep1;
          }
          this.rep1 = this.rep0;
          this.rep0 = distance;
        }
        length = this.length(REP_LENGTH, posState);
        this.state = this.state < 7 ? 8 : 11;
      } else {
        this.rep3 = this.rep2;
        this.rep2 = this.rep1;
        this.rep1 = this.rep0;
        length = this.length(LENGTH, posState);
        this.state = this.state < 7 ? 7 : 10;
        this.rep0 = this.distance(length);
        if (this.rep0 === 0xffffffff) return true;
      }
      if (this.rep0 >= position) throw new CorruptError('LZMA match points before its data', this.at);
      length += MATCH_MIN;
      if (length > outputEnd - this.to) throw new CorruptError('LZMA match is longer than the announced size', this.at);
      const distance = this.rep0 + 1;
      if (length > 32 && distance >= length) {
        output.copyWithin(this.to, this.to - distance, this.to - distance + length);
        this.to += length;
      } else {
        let to = this.to;
        for (const stop = to + length; to < stop; to++) output[to] = output[to - distance];
        this.to = to;
      }
    }
    if (this.range < TOP) this.normalize();
    if (this.at > this.inputEnd) throw new CorruptError('LZMA data ends early', this.inputEnd);
    return false;
  }

  private normalize(): void {
    this.range = (this.range << 8) >>> 0;
    this.code = ((this.code << 8) | this.input[this.at++]) >>> 0;
  }

  private bit(model: number): number {
    if (this.range < TOP) this.normalize();
    const probability = this.probs[model];
    const bound = (this.range >>> 11) * probability;
    if (this.code < bound) {
      this.range = bound;
      this.probs[model] = probability + ((2048 - probability) >> 5);
      return 0;
    }
    this.range -= bound;
    this.code -= bound;
    this.probs[model] = probability - (probability >> 5);
    return 1;
  }

  private tree(table: number, bits: number): number {
    let symbol = 1;
    for (let i = 0; i < bits; i++) symbol = (symbol << 1) | this.bit(table + symbol);
    return symbol - (1 << bits);
  }

  private reverseTree(table: number, bits: number): number {
    let symbol = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.bit(table + symbol);
      symbol = (symbol << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  private length(table: number, posState: number): number {
    if (this.bit(table) === 0) return this.tree(table + LENGTH_LOW + posState * 8, 3);
    if (this.bit(table + 1) === 0) return 8 + this.tree(table + LENGTH_MID + posState * 8, 3);
    return 16 + this.tree(table + LENGTH_HIGH, 8);
  }

  private distance(length: number): number {
    const slot = this.tree(POS_SLOT + Math.min(length, 3) * 64, 6);
    if (slot < 4) return slot;
    const directBits = (slot >> 1) - 1;
    const base = ((2 | (slot & 1)) << directBits) >>> 0;
    if (slot < 14) return base + this.reverseTree(POS_DECODERS + base - slot, directBits);
    let direct = 0;
    for (let i = directBits - 4; i > 0; i--) {
      if (this.range < TOP) this.normalize();
      this.range = this.range >>> 1;
      const taken = this.code >= this.range ? 1 : 0;
      if (taken) this.code -= this.range;
      direct = ((direct << 1) | taken) >>> 0;
    }
    return base + direct * 16 + this.reverseTree(ALIGN, 4);
  }
}

/** A .lzma file: properties byte, u32 dictionary size, u64 unpacked size (all ones: unknown, there is an end marker), stream. */
export function unpackLzma(input: Uint8Array, size: number | undefined, limit: number): Uint8Array {
  if (input.length < 18) throw new CorruptError('LZMA data ends early', input.length);
  const view = new DataView(input.buffer, input.byteOffset);
  const low = view.getUint32(5, true);
  const high = view.getUint32(9, true);
  const unknown = low === 0xffffffff && high === 0xffffffff;
  const wanted = unknown ? size : high * 2 ** 32 + low;
  if (wanted === undefined) throw new CorruptError('LZMA header does not tell the unpacked size', 5);
  if (wanted > limit || (size !== undefined && wanted !== size)) {
    throw new CorruptError('LZMA header tells another size than expected', 5);
  }
  const output = new Uint8Array(wanted);
  const decoder = new LzmaDecoder(input, output);
  decoder.setProperties(input[0]);
  decoder.at = 13;
  decoder.resetState();
  decoder.startRange(input.length);
  if (decoder.decode(wanted)) throw new CorruptError('LZMA data holds less than its announced size', decoder.at);
  // Without a size in the header nothing but the marker can come now.
  if (unknown && !decoder.decode(wanted + 1)) throw new CorruptError('LZMA data is longer than announced', decoder.at);
  return output;
}
