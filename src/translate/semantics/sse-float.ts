/**
 * Floating-point arithmetic of SSE on WebAssembly's own: whenever the result is certain to be the same and MXCSR to stay as it
 * is. Everything else (new exception flags, NaNs, denormals, other rounding modes) is computed in TypeScript by
 * helpers/sse-float.ts. Conversions are in sse-convert.ts.
 *
 * The certain case: nearest rounding with all exceptions masked; inputs that are no denormals and results in the normal range,
 * so that neither DE, OE, UE nor DAZ and FTZ come into it; and PE set already, or the result exact. PE is set by
 * the first inexact operation after a program cleared it. Programs that never round stay fast through a quick test for exactness.
 *
 * The certain case is recognised by exponents: a quick test that most numbers pass, and behind it the exact one. A tier that
 * knows what a register holds asks about each value once (Lift.hasNoDenormal).
 */
import {
  type E,
  F32,
  F64,
  I64,
  i32,
  i64,
  i64pair,
  lane,
  loadF32,
  loadF64,
  select,
  shuffle,
  simd,
  v128const,
} from '../../wasm/expr.ts';
import type { Label } from '../../wasm/module.ts';
import { MXCSR_PE } from '../../x86/state.ts';
import { type Lift, ordinaryCount, ordinaryDistance, type Semantics, vectorLeast } from '../lift.ts';
import { vector, vectorInstructions, vectorMemory } from './sse.ts';
import { elements } from './sse-move.ts';

/** Branches to `rare` unless the fast way is certain to be right. */
type Check = (rare: Label) => void;
const allOf =
  (c: Lift, conditions: readonly E[]): Check =>
  (rare) => {
    for (const condition of conditions) c.f.brIf(rare, condition.eqz());
  };

/** `commit` after `check`, else the exact way. */
export function unless(c: Lift, check: Check, commit: () => void): void {
  c.f.block((certain) => {
    c.f.block((rare) => {
      check(rare);
      c.f.br(certain);
    });
    // Control does not come back from there.
    c.helper();
  });
  commit();
}
export const unlessRare = (c: Lift, certain: readonly E[], commit: () => void): void =>
  unless(c, allOf(c, certain), commit);
/** The same for operations that round. */
export function unlessRounded(c: Lift, check: Check, exact: () => E, commit: () => void): void {
  const rounds: Check = (rare) => {
    check(rare);
    roundsAsUsual(c, rare, exact);
  };
  unless(c, rounds, commit);
}
/**
 * Rounding is to nearest, all exceptions are masked, and PE is set or not going to be: what passes `quick` is exact as well. PE is all that
 * Lift.roundingState differs in before the first operation that rounds.
 */
function roundsAsUsual(c: Lift, rare: Label, exact: () => E, quick?: () => E): void {
  const { f } = c;
  const state = c.roundingState();
  f.if(state, () => {
    f.cold();
    f.brIf(rare, state.ne(MXCSR_PE));
    if (quick === undefined) f.brIf(rare, exact().eqz());
    else f.if(quick().eqz(), () => f.brIf(rare, exact().eqz()));
  });
}
export const unlessRounding = (c: Lift, certain: readonly E[], exact: () => E, commit: () => void): void =>
  unlessRounded(c, allOf(c, certain), exact, commit);

// Single numbers.

export const floatOf = (bits: E): E => (bits.type === I64 ? bits.asF64() : bits.asF32());
export const bitsOf = (value: E): E => (value.type === F64 ? value.asI64() : value.asI32());
/** A constant from the bits of a single and of a double (upper half; the lower one is all ones or all zeros). */
const like = (value: E, single: number, high: number, low: number): E =>
  value.type === F64 ? i64pair(low, high).asF64() : i32(single).asF32();
const zeroOf = (value: E): E => like(value, 0, 0, 0);
const leastNormal = (value: E): E => like(value, 0x0080_0000, 0x0010_0000, 0);
const greatest = (value: E): E => like(value, 0x7f7f_ffff, 0x7fef_ffff, -1);

