/**
 * Moves between XMM, MMX and general registers and memory, and rearrangements of elements. No flags, no exceptions but those
 * of memory. Intel SDM volume 2.
 */
import { type E, I32, i32, lane, load32zero, load64zero, shuffle, simd, v128zero } from '../../wasm/expr.ts';
import { Kind } from '../../x86/decode.ts';
import type { Lift, Semantics } from '../lift.ts';
import { lowOnly, markMmx, operand, storeVector, vector, vectorInstructions, vectorMemory } from './sse.ts';

/** As wide as the destination: what is above a narrower source becomes zero. */
const move: Semantics = (c) => {
  const from = c.size(1);
  const to = c.size(0);
  const { kind } = c.operand(0);
  if (c.isMem(1) && to === 16 && from < 16) {
    const at = c.linear(vectorMemory(c, 1), from, 0, 1);
    c.setVector(0, from === 8 ? load64zero(at) : load32zero(at));
    return;
  }
  if (c.isMem(0)) {
    const isDouble = to === 8 && c.operand(1).kind === Kind.Xmm;
    const v = isDouble ? c.f.let(c.float(1, 8)) : operand(c, 1);
    c.storeAt(vectorMemory(c, 0), to, v, 0);
    return;
  }
  const v = operand(c, 1);
  if (kind === Kind.Reg) c.store(0, v);
  else if (to === 16) c.setVector(0, from < 16 ? lowOnly(v) : v);
  else c.setVectorPart(0, to, to === 8 && v.type === I32 ? v.extendU() : v);
  if (kind === Kind.Mmx) markMmx(c, 0);
  // What is moved within its format stays what it was.
  if (kind !== Kind.Xmm || c.operand(1).kind !== Kind.Xmm) return;
  for (const format of FORMATS_BY_SIZE[to as 4 | 8 | 16]) {
    if (c.hasNumber(1, format)) c.noteNumber(0, format);
    else if (c.hasNoDenormal(1, format)) c.noteNoDenormal(0, format);
  }
};
const FORMATS_BY_SIZE = { 4: ['f32'], 8: ['f64'], 16: ['f32', 'f64', 'f32x4', 'f64x2'] } as const;

/** The high quadword of the destination. */
const moveToHigh: Semantics = (c) => {
  const v = operand(c, 1);
  c.setVectorPart(0, 8, v, 8);
};
/** The high quadword of the source: to memory, or to the low quadword of a register. */
const moveFromHigh: Semantics = (c) => {
  const v = c.f.let(c.vectorPart(1, 8, 8));
  if (c.isMem(0)) c.storeAt(vectorMemory(c, 0), 8, v, 0);
  else c.setVectorPart(0, 8, v);
};
const movhp: Semantics = (c) => (c.isMem(0) ? moveFromHigh(c) : moveToHigh(c));

const duplicate =
  (lanes: (low: number) => number): Semantics =>
  (c) => {
    const v = vector(c, 1);
    const bytes = Array.from({ length: 16 }, (_, i) => 4 * lanes(i >> 2) + (i & 3));
    c.setVector(0, shuffle(v, v, bytes));
  };

/** Byte numbers for elements of `size` bytes chosen by `pick`; elements from 16 / size on are the second vector's. */
export const elements = (size: number, picks: readonly number[]): number[] =>
  picks.flatMap((pick) => Array.from({ length: size }, (_, i) => pick * size + i));

/** Destination and source interleaved, from their low or high halves. */
const interleave =
  (size: number, high: boolean): Semantics =>
  (c) => {
    const b = vector(c, 1);
    const a = vector(c, 0);
    // The high half of an MMX register begins in the middle of its low quadword.
    const width = c.size(0);
    const count = 16 / size;
    const first = high ? width / size / 2 : 0;
    const picks = Array.from({ length: count / 2 }, (_, i) => [
      (first + i) % count,
      count + ((first + i) % count),
    ]).flat();
    storeVector(c, 0, shuffle(a, b, elements(size, picks)));
  };

/** Two bits of the immediate for each of four elements. */
const selectors = (imm: number): number[] => [imm & 3, (imm >> 2) & 3, (imm >> 4) & 3, (imm >> 6) & 3];

