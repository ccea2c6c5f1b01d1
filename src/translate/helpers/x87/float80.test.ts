/** The soft-float core on its own: known vectors at the edges, and JavaScript's doubles as a second opinion in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  add,
  compare,
  divide,
  extract,
  multiply,
  Order,
  remainder,
  roundToInteger,
  scaleBy,
  squareRoot,
  subtract,
} from './arithmetic80.ts';
import { Context, chooseNaN, FLAG, Float80, INDEFINITE, infinity, ONE, RC, roundExtended, zero } from './float80.ts';
import { DECIMAL_INDEFINITE, fromDecimal, fromMemory, toDecimal, toMemory, toSigned } from './formats.ts';

const ALL = 0x3f;
const context = (rounding: number = RC.nearest, precision = 64, masks = ALL): Context =>
  new Context(rounding, precision, masks);
const view = new DataView(new ArrayBuffer(8));
function bitsOf(value: number): bigint {
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}
const float = (value: number): Float80 => fromMemory(bitsOf(value), 8);
function numberOf(value: Float80): number {
  view.setBigUint64(0, toMemory(context(), value, 8)!);
  return view.getFloat64(0);
}
const text = ({ sign, exp, sig }: Float80): string => `${sign ? '-' : '+'} ${exp.toString(16)} ${sig.toString(16)}`;
const MIN_DENORMAL = new Float80(0, 0, 1n);
const MIN_NORMAL = new Float80(0, 1, 1n << 63n);
const MAX = new Float80(0, 0x7ffe, (1n << 64n) - 1n);
const SIGNALING = new Float80(0, 0x7fff, (1n << 63n) | 5n);

/** Deterministic: a 32-bit xorshift. */
function randomDoubles(seed: number): () => number {
  let x = seed;
  const next = (): number => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
  return () => {
    view.setUint32(0, (next() & 0x800f_ffff) | ((1023 - 40 + (next() % 80)) << 20));
    view.setUint32(4, next() & (next() % 3 ? 0xffff_ffff : 0xffff_0000));
    return view.getFloat64(0);
  };
}

test('with 53 bits of precision, sums, products, quotients and roots are those of doubles', () => {
  const random = randomDoubles(1);
  for (let i = 0; i < 3000; i++) {
    const x = random();
    const y = random();
    const c = context(RC.nearest, 53);
    assert.equal(numberOf(add(c, float(x), float(y))), x + y);
    assert.equal(numberOf(subtract(c, float(x), float(y))), x - y);
    assert.equal(numberOf(multiply(c, float(x), float(y))), x * y);
    assert.equal(numberOf(divide(c, float(x), float(y))), x / y);
    assert.equal(numberOf(squareRoot(c, float(Math.abs(x)))), Math.sqrt(Math.abs(x)));
    const { value, partial } = remainder(c, float(x), float(y), false);
    if (!partial) assert.equal(numberOf(value), x % y);
  }
});

test('1/3 is rounded by rounding control, and C1 tells the direction', () => {
  const low = 0xaaaa_aaaa_aaaa_aaaan;
  for (const [rounding, sig, up] of [
    [RC.nearest, low + 1n, true],
    [RC.down, low, false],
    [RC.up, low + 1n, true],
    [RC.zero, low, false],
  ] as const) {
    const c = context(rounding);
    assert.equal(divide(c, ONE, float(3)).sig, sig);
    assert.equal(c.up, up);
    assert.equal(c.flags, FLAG.PE);
  }
});

test('a half is rounded to even', () => {
  const c = context();
  for (const [value, rounded] of [
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, -0],
    [-3.5, -4],
  ] as const) {
    assert.equal(numberOf(roundToInteger(c, float(value))), rounded);
  }
});

test('the smallest numbers underflow gradually, and only inexact denormals raise #U', () => {
  const exact = context();
  assert.equal(text(multiply(exact, MIN_NORMAL, float(0.5))), '+ 0 4000000000000000');
  assert.equal(exact.flags, 0);
  const lost = context();
  assert.equal(text(multiply(lost, MIN_DENORMAL, float(0.75))), '+ 0 1');
  assert.equal(lost.flags, FLAG.DE | FLAG.UE | FLAG.PE);
  assert.equal(lost.up, true);
  const gone = context();
  assert.equal(text(multiply(gone, MIN_DENORMAL, float(-0.5))), '- 0 0');
});

