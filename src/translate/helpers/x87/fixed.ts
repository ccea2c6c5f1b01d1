/**
 * Elementary functions in fixed point: integers that stand for value · 2^-bits, accurate to a few units of their last place.
 * Callers choose `bits` so that this is far below what they keep. Plain series; nothing here knows of formats or exceptions.
 */
import { integerRoot } from './arithmetic80.ts';

const one = (bits: number): bigint => 1n << BigInt(bits);

/** arctan(1/n) or, with `sign` 1n, its hyperbolic sibling. */
function inverseSeries(n: bigint, bits: number, sign: bigint): bigint {
  let power = one(bits) / n;
  let sum = power;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = (sign * power) / (n * n);
    sum += power / k;
  }
  return sum;
}

/** Constants are made once per width. */
function cached(make: (bits: number) => bigint): (bits: number) => bigint {
  const known = new Map<number, bigint>();
  return (bits) => {
    // A few widths serve all: rounded up to the next multiple of 64, they are cut back here.
    const width = (bits + 63) & ~63;
    let value = known.get(width);
    if (value === undefined) {
      value = make(width + 16) >> 16n;
      known.set(width, value);
    }
    return value >> BigInt(width - bits);
  };
}
/** Machin's formula. */
export const pi = cached((bits) => 16n * inverseSeries(5n, bits, -1n) - 4n * inverseSeries(239n, bits, -1n));
/** ln 2 = 2 artanh(1/3). */
export const ln2 = cached((bits) => 2n * inverseSeries(3n, bits, 1n));

/** Sine and cosine of |x| < 1. */
export function sine(x: bigint, bits: number): bigint {
  return alternating(x, x, 1n, bits);
}
export function cosine(x: bigint, bits: number): bigint {
  return alternating(one(bits), x, 0n, bits);
}
/** first - first·x²/((n+1)(n+2)) + ... */
function alternating(first: bigint, x: bigint, start: bigint, bits: number): bigint {
  const square = (x * x) >> BigInt(bits);
  let term = first;
  let sum = first;
  // A negative term would never shift down to zero, so signs are kept apart.
  const negative = term < 0n;
  if (negative) {
    term = -term;
    sum = -sum;
  }
  let minus = true;
  for (let n = start; term !== 0n; n += 2n) {
    term = ((term * square) >> BigInt(bits)) / ((n + 1n) * (n + 2n));
    sum += minus ? -term : term;
    minus = !minus;
  }
  return negative ? -sum : sum;
}

/** e^x - 1 for |x| < 1. */
export function exponentialMinusOne(x: bigint, bits: number): bigint {
  let term = x;
  let sum = x;
  for (let n = 2n; term !== 0n; n++) {
    term = (term * x) / (one(bits) * n);
    sum += term;
  }
  return sum;
}

/** 2 artanh(numerator / denominator) = ln((denominator + numerator) / (denominator - numerator)), for a ratio below 1/3. */
export function twiceArtanh(numerator: bigint, denominator: bigint, bits: number): bigint {
  const s = (numerator << BigInt(bits)) / denominator;
  const square = (s * s) >> BigInt(bits);
  let power = s;
  let sum = s;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = (power * square) / one(bits);
    sum += power / k;
  }
  return 2n * sum;
}

/** arctan x for 0 <= x <= 1. */
export function arctangent(x: bigint, bits: number): bigint {
  // Three halvings of the angle bring x below 1/10: tan(a/2) = t / (1 + sqrt(1 + t²)).
  const HALVINGS = 3n;
  let t = x;
  for (let i = 0n; i < HALVINGS; i++) {
    const hypotenuse = integerRoot(one(2 * bits) + t * t);
    t = (t << BigInt(bits)) / (one(bits) + hypotenuse);
  }
  const square = (t * t) >> BigInt(bits);
  let power = t;
  let sum = t;
  let minus = true;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = (power * square) >> BigInt(bits);
    sum += minus ? -(power / k) : power / k;
    minus = !minus;
  }
  return sum << HALVINGS;
}