/** Neither is a denormal (zero is none). */
export function noDenormal(...bits: E[]): E {
  const tests = bits.map((v) =>
    v
      .shl(1)
      .sub(1)
      .geU(v.type === I64 ? i64pair(-1, 0x001f_ffff) : i32(0x00ff_ffff)),
  );
  return tests.reduce((all, test) => all.and(test));
}
export const isNumber = (value: E): E => value.eq(value);
const isZero = (value: E): E => value.eq(zeroOf(value));
/** In the normal range. The least normal number may come of a result that was tiny before rounding. */
export const isNormal = (value: E): E =>
  value
    .fabs()
    .gt(leastNormal(value))
    .and(value.fabs().le(greatest(value)));

/** Zeros behind the last one of a double's significand; two factors with 53 together have an exact product. */
const trailing = (value: E): E => value.asI64().or(i64pair(0, 0x0010_0000)).ctz();
const exactProduct = (a: E, b: E): E => trailing(a).add(trailing(b)).geU(53);

interface Operation {
  /** The result; the square root is of `b`. */
  apply(a: E, b: E): E;
  /** In WebAssembly's vector instructions. */
  readonly name: 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
  /** Is a result of zero (or for sums, any up to the least normal number) exact as well? */
  small(a: E, b: E, r: E): E;
  /** Was nothing lost? Only asked about certain results otherwise. */
  exact(c: Lift, a: E, b: E, r: E): E;
}
/** The error of a rounded sum (Knuth): exact in itself. */
const sumError = (c: Lift, a: E, b: E, r: E): E => {
  const rest = c.f.let(r.fsub(a));
  return a.fsub(r.fsub(rest)).fadd(b.fsub(rest));
};
const sumIsSmall = (_a: E, _b: E, r: E): E => isZero(r).or(r.fabs().eq(leastNormal(r)));
const ADD: Operation = {
  name: 'add',
  apply: (a, b) => a.fadd(b),
  small: sumIsSmall,
  exact: (c, a, b, r) => isZero(sumError(c, a, b, r)),
};
const SUB: Operation = {
  name: 'sub',
  apply: (a, b) => a.fsub(b),
  small: sumIsSmall,
  exact: (c, a, b, r) => isZero(sumError(c, a, c.f.let(b.fneg()), r)),
};
const MUL: Operation = {
  name: 'mul',
  apply: (a, b) => a.fmul(b),
  small: (a, b, r) => isZero(r).and(isZero(a).or(isZero(b))),
  exact: (_, a, b, r) =>
    a.type === F64 ? exactProduct(a, b).or(isZero(r)) : a.promote().fmul(b.promote()).eq(r.promote()),
};
const DIV: Operation = {
  name: 'div',
  apply: (a, b) => a.fdiv(b),
  small: (a, _, r) => isZero(r).and(isZero(a)),
  exact: (_, a, b, r) =>
    a.type === F64
      ? exactProduct(r, b).and(r.fmul(b).eq(a)).or(isZero(r))
      : r.promote().fmul(b.promote()).eq(a.promote()),
};
const SQRT: Operation = {
  name: 'sqrt',
  apply: (_, b) => b.sqrt(),
  small: (_, _b, r) => isZero(r),
  exact: (_, _a, b, r) =>
    b.type === F64
      ? exactProduct(r, r).and(r.fmul(r).eq(b)).or(isZero(r))
      : r.promote().fmul(r.promote()).eq(b.promote()),
};

