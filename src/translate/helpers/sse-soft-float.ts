/**
 * SSE arithmetic in integers: results and exception flags exactly as the manual says, for every rounding mode, with denormals
 * or without. The generated code takes over whatever raises nothing new (semantics/sse-float.ts).
 * Intel SDM volume 1: 4.8.3 and 4.9 (numbers, NaNs, exceptions), 11.5 (SSE's). What it leaves open follows hardware.
 */
export interface Format {
  /** Bytes. */
  readonly size: 4 | 8;
  /** Bits of a significand with its leading one. */
  readonly precision: number;
  readonly minExponent: number;
  readonly maxExponent: number;
}
export const SINGLE: Format = { size: 4, precision: 24, minExponent: -126, maxExponent: 127 };
export const DOUBLE: Format = { size: 8, precision: 53, minExponent: -1022, maxExponent: 1023 };

/** Exception flags of MXCSR; the masks are the same bits seven places higher. */
export const IE = 1;
export const DE = 2;
export const ZE = 4;
export const OE = 8;
export const UE = 16;
export const PE = 32;
const DAZ = 0x40;
const FTZ = 0x8000;

export const Rounding = { nearest: 0, down: 1, up: 2, zero: 3 } as const;
export type Rounding = (typeof Rounding)[keyof typeof Rounding];

type Class = 'zero' | 'finite' | 'infinity' | 'quiet' | 'signaling';

/** A number: (-1)^sign * significand * 2^exponent. */
interface Unpacked {
  readonly kind: Class;
  readonly sign: 0 | 1;
  readonly significand: bigint;
  readonly exponent: number;
  readonly denormal: boolean;
  readonly bits: bigint;
}

export function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

/** `significand` shifted right by `shift` (left when negative) and rounded; `more`: the value lies a little above it. */
function shiftRounded(
  significand: bigint,
  shift: number,
  more: boolean,
  sign: 0 | 1,
  rounding: Rounding,
): { value: bigint; inexact: boolean } {
  if (shift <= 0) {
    // Callers with `more` have enough bits that nothing is shifted left.
    const value = significand << BigInt(-shift);
    const up = more && rounding === (sign ? Rounding.down : Rounding.up);
    return { value: up ? value + 1n : value, inexact: more };
  }
  const value = significand >> BigInt(shift);
  const rest = significand - (value << BigInt(shift));
  const half = 1n << BigInt(shift - 1);
  if (rest === 0n && !more) return { value, inexact: false };
  let up: boolean;
  if (rounding === Rounding.nearest) up = rest > half || (rest === half && (more || (value & 1n) === 1n));
  else if (rounding === Rounding.zero) up = false;
  else up = rounding === (sign ? Rounding.down : Rounding.up);
  return { value: up ? value + 1n : value, inexact: true };
}

/** Largest r with r * r <= value. */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let r = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (r + value / r) >> 1n;
    if (next >= r) return r;
    r = next;
  }
}

export type Ordering = 'less' | 'equal' | 'greater' | 'unordered';

export class SoftFloat {
  /** Exceptions raised so far. */
  flags = 0;
  private readonly mxcsr: number;
  readonly rounding: Rounding;

  constructor(mxcsr: number) {
    this.mxcsr = mxcsr;
    this.rounding = ((mxcsr >> 13) & 3) as Rounding;
  }

  private masked(flag: number): boolean {
    return (this.mxcsr & (flag << 7)) !== 0;
  }

