/**
 * The x87's transcendental functions on values: special operands from SDM volume 2's tables, all others computed with far more
 * bits than are kept and rounded once. Sine, cosine and tangent reduce their argument by the processors' own 66-bit pi (SDM
 * volume 1, 8.3.8), so that programs see the residues that they know.
 */

import { arctangent, cosine, exponentialMinusOne, ln2, pi, sine, twiceArtanh } from './fixed.ts';
import {
  BIAS,
  bitLength,
  type Context,
  FLAG,
  Float80,
  infinity,
  noteDenormals,
  ONE,
  roundExtended,
  screen,
  zero,
} from './float80.ts';

/** Fraction bits that are right in every intermediate result. */
const WORKING = 160;
/** Arguments below 2^-TINY are their own sine, tangent and so on, but for something that only rounding sees. */
const TINY = 100;

/** Exponent of the leading bit. */
const topOf = (a: Float80): number => a.scale + bitLength(a.sig) - 1;
/** |a| with `bits` fraction bits; bits below are lost. */
const fixedOf = (a: Float80, bits: number): bigint =>
  a.scale + bits >= 0 ? a.sig << BigInt(a.scale + bits) : a.sig >> BigInt(-a.scale - bits);

/** A computed result: never exact, which a sticky bit says. */
function inexact(c: Context, sign: number, scale: number, value: bigint): Float80 {
  return roundExtended(c, sign, scale - 80, (value << 80n) | 1n);
}
/** |a|, a trifle less or more. */
function nearly(c: Context, sign: number, a: Float80, more: boolean): Float80 {
  return roundExtended(c, sign, a.scale - 80, (a.sig << 80n) + (more ? 1n : -1n));
}

/** pi · 2^66 as the processors have it. */
const PI66 = 0xc90fdaa22168c234cn;

interface Angle {
  /** The rest, between -pi/4 and pi/4, times 2^bits. */
  readonly rest: bigint;
  readonly bits: number;
  /** Quarter turns that were taken off, modulo 4. */
  readonly quadrant: number;
}

/** |a| less a multiple of pi/2. */
function reduce(a: Float80): Angle {
  const top = topOf(a);
  // pi/2 = PI66 · 2^-67. Below 1/2 nothing is taken off; above, every bit counts.
  if (top < -1) {
    const bits = WORKING - top;
    return { rest: fixedOf(a, bits), bits, quadrant: 0 };
  }
  const fraction = Math.max(67, -a.scale);
  const half = PI66 << BigInt(fraction - 67);
  const value = fixedOf(a, fraction);
  const quarters = (2n * value + half) / (2n * half);
  const bits = WORKING + 72;
  return { rest: (value - quarters * half) << BigInt(bits - fraction), bits, quadrant: Number(quarters & 3n) };
}

const signed = (c: Context, value: bigint, bits: number): Float80 =>
  inexact(c, value < 0n ? 1 : 0, -bits, value < 0n ? -value : value);

/** Too large to be reduced: the instruction leaves its operand and sets C2. */
export const isOutOfRange = (a: Float80): boolean => !a.isUnsupported && a.exp !== 0x7fff && a.exp >= BIAS + 63;

function sineOfAngle(c: Context, { rest, bits, quadrant }: Angle, sign: number): Float80 {
  const value = quadrant & 1 ? cosine(rest, bits) : sine(rest, bits);
  return signed(c, ((quadrant & 2) !== 0) !== (sign === 1) ? -value : value, bits);
}

/** NaNs, infinities and denormals of functions with one operand. */
function screenOne(c: Context, a: Float80): Float80 | undefined {
  const special = screen(c, a);
  if (special) return special;
  if (a.isInfinite) return c.invalid();
  noteDenormals(c, a);
  return undefined;
}

export function sin(c: Context, a: Float80): Float80 {
  const special = screenOne(c, a);
  if (special) return special;
  if (a.isZero) return a;
  if (topOf(a) < -TINY) return nearly(c, a.sign, a, false);
  return sineOfAngle(c, reduce(a), a.sign);
}

export function cos(c: Context, a: Float80): Float80 {
  const special = screenOne(c, a);
  if (special) return special;
  if (a.isZero) return ONE;
  if (topOf(a) < -TINY) return nearly(c, 0, ONE, false);
  const angle = reduce(a);
  return sineOfAngle(c, { ...angle, quadrant: (angle.quadrant + 1) & 3 }, 0);
}

export function tan(c: Context, a: Float80): Float80 {
  const special = screenOne(c, a);
  if (special) return special;
  if (a.isZero) return a;
  if (topOf(a) < -TINY) return nearly(c, a.sign, a, true);
  const { rest, bits, quadrant } = reduce(a);
  const s = sine(rest, bits);
  const t = cosine(rest, bits);
  const value = quadrant & 1 ? (-t << BigInt(bits)) / s : (s << BigInt(bits)) / t;
  return signed(c, a.sign ? -value : value, bits);
}

/** An exact result that processors call inexact; beyond the range that the manual defines, it is the operand. */
function inexactly(c: Context, a: Float80): Float80 {
  c.raise(FLAG.PE);
  return a;
}

/** F2XM1: 2^a - 1 for -1 <= a <= 1. */
export function twoToMinusOne(c: Context, a: Float80): Float80 {
  const special = screen(c, a);
  if (special) return special;
  if (a.isInfinite) return a.sign ? ONE.negated() : a;
  noteDenormals(c, a);
  if (a.isZero) return a;
  if (a.exp >= BIAS) return inexactly(c, a.exp === BIAS && a.sig === ONE.sig ? half(a) : a);
  const top = topOf(a);
  const wide = WORKING + 64;
  // a · ln 2, when the square no longer counts.
  if (top < -TINY) return inexact(c, a.sign, a.scale - wide, a.sig * ln2(wide));
  const bits = WORKING + Math.max(0, -top);
  const exponent = (fixedOf(a, bits + 64) * ln2(bits)) >> BigInt(bits + 64);
  return signed(c, exponentialMinusOne(a.sign ? -exponent : exponent, bits), bits);
}
/** 2^1 - 1 and 2^-1 - 1. */
const half = (a: Float80): Float80 => (a.sign ? new Float80(1, BIAS - 1, ONE.sig) : ONE);

