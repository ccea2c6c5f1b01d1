/**
 * Packed integers, on MMX and XMM registers: an MMX operand is computed as a v128 whose upper half is ignored, or holds the
 * second operand where elements of both meet. No flags but PTEST's. Intel SDM volume 2.
 */
import { type E, i32, i64, lane, select, shuffle, simd, v128const, v128zero } from '../../wasm/expr.ts';
import type { SimdOp } from '../../wasm/simd.ts';
import { Kind } from '../../x86/decode.ts';
import { RFLAGS } from '../../x86/state.ts';
import type { Lift, Semantics } from '../lift.ts';
import { storeVector, vector, vectorInstructions } from './sse.ts';
import { elements } from './sse-move.ts';

/** destination = op(destination, source), element by element. */
const both =
  (op: (a: E, b: E, c: Lift) => E): Semantics =>
  (c) => {
    const b = vector(c, 1);
    const a = vector(c, 0);
    storeVector(c, 0, op(a, b, c));
  };
const simple = (name: SimdOp): Semantics => both((a, b) => simd(name, a, b));
const swapped = (name: SimdOp): Semantics => both((a, b) => simd(name, b, a));
const source =
  (op: (b: E) => E): Semantics =>
  (c) =>
    storeVector(c, 0, op(vector(c, 1)));

const splat16 = (value: number): E => v128const(new Uint8Array(new Uint16Array(8).fill(value).buffer));
const splat64 = (low: number, high: number): E =>
  v128const(new Uint8Array(new Uint32Array([low, high, low, high]).buffer));

/** Two vectors whose elements meet: of MMX operands, both halves of one. */
const joined = (c: Lift, a: E, b: E): [E, E] => {
  if (c.size(0) === 16) return [a, b];
  const v = c.f.let(shuffle(a, b, elements(8, [0, 2])));
  return [v, v];
};
const narrow = (name: SimdOp): Semantics => both((a, b, c) => simd(name, ...joined(c, a, b)));

/** Neighbours of both operands combined: the even elements with the odd ones. */
const horizontal = (size: 2 | 4, name: SimdOp): Semantics =>
  both((a, b, c) => {
    const [x, y] = joined(c, a, b);
    const picks = Array.from({ length: 16 / size }, (_, i) => 2 * i);
    const even = shuffle(x, y, elements(size, picks));
    const odd = shuffle(
      x,
      y,
      elements(
        size,
        picks.map((n) => n + 1),
      ),
    );
    return simd(name, even, odd);
  });

/** The upper halves of 16-bit products. */
const multiplyHigh = (sign: 's' | 'u'): Semantics =>
  both((a, b) =>
    shuffle(
      simd(`i32x4.extmul_low_i16x8_${sign}`, a, b),
      simd(`i32x4.extmul_high_i16x8_${sign}`, a, b),
      elements(2, [1, 3, 5, 7, 9, 11, 13, 15]),
    ),
  );
/** 64-bit products of the even 32-bit elements. */
const multiplyEven = (sign: 's' | 'u'): Semantics =>
  both((a, b) => {
    const even = elements(4, [0, 2, 0, 2]);
    return simd(`i64x2.extmul_low_i32x4_${sign}`, shuffle(a, a, even), shuffle(b, b, even));
  });
/** Unsigned bytes times signed bytes, neighbours added with saturation. */
const pmaddubsw = both((a, b) => {
  const even = simd('i16x8.mul', simd('v128.and', a, splat16(0xff)), shiftPair(b));
  const odd = simd('i16x8.mul', simd('i16x8.shr_u', a, i32(8)), simd('i16x8.shr_s', b, i32(8)));
  return simd('i16x8.add_sat_s', even, odd);
});
const shiftPair = (b: E): E => simd('i16x8.shr_s', simd('i16x8.shl', b, i32(8)), i32(8));
/** The one product that WebAssembly's instruction saturates and this one does not: -1 times -1. */
const pmulhrsw = both((a, b) => {
  const least = simd('v128.and', simd('i16x8.eq', a, splat16(0x8000)), simd('i16x8.eq', b, splat16(0x8000)));
  return simd('v128.xor', simd('i16x8.q15mulr_sat_s', a, b), least);
});
const psadbw = both((a, b, c) => {
  const difference = simd('v128.or', simd('i8x16.sub_sat_u', a, b), simd('i8x16.sub_sat_u', b, a));
  const sums = c.f.let(simd('i32x4.extadd_pairwise_i16x8_u', simd('i16x8.extadd_pairwise_i8x16_u', difference)));
  return simd('i64x2.add', simd('v128.and', sums, splat64(0xffffffff, 0)), simd('i64x2.shr_u', sums, i32(32)));
});

