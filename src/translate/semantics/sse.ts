/**
 * What MMX and SSE instructions have in common: when they may run, operands as v128, and the change of the x87 registers to
 * MMX use. Intel SDM volume 1, 9.5 and 10–12; volume 3, 2.5 (CR0.TS).
 */
import { type E, I64, i32, i64, lane, simd } from '../../wasm/expr.ts';
import { Kind } from '../../x86/decode.ts';
import { STATE } from '../../x86/state.ts';
import type { Lift, Semantics } from '../lift.ts';

const NM = 7;
const GP = 13;
const MF = 16;
/** Summary of unmasked x87 exceptions in the status word. */
const FSW_ES = 0x80;
const FSW_TOP = 0x3800;

/** Instructions with an MMX operand. */
export const usesMmx = (c: Lift): boolean => c.insn.operands.some(({ kind }) => kind === Kind.Mmx);

/** `body` as an instruction of MMX or SSE. Whoever leaves `body` early (a helper) completes the change to MMX itself. */
const vectorInstruction =
  (body: Semantics): Semantics =>
  (c) => {
    c.checkTaskSwitched(() => c.raise(NM));
    const mmx = usesMmx(c) || c.insn.mnemonic === 'emms';
    if (mmx) c.f.if(c.loadLinear(c.cpu, 2, STATE.fsw).and(FSW_ES), () => c.raise(MF));
    body(c);
    if (mmx) enterMmx(c);
  };

/** Every MMX instruction sets TOP to 0 and all tags to valid, EMMS to empty. */
function enterMmx(c: Lift): void {
  const fsw = c.loadLinear(c.cpu, 2, STATE.fsw).and(0xffff & ~FSW_TOP);
  c.f.store16(c.cpu, fsw, STATE.fsw);
  c.f.store16(c.cpu, i32(c.insn.mnemonic === 'emms' ? 0xffff : 0), STATE.ftw);
}

export const vectorInstructions = (table: Record<string, Semantics>): Record<string, Semantics> =>
  Object.fromEntries(Object.entries(table).map(([name, body]) => [name, vectorInstruction(body)]));

/** Address of memory operand `k` as a local; 16 bytes have to be aligned unless the row says otherwise. */
export function vectorMemory(c: Lift, k: number): E {
  const va = c.f.let(c.address(k));
  if (c.size(k) === 16 && !c.insn.row.flags.includes('unaligned')) {
    c.f.if(va.wrap().and(15), () => c.raise(GP));
  }
  return va;
}

/** Operand `k` as the number that c.load gives, as a local, with the check for alignment. */
export function operand(c: Lift, k: number): E {
  return c.isMem(k) ? c.loadAt(vectorMemory(c, k), c.size(k), k) : c.f.let(c.load(k));
}

/** Operand `k` as a v128 local; one of fewer bytes is in the low lane, and what is above it is of no use. */
export function vector(c: Lift, k: number): E {
  const v = operand(c, k);
  const size = c.size(k);
  if (size === 16) return v;
  return c.f.let(simd(v.type === I64 ? 'i64x2.splat' : 'i32x4.splat', v));
}

/** Write the low bytes of `value`, as many as operand `k` has. */
export function storeVector(c: Lift, k: number, value: E): void {
  const size = c.size(k);
  if (c.isMem(k)) {
    const number = c.f.let(size === 16 ? value : lowLane(value, size));
    c.storeAt(vectorMemory(c, k), size, number, k);
    return;
  }
  c.setVectorPart(k, size, size === 16 ? value : lowLane(value, size));
  if (c.operand(k).kind === Kind.Mmx) markMmx(c, k);
}

/** Sign and exponent of a register written by MMX are all ones. */
export function markMmx(c: Lift, k: number): void {
  c.setVectorPart(k, 2, i32(0xffff), 8);
}

export const lowLane = (value: E, size: number): E =>
  size === 8 ? lane('i64x2.extract_lane', 0, value) : lane('i32x4.extract_lane', 0, value);

/** A v128 with the 64 bits of `value` below zeros. */
export const lowOnly = (value: E): E =>
  lane('i64x2.replace_lane', 0, simd('i64x2.splat', i64(0)), value.type === I64 ? value : value.extendU());
