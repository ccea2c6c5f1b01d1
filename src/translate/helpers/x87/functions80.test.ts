/** Transcendental functions: the special points of the manual's tables, and JavaScript's Math as a rough second opinion. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Context, FLAG, Float80, INDEFINITE, infinity, ONE, RC, zero } from './float80.ts';
import { fromMemory, toMemory } from './formats.ts';
import { atan2, cos, isOutOfRange, sin, tan, twoToMinusOne, yLog2, yLog2PlusOne } from './functions80.ts';

const context = (): Context => new Context(RC.nearest, 64, 0x3f);
const view = new DataView(new ArrayBuffer(8));
function float(value: number): Float80 {
  view.setFloat64(0, value);
  return fromMemory(view.getBigUint64(0), 8);
}
function numberOf(value: Float80): number {
  view.setBigUint64(0, toMemory(context(), value, 8)!);
  return view.getFloat64(0);
}
const text = ({ sign, exp, sig }: Float80): string => `${sign ? '-' : '+'} ${exp.toString(16)} ${sig.toString(16)}`;
const PI = new Float80(0, 0x4000, 0xc90f_daa2_2168_c235n);

function near(value: Float80, expected: number, about: string): void {
  const error = Math.abs(numberOf(value) - expected);
  assert.ok(error <= Math.abs(expected) * 1e-14 + 1e-300, `${about}: ${numberOf(value)} is not ${expected}`);
}

test('all functions agree with Math wherever that is good enough', () => {
  for (const x of [1e-9, 0.1, 0.3, 0.7, 1, 1.5, 2.5, 4, 100.25, 1e4]) {
    for (const v of [x, -x]) {
      near(sin(context(), float(v)), Math.sin(v), `sin ${v}`);
      near(cos(context(), float(v)), Math.cos(v), `cos ${v}`);
      near(tan(context(), float(v)), Math.tan(v), `tan ${v}`);
      for (const y of [-1e6, -1, -0.01, 3e-7, 2, 12345]) {
        near(atan2(context(), float(v), float(y)), Math.atan2(y, v), `atan2 ${y} ${v}`);
      }
      if (x <= 1) near(twoToMinusOne(context(), float(v)), Math.expm1(v * Math.LN2), `2^${v} - 1`);
      if (x < 0.29) near(yLog2PlusOne(context(), float(v), float(3)), 3 * Math.log1p(v) * Math.LOG2E, `log2(1 + ${v})`);
    }
    near(yLog2(context(), float(x), float(-7)), -7 * Math.log2(x), `log2 ${x}`);
  }
});

test('the sine of pi is what the processors make of it: their pi has 66 bits', () => {
  assert.equal(text(sin(context(), PI)), text(new Float80(1, 16383 - 64, 1n << 63n)));
});

test('angles from 2^63 on are out of range; NaNs and infinities are not', () => {
  assert.equal(isOutOfRange(new Float80(1, 16383 + 63, 1n << 63n)), true);
  assert.equal(isOutOfRange(new Float80(0, 16383 + 62, (1n << 64n) - 1n)), false);
  assert.equal(isOutOfRange(infinity(0)), false);
  const c = context();
  assert.equal(text(sin(c, infinity(0))), text(INDEFINITE));
  assert.equal(c.flags, FLAG.IE);
});

test('tiny angles are their own sine, rounded to nearest, and a denormal one underflows', () => {
  const tiny = new Float80(1, 100, (1n << 63n) | 1n);
  assert.equal(text(sin(context(), tiny)), text(tiny));
  const c = context();
  const denormal = new Float80(0, 0, 3n);
  assert.equal(text(tan(c, denormal)), text(denormal));
  assert.equal(c.flags, FLAG.DE | FLAG.UE | FLAG.PE);
});

test('the logarithm of a power of two is exact', () => {
  assert.equal(numberOf(yLog2(context(), float(1024), float(1.5))), 15);
  assert.equal(numberOf(yLog2(context(), new Float80(0, 0, 1n), float(1))), -16445);
  assert.equal(text(yLog2(context(), ONE, float(-3))), text(zero(1)));
});

test('logarithms of nothing: zero divides, negative numbers are invalid', () => {
  for (const [x, y, answer, flags] of [
    [0, 2, infinity(1), FLAG.ZE],
    [-0, -2, infinity(0), FLAG.ZE],
    [0, 0, INDEFINITE, FLAG.IE],
    [-1, 2, INDEFINITE, FLAG.IE],
    [1, Infinity, INDEFINITE, FLAG.IE],
    [0.5, Infinity, infinity(1), 0],
    [Infinity, -2, infinity(1), 0],
  ] as const) {
    const c = context();
    assert.equal(text(yLog2(c, float(x), float(y))), text(answer), `${y} log2 ${x}`);
    assert.equal(c.flags, flags);
  }
});

test('the angle of every axis and corner is that of Math.atan2', () => {
  const points = [0, -0, 2, -2, Infinity, -Infinity];
  for (const x of points) {
    for (const y of points) {
      const value = numberOf(atan2(context(), float(x), float(y)));
      assert.ok(Object.is(value, Math.atan2(y, x)), `atan2 ${y} ${x}: ${value}`);
    }
  }
});

test('2^x - 1 of tiny x is x ln 2, and of one and minus one exact', () => {
  assert.equal(numberOf(twoToMinusOne(context(), float(1))), 1);
  assert.equal(numberOf(twoToMinusOne(context(), float(-1))), -0.5);
  near(twoToMinusOne(context(), float(1e-200)), 1e-200 * Math.LN2, 'tiny');
});