type Width = 'i8x16' | 'i16x8' | 'i32x4';
/** Negated, zeroed or kept as the source is negative, zero or positive. */
const sign = (width: Width): Semantics =>
  both((a, b) => {
    const kept = simd('v128.and', a, simd(`${width}.ne`, b, v128zero()));
    const negative = simd(`${width}.lt_s`, b, v128zero());
    return simd(`${width}.sub`, simd('v128.xor', kept, negative), negative);
  });

/** A byte of the source selects a byte of the destination, or 0 when its high bit is set. */
const pshufb = both((a, b, c) => {
  const mask = c.size(0) === 8 ? 0x87 : 0x8f;
  return simd('i8x16.swizzle', a, simd('v128.and', b, splat16(mask * 0x101)));
});

/** Shifts by an immediate or by the low quadword of the source; counts beyond the width shift everything out. */
const shift =
  (width: 'i16x8' | 'i32x4' | 'i64x2', name: 'shl' | 'shr_u' | 'shr_s'): Semantics =>
  (c) => {
    const bits = width === 'i16x8' ? 16 : width === 'i32x4' ? 32 : 64;
    const count =
      c.operand(1).kind === Kind.Imm
        ? c.f.let(c.immediate(1, 4).and(0xff).extendU())
        : c.f.let(lane('i64x2.extract_lane', 0, vector(c, 1)));
    const v = vector(c, 0);
    const few = c.f.let(count.ltU(i64(bits)));
    if (name === 'shr_s') {
      storeVector(c, 0, simd(`${width}.shr_s`, v, select(few, count.wrap(), i32(bits - 1))));
    } else storeVector(c, 0, select(few, simd(`${width}.${name}`, v, count.wrap()), v128zero()));
  };

/** ZF: no common bits. CF: the source has none beyond the destination's. */
const ptest: Semantics = (c) => {
  const b = vector(c, 1);
  const a = vector(c, 0);
  const zero = simd('v128.any_true', simd('v128.and', a, b)).eqz();
  const carry = simd('v128.any_true', simd('v128.andnot', b, a)).eqz();
  c.setStatusFlags(select(zero, i32(RFLAGS.ZF), i32(0)).or(carry));
};

/** What one byte leaves of a CRC-32C register (Castagnoli's polynomial, bits reversed). */
function crcOfByte(crc: number): number {
  let r = crc;
  for (let i = 0; i < 8; i++) r = r & 1 ? (r >>> 1) ^ 0x82f6_3b78 : r >>> 1;
  return r;
}
/** The remainder of a message of `bytes` bytes in which only bit `bit` is set. */
function remainder(bit: number, bytes: number): number {
  let crc = 0;
  for (let i = 0; i < bytes; i++) crc = crcOfByte((crc ^ (bit >> 3 === i ? 1 << (bit & 7) : 0)) & 0xff) ^ (crc >>> 8);
  return crc;
}
const words = (...values: number[]): E => v128const(new Uint8Array(new Int32Array(values).buffer));
/** A remainder is linear in the message: the sum of those of its set bits, four bits at a time. */
const crc32: Semantics = (c) => {
  const { f } = c;
  const size = c.size(1);
  const data = f.let(c.load(1));
  const before = f.let(size === 8 || c.size(0) === 8 ? c.load(0).wrap() : c.load(0));
  const halves = size === 8 ? [data.wrap().xor(before), data.shrU(32).wrap()] : [data.xor(before)];
  const sum = f.let(v128zero());
  halves.forEach((half, h) => {
    const message = f.let(simd('i32x4.splat', half));
    for (let bit = 0; bit < Math.min(32, 8 * size); bit += 4) {
      const four = [bit, bit + 1, bit + 2, bit + 3];
      const set = simd('v128.and', message, words(...four.map((n) => 1 << n)));
      const remainders = words(...four.map((n) => remainder(32 * h + n, size)));
      const chosen = simd('v128.and', simd('i32x4.ne', set, v128zero()), remainders);
      f.set(sum, simd('v128.xor', sum, chosen));
    }
  });
  const parts = [0, 1, 2, 3].map((i) => lane('i32x4.extract_lane', i, sum));
  const total = parts.reduce((x, y) => x.xor(y));
  // Of a short message, the register's upper bits are only moved down.
  const crc = size < 4 ? total.xor(before.shrU(8 * size)) : total;
  c.store(0, c.size(0) === 8 ? crc.extendU() : crc);
};

