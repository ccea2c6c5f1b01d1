/**
 * The x87's arithmetic on values, exactly as the processor rounds it: sum, product, quotient, root, remainder, scaling,
 * rounding to an integer, comparison. SDM volume 1, 8.3 and 8.5; special operands from volume 2's tables.
 */
import {
  BIAS,
  bitLength,
  type Context,
  dropBits,
  FLAG,
  Float80,
  infinity,
  noteDenormals,
  RC,
  roundExtended,
  screen,
  zero,
} from './float80.ts';

/** Distance of exponents from which the smaller operand only decides about rounding. */
const FAR = 200;

/** a + b. */
export function add(c: Context, a: Float80, b: Float80): Float80 {
  const special = screen(c, a, b);
  if (special) return special;
  if (a.isInfinite && b.isInfinite && a.sign !== b.sign) return c.invalid();
  noteDenormals(c, a, b);
  if (a.isInfinite) return a;
  if (b.isInfinite) return b;
  const [high, low] = a.scale >= b.scale ? [a, b] : [b, a];
  if (high.sig === 0n) {
    if (low.sig !== 0n) return roundExtended(c, low.sign, low.scale, low.sig, c.precision);
    return zero(a.sign === b.sign ? a.sign : cancelled(c));
  }
  if (low.sig === 0n) return roundExtended(c, high.sign, high.scale, high.sig, c.precision);
  const distance = high.scale - low.scale;
  const far = distance > FAR;
  const scale = far ? high.scale - FAR : low.scale;
  const larger = high.sig << BigInt(far ? FAR : distance);
  const smaller = far ? 1n : low.sig;
  const sum = (high.sign ? -larger : larger) + (low.sign ? -smaller : smaller);
  if (sum === 0n) return zero(cancelled(c));
  const sign = sum < 0n ? 1 : 0;
  return roundExtended(c, sign, scale, sign ? -sum : sum, c.precision);
}

/** Sign of a sum whose parts cancel. */
const cancelled = (c: Context): number => (c.rounding === RC.down ? 1 : 0);

/** a - b: a NaN keeps its sign. */
export const subtract = (c: Context, a: Float80, b: Float80): Float80 => add(c, a, b.isNaN ? b : b.negated());

export function multiply(c: Context, a: Float80, b: Float80): Float80 {
  const special = screen(c, a, b);
  if (special) return special;
  const sign = a.sign ^ b.sign;
  if ((a.isInfinite && b.isZero) || (a.isZero && b.isInfinite)) return c.invalid();
  noteDenormals(c, a, b);
  if (a.isInfinite || b.isInfinite) return infinity(sign);
  if (a.isZero || b.isZero) return zero(sign);
  return roundExtended(c, sign, a.scale + b.scale, a.sig * b.sig, c.precision);
}

/** a / b. */
export function divide(c: Context, a: Float80, b: Float80): Float80 {
  const special = screen(c, a, b);
  if (special) return special;
  const sign = a.sign ^ b.sign;
  if ((a.isInfinite && b.isInfinite) || (a.isZero && b.isZero)) return c.invalid();
  if (b.isZero && !a.isInfinite) {
    c.raise(FLAG.ZE);
    return infinity(sign);
  }
  noteDenormals(c, a, b);
  if (a.isInfinite) return infinity(sign);
  if (b.isInfinite || a.isZero) return zero(sign);
  // Some bits more than are kept, and one that stands for all below.
  const shift = 68 + bitLength(b.sig) - bitLength(a.sig);
  const dividend = a.sig << BigInt(shift);
  const quotient = dividend / b.sig;
  const sticky = quotient * b.sig === dividend ? 0n : 1n;
  return roundExtended(c, sign, a.scale - b.scale - shift - 1, (quotient << 1n) | sticky, c.precision);
}

/** The integer part of a square root. */
export function integerRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let root = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

export function squareRoot(c: Context, a: Float80): Float80 {
  const special = screen(c, a);
  if (special) return special;
  if (a.isZero) return a;
  if (a.sign) return c.invalid();
  noteDenormals(c, a);
  if (a.isInfinite) return a;
  let shift = 136 - bitLength(a.sig);
  if ((a.scale - shift) & 1) shift++;
  const square = a.sig << BigInt(shift);
  const root = integerRoot(square);
  const sticky = root * root === square ? 0n : 1n;
  return roundExtended(c, 0, (a.scale - shift) / 2 - 1, (root << 1n) | sticky, c.precision);
}

/** FRNDINT: to an integer, as rounding control says. */
export function roundToInteger(c: Context, a: Float80): Float80 {
  const special = screen(c, a);
  if (special) return special;
  noteDenormals(c, a);
  if (a.isInfinite || a.isZero || a.scale >= 0) return a;
  const { kept, exact } = dropBits(c, c.rounding, a.sign, a.sig, Math.min(-a.scale, 80));
  if (!exact) c.raise(FLAG.PE);
  if (kept === 0n) return zero(a.sign);
  const length = bitLength(kept);
  return new Float80(a.sign, BIAS + length - 1, kept << BigInt(64 - length));
}

export interface Remainder {
  readonly value: Float80;
  /** Low bits of the quotient; undefined where there is none, after NaNs and invalid operations. */
  readonly quotient?: number;
  /** Only part of the way is done: C2. */
  readonly partial: boolean;
}

