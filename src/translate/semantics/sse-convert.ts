/**
 * Conversions between floating-point formats and integers, and rounding to integers, with the same division of labour as in
 * sse-float.ts. Conversions from and to MMX registers are all left to helpers/sse-float.ts.
 */
import { type E, F32, F64, I64, i32, i64, i64pair, simd, v128const } from '../../wasm/expr.ts';
import type { Label } from '../../wasm/module.ts';
import type { Lift, Semantics } from '../lift.ts';
import { operand, vector, vectorInstructions } from './sse.ts';
import {
  all,
  and,
  bitsOf,
  type FloatVector,
  isNormal,
  isNumber,
  noDenormals,
  number,
  numbers,
  or,
  unless,
  unlessRare,
  unlessRounded,
  unlessRounding,
} from './sse-float.ts';

const always = (): E => i32(1);

/** Integers up to 2^53 and 2^24 are exact in their formats, those of 32 bits in a double always. */
const fromInteger =
  (type: typeof F32 | typeof F64): Semantics =>
  (c) => {
    const v = operand(c, 1);
    const commit = (): void => {
      c.setFloat(0, type === F64 ? v.toF64() : v.toF32());
      c.noteNumber(0, type === F64 ? 'f64' : 'f32');
    };
    if (type === F64 && v.type !== I64) {
      commit();
      return;
    }
    const bits = type === F64 ? 53 : 24;
    const exact = v.type === I64 ? v.add(i64(2 ** bits)).leU(i64(2 ** (bits + 1))) : v.add(1 << 24).leU(1 << 25);
    unlessRounding(c, [], () => exact, commit);
  };

const power = (value: E, exponent: number): E =>
  value.type === F64 ? i64pair(0, (1023 + exponent) << 20).asF64() : i32((127 + exponent) << 23).asF32();

const toInteger =
  (rounded: (x: E) => E): Semantics =>
  (c) => {
    const { value: x } = number(c, 1);
    const t = c.f.let(rounded(x));
    const bits = c.size(0) * 8 - 1;
    // A float's next number below 2^63 is far below; NaN fails both tests.
    const fits = t.ge(power(x, bits).fneg()).and(t.lt(power(x, bits)));
    unlessRounding(
      c,
      [fits],
      () => t.eq(x),
      () => c.store(0, bits === 63 ? t.satI64() : t.satI32()),
    );
  };

const widen: Semantics = (c) => {
  const { value: x, check } = number(c, 1);
  const checks = (rare: Label): void => {
    check(rare);
    c.f.brIf(rare, isNumber(x).eqz());
  };
  unless(c, checks, () => {
    c.setFloat(0, x.promote());
    c.noteNumber(0, 'f64');
  });
};
const narrow: Semantics = (c) => {
  const { value: x, check } = number(c, 1);
  const r = c.f.let(x.demote());
  const checks = (rare: Label): void => {
    check(rare);
    c.f.brIf(rare, isNormal(r).or(bitsOf(x).shl(1).eqz()).eqz());
  };
  unlessRounded(
    c,
    checks,
    () => r.promote().eq(x),
    () => {
      c.setFloat(0, r);
      c.noteNumber(0, 'f32');
    },
  );
};

const splat = (t: FloatVector, value: number): E => {
  const bytes = t === 'f32x4' ? new Float32Array(4).fill(value).buffer : new Float64Array(2).fill(value).buffer;
  return v128const(new Uint8Array(bytes));
};

const packedFromIntegers: Semantics = (c) => {
  const v = vector(c, 1);
  const integers = (value: number): E => v128const(new Uint8Array(new Int32Array(4).fill(value).buffer));
  const exact = (): E => all('f32x4', simd('i32x4.le_u', simd('i32x4.add', v, integers(1 << 24)), integers(1 << 25)));
  unlessRounding(c, [], exact, () => c.setVector(0, simd('f32x4.convert_i32x4_s', v)));
};
const packedToIntegers =
  (t: FloatVector, rounding: 'nearest' | 'trunc'): Semantics =>
  (c) => {
    const x = vector(c, 1);
    const r = c.f.let(simd(`${t}.${rounding}`, x));
    const fits = and(simd(`${t}.ge`, r, splat(t, -(2 ** 31))), simd(`${t}.lt`, r, splat(t, 2 ** 31)));
    const to = t === 'f32x4' ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero';
    unlessRounding(
      c,
      [all(t, fits)],
      () => all(t, simd(`${t}.eq`, r, x)),
      () => c.setVector(0, simd(to, r)),
    );
  };
