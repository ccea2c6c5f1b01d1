/**
 * The x87's double extended-precision format: classes, rounding and packing. Exact integer arithmetic in BigInt; nothing here
 * knows of the register stack. What the operations do with their operands is arithmetic80.ts's. SDM volume 1, 4.2, 4.8 and 8.2.
 */

/** Exception flags, and their masks in the control word. SDM volume 1, 8.1.3. */
export const FLAG = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 0x10, PE: 0x20 } as const;

/** RC, the rounding control. */
export const RC = { nearest: 0, down: 1, up: 2, zero: 3 } as const;

const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;
export const BIAS = 16383;
const SPECIAL = 0x7fff;

/** One value, as it lies in a register. */
export class Float80 {
  readonly sign: number;
  /** Biased. */
  readonly exp: number;
  /** With the explicit integer bit. */
  readonly sig: bigint;
  /** Denormal, here or in the format that it was loaded from: what raises #D. */
  readonly denormal: boolean;

  constructor(sign: number, exp: number, sig: bigint, denormal = exp === 0 && sig !== 0n) {
    this.sign = sign;
    this.exp = exp;
    this.sig = sig;
    this.denormal = denormal;
  }
  get isZero(): boolean {
    return this.exp === 0 && this.sig === 0n;
  }
  get isInfinite(): boolean {
    return this.exp === SPECIAL && this.sig === INTEGER_BIT;
  }
  get isNaN(): boolean {
    return this.exp === SPECIAL && this.sig > INTEGER_BIT;
  }
  get isSignaling(): boolean {
    return this.isNaN && (this.sig & QUIET_BIT) === 0n;
  }
  /** Pseudo-NaNs, pseudo-infinities and unnormals: encodings of the 8087 that later processors refuse. */
  get isUnsupported(): boolean {
    return this.exp !== 0 && this.sig < INTEGER_BIT;
  }
  /** Exponent of the significand's lowest bit: the value of a finite number is sig · 2^scale. */
  get scale(): number {
    return (this.exp || 1) - BIAS - 63;
  }
  negated(): Float80 {
    return new Float80(this.sign ^ 1, this.exp, this.sig, this.denormal);
  }
  withSign(sign: number): Float80 {
    return new Float80(sign, this.exp, this.sig, this.denormal);
  }
  quieted(): Float80 {
    return new Float80(this.sign, this.exp, this.sig | QUIET_BIT);
  }
}

export const zero = (sign: number): Float80 => new Float80(sign, 0, 0n);
export const infinity = (sign: number): Float80 => new Float80(sign, SPECIAL, INTEGER_BIT);
/** The "real indefinite": the masked answer to an invalid operation. */
export const INDEFINITE = new Float80(1, SPECIAL, INTEGER_BIT | QUIET_BIT);
export const ONE = new Float80(0, BIAS, INTEGER_BIT);

/** How to round, and what came of it. One per instruction. */
export class Context {
  readonly rounding: number;
  /** Bits of significand that precision control leaves: 24, 53 or 64. */
  readonly precision: number;
  readonly masks: number;
  flags = 0;
  /** The last rounding made the magnitude greater: C1. */
  up = false;

  constructor(rounding: number, precision: number, masks: number) {
    this.rounding = rounding;
    this.precision = precision;
    this.masks = masks;
  }
  raise(flag: number): void {
    this.flags |= flag;
  }
  isMasked(flag: number): boolean {
    return (this.masks & flag) !== 0;
  }
  invalid(): Float80 {
    this.flags |= FLAG.IE;
    return INDEFINITE;
  }
}

/** A binary floating-point format. */
export interface Format {
  /** Bits of significand, the leading one included. */
  readonly bits: number;
  readonly bias: number;
  /** Largest biased exponent of a finite number. */
  readonly maximum: number;
  /** What is added to or taken from the exponent when underflow or overflow is not masked. */
  readonly adjust: number;
}
export const SINGLE: Format = { bits: 24, bias: 127, maximum: 0xfe, adjust: 192 };
export const DOUBLE: Format = { bits: 53, bias: 1023, maximum: 0x7fe, adjust: 1536 };
const EXTENDED: Readonly<Record<number, Format>> = {
  24: { bits: 24, bias: BIAS, maximum: 0x7ffe, adjust: 24576 },
  53: { bits: 53, bias: BIAS, maximum: 0x7ffe, adjust: 24576 },
  64: { bits: 64, bias: BIAS, maximum: 0x7ffe, adjust: 24576 },
};

export function bitLength(value: bigint): number {
  const digits = value.toString(16);
  return 4 * digits.length - Math.clz32(Number.parseInt(digits[0]!, 16)) + 28;
}