test('tininess is judged after rounding: what rounds up to the smallest normal number does not underflow', () => {
  const c = context();
  const value = roundExtended(c, 0, -16382 - 66, (1n << 66n) - 1n);
  assert.equal(text(value), text(MIN_NORMAL));
  assert.equal(c.flags, FLAG.PE);
});

test('overflow gives infinity or the largest number, as rounding control says', () => {
  for (const [rounding, positive, negative] of [
    [RC.nearest, infinity(0), infinity(1)],
    [RC.down, MAX, infinity(1)],
    [RC.up, infinity(0), MAX.negated()],
    [RC.zero, MAX, MAX.negated()],
  ] as const) {
    const c = context(rounding);
    assert.equal(text(add(c, MAX, MAX)), text(positive));
    assert.equal(c.flags, FLAG.OE | FLAG.PE);
    assert.equal(text(add(c, MAX.negated(), MAX.negated())), text(negative));
  }
});

test('unmasked overflow and underflow move the exponent by 24576', () => {
  const over = context(RC.nearest, 64, ALL & ~FLAG.OE);
  assert.equal(add(over, MAX, MAX).exp, 0x7fff - 24576);
  assert.equal(over.flags, FLAG.OE);
  const under = context(RC.nearest, 64, ALL & ~FLAG.UE);
  assert.equal(multiply(under, MIN_NORMAL, float(0.5)).exp, 24576);
  assert.equal(under.flags, FLAG.UE);
});

test('of two NaNs the quiet one wins, then the larger significand, then the positive one', () => {
  const quiet = new Float80(0, 0x7fff, (3n << 62n) | 1n);
  const larger = new Float80(1, 0x7fff, (3n << 62n) | 2n);
  assert.equal(chooseNaN(SIGNALING, quiet), quiet);
  assert.equal(text(chooseNaN(quiet, larger)), text(larger));
  assert.equal(chooseNaN(larger, larger.negated()).sign, 0);
  const c = context();
  assert.equal(text(add(c, SIGNALING, ONE)), '+ 7fff c000000000000005');
  assert.equal(c.flags, FLAG.IE);
});

test('invalid operations give the indefinite, also for encodings that are no numbers any more', () => {
  const unnormal = new Float80(0, 0x4000, 1n);
  for (const invalid of [
    (c: Context) => subtract(c, infinity(0), infinity(0)),
    (c: Context) => multiply(c, infinity(0), zero(1)),
    (c: Context) => divide(c, zero(0), zero(0)),
    (c: Context) => divide(c, infinity(0), infinity(1)),
    (c: Context) => squareRoot(c, float(-1)),
    (c: Context) => add(c, unnormal, ONE),
    (c: Context) => remainder(c, ONE, zero(0), false).value,
    (c: Context) => scaleBy(c, zero(0), infinity(0)),
  ]) {
    const c = context();
    assert.equal(text(invalid(c)), text(INDEFINITE));
    assert.equal(c.flags, FLAG.IE);
  }
});

test('a sum that cancels is +0, and -0 when rounding down', () => {
  assert.equal(subtract(context(), ONE, ONE).sign, 0);
  assert.equal(subtract(context(RC.down), ONE, ONE).sign, 1);
  assert.equal(add(context(), zero(1), zero(1)).sign, 1);
});

test('a remainder of distant numbers comes in steps, and ends where one division would', () => {
  const c = context();
  let value = roundExtended(c, 0, 200, 12345n);
  let steps = 0;
  for (;;) {
    const step = remainder(c, value, float(7), false);
    value = step.value;
    steps++;
    if (!step.partial) break;
  }
  assert.equal(numberOf(value), Number((12345n << 200n) % 7n));
  assert.ok(steps > 1);
});