  private unpack(f: Format, bits: bigint): Unpacked {
    const fractionBits = BigInt(f.precision - 1);
    const sign = Number((bits >> BigInt(8 * f.size - 1)) & 1n) as 0 | 1;
    const fraction = bits & ((1n << fractionBits) - 1n);
    const field = Number((bits >> fractionBits) & BigInt(2 * f.maxExponent + 1));
    const make = (kind: Class, significand = 0n, exponent = 0, denormal = false): Unpacked => ({
      kind,
      sign,
      significand,
      exponent,
      denormal,
      bits,
    });
    if (field === 2 * f.maxExponent + 1) {
      if (fraction === 0n) return make('infinity');
      return make(fraction >> (fractionBits - 1n) ? 'quiet' : 'signaling');
    }
    const lowest = f.minExponent - f.precision + 1;
    if (field !== 0) return make('finite', fraction | (1n << fractionBits), lowest + field - 1);
    if (fraction === 0n) return make('zero');
    if (this.mxcsr & DAZ) return { ...make('zero'), bits: this.zero(f, sign) };
    return make('finite', fraction, lowest, true);
  }

  private zero(f: Format, sign: 0 | 1): bigint {
    return BigInt(sign) << BigInt(8 * f.size - 1);
  }
  private infinity(f: Format, sign: 0 | 1): bigint {
    return this.zero(f, sign) | (BigInt(2 * f.maxExponent + 1) << BigInt(f.precision - 1));
  }
  private invalid(f: Format): bigint {
    this.flags |= IE;
    return this.infinity(f, 1) | this.quietBit(f);
  }
  private quietBit(f: Format): bigint {
    return 1n << BigInt(f.precision - 2);
  }

  /** The NaN that comes of these operands, if one of them is one: the first, made quiet. */
  private nan(f: Format, ...operands: Unpacked[]): bigint | undefined {
    const first = operands.find(({ kind }) => kind === 'quiet' || kind === 'signaling');
    if (first === undefined) return undefined;
    if (operands.some(({ kind }) => kind === 'signaling')) this.flags |= IE;
    return first.bits | this.quietBit(f);
  }
  private denormals(...operands: Unpacked[]): void {
    if (operands.some(({ denormal }) => denormal)) this.flags |= DE;
  }

  /** The nearest number of the format, with everything that rounding can raise. `significand` is not 0. */
  private round(f: Format, sign: 0 | 1, significand: bigint, exponent: number, more = false): bigint {
    const { rounding } = this;
    // As if exponents had no bounds: this tells whether the result is tiny or too large.
    const free = bitLength(significand) - f.precision;
    let { value, inexact } = shiftRounded(significand, free, more, sign, rounding);
    let at = exponent + free;
    if (bitLength(value) > f.precision) {
      value >>= 1n;
      at++;
    }
    const leading = at + f.precision - 1;
    const lowest = f.minExponent - f.precision + 1;
    if (leading > f.maxExponent) {
      this.flags |= OE;
      if (!this.masked(OE)) {
        if (inexact) this.flags |= PE;
        return 0n;
      }
      this.flags |= PE;
      const toInfinity = rounding === Rounding.nearest || rounding === (sign ? Rounding.down : Rounding.up);
      return toInfinity ? this.infinity(f, sign) : this.infinity(f, sign) - 1n;
    }
    if (leading < f.minExponent) {
      if (!this.masked(UE)) {
        this.flags |= UE;
        if (inexact) this.flags |= PE;
        return 0n;
      }
      if (this.mxcsr & FTZ) {
        this.flags |= UE | PE;
        return this.zero(f, sign);
      }
      ({ value, inexact } = shiftRounded(significand, lowest - exponent, more, sign, rounding));
      if (inexact) this.flags |= UE | PE;
      return this.zero(f, sign) | value;
    }
    if (inexact) this.flags |= PE;
    // The significand's leading one adds 1 to the exponent field.
    return this.zero(f, sign) + (BigInt(leading - f.minExponent) << BigInt(f.precision - 1)) + value;
  }