/** `value` without its lowest `shift` bits, rounded; `c.up` and the answer's `exact` say how. */
export function dropBits(
  c: Context,
  rounding: number,
  sign: number,
  value: bigint,
  shift: number,
): { kept: bigint; exact: boolean } {
  c.up = false;
  if (shift <= 0) return { kept: value << BigInt(-shift), exact: true };
  const kept = value >> BigInt(shift);
  const rest = value - (kept << BigInt(shift));
  if (rest === 0n) return { kept, exact: true };
  if (rounding === RC.nearest) {
    const half = 1n << BigInt(shift - 1);
    c.up = rest > half || (rest === half && (kept & 1n) === 1n);
  } else {
    c.up = rounding === (sign ? RC.down : RC.up);
  }
  return { kept: c.up ? kept + 1n : kept, exact: false };
}

/**
 * value · 2^scale (value > 0) in `format`: the biased exponent, 0 for denormals, and the significand. Raises overflow, underflow
 * and precision. A caller that rounds something inexact sees to a sticky bit below what the format keeps.
 */
export function round(
  c: Context,
  format: Format,
  sign: number,
  scale: number,
  value: bigint,
): { exp: number; sig: bigint } {
  const { bits, bias, maximum, adjust } = format;
  const length = bitLength(value);
  const smallest = 1 - bias;
  let top = scale + length - 1;
  const { kept, exact } = dropBits(c, c.rounding, sign, value, length - bits);
  let sig = kept;
  if (sig >> BigInt(bits) !== 0n) {
    sig >>= 1n;
    top++;
  }
  // Tininess is judged after rounding as if the exponent had no bounds.
  const tiny = top < smallest;
  if (tiny && c.isMasked(FLAG.UE)) {
    const denormal = dropBits(c, c.rounding, sign, value, smallest - (bits - 1) - scale);
    if (!denormal.exact) c.raise(FLAG.UE | FLAG.PE);
    return { exp: Number(denormal.kept >> BigInt(bits - 1)), sig: denormal.kept };
  }
  if (!exact) c.raise(FLAG.PE);
  let exp = top + bias;
  if (tiny) {
    c.raise(FLAG.UE);
    exp += adjust;
    // Too small even for that, as too great below: only scaling gets here.
    if (exp < 1) {
      c.raise(FLAG.PE);
      c.up = false;
      return { exp: 0, sig: 0n };
    }
  } else if (exp > maximum) {
    c.raise(FLAG.OE);
    const unmasked = !c.isMasked(FLAG.OE);
    if (unmasked && exp - adjust <= maximum) return { exp: exp - adjust, sig };
    c.raise(FLAG.PE);
    c.up = unmasked || c.rounding === RC.nearest || c.rounding === (sign ? RC.down : RC.up);
    if (c.up) return { exp: maximum + 1, sig: 1n << BigInt(bits - 1) };
    return { exp: maximum, sig: (1n << BigInt(bits)) - 1n };
  }
  return { exp, sig };
}

/** value · 2^scale as an extended number; to `precision` bits, which only some instructions take from the control word. */
export function roundExtended(c: Context, sign: number, scale: number, value: bigint, precision = 64): Float80 {
  const { exp, sig } = round(c, EXTENDED[precision]!, sign, scale, value);
  return new Float80(sign, exp, sig << BigInt(64 - precision));
}

/** What an operation on NaNs gives. SDM volume 1, table 4-7, the x87 column. */
export function chooseNaN(a: Float80, b: Float80): Float80 {
  if (!b.isNaN) return a.quieted();
  if (!a.isNaN) return b.quieted();
  // A quiet one goes before a signaling one, then the larger significand, then the positive one.
  if (a.isSignaling !== b.isSignaling) return a.isSignaling ? b : a;
  if (a.sig !== b.sig) return (a.sig > b.sig ? a : b).quieted();
  return (a.sign <= b.sign ? a : b).quieted();
}

/** The answer when an operand is not a number that can be computed with, or undefined. Raises invalid and denormal. */
export function screen(c: Context, a: Float80, b: Float80 = a): Float80 | undefined {
  if (a.isUnsupported || b.isUnsupported) return c.invalid();
  if (a.isNaN || b.isNaN) {
    if (a.isSignaling || b.isSignaling) c.raise(FLAG.IE);
    return chooseNaN(a, b);
  }
  return undefined;
}

/** Raises #D for what `screen` let pass and no invalid operation was found in. */
export function noteDenormals(c: Context, a: Float80, b: Float80 = a): void {
  if (a.denormal || b.denormal) c.raise(FLAG.DE);
}
