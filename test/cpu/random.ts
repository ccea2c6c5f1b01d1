/**
 * Seeded randomness for the CPU comparison, and the values on which CPUs are wrong: borders, powers of two, NaN payloads,
 * denormals. Everything is produced as 32-bit halves, since millions of cases are made.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d = 1;

  constructor(seed: number) {
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 0x1_0000_0000) >>> 0;
    this.#c = 0x2545f491;
    for (let i = 0; i < 12; i++) this.u32();
  }

  /** Chris Doty-Humphrey's sfc32. */
  u32(): number {
    const t = (this.#a + this.#b + this.#d) | 0;
    this.#d = (this.#d + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + t;
    return t >>> 0;
  }
  /** 0 … limit-1; `limit` is small. */
  below(limit: number): number {
    return this.u32() % limit;
  }
  chance(oneIn: number): boolean {
    return this.u32() % oneIn === 0;
  }
  pick<T>(values: readonly T[]): T {
    return values[this.u32() % values.length]!;
  }
}

const BORDERS = [
  0, 1, 2, 3, 7, 8, 9, 0xf, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff, 0x100, 0x7fff, 0x8000,
  0x8001, 0xfffe, 0xffff, 0x1_0000, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff,
] as const;

/** A 32-bit integer, interesting more often than not. */
export function integer32(random: Random): number {
  const kind = random.below(8);
  if (kind < 3) return random.u32();
  if (kind < 6) return random.pick(BORDERS);
  if (kind === 6) return (1 << random.below(32)) >>> 0;
  return -random.below(300) >>> 0;
}

/** A 64-bit integer into `view` at `at`. */
export function putInteger64(random: Random, view: DataView, at: number): void {
  const low = integer32(random);
  const kind = random.below(8);
  // Half of the interesting 64-bit values are sign- or zero-extensions, or have their interest in the upper half.
  const high =
    kind < 2 ? 0 : kind < 4 ? (low & 0x8000_0000 ? 0xffff_ffff : 0) : kind < 5 ? 0xffff_ffff : integer32(random);
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
}

const SINGLES = [
  0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 0x3f00_0000, 0x4000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000,
  0xffc0_0000, 0x7f80_0001, 0xffbf_ffff, 0x7fff_ffff, 1, 0x8000_0001, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff,
  0xff7f_ffff, 0x4f00_0000, 0x4eff_ffff, 0xcf00_0000, 0xcf00_0001, 0x4f80_0000, 0x5f00_0000, 0xdf00_0000, 0x3f7f_ffff,
  0x3f80_0001, 0x4b00_0000, 0x4b7f_ffff, 0x3eff_ffff, 0x3f00_0001, 0x3fc0_0000, 0x4020_0000,
] as const;
/** The upper halves of the same for doubles; the lower half is 0, ~0, 1 or random. */
const DOUBLES = [
  0, 0x8000_0000, 0x3ff0_0000, 0xbff0_0000, 0x3fe0_0000, 0x4000_0000, 0x7ff0_0000, 0xfff0_0000, 0x7ff8_0000,
  0xfff8_0000, 0x7ff7_ffff, 0x7fff_ffff, 0x000f_ffff, 0x0010_0000, 0x7fef_ffff, 0xffef_ffff, 0x41df_ffff, 0x41e0_0000,
  0xc1e0_0000, 0x43df_ffff, 0x43e0_0000, 0xc3e0_0000, 0x3fef_ffff, 0x4330_0000, 0x433f_ffff, 0x3fdf_ffff, 0x3ff8_0000,
  0x4004_0000, 0x47ef_ffff, 0x380f_ffff, 0x3810_0000, 0x3690_0000, 0x36a0_0000, 0x43f0_0000,
] as const;
const LOWS = [0, 0, 0, 0xffff_ffff, 1, 0x8000_0000, 0xe000_0000, 0x1000_0000, 0xffc0_0000, 0xffe0_0000] as const;

export function single(random: Random): number {
  const kind = random.below(8);
  if (kind < 3) return random.pick(SINGLES);
  if (kind === 3) return random.u32();
  // Numbers of everyday size, some of them integers.
  const exponent = 127 - 12 + random.below(kind === 4 ? 80 : 44);
  const mantissa = kind === 5 ? random.u32() & 0x7e_0000 : random.u32() & 0x7f_ffff;
  return ((random.below(2) << 31) | (exponent << 23) | mantissa) >>> 0;
}