  private sum(f: Format, a: Unpacked, b: Unpacked): bigint {
    const nan = this.nan(f, a, b);
    if (nan !== undefined) return nan;
    if (a.kind === 'infinity' && b.kind === 'infinity' && a.sign !== b.sign) return this.invalid(f);
    this.denormals(a, b);
    if (a.kind === 'infinity') return a.bits;
    if (b.kind === 'infinity') return this.infinity(f, b.sign);
    const exponent = Math.min(
      a.kind === 'zero' ? Number.MAX_SAFE_INTEGER : a.exponent,
      b.kind === 'zero' ? Number.MAX_SAFE_INTEGER : b.exponent,
    );
    const part = (n: Unpacked): bigint => {
      if (n.kind === 'zero') return 0n;
      const aligned = n.significand << BigInt(n.exponent - exponent);
      return n.sign ? -aligned : aligned;
    };
    const total = part(a) + part(b);
    if (total !== 0n) return this.round(f, total < 0n ? 1 : 0, total < 0n ? -total : total, exponent);
    if (a.sign === b.sign) return this.zero(f, a.sign);
    return this.zero(f, this.rounding === Rounding.down ? 1 : 0);
  }
  add(f: Format, a: bigint, b: bigint): bigint {
    return this.sum(f, this.unpack(f, a), this.unpack(f, b));
  }
  sub(f: Format, a: bigint, b: bigint): bigint {
    const right = this.unpack(f, b);
    // A NaN keeps its sign.
    return this.sum(f, this.unpack(f, a), { ...right, sign: right.sign ? 0 : 1 });
  }
  mul(f: Format, aBits: bigint, bBits: bigint): bigint {
    const a = this.unpack(f, aBits);
    const b = this.unpack(f, bBits);
    const nan = this.nan(f, a, b);
    if (nan !== undefined) return nan;
    const sign = (a.sign ^ b.sign) as 0 | 1;
    const infinite = a.kind === 'infinity' || b.kind === 'infinity';
    const zero = a.kind === 'zero' || b.kind === 'zero';
    if (infinite && zero) return this.invalid(f);
    this.denormals(a, b);
    if (infinite) return this.infinity(f, sign);
    if (zero) return this.zero(f, sign);
    return this.round(f, sign, a.significand * b.significand, a.exponent + b.exponent);
  }
  div(f: Format, aBits: bigint, bBits: bigint): bigint {
    const a = this.unpack(f, aBits);
    const b = this.unpack(f, bBits);
    const nan = this.nan(f, a, b);
    if (nan !== undefined) return nan;
    const sign = (a.sign ^ b.sign) as 0 | 1;
    if (a.kind === b.kind && (a.kind === 'infinity' || a.kind === 'zero')) return this.invalid(f);
    if (b.kind === 'zero' && a.kind === 'finite') {
      this.flags |= ZE;
      return this.infinity(f, sign);
    }
    this.denormals(a, b);
    if (a.kind === 'infinity') return this.infinity(f, sign);
    if (b.kind === 'infinity' || a.kind === 'zero') return this.zero(f, sign);
    // Two bits more than any rounding looks at.
    const extra = Math.max(0, bitLength(b.significand) - bitLength(a.significand)) + f.precision + 2;
    const dividend = a.significand << BigInt(extra);
    const quotient = dividend / b.significand;
    const more = quotient * b.significand !== dividend;
    return this.round(f, sign, quotient, a.exponent - b.exponent - extra, more);
  }
  sqrt(f: Format, bits: bigint): bigint {
    const a = this.unpack(f, bits);
    const nan = this.nan(f, a);
    if (nan !== undefined) return nan;
    if (a.kind === 'zero') return a.bits;
    if (a.sign) return this.invalid(f);
    this.denormals(a);
    if (a.kind === 'infinity') return a.bits;
    let extra = 2 * f.precision + 4;
    if ((a.exponent - extra) & 1) extra++;
    const value = a.significand << BigInt(extra);
    const root = squareRoot(value);
    return this.round(f, 0, root, (a.exponent - extra) / 2, root * root !== value);
  }

