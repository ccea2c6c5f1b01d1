/** Conversions between the extended format and what memory holds: single, double, integers, packed decimals. SDM volume 1, 4.2, 4.7. */
import { fromInteger } from './arithmetic80.ts';
import {
  type Context,
  DOUBLE,
  dropBits,
  FLAG,
  Float80,
  type Format,
  INDEFINITE,
  RC,
  round,
  SINGLE,
  zero,
} from './float80.ts';

const format = (size: number): Format => (size === 4 ? SINGLE : DOUBLE);
const fractionBits = (f: Format): number => f.bits - 1;

/** A number of 4 or 8 bytes as it is: a signaling NaN stays one, a denormal remembers that it was. */
export function fromMemory(bits: bigint, size: number): Float80 {
  const f = format(size);
  const width = fractionBits(f);
  const sign = Number(bits >> BigInt(size * 8 - 1));
  const exp = Number(bits >> BigInt(width)) & (f.maximum + 1);
  const fraction = bits & ((1n << BigInt(width)) - 1n);
  const aligned = fraction << BigInt(63 - width);
  if (exp > f.maximum) return new Float80(sign, 0x7fff, (1n << 63n) | aligned);
  if (exp > 0) return new Float80(sign, exp - f.bias + 16383, (1n << 63n) | aligned);
  if (fraction === 0n) return zero(sign);
  const value = fromInteger(fraction);
  return new Float80(sign, value.exp - (f.bias - 1) - width, value.sig, true);
}

/** FLD's quieting of what fromMemory gave. */
export function loaded(c: Context, value: Float80): Float80 {
  if (value.isNaN) {
    if (value.isSignaling) c.raise(FLAG.IE);
    return value.quieted();
  }
  if (value.denormal) c.raise(FLAG.DE);
  return value;
}

/** The bits of `value` in 4 or 8 bytes; undefined when an unmasked overflow or underflow leaves memory as it is. */
export function toMemory(c: Context, value: Float80, size: number): bigint | undefined {
  const f = format(size);
  const width = fractionBits(f);
  const pack = (sign: number, exp: number, sig: bigint): bigint =>
    (BigInt(sign) << BigInt(size * 8 - 1)) | (BigInt(exp) << BigInt(width)) | (sig & ((1n << BigInt(width)) - 1n));
  let v = value;
  if (v.isUnsupported) v = c.invalid();
  if (v.isNaN) {
    if (v.isSignaling) c.raise(FLAG.IE);
    return pack(v.sign, f.maximum + 1, v.quieted().sig >> BigInt(63 - width));
  }
  if (v.isInfinite) return pack(v.sign, f.maximum + 1, 0n);
  if (v.isZero) return pack(v.sign, 0, 0n);
  const { exp, sig } = round(c, f, v.sign, v.scale, v.sig);
  if (c.flags & ~c.masks & (FLAG.OE | FLAG.UE)) {
    c.up = false;
    c.flags &= ~FLAG.PE;
    return undefined;
  }
  return pack(v.sign, exp, sig);
}

/** The integer that `rounding` chooses, or undefined (with #IA) when it is not from `least` to `most`. */
function toInteger(c: Context, v: Float80, rounding: number, least: bigint, most: bigint): bigint | undefined {
  const refuse = (): undefined => {
    c.up = false;
    c.raise(FLAG.IE);
  };
  if (v.isUnsupported || v.exp === 0x7fff) return refuse();
  if (v.isZero) return 0n;
  if (v.scale > 0) return refuse();
  const { kept, exact } = dropBits(c, rounding, v.sign, v.sig, Math.min(-v.scale, 80));
  const value = v.sign ? -kept : kept;
  if (value < least || value > most) return refuse();
  if (!exact) c.raise(FLAG.PE);
  return value;
}

/** FIST, FISTTP: two's complement, or the integer indefinite. */
export function toSigned(c: Context, value: Float80, size: number, truncate: boolean): bigint {
  const least = -(1n << BigInt(size * 8 - 1));
  const integer = toInteger(c, value, truncate ? RC.zero : c.rounding, least, -least - 1n);
  return BigInt.asUintN(size * 8, integer ?? least);
}

const DECIMAL_MAX = 10n ** 18n - 1n;
export const DECIMAL_INDEFINITE = 0xffffc000000000000000n;

/** FBSTP: 18 digits and a sign, in ten bytes. */
export function toDecimal(c: Context, value: Float80): bigint {
  const integer = toInteger(c, value, c.rounding, -DECIMAL_MAX, DECIMAL_MAX);
  if (integer === undefined) return DECIMAL_INDEFINITE;
  const digits = BigInt(`0x${integer < 0n ? -integer : integer}`);
  return digits | (BigInt(value.sign) << 79n);
}

/** FBLD. What digits above 9 give is undefined: here they count as what they are. */
export function fromDecimal(bits: bigint): Float80 {
  let value = 0n;
  for (let digit = 17; digit >= 0; digit--) value = value * 10n + ((bits >> BigInt(4 * digit)) & 15n);
  const sign = Number((bits >> 79n) & 1n);
  return value === 0n ? zero(sign) : fromInteger(value).withSign(sign);
}

/** What a store from an empty register leaves, after the masked response. */
export const floatIndefinite = (c: Context, size: number): bigint => toMemory(c, INDEFINITE, size)!;
export const integerIndefinite = (size: number): bigint => 1n << BigInt(size * 8 - 1);