const shuffleSource =
  (size: number, picks: (imm: number) => number[]): Semantics =>
  (c) => {
    const v = vector(c, 1);
    storeVector(c, 0, shuffle(v, v, elements(size, picks(c.knownImmediate(2)))));
  };
const pshufw = shuffleSource(2, (imm) => [...selectors(imm), 4, 5, 6, 7]);
const pshufhw = shuffleSource(2, (imm) => [0, 1, 2, 3, ...selectors(imm).map((n) => n + 4)]);

/** Low elements from the destination, high ones from the source. */
const shuffleBoth =
  (size: number, picks: (imm: number) => number[]): Semantics =>
  (c) => {
    const b = vector(c, 1);
    const a = vector(c, 0);
    c.setVector(0, shuffle(a, b, elements(size, picks(c.knownImmediate(2)))));
  };
const shufps = shuffleBoth(4, (imm) => selectors(imm).map((n, i) => (i < 2 ? n : n + 4)));
const shufpd = shuffleBoth(8, (imm) => [imm & 1, 2 + ((imm >> 1) & 1)]);
/** One bit of the immediate for each element: the source's. */
const blend = (size: number): Semantics =>
  shuffleBoth(size, (imm) => Array.from({ length: 16 / size }, (_, i) => ((imm >> i) & 1 ? i + 16 / size : i)));

const palignr: Semantics = (c) => {
  const b = vector(c, 1);
  const a = vector(c, 0);
  const width = c.size(0);
  const shift = c.knownImmediate(2);
  // Bytes of the pair (source below destination) from `shift` on; zeros behind the pair.
  const lanes = Array.from({ length: 16 }, (_, i) => i + shift);
  if (shift >= 2 * width) storeVector(c, 0, v128zero());
  else if (shift >= width) {
    const zero = v128zero();
    storeVector(
      c,
      0,
      shuffle(
        a,
        zero,
        lanes.map((n) => (n - width < width ? n - width : 16)),
      ),
    );
  } else
    storeVector(
      c,
      0,
      shuffle(
        b,
        a,
        lanes.map((n) => (n < width ? n : n < 2 * width ? 16 + n - width : 16)),
      ),
    );
};
/** The whole register, by bytes. */
const shiftBytes =
  (left: boolean): Semantics =>
  (c) => {
    const count = Math.min(c.knownImmediate(1), 16);
    const v = vector(c, 0);
    const lanes = Array.from({ length: 16 }, (_, i) => (left ? i - count : i + count));
    const result = shuffle(
      v,
      v128zero(),
      lanes.map((n) => (n < 0 || n > 15 ? 16 : n)),
    );
    c.setVector(0, result);
  };

/** Bits of the destination where the mask (XMM0) has its element's sign clear, of the source where it is set. */
const blendByMask =
  (spread: (mask: E) => E): Semantics =>
  (c) => {
    const b = vector(c, 1);
    const a = vector(c, 0);
    const mask = spread(vector(c, 2));
    c.setVector(0, simd('v128.bitselect', b, a, mask));
  };

const LANE_BYTES = {
  1: ['i8x16.extract_lane_u', 'i8x16.replace_lane'],
  2: ['i16x8.extract_lane_u', 'i16x8.replace_lane'],
  4: ['i32x4.extract_lane', 'i32x4.replace_lane'],
  8: ['i64x2.extract_lane', 'i64x2.replace_lane'],
} as const;
type LaneSize = keyof typeof LANE_BYTES;

const extract =
  (size: LaneSize): Semantics =>
  (c) => {
    const index = c.knownImmediate(2) & (c.size(1) / size - 1);
    const v = c.f.let(lane(LANE_BYTES[size][0], index, vector(c, 1)));
    if (c.isMem(0)) c.storeAt(vectorMemory(c, 0), c.size(0), v, 0);
    else c.store(0, v);
  };
const insert =
  (size: LaneSize): Semantics =>
  (c) => {
    const v = operand(c, 1);
    const index = c.knownImmediate(2) & (c.size(0) / size - 1);
    storeVector(c, 0, lane(LANE_BYTES[size][1], index, vector(c, 0), v));
  };