  /** `quiet`: only signaling NaNs are invalid. */
  compare(f: Format, aBits: bigint, bBits: bigint, quiet: boolean): Ordering {
    return this.order(f, this.unpack(f, aBits), this.unpack(f, bBits), quiet);
  }
  private order(f: Format, a: Unpacked, b: Unpacked, quiet: boolean): Ordering {
    const nan = (n: Unpacked): boolean => n.kind === 'quiet' || n.kind === 'signaling';
    if (nan(a) || nan(b)) {
      if (!quiet || a.kind === 'signaling' || b.kind === 'signaling') this.flags |= IE;
      return 'unordered';
    }
    this.denormals(a, b);
    // Sign and magnitude: the bits of positive numbers are in order.
    const rank = (n: Unpacked): bigint => {
      if (n.kind === 'zero') return 0n;
      return n.sign ? this.zero(f, 1) - n.bits : n.bits;
    };
    const x = rank(a);
    const y = rank(b);
    return x < y ? 'less' : x > y ? 'greater' : 'equal';
  }
  /** MIN and MAX: the second operand, unless the first one is strictly less (greater). */
  least(f: Format, aBits: bigint, bBits: bigint, wanted: 'less' | 'greater'): bigint {
    const a = this.unpack(f, aBits);
    const b = this.unpack(f, bBits);
    return this.order(f, a, b, false) === wanted ? a.bits : b.bits;
  }

  /** Integer part of a finite number, as a signed integer. */
  private integer(a: Unpacked, rounding: Rounding): { value: bigint; inexact: boolean } {
    const { value, inexact } = shiftRounded(a.significand, -a.exponent, false, a.sign, rounding);
    return { value: a.sign ? -value : value, inexact };
  }
  /** To a signed integer of `bits` bits; 0x80…0 when it does not fit. */
  toInteger(f: Format, aBits: bigint, bits: 32 | 64, rounding = this.rounding): bigint {
    const a = this.unpack(f, aBits);
    if (a.kind === 'zero') return 0n;
    const limit = 1n << BigInt(bits - 1);
    if (a.kind === 'finite' && a.exponent + f.precision <= 80) {
      const { value, inexact } = this.integer(a, rounding);
      if (value >= -limit && value < limit) {
        if (inexact) this.flags |= PE;
        return BigInt.asUintN(bits, value);
      }
    }
    this.flags |= IE;
    return limit;
  }
  fromInteger(f: Format, value: bigint): bigint {
    if (value === 0n) return 0n;
    return this.round(f, value < 0n ? 1 : 0, value < 0n ? -value : value, 0);
  }
  /** To an integral number of the same format; `exact` suppresses PE. */
  toIntegral(f: Format, aBits: bigint, rounding: Rounding, exact: boolean): bigint {
    const a = this.unpack(f, aBits);
    const nan = this.nan(f, a);
    if (nan !== undefined) return nan;
    if (a.kind !== 'finite' || a.exponent >= 0) return a.bits;
    const { value, inexact } = this.integer(a, rounding);
    if (inexact && !exact) this.flags |= PE;
    if (value === 0n) return this.zero(f, a.sign);
    const magnitude = value < 0n ? -value : value;
    const shift = f.precision - bitLength(magnitude);
    const field = BigInt(-shift + f.precision - 1 - f.minExponent);
    return this.zero(f, a.sign) + (field << BigInt(f.precision - 1)) + (magnitude << BigInt(shift));
  }
  convert(from: Format, to: Format, bits: bigint): bigint {
    const a = this.unpack(from, bits);
    if (a.kind === 'quiet' || a.kind === 'signaling') {
      if (a.kind === 'signaling') this.flags |= IE;
      const shift = BigInt(Math.abs(to.precision - from.precision));
      const fraction = bits & ((1n << BigInt(from.precision - 1)) - 1n);
      const payload = to.precision > from.precision ? fraction << shift : fraction >> shift;
      return this.infinity(to, a.sign) | this.quietBit(to) | payload;
    }
    this.denormals(a);
    if (a.kind === 'infinity') return this.infinity(to, a.sign);
    if (a.kind === 'zero') return this.zero(to, a.sign);
    return this.round(to, a.sign, a.significand, a.exponent);
  }
}
