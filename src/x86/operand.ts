/** What an instruction works on: one decoded operand. Made by decode.ts; read by every user of instructions. */
import { SEG } from './state.ts';

export const Kind = {
  None: 0,
  /** General register. */
  Reg: 1,
  Mem: 2,
  Imm: 3,
  /** Branch displacement, relative to the next instruction. */
  Rel: 4,
  Xmm: 5,
  Mmx: 6,
  Seg: 7,
  Cr: 8,
  Dr: 9,
  /** x87 stack register. */
  St: 10,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** `Operand.base` of RIP-relative addresses. */
export const RIP = 16;

export class Operand {
  readonly kind: number;
  /** Bytes that the instruction reads or writes; 0 where only the address counts. */
  readonly size: number;
  /** Register number. Of byte registers 0–15: the low byte; with `high`, 0–3: AH CH DH BH. */
  readonly reg: number;
  readonly high: boolean;
  /** Memory: general register, -1 for none, RIP for RIP-relative. */
  readonly base: number;
  /** Memory: general register, -1 for none. */
  readonly index: number;
  /** Memory: the index is shifted left by this. */
  readonly scale: number;
  /** Memory: displacement, or the low half of an absolute address. */
  readonly disp: number;
  /** Memory: -1 for a flat segment, else SEG.fs or SEG.gs. */
  readonly seg: number;
  /** Immediates and displacements, sign-extended to 64 bits. Memory: immHi is the high half of the displacement. */
  readonly immLo: number;
  readonly immHi: number;

  // biome-ignore format: one line per purpose
  constructor(
    kind: number, size: number, reg: number, high: boolean,
    base: number, index: number, scale: number, disp: number, seg: number,
    immLo: number, immHi: number,
  ) {
    this.kind = kind;
    this.size = size;
    this.reg = reg;
    this.high = high;
    this.base = base;
    this.index = index;
    this.scale = scale;
    this.disp = disp;
    this.seg = seg;
    this.immLo = immLo;
    this.immHi = immHi;
  }
}

export function registerOperand(kind: number, reg: number, size: number, high = false): Operand {
  return new Operand(kind, size, reg, high, -1, -1, 0, 0, -1, 0, 0);
}

export interface Address {
  base?: number;
  index?: number;
  scale?: number;
  disp?: number;
  /** High half of an absolute 64-bit address; otherwise the displacement's sign. */
  dispHi?: number;
  seg?: number;
}

export function memoryOperand(size: number, address: Address): Operand {
  const { base = -1, index = -1, scale = 0, disp = 0, dispHi = disp >> 31, seg = -1 } = address;
  return new Operand(Kind.Mem, size, 0, false, base, index, scale, disp, seg, 0, dispHi);
}

export function immediateOperand(lo: number, size: number, hi = lo >> 31): Operand {
  return new Operand(Kind.Imm, size, 0, false, -1, -1, 0, 0, -1, lo, hi);
}

export function relativeOperand(displacement: number): Operand {
  return new Operand(Kind.Rel, 8, 0, false, -1, -1, 0, 0, -1, displacement, displacement >> 31);
}

/** Segment of a decoded override prefix, which counts in 64-bit mode only for FS and GS. */
export const OVERRIDES: Readonly<Record<number, number>> = { 100: SEG.fs, 101: SEG.gs };
