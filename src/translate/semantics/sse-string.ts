/**
 * PCMPISTRI on bytes, as C libraries use it for strcspn, strspn and strcmp: equal to any of a set, or each to each. Everything else of
 * SSE4.2's comparisons is performed in TypeScript (helpers/sse-string.ts). Intel SDM volume 2, 4.1.
 */
import { type E, I32, i32, select, simd, v128zero } from '../../wasm/expr.ts';
import { GPR, RFLAGS } from '../../x86/state.ts';
import type { Lift, Semantics } from '../lift.ts';
import { vector, vectorInstructions } from './sse.ts';

/** Fields of the control byte. */
const WORDS = 1;
const AGGREGATION = { mask: 0x0c, any: 0x00, each: 0x08 } as const;
const NEGATE = 0x10;
const VALID_ONLY = 0x20;
const MOST_SIGNIFICANT = 0x40;

const ALL = 0xffff;
/** A bit for each byte of a comparison. */
const bits = (compared: E): E => simd('i8x16.bitmask', compared);

/** Bits of the bytes of `text` before its end, the first zero. */
function valid(c: Lift, text: E): E {
  const zeros = c.f.let(bits(simd('i8x16.eq', text, v128zero())));
  // Below the lowest bit, or all when there is none.
  return c.f.let(zeros.sub(1).and(zeros.not()).and(ALL));
}

/** Bits of the bytes of `b` that are equal to one of the first bytes of `a`, for each of which `chosen` has a bit. */
function equalAny(c: Lift, a: E, b: E, chosen: E): E {
  const { f } = c;
  const left = f.local(I32);
  const found = f.local(I32);
  f.set(left, chosen);
  f.set(found, i32(0));
  f.block((done) => {
    f.loop((again) => {
      f.brIf(done, left.eqz());
      const one = simd('i8x16.swizzle', a, simd('i8x16.splat', left.ctz()));
      f.set(found, found.or(bits(simd('i8x16.eq', b, one))));
      f.set(left, left.and(left.sub(1)));
      f.br(again);
    });
  });
  return found;
}

const pcmpistri: Semantics = (c) => {
  const { f } = c;
  const control = c.knownImmediate(2);
  const aggregation = control & AGGREGATION.mask;
  if (control & WORDS || (aggregation !== AGGREGATION.any && aggregation !== AGGREGATION.each)) {
    c.helper();
    return;
  }
  const b = vector(c, 1);
  const a = vector(c, 0);
  const [validA, validB] = [valid(c, a), valid(c, b)];
  let result: E;
  if (aggregation === AGGREGATION.any) result = equalAny(c, a, b, validA).and(validB);
  else {
    // Both behind their ends is equal.
    const equal = bits(simd('i8x16.eq', a, b))
      .and(validA)
      .and(validB);
    result = equal.or(validA.or(validB).xor(ALL));
  }
  if (control & NEGATE) result = result.xor(control & VALID_ONLY ? validB : ALL);
  const found = f.let(result);
  const index = control & MOST_SIGNIFICANT ? found.clz().xor(31) : found.ctz();
  c.setGpr(GPR.rcx, 4, select(found, index, i32(16)));
  const flag = (condition: E, bit: number): E => select(condition, i32(bit), i32(0));
  const flags = flag(found, RFLAGS.CF)
    .or(flag(validB.ne(ALL), RFLAGS.ZF))
    .or(flag(validA.ne(ALL), RFLAGS.SF))
    .or(flag(found.and(1), RFLAGS.OF));
  c.setStatusFlags(flags);
};

export const SSE_STRING: Record<string, Semantics> = vectorInstructions({ pcmpistri });