const packedWiden: Semantics = (c) => {
  // Eight bytes stand in both halves, so that the tests see nothing else.
  const x = vector(c, 1);
  unlessRare(c, [numbers('f32x4', x), noDenormals('f32x4', x)], () =>
    c.setVector(0, simd('f64x2.promote_low_f32x4', x)),
  );
};
const packedNarrow: Semantics = (c) => {
  const x = vector(c, 1);
  const r = c.f.let(simd('f32x4.demote_f64x2_zero', x));
  const back = c.f.let(simd('f64x2.promote_low_f32x4', r));
  const magnitude = simd('f64x2.abs', back);
  const fits = and(
    simd('f64x2.lt', magnitude, splat('f64x2', Number.POSITIVE_INFINITY)),
    or(simd('f64x2.gt', magnitude, splat('f64x2', 2 ** -126)), simd('f64x2.eq', x, splat('f64x2', 0))),
  );
  unlessRounding(
    c,
    [noDenormals('f64x2', x), all('f64x2', fits)],
    () => all('f64x2', simd('f64x2.eq', back, x)),
    () => c.setVector(0, r),
  );
};

/** By the immediate: its rounding mode, or with bit 2 MXCSR's (which is nearest on this path); bit 3 suppresses PE. */
const roundingOf = (c: Lift): 'nearest' | 'floor' | 'ceil' | 'trunc' => {
  const imm = c.knownImmediate(2);
  return (['nearest', 'floor', 'ceil', 'trunc'] as const)[imm & 4 ? 0 : imm & 3]!;
};
const suppressed = (c: Lift): boolean => (c.knownImmediate(2) & 8) !== 0;
const round: Semantics = (c) => {
  const { value: x, check } = number(c, 1);
  const r = c.f.let(x[roundingOf(c)]());
  const exact = suppressed(c) ? always : () => r.eq(x);
  const checks = (rare: Label): void => {
    check(rare);
    c.f.brIf(rare, isNumber(x).eqz());
  };
  unlessRounded(c, checks, exact, () => c.setFloat(0, r));
};
const packedRound =
  (t: FloatVector): Semantics =>
  (c) => {
    const x = vector(c, 1);
    const r = c.f.let(simd(`${t}.${roundingOf(c)}`, x));
    const exact = suppressed(c) ? always : () => all(t, simd(`${t}.eq`, r, x));
    unlessRounding(c, [numbers(t, x), noDenormals(t, x)], exact, () => c.setVector(0, r));
  };

const packedFromIntegersToDouble: Semantics = (c) => {
  const v = vector(c, 1);
  c.setVector(0, simd('f64x2.convert_low_i32x4_s', v));
};

// biome-ignore format: a table
export const SSE_CONVERT: Record<string, Semantics> = vectorInstructions({
  cvtsi2ss: fromInteger(F32), cvtsi2sd: fromInteger(F64), cvtdq2ps: packedFromIntegers, cvtdq2pd: packedFromIntegersToDouble,
  cvtss2si: toInteger((x) => x.nearest()), cvtsd2si: toInteger((x) => x.nearest()),
  cvttss2si: toInteger((x) => x.trunc()), cvttsd2si: toInteger((x) => x.trunc()),
  cvtps2dq: packedToIntegers('f32x4', 'nearest'), cvttps2dq: packedToIntegers('f32x4', 'trunc'),
  cvtpd2dq: packedToIntegers('f64x2', 'nearest'), cvttpd2dq: packedToIntegers('f64x2', 'trunc'),
  cvtss2sd: widen, cvtsd2ss: narrow, cvtps2pd: packedWiden, cvtpd2ps: packedNarrow,
  roundss: round, roundsd: round, roundps: packedRound('f32x4'), roundpd: packedRound('f64x2'),
});