const insertps: Semantics = (c) => {
  const imm = c.knownImmediate(2);
  const from = c.isMem(1) ? operand(c, 1) : c.f.let(lane('i32x4.extract_lane', imm >> 6, c.vectorPart(1, 16)));
  const inserted = c.f.let(lane('i32x4.replace_lane', (imm >> 4) & 3, vector(c, 0), from));
  const picks = [0, 1, 2, 3].map((i) => ((imm >> i) & 1 ? 4 : i));
  c.setVector(0, shuffle(inserted, v128zero(), elements(4, picks)));
};

/** One bit for the sign of each element, into a general register. */
const signs =
  (bitmask: 'i8x16.bitmask' | 'i32x4.bitmask' | 'i64x2.bitmask'): Semantics =>
  (c: Lift) => {
    const bits = simd(bitmask, vector(c, 1));
    c.store(0, c.size(1) === 8 ? bits.and(0xff) : bits);
  };

const pmovmskb = signs('i8x16.bitmask');

const extend =
  (steps: (v: E) => E): Semantics =>
  (c) =>
    c.setVector(0, steps(vector(c, 1)));
const bw = { s: 'i16x8.extend_low_i8x16_s', z: 'i16x8.extend_low_i8x16_u' } as const;
const wd = { s: 'i32x4.extend_low_i16x8_s', z: 'i32x4.extend_low_i16x8_u' } as const;
const dq = { s: 'i64x2.extend_low_i32x4_s', z: 'i64x2.extend_low_i32x4_u' } as const;
const extensions = (kind: 's' | 'z'): Record<string, Semantics> => ({
  [`pmov${kind}xbw`]: extend((v) => simd(bw[kind], v)),
  [`pmov${kind}xbd`]: extend((v) => simd(wd[kind], simd(bw[kind], v))),
  [`pmov${kind}xbq`]: extend((v) => simd(dq[kind], simd(wd[kind], simd(bw[kind], v)))),
  [`pmov${kind}xwd`]: extend((v) => simd(wd[kind], v)),
  [`pmov${kind}xwq`]: extend((v) => simd(dq[kind], simd(wd[kind], v))),
  [`pmov${kind}xdq`]: extend((v) => simd(dq[kind], v)),
});

const MOVES =
  'movups movupd movaps movapd movss movsd movlps movlpd movlhps movdqa movdqu movq movd movq2dq movdq2q ' +
  'movntps movntpd movntdq movntq movntdqa lddqu';

// biome-ignore format: a table
export const SSE_MOVE: Record<string, Semantics> = vectorInstructions({
  ...Object.fromEntries(MOVES.split(' ').map((name) => [name, move])),
  movhps: movhp, movhpd: movhp, movlhps: moveToHigh, movhlps: moveFromHigh,
  movsldup: duplicate((i) => i & 2), movshdup: duplicate((i) => i | 1), movddup: duplicate((i) => i & 1),
  punpcklbw: interleave(1, false), punpcklwd: interleave(2, false), punpckldq: interleave(4, false),
  punpcklqdq: interleave(8, false), unpcklps: interleave(4, false), unpcklpd: interleave(8, false),
  punpckhbw: interleave(1, true), punpckhwd: interleave(2, true), punpckhdq: interleave(4, true),
  punpckhqdq: interleave(8, true), unpckhps: interleave(4, true), unpckhpd: interleave(8, true),
  pshufw, pshuflw: pshufw, pshufhw, pshufd: shuffleSource(4, selectors), shufps, shufpd,
  palignr, psrldq: shiftBytes(false), pslldq: shiftBytes(true),
  blendps: blend(4), blendpd: blend(8), pblendw: blend(2),
  pblendvb: blendByMask((m) => simd('i8x16.shr_s', m, i32(7))),
  blendvps: blendByMask((m) => simd('i32x4.shr_s', m, i32(31))),
  blendvpd: blendByMask((m) => simd('i64x2.shr_s', m, i32(63))),
  pextrb: extract(1), pextrw: extract(2), pextrd: extract(4), pextrq: extract(8), extractps: extract(4),
  pinsrb: insert(1), pinsrw: insert(2), pinsrd: insert(4), pinsrq: insert(8), insertps,
  pmovmskb, movmskps: signs('i32x4.bitmask'), movmskpd: signs('i64x2.bitmask'),
  ...extensions('s'), ...extensions('z'),
});