/** log2(value · 2^-bits) with `bits` fraction bits; value > 0, not 2^bits itself. */
function logarithm(value: bigint, bits: number): bigint {
  // value = z · 2^exponent with z between sqrt(1/2) and sqrt(2), roughly.
  let exponent = bitLength(value) - 1;
  if (value >> BigInt(Math.max(0, exponent - 2)) >= 6n) exponent++;
  const unit = 1n << BigInt(exponent);
  const ln = twiceArtanh(value - unit, value + unit, bits);
  return (BigInt(exponent - bits) << BigInt(bits)) + (ln << BigInt(bits)) / ln2(bits);
}

/** y · value · 2^-bits. */
function product(c: Context, y: Float80, value: bigint, bits: number): Float80 {
  const negative = value < 0n;
  return inexact(c, y.sign ^ (negative ? 1 : 0), y.scale - bits, y.sig * (negative ? -value : value));
}

/** FYL2X: y · log2(x). */
export function yLog2(c: Context, x: Float80, y: Float80): Float80 {
  const special = screen(c, x, y);
  if (special) return special;
  if (x.sign && !x.isZero) return c.invalid();
  const negative = x.exp < BIAS;
  const isOne = x.exp === BIAS && x.sig === ONE.sig;
  if ((x.isZero || x.isInfinite) && y.isZero) return c.invalid();
  if (isOne && y.isInfinite) return c.invalid();
  const sign = y.sign ^ (negative ? 1 : 0);
  if (x.isZero && !y.isInfinite) {
    c.raise(FLAG.ZE);
    return infinity(sign);
  }
  noteDenormals(c, x, y);
  if (x.isInfinite || y.isInfinite) return infinity(sign);
  if (y.isZero || isOne) return zero(sign);
  const length = bitLength(x.sig);
  // A power of two has an integer for a logarithm; the processors call the result inexact all the same.
  if (x.sig === 1n << BigInt(length - 1)) {
    c.raise(FLAG.PE);
    const exponent = BigInt(topOf(x));
    const value = roundExtended(c, sign, y.scale, y.sig * (exponent < 0n ? -exponent : exponent));
    if (value.denormal) c.raise(FLAG.UE);
    return value;
  }
  const bits = WORKING + 64;
  const value = logarithm(x.sig << BigInt(bits - length), bits) + (BigInt(x.scale + length) << BigInt(bits));
  return product(c, y, value, bits);
}

/** FYL2XP1: y · log2(x + 1). */
export function yLog2PlusOne(c: Context, x: Float80, y: Float80): Float80 {
  const special = screen(c, x, y);
  if (special) return special;
  if (x.isZero ? y.isInfinite : x.isInfinite && (x.sign || y.isZero)) return c.invalid();
  noteDenormals(c, x, y);
  const sign = x.sign ^ y.sign;
  if (x.isInfinite || y.isInfinite) return infinity(sign);
  if (x.isZero || y.isZero) return zero(sign);
  if (x.sign && x.exp >= BIAS) return inexactly(c, x);
  const top = topOf(x);
  const wide = WORKING + 64;
  if (top < -TINY) {
    const quotient = ((x.sig * y.sig) << BigInt(2 * wide)) / ln2(wide);
    return inexact(c, sign, x.scale + y.scale - wide, quotient);
  }
  const bits = WORKING + 64 + Math.max(0, -top);
  const x1 = fixedOf(x, bits);
  return product(c, y, logarithm((1n << BigInt(bits)) + (x.sign ? -x1 : x1), bits), bits);
}

/** FPATAN: the angle of the point (x, y). */
export function atan2(c: Context, x: Float80, y: Float80): Float80 {
  const special = screen(c, x, y);
  if (special) return special;
  noteDenormals(c, x, y);
  const bits = WORKING + 64;
  const { sign } = y;
  /** n · pi / 4. */
  const eighths = (n: bigint): Float80 => inexact(c, sign, -bits - 2, n * pi(bits));
  if (y.isInfinite) return eighths(x.isInfinite ? (x.sign ? 3n : 1n) : 2n);
  if (x.isInfinite || y.isZero) return x.sign ? eighths(4n) : zero(sign);
  if (x.isZero) return eighths(2n);

  const distance = topOf(y) - topOf(x);
  if (distance > TINY) return inexact(c, sign, -bits - 1, pi(bits) - 1n);
  if (distance < -TINY) {
    if (x.sign) return inexact(c, sign, -bits, pi(bits) - 1n);
    // The quotient itself, a trifle less.
    const shift = 200 + bitLength(x.sig) - bitLength(y.sig);
    return roundExtended(c, sign, y.scale - x.scale - shift - 1, ((y.sig << BigInt(shift)) / x.sig) * 2n - 1n);
  }
  const width = bits + TINY;
  const scale = Math.min(x.scale, y.scale);
  const dy = y.sig << BigInt(y.scale - scale);
  const dx = x.sig << BigInt(x.scale - scale);
  const steep = dy > dx;
  const ratio = ((steep ? dx : dy) << BigInt(width)) / (steep ? dy : dx);
  let angle = arctangent(ratio, width);
  if (steep) angle = (pi(width) >> 1n) - angle;
  if (x.sign) angle = pi(width) - angle;
  return inexact(c, sign, -width, angle);
}