/** What quick tests for exactness are made of, the same for single numbers and for vectors. */
interface Numbers {
  readonly add: (a: E, b: E) => E;
  readonly sub: (a: E, b: E) => E;
  readonly mul: (a: E, b: E) => E;
  /** Bits, of which none is set if the two are the same; of vectors the sign bit is, if they are not. */
  readonly differ: (a: E, b: E) => E;
  /** Bits of the lower half of both significands: two factors without it have an exact product. */
  readonly lower: (a: E, b: E) => E;
  readonly or: (a: E, b: E) => E;
  /** No bit is set. */
  readonly none: (bits: E) => E;
}
/** Bits of each significand without which it has no more than half of its digits. */
const LOWER = { f64: 0x07ff_ffff, f32: 0xfff } as const;
const SINGLES: Numbers = {
  add: (a, b) => a.fadd(b),
  sub: (a, b) => a.fsub(b),
  mul: (a, b) => a.fmul(b),
  differ: (a, b) => bitsOf(a).xor(bitsOf(b)),
  lower: (a, b) =>
    bitsOf(a)
      .or(bitsOf(b))
      .and(a.type === F64 ? i64(LOWER.f64) : LOWER.f32),
  or: (a, b) => a.or(b),
  none: (bits) => bits.eqz(),
};
const vectors = (c: Lift, t: FloatVector): Numbers => ({
  add: (a, b) => simd(`${t}.add`, a, b),
  sub: (a, b) => simd(`${t}.sub`, a, b),
  mul: (a, b) => simd(`${t}.mul`, a, b),
  differ: (a, b) => simd(`${t}.ne`, a, b),
  lower: (a, b) =>
    simd(`${EXPONENTS[t].integers}.neg`, and(or(a, b), c.vectorConstant(wordsOf(t, LOWER.f32, 0, LOWER.f64)))),
  or: (a, b) => or(a, b),
  none: (bits) => simd('v128.any_true', bits).eqz(),
});
/**
 * No bits of most exact results, some of all others; of vectors the sign bits. Of a sum r of a and b, r - a and r - b are rounded, but the one without the greater of a
 * and b is not (Dekker); so both are what they should be only if r is.
 */
const QUICK: Record<Operation['name'], (n: Numbers, a: E, b: E, r: E) => E> = {
  add: (n, a, b, r) => n.or(n.differ(n.sub(r, a), b), n.differ(n.sub(r, b), a)),
  sub: (n, a, b, r) => n.or(n.differ(n.sub(a, r), b), n.differ(n.add(r, b), a)),
  mul: (n, a, b) => n.lower(a, b),
  div: (n, a, b, r) => n.or(n.lower(r, b), n.differ(n.mul(r, b), a)),
  sqrt: (n, _, b, r) => n.or(n.lower(r, r), n.differ(n.mul(r, r), b)),
};

const isDouble = (value: E): boolean => value.type === F64;
const exponent = (value: E): E =>
  isDouble(value) ? value.asI64().shrU(52).wrap().and(0x7ff) : value.asI32().shrU(23).and(0xff);

/** Operand `k`, a local, with what has to be checked of it. */
export interface FloatOperand {
  readonly value: E;
  readonly check: Check;
}
export function number(c: Lift, k: number): FloatOperand {
  const { f } = c;
  const size = c.size(k);
  const format = size === 8 ? 'f64' : 'f32';
  const isMemory = c.isMem(k);
  const value = isMemory
    ? f.let((size === 8 ? loadF64 : loadF32)(c.linear(vectorMemory(c, k), size, 0, k)))
    : f.let(c.float(k, size));
  const check = (rare: Label): void => {
    if (!isMemory && c.hasNoDenormal(k, format)) return;
    f.if(exponent(value).eqz(), () => {
      f.cold();
      f.brIf(rare, bitsOf(value).shl(1).ne(0));
    });
    if (!isMemory) c.noteNoDenormal(k, format);
  };
  return { value, check };
}
/** Both operands of `c`, the second one evaluated first. */
function numbersOf(c: Lift): { readonly a: E; readonly b: E; readonly check: Check } {
  const right = number(c, 1);
  const left = number(c, 0);
  const check: Check = (rare) => {
    left.check(rare);
    right.check(rare);
  };
  return { a: left.value, b: right.value, check };
}

