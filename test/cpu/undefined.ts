/**
 * What the manuals leave undefined, by mnemonic. References are to the SDM, volume 2, unless AMD's manual is named; where the two
 * makers differ, the difference is listed too, since the oracle may be either's.
 */
import type { Insn } from '../../src/x86/decode.ts';
import { Kind } from '../../src/x86/decode.ts';
import { GPR } from '../../src/x86/state.ts';
import { nothingUndefined, type Undefined } from './compare.ts';
import { CASE } from './layout.ts';

const CF = 1;
const PF = 4;
const AF = 0x10;
const ZF = 0x40;
const SF = 0x80;
const OF = 0x800;
const C0 = 0x100;
const C1 = 0x200;
const C2 = 0x400;
const C3 = 0x4000;

/** One case being judged: its state before, and what the host made of it. */
export interface Judged {
  readonly insn: Insn;
  readonly before: DataView;
  readonly host: DataView;
}
type Rule = (skip: Undefined, judged: Judged) => void;

const flags =
  (mask: number): Rule =>
  (skip) => {
    skip.flags |= mask;
  };
const fsw =
  (mask: number): Rule =>
  (skip) => {
    skip.fsw |= mask;
  };

/** The count of a shift or rotate: its last operand, an immediate, CL or the constant 1. */
function shiftCount({ insn, before }: Judged): number {
  const last = insn.operands[insn.operands.length - 1]!;
  const count =
    last.kind === Kind.Imm ? last.immLo : last.kind === Kind.Reg ? before.getUint8(CASE.gpr + 8 * GPR.rcx) : 1;
  return count & (insn.operands[0]!.size === 8 ? 63 : 31);
}

/** SHL, SHR, SAR: AF after a count other than 0, OF after one other than 1, CF when everything was shifted out (not SAR). */
const shift =
  (arithmetic: boolean): Rule =>
  (skip, judged) => {
    const count = shiftCount(judged);
    if (count === 0) return;
    skip.flags |= AF;
    if (count !== 1) skip.flags |= OF;
    if (!arithmetic && count >= judged.insn.operands[0]!.size * 8) skip.flags |= CF;
  };
/** ROL, ROR, RCL, RCR: OF is defined for 1-bit rotates only. */
const rotate: Rule = (skip, judged) => {
  if (shiftCount(judged) !== 1) skip.flags |= OF;
};
/** SHLD, SHRD: AF; OF but for 1; with a count above the operand size (16 bits only) flags and destination. */
const doubleShift: Rule = (skip, judged) => {
  const count = shiftCount(judged);
  if (count === 0) return;
  skip.flags |= AF;
  if (count !== 1) skip.flags |= OF;
  const destination = judged.insn.operands[0]!;
  if (count <= destination.size * 8) return;
  skip.flags |= CF | PF | ZF | SF | OF;
  if (destination.kind === Kind.Reg) skip.gpr |= 1 << destination.reg;
  else skipAllMemory(skip);
};
const skipAllMemory = (skip: Undefined): void => {
  skip.memory.push([0, 0x10000]);
};
/** BSF, BSR: with a source of 0 the destination is undefined; AMD's manual and both makers' CPUs leave it unchanged. */
const bitScan: Rule = flags(CF | OF | SF | AF | PF);
/** RCPPS, RSQRTPS: relative error of at most 1.5 * 2^-12 each, and each maker has its own tables. */
const approximation: Rule = (skip) => {
  skip.singleError = 3 / 4096;
};
/** x87 arithmetic: C0, C2 and C3 are undefined; C1 tells stack faults and rounding direction. */
const x87Arithmetic = fsw(C0 | C2 | C3);
/** Functions that are approximated: the makers differ in the last places; C1 follows the rounding. */
const x87Function: Rule = (skip) => {
  skip.fsw |= C0 | C1 | C3;
  skip.extendedUlps = 4;
};
/** Images of the x87 environment hold FOP, FIP and FDP, which the two makers store under different conditions. */
const environment =
  (from: number, to: number): Rule =>
  (skip, judged) => {
    const at = judged.before.getUint32(CASE.target, true);
    skip.memory.push([at + from, at + to]);
  };

/** With two operands in memory, which one's fault is reported first is up to the CPU. */
const twoOperands: Rule = (skip, { insn }) => {
  const inMemory = insn.operands.filter(({ kind }) => kind === Kind.Mem).length;
  const stack = insn.mnemonic === 'movs' || insn.mnemonic === 'cmps' ? 0 : 1;
  if (inMemory + stack > 1) skip.fault = true;
};

// biome-ignore format: a table
const RULES: Record<string, Rule> = {
  and: flags(AF), or: flags(AF), xor: flags(AF), test: flags(AF),
  shl: shift(false), sal: shift(false), shr: shift(false), sar: shift(true),
  rol: rotate, ror: rotate, rcl: rotate, rcr: rotate,
  shld: doubleShift, shrd: doubleShift,
  mul: flags(SF | ZF | AF | PF), imul: flags(SF | ZF | AF | PF),
  div: flags(CF | PF | AF | ZF | SF | OF), idiv: flags(CF | PF | AF | ZF | SF | OF),
  bsf: bitScan, bsr: bitScan,
  bt: flags(OF | SF | AF | PF), bts: flags(OF | SF | AF | PF), btr: flags(OF | SF | AF | PF), btc: flags(OF | SF | AF | PF),
  cmps: twoOperands, movs: twoOperands, push: twoOperands, pop: twoOperands, call: twoOperands,
  rcpps: approximation, rcpss: approximation, rsqrtps: approximation, rsqrtss: approximation,
};

const X87_FUNCTIONS = new Set(['fsin', 'fcos', 'fsincos', 'fptan', 'fpatan', 'f2xm1', 'fyl2x', 'fyl2xp1']);
/** x87 instructions whose condition codes are all defined. */
const X87_DEFINED = new Set(
  (
    'fcom fcomp fcompp fucom fucomp fucompp ficom ficomp ftst fxam fprem fprem1 fldenv frstor fxrstor fnclex fclex fninit ' +
    'finit fnop fldcw fnstcw fstcw fnstsw fstsw fwait fcomi fcomip fucomi fucomip fxsave'
  ).split(' '),
);

export function undefinedFor(judged: Judged): Undefined {
  const skip = nothingUndefined();
  const { mnemonic } = judged.insn;
  RULES[mnemonic]?.(skip, judged);
  if (mnemonic.startsWith('f') && judged.insn.row.encoding.startsWith('D')) {
    if (X87_FUNCTIONS.has(mnemonic)) x87Function(skip, judged);
    else if (!X87_DEFINED.has(mnemonic)) x87Arithmetic(skip, judged);
    if (mnemonic === 'fnstenv' || mnemonic === 'fstenv') environment(12, 28)(skip, judged);
    if (mnemonic === 'fnsave' || mnemonic === 'fsave') environment(12, 28)(skip, judged);
  }
  return skip;
}