export function putDouble(random: Random, view: DataView, at: number): void {
  const kind = random.below(8);
  let low = random.pick(LOWS) as number;
  let high: number;
  if (kind < 3) high = random.pick(DOUBLES);
  else if (kind === 3) {
    high = random.u32();
    low = random.u32();
  } else {
    const exponent = 1023 - 12 + random.below(kind === 4 ? 100 : 44);
    high = ((random.below(2) << 31) | (exponent << 20) | (random.u32() & (kind === 5 ? 0xe_0000 : 0xf_ffff))) >>> 0;
    if (kind > 5) low = random.u32();
  }
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
}

/** An 80-bit number of any class: also unnormals, pseudo-denormals and other encodings that no operation produces. */
export function putExtended(random: Random, view: DataView, at: number): void {
  const kind = random.below(16);
  const sign = random.below(2) << 15;
  let low = random.u32();
  let high = random.u32() | 0x8000_0000;
  let exponent = 16383 - 20 + random.below(60);
  if (kind < 3) {
    // Zero, one and small integers.
    const value = random.below(5);
    low = 0;
    high = value === 0 ? 0 : 0x8000_0000 | (random.below(4) << 29);
    exponent = value === 0 ? 0 : 16383 + random.below(8);
  } else if (kind === 3) {
    exponent = 0x7fff;
    low = random.pick(LOWS);
    high = random.pick([0x8000_0000, 0x8000_0000, 0xc000_0000, 0xa000_0000, 0xc123_4567, 0, 0x4000_0000]);
  } else if (kind === 4) {
    exponent = 0; // Denormals, pseudo-denormals.
    high = random.chance(4) ? high : high & 0x7fff_ffff;
  } else if (kind === 5) exponent = random.below(0x8000);
  else if (kind === 6) {
    // Double and single precision numbers.
    low = random.chance(2) ? 0 : low & 0xffff_f800;
    high = low === 0 ? high & 0xffff_ff00 : high;
  } else if (kind === 7) {
    exponent = random.pick([
      1,
      2,
      0x7ffe,
      0x7ffd,
      16383 + 63,
      16383 + 62,
      16383 + 64,
      16383 + 31,
      16383 + 15,
      16383 - 1,
    ]);
    low = random.pick(LOWS);
    high = random.pick([0x8000_0000, 0xffff_ffff, 0xffff_fffe]);
  } else if (kind === 8 && random.chance(2)) high &= 0x7fff_ffff; // Unnormal.
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
  view.setUint16(at + 8, sign | exponent, true);
}

/** What the bytes of a vector or memory operand mean. */
export type Flavour = 'integer' | 'single' | 'double' | 'extended' | 'bytes';

/** Fill `length` bytes, a multiple of 4, with values of one flavour (now and then of another). */
export function putValues(random: Random, view: DataView, at: number, length: number, flavour: Flavour): void {
  const use = random.chance(16) ? random.pick(['integer', 'single', 'double', 'bytes'] as const) : flavour;
  if (use === 'extended' && length >= 10) {
    for (let i = 0; i + 10 <= length; i += 16) putExtended(random, view, at + i);
    return;
  }
  const repeat = length > 4 && random.chance(12);
  for (let i = 0; i < length; i += 4) {
    if (repeat && i > 0) view.setUint32(at + i, view.getUint32(at, true), true);
    else if (use === 'single') view.setUint32(at + i, single(random), true);
    else if (use === 'bytes') {
      const value = random.u32();
      // Repeated bytes make comparisons and shuffles meet equal elements.
      view.setUint32(
        at + i,
        random.chance(3) ? value & 0x80ff_7f01 : random.chance(3) ? value & 0x0303_0303 : value,
        true,
      );
    } else if (use === 'double' && i + 8 <= length) {
      putDouble(random, view, at + i);
      i += 4;
    } else if (use === 'integer' && i + 8 <= length && random.chance(2)) {
      putInteger64(random, view, at + i);
      i += 4;
    } else view.setUint32(at + i, integer32(random), true);
  }
}