const scalar =
  (op: Operation): Semantics =>
  (c) => {
    const { f } = c;
    const { a, b, check: operands } = op === SQRT ? squareRootOf(c) : numbersOf(c);
    const r = f.let(op.apply(a, b));
    const type = isDouble(r) ? F64 : F32;
    const isQuick = (): E => SINGLES.none(QUICK[op.name](SINGLES, a, b, r));
    const check: Check = (rare) => {
      operands(rare);
      // One quick test that most pass: of the number, and of the rounding state.
      const isOther = ordinaryDistance(r).geU(c.ordinaryLimit(type));
      f.if(c.isExact ? isOther.or(isQuick().eqz().and(c.roundingState().ne(0))) : isOther, () => {
        f.cold();
        f.if(ordinaryDistance(r).geU(ordinaryCount(type)), () => {
          f.cold();
          f.brIf(
            rare,
            isNormal(r)
              .or(op.small(a, b, r))
              .eqz(),
          );
        });
        roundsAsUsual(c, rare, () => op.exact(c, a, b, r), c.isExact ? undefined : isQuick);
      });
    };
    unless(c, check, () => {
      c.setFloat(0, r);
      c.noteNumber(0, isDouble(r) ? 'f64' : 'f32');
    });
  };
const squareRootOf = (c: Lift): ReturnType<typeof numbersOf> => {
  const { value, check } = number(c, 1);
  return { a: value, b: value, check };
};

/** Two numbers of which none is NaN or a denormal. */
const ordered = (c: Lift): ReturnType<typeof numbersOf> => {
  const { a, b, check } = numbersOf(c);
  return {
    a,
    b,
    check: (rare) => {
      check(rare);
      const format = isDouble(a) ? 'f64' : 'f32';
      for (const [k, value] of [a, b].entries()) {
        if (c.hasNumber(k, format)) continue;
        c.f.if(value.ne(value), () => {
          c.f.cold();
          c.f.br(rare);
        });
        c.noteNumber(k, format);
      }
    },
  };
};

/** MIN, MAX: the destination if it is less (greater), else the source. */
const scalarChoice =
  (less: boolean): Semantics =>
  (c) => {
    const { a, b, check } = ordered(c);
    unless(c, check, () => {
      c.setFloat(0, select(less ? a.lt(b) : a.gt(b), a, b));
      c.noteNumber(0, isDouble(a) ? 'f64' : 'f32');
    });
  };

/** Predicates for numbers; that of 3 never holds, that of 7 always. */
const PREDICATES = ['eq', 'lt', 'le', undefined, 'ne', 'ge', 'gt', undefined] as const;
const scalarCompare: Semantics = (c) => {
  const { a, b, check } = ordered(c);
  const predicate = c.knownImmediate(2) & 7;
  const name = PREDICATES[predicate];
  const result = name === undefined ? i32(predicate >> 2) : a[name](b);
  unless(c, check, () => c.store(0, c.bit(result, c.size(0)).neg()));
};
const compareToFlags: Semantics = (c) => {
  const { a, b, check } = ordered(c);
  unless(c, check, () => c.flagsOrder(a, b));
};

// Vectors.

export type FloatVector = 'f32x4' | 'f64x2';
const wordsOf = (t: FloatVector, single: number, high: number, low: number): readonly number[] =>
  t === 'f32x4' ? [single, single, single, single] : [low, high, low, high];
const constant = (t: FloatVector, single: number, high: number, low: number): E =>
  v128const(new Uint8Array(new Int32Array(wordsOf(t, single, high, low)).buffer));
const vectorZero = (t: FloatVector): E => constant(t, 0, 0, 0);
export const and = (...values: E[]): E => values.reduce((a, b) => simd('v128.and', a, b));
export const or = (...values: E[]): E => values.reduce((a, b) => simd('v128.or', a, b));
/** All elements of a comparison's result hold. */
export const all = (t: FloatVector, mask: E): E => simd(t === 'f32x4' ? 'i32x4.all_true' : 'i64x2.all_true', mask);