test('the nearest remainder may be negative, and the quotient bits are the rounded quotient', () => {
  const { value, quotient } = remainder(context(), float(11), float(4), true);
  assert.equal(numberOf(value), -1);
  assert.equal(quotient, 3);
});

test('scaling reaches from one end of the range to the other', () => {
  assert.equal(text(scaleBy(context(), MIN_DENORMAL, float(16445))), text(ONE));
  assert.equal(text(scaleBy(context(), ONE, float(-16445))), text(MIN_DENORMAL));
  assert.equal(text(scaleBy(context(), ONE, float(-1e300))), text(zero(0)));
  assert.equal(text(scaleBy(context(), ONE, float(1e300))), text(infinity(0)));
  assert.equal(text(scaleBy(context(), ONE, float(1.9))), text(float(2)));
});

test('a number is its extracted significand scaled by its exponent', () => {
  const { exponent, significand } = extract(context(), MIN_DENORMAL);
  assert.equal(numberOf(exponent), -16445);
  assert.equal(text(significand), text(ONE));
});

test('comparison orders denormals, signs and zeros, and refuses signaling NaNs even when quiet', () => {
  const c = context();
  assert.equal(compare(c, MIN_DENORMAL, MIN_NORMAL, false), Order.less);
  assert.equal(compare(c, MIN_DENORMAL.negated(), MIN_NORMAL.negated(), false), Order.greater);
  assert.equal(compare(c, zero(0), zero(1), false), Order.equal);
  assert.equal(compare(c, infinity(1), MAX, false), Order.less);
  assert.equal(c.flags, FLAG.DE);
  const quiet = context();
  assert.equal(compare(quiet, INDEFINITE, ONE, true), Order.unordered);
  assert.equal(quiet.flags, 0);
  assert.equal(compare(quiet, SIGNALING, ONE, true), Order.unordered);
  assert.equal(quiet.flags, FLAG.IE);
});

test('singles and doubles, denormals and NaNs included, survive the way in and out', () => {
  for (const bits of [
    0x3f80_0000n,
    1n,
    0x7f_ffffn,
    0x80_0000n,
    0x8000_0001n,
    0x7f80_0000n,
    0xffc0_0001n,
    0x8000_0000n,
  ]) {
    assert.equal(toMemory(context(), fromMemory(bits, 4), 4), bits);
  }
  for (const value of [Math.PI, 5e-324, -2.2250738585072014e-308, Number.MAX_VALUE, -Infinity, -0]) {
    assert.equal(toMemory(context(), float(value), 8), bitsOf(value));
  }
  assert.equal(fromMemory(1n, 4).denormal, true);
});

test('a store rounds once to the narrower format', () => {
  const c = context();
  const justAboveHalf = new Float80(0, 16383, (1n << 63n) | (1n << 39n) | 1n);
  assert.equal(toMemory(c, justAboveHalf, 4), 0x3f80_0001n);
  assert.equal(toMemory(c, new Float80(0, 16383, (1n << 63n) | (1n << 39n)), 4), 0x3f80_0000n);
  assert.equal(toMemory(context(RC.nearest, 64, ALL & ~FLAG.OE), MAX, 4), undefined);
});

test('integers that do not fit become the integer indefinite', () => {
  const c = context();
  assert.equal(toSigned(c, float(32767), 2, false), 0x7fffn);
  assert.equal(toSigned(c, float(-32768), 2, false), 0x8000n);
  assert.equal(c.flags, 0);
  assert.equal(toSigned(c, float(32767.5), 2, false), 0x8000n);
  assert.equal(c.flags, FLAG.IE);
  assert.equal(toSigned(context(), float(-2.9), 4, true), 0xffff_fffen);
});

test('packed decimals hold 18 digits and a sign', () => {
  const digits = 0x80_00_12_34_56_78_90_12_34_56n;
  assert.equal(toDecimal(context(), fromDecimal(digits)), digits);
  assert.equal(toDecimal(context(), float(1e18)), DECIMAL_INDEFINITE);
  assert.equal(text(fromDecimal(1n << 79n)), text(zero(1)));
});