/** The operations that exist in WebAssembly as they are, by their name there. */
const simpleByWidth = (name: string, op: 'add' | 'sub' | 'eq' | 'gt_s', letters: string): Record<string, Semantics> => {
  const widths = { b: 'i8x16', w: 'i16x8', d: 'i32x4', q: 'i64x2' } as const;
  return Object.fromEntries(
    [...letters].map((letter) => [name + letter, simple(`${widths[letter as keyof typeof widths]}.${op}`)]),
  );
};

const and = simple('v128.and');
const andn = swapped('v128.andnot');
const or = simple('v128.or');
/** A register with itself: how compilers write zero. */
const xor: Semantics = (c) => {
  if (!c.isSameVector(0, 1)) {
    simple('v128.xor')(c);
    return;
  }
  c.setVector(0, v128zero());
  c.noteNumber(0, 'f32x4');
  c.noteNumber(0, 'f64x2');
};

// biome-ignore format: a table
export const SSE_INTEGER: Record<string, Semantics> = {
  // On general registers alone, so that CR0.TS does not matter.
  crc32,
  ...vectorInstructions({
    pand: and, andps: and, andpd: and, pandn: andn, andnps: andn, andnpd: andn,
    por: or, orps: or, orpd: or, pxor: xor, xorps: xor, xorpd: xor,
    ...simpleByWidth('padd', 'add', 'bwdq'),
    ...simpleByWidth('psub', 'sub', 'bwdq'),
    ...simpleByWidth('pcmpeq', 'eq', 'bwdq'),
    ...simpleByWidth('pcmpgt', 'gt_s', 'bwdq'),
    paddsb: simple('i8x16.add_sat_s'), paddsw: simple('i16x8.add_sat_s'),
    paddusb: simple('i8x16.add_sat_u'), paddusw: simple('i16x8.add_sat_u'),
    psubsb: simple('i8x16.sub_sat_s'), psubsw: simple('i16x8.sub_sat_s'),
    psubusb: simple('i8x16.sub_sat_u'), psubusw: simple('i16x8.sub_sat_u'),
    pminsb: simple('i8x16.min_s'), pminub: simple('i8x16.min_u'), pmaxsb: simple('i8x16.max_s'), pmaxub: simple('i8x16.max_u'),
    pminsw: simple('i16x8.min_s'), pminuw: simple('i16x8.min_u'), pmaxsw: simple('i16x8.max_s'), pmaxuw: simple('i16x8.max_u'),
    pminsd: simple('i32x4.min_s'), pminud: simple('i32x4.min_u'), pmaxsd: simple('i32x4.max_s'), pmaxud: simple('i32x4.max_u'),
    pavgb: simple('i8x16.avgr_u'), pavgw: simple('i16x8.avgr_u'),
    pabsb: source((b) => simd('i8x16.abs', b)), pabsw: source((b) => simd('i16x8.abs', b)), pabsd: source((b) => simd('i32x4.abs', b)),
    psignb: sign('i8x16'), psignw: sign('i16x8'), psignd: sign('i32x4'),
    packsswb: narrow('i8x16.narrow_i16x8_s'), packuswb: narrow('i8x16.narrow_i16x8_u'),
    packssdw: narrow('i16x8.narrow_i32x4_s'), packusdw: narrow('i16x8.narrow_i32x4_u'),
    phaddw: horizontal(2, 'i16x8.add'), phaddd: horizontal(4, 'i32x4.add'), phaddsw: horizontal(2, 'i16x8.add_sat_s'),
    phsubw: horizontal(2, 'i16x8.sub'), phsubd: horizontal(4, 'i32x4.sub'), phsubsw: horizontal(2, 'i16x8.sub_sat_s'),
    pmullw: simple('i16x8.mul'), pmulld: simple('i32x4.mul'), pmulhw: multiplyHigh('s'), pmulhuw: multiplyHigh('u'),
    pmuludq: multiplyEven('u'), pmuldq: multiplyEven('s'), pmaddwd: simple('i32x4.dot_i16x8_s'),
    pmaddubsw, pmulhrsw, psadbw, pshufb,
    psllw: shift('i16x8', 'shl'), pslld: shift('i32x4', 'shl'), psllq: shift('i64x2', 'shl'),
    psrlw: shift('i16x8', 'shr_u'), psrld: shift('i32x4', 'shr_u'), psrlq: shift('i64x2', 'shr_u'),
    psraw: shift('i16x8', 'shr_s'), psrad: shift('i32x4', 'shr_s'),
    ptest, emms: () => {},
  }),
};