export function noDenormals(t: FloatVector, ...values: E[]): E {
  const least = constant(t, 0x0080_0000, 0x0010_0000, 0);
  const each = values.map((v) => and(simd(`${t}.lt`, simd(`${t}.abs`, v), least), simd(`${t}.ne`, v, vectorZero(t))));
  return simd('v128.any_true', or(...each)).eqz();
}
/** Elements in the normal range. The least normal number may come of a result that was tiny before rounding. */
function normal(t: FloatVector, v: E): E {
  const magnitude = simd(`${t}.abs`, v);
  const large = simd(`${t}.gt`, magnitude, constant(t, 0x0080_0000, 0x0010_0000, 0));
  return and(large, simd(`${t}.lt`, magnitude, constant(t, 0x7f80_0000, 0x7ff0_0000, 0)));
}
export const numbers = (t: FloatVector, ...values: E[]): E => all(t, and(...values.map((v) => simd(`${t}.eq`, v, v))));

const zeros = (t: FloatVector, v: E): E => simd(`${t}.eq`, v, vectorZero(t));
/** Elements whose results may be small: see Operation.small. */
function smallElements(t: FloatVector, op: Operation, a: E, b: E, r: E): E {
  if (op === MUL) return and(zeros(t, r), or(zeros(t, a), zeros(t, b)));
  if (op === DIV) return and(zeros(t, r), zeros(t, a));
  if (op === SQRT) return zeros(t, r);
  return or(zeros(t, r), simd(`${t}.eq`, simd(`${t}.abs`, r), constant(t, 0x0080_0000, 0x0010_0000, 0)));
}

/** How packed operands are arranged before the operation. */
type Arrange = (c: Lift, t: FloatVector, a: E, b: E) => [E, E];
const straight: Arrange = (_c, _t, a, b) => [a, b];
const neighbours: Arrange = (c, t, a, b) => {
  const size = t === 'f32x4' ? 4 : 8;
  const even = Array.from({ length: 16 / size }, (_, i) => 2 * i);
  const odd = even.map((n) => n + 1);
  return [c.f.let(shuffle(a, b, elements(size, even))), c.f.let(shuffle(a, b, elements(size, odd)))];
};
/** Even elements are subtracted. */
const alternate: Arrange = (c, t, a, b) => {
  const words = t === 'f32x4' ? [1, 0, 1, 0] : [0, 1, 0, 0];
  const signs = v128const(new Uint8Array(new Int32Array(words.map((bit) => bit << 31)).buffer));
  return [a, c.f.let(simd('v128.xor', b, signs))];
};

/** Integers as wide as the elements, the mask of their exponent, and 1 in it. */
const EXPONENTS = {
  f32x4: { integers: 'i32x4', mask: [0x7f80_0000, 0x7f80_0000], one: [0x0080_0000, 0x0080_0000] },
  f64x2: { integers: 'i64x2', mask: [0, 0x7ff0_0000], one: [0, 0x0010_0000] },
} as const;

/**
 * A test for all elements that most pass: none of `operands` has an exponent of 0, and none of `result` one of 0, 1, or all
 * ones. Differences show in the sign bits, as those of `besides` do. `least` is 2 in each exponent, or more than all if nothing is to pass.
 */
function ordinary(c: Lift, t: FloatVector, operands: readonly E[], result: E): (least: E, besides?: E) => E {
  const { f } = c;
  const { integers, mask, one } = EXPONENTS[t];
  const step = (): E => c.vectorConstant([...one, ...one]);
  const exponents = (v: E): E => and(v, c.vectorConstant([...mask, ...mask]));
  const e = f.let(exponents(result));
  const others = [
    simd(`${integers}.add`, e, step()),
    ...operands.map((v) => simd(`${integers}.sub`, exponents(v), step())),
  ];
  const rest = f.let(or(...others));
  return (least, besides) => {
    const differences = or(simd(`${integers}.sub`, e, least), rest);
    return simd(`${integers}.bitmask`, besides === undefined ? differences : or(differences, besides)).eqz();
  };
}