/** FPREM (quotient truncated) and FPREM1 (quotient rounded to nearest): exact, at most 63 bits of quotient at a time. */
export function remainder(c: Context, a: Float80, b: Float80, nearest: boolean): Remainder {
  const done = (value: Float80): Remainder => ({ value, quotient: 0, partial: false });
  const special = screen(c, a, b);
  if (special) return { value: special, partial: false };
  if (a.isInfinite || b.isZero) return { value: c.invalid(), partial: false };
  noteDenormals(c, a, b);
  if (a.isZero) return done(a);
  // A pseudo-denormal gets the exponent that it should have.
  if (b.isInfinite) return done(renormalized(c, a));
  // Distance of the leading bits, which is what the processor sees of denormals too.
  const distance = a.scale + bitLength(a.sig) - (b.scale + bitLength(b.sig));
  if (distance < (nearest ? -1 : 0)) return done(renormalized(c, a));
  const scale = Math.min(a.scale, b.scale);
  const dividend = a.sig << BigInt(a.scale - scale);
  const divisor = b.sig << BigInt(b.scale - scale);
  if (distance >= 64) {
    // As many bits as leave a distance of a multiple of 32, at least 32.
    const steps = (distance & 31) | 32;
    const chunk = divisor << BigInt(distance - steps);
    const rest = dividend % chunk;
    return { value: exact(c, a.sign, scale, rest), quotient: 0, partial: true };
  }
  let quotient = dividend / divisor;
  let rest = dividend - quotient * divisor;
  let sign = a.sign;
  if (nearest) {
    const twice = rest << 1n;
    if (twice > divisor || (twice === divisor && (quotient & 1n) === 1n)) {
      quotient += 1n;
      rest = divisor - rest;
      sign ^= 1;
    }
  }
  const value = rest === 0n ? zero(a.sign) : exact(c, sign, scale, rest);
  return { value, quotient: Number(quotient & 7n), partial: false };
}

const exact = (c: Context, sign: number, scale: number, value: bigint): Float80 =>
  value === 0n ? zero(sign) : roundExtended(c, sign, scale, value);
/** The same value; an unmasked underflow moves its exponent. */
const renormalized = (c: Context, a: Float80): Float80 => exact(c, a.sign, a.scale, a.sig);

/** FSCALE: a · 2^trunc(b). */
export function scaleBy(c: Context, a: Float80, b: Float80): Float80 {
  const special = screen(c, a, b);
  if (special) return special;
  if (b.isInfinite) {
    if (b.sign ? a.isInfinite : a.isZero) return c.invalid();
    noteDenormals(c, a, b);
    return b.sign ? zero(a.sign) : infinity(a.sign);
  }
  noteDenormals(c, a, b);
  if (a.isInfinite || a.isZero) return a;
  // Beyond 2^16 every scaling leaves the range, in whatever direction.
  const magnitude = b.scale >= 0 || b.exp >= BIAS + 17 ? 1 << 17 : Number(b.sig >> BigInt(Math.min(-b.scale, 64)));
  const steps = b.sign ? -magnitude : magnitude;
  return roundExtended(c, a.sign, a.scale + steps, a.sig);
}

/** FXTRACT: exponent and significand. */
export function extract(c: Context, a: Float80): { exponent: Float80; significand: Float80 } {
  const special = screen(c, a);
  if (special) return { exponent: special, significand: special };
  if (a.isInfinite) return { exponent: infinity(0), significand: a };
  if (a.isZero) {
    c.raise(FLAG.ZE);
    return { exponent: infinity(1), significand: a };
  }
  noteDenormals(c, a);
  const length = bitLength(a.sig);
  const exponent = fromInteger(BigInt(a.scale + length - 1));
  return { exponent, significand: new Float80(a.sign, BIAS, a.sig << BigInt(64 - length)) };
}

/** An integer of at most 64 bits: exact. */
export function fromInteger(value: bigint): Float80 {
  if (value === 0n) return zero(0);
  const sign = value < 0n ? 1 : 0;
  const magnitude = sign ? -value : value;
  const length = bitLength(magnitude);
  return new Float80(sign, BIAS + length - 1, magnitude << BigInt(64 - length));
}

export const Order = { less: 0, equal: 1, greater: 2, unordered: 3 } as const;
export type Order = (typeof Order)[keyof typeof Order];

/** How a stands to b. A quiet NaN is invalid for ordered comparisons only. */
export function compare(c: Context, a: Float80, b: Float80, quiet: boolean): Order {
  if (a.isUnsupported || b.isUnsupported || a.isNaN || b.isNaN) {
    const quietOnly = !a.isUnsupported && !b.isUnsupported && !a.isSignaling && !b.isSignaling;
    if (!quiet || !quietOnly) c.raise(FLAG.IE);
    return Order.unordered;
  }
  noteDenormals(c, a, b);
  if (a.isZero && b.isZero) return Order.equal;
  if (a.sign !== b.sign) return a.sign ? Order.less : Order.greater;
  const x = (BigInt(a.exp || 1) << 64n) | a.sig;
  const y = (BigInt(b.exp || 1) << 64n) | b.sig;
  if (x === y) return Order.equal;
  return x > y !== (a.sign === 1) ? Order.greater : Order.less;
}