const packed =
  (t: FloatVector, op: Operation, arrange: Arrange = straight): Semantics =>
  (c) => {
    const { f } = c;
    const source = vector(c, 1);
    const before = op === SQRT ? [source] : [source, vector(c, 0)];
    const [a, b] = op === SQRT ? [source, source] : arrange(c, t, before[1]!, source);
    const r = f.let(op === SQRT ? simd(`${t}.sqrt`, b) : simd(`${t}.${op.name as 'add'}`, a, b));
    const ks = op === SQRT ? [1] : [1, 0];
    const unknown = before.filter((_, n) => !c.hasNoDenormal(ks[n]!, t));
    const exact = (): E => {
      const element = (v: E, i: number): E => f.let(lane(`${t}.extract_lane`, i, v));
      const tests = Array.from({ length: t === 'f32x4' ? 4 : 2 }, (_, i) =>
        f.let(op.exact(c, element(a, i), element(b, i), element(r, i))),
      );
      return tests.reduce((every, test) => every.and(test));
    };
    const check: Check = (rare) => {
      const isOrdinary = ordinary(c, t, unknown, r);
      const quick = (): E => QUICK[op.name](vectors(c, t), a, b, r);
      f.if(isOrdinary(c.vectorLimit(t), c.isExact ? and(quick(), c.mustBeExact()) : undefined).eqz(), () => {
        f.cold();
        f.if(isOrdinary(vectorLeast(t)).eqz(), () => {
          f.cold();
          if (unknown.length > 0) f.brIf(rare, noDenormals(t, ...unknown).eqz());
          f.brIf(rare, all(t, or(normal(t, r), smallElements(t, op, a, b, r))).eqz());
        });
        roundsAsUsual(c, rare, exact, c.isExact ? undefined : () => vectors(c, t).none(quick()));
      });
      for (const k of ks) c.noteNoDenormal(k, t);
    };
    unless(c, check, () => {
      c.setVector(0, r);
      c.noteNumber(0, t);
    });
  };

const packedChoice =
  (t: FloatVector, name: 'pmin' | 'pmax'): Semantics =>
  (c) => {
    const b = vector(c, 1);
    const a = vector(c, 0);
    // pmin(b, a) is a < b ? a : b.
    unlessRare(c, [numbers(t, a, b), noDenormals(t, a, b)], () => c.setVector(0, simd(`${t}.${name}`, b, a)));
  };
const packedCompare =
  (t: FloatVector): Semantics =>
  (c) => {
    const b = vector(c, 1);
    const a = vector(c, 0);
    const predicate = c.knownImmediate(2) & 7;
    const name = PREDICATES[predicate];
    const result = name === undefined ? simd('i32x4.splat', i32(-(predicate >> 2))) : simd(`${t}.${name}`, a, b);
    unlessRare(c, [numbers(t, a, b), noDenormals(t, a, b)], () => c.setVector(0, result));
  };

const forms = (name: string, op: Operation): Record<string, Semantics> => ({
  [`${name}ss`]: scalar(op),
  [`${name}sd`]: scalar(op),
  [`${name}ps`]: packed('f32x4', op),
  [`${name}pd`]: packed('f64x2', op),
});

// biome-ignore format: a table
export const SSE_FLOAT: Record<string, Semantics> = vectorInstructions({
  ...forms('add', ADD), ...forms('sub', SUB), ...forms('mul', MUL), ...forms('div', DIV), ...forms('sqrt', SQRT),
  haddps: packed('f32x4', ADD, neighbours), haddpd: packed('f64x2', ADD, neighbours),
  hsubps: packed('f32x4', SUB, neighbours), hsubpd: packed('f64x2', SUB, neighbours),
  addsubps: packed('f32x4', ADD, alternate), addsubpd: packed('f64x2', ADD, alternate),
  minss: scalarChoice(true), minsd: scalarChoice(true), minps: packedChoice('f32x4', 'pmin'), minpd: packedChoice('f64x2', 'pmin'),
  maxss: scalarChoice(false), maxsd: scalarChoice(false), maxps: packedChoice('f32x4', 'pmax'), maxpd: packedChoice('f64x2', 'pmax'),
  cmpss: scalarCompare, cmpsd: scalarCompare, cmpps: packedCompare('f32x4'), cmppd: packedCompare('f64x2'),
  ucomiss: compareToFlags, ucomisd: compareToFlags, comiss: compareToFlags, comisd: compareToFlags,
});
