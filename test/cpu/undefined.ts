/**
 * What the manuals leave undefined, by mnemonic. References are to the SDM, volume 2, unless AMD's manual is named; where the two
 * makers differ, the difference is listed too, since the oracle may be either's.
 */
import { type Insn, Kind, RIP } from '../../src/x86/decode.ts';
import { GPR, SEG } from '../../src/x86/state.ts';
import { nothingUndefined, type Undefined } from './compare.ts';
import { CASE, DATA_OFFSET, FX, LOW_BASE, OUTCOME } from './layout.ts';

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
/** Where the memory operand lies in the data pages. The lower halves of both bases are the same. */
function operandOffset({ insn, before }: Judged): number {
  const { base, index, scale, disp, seg } = insn.operands.find(({ kind }) => kind === Kind.Mem)!;
  const register = (reg: number): number =>
    reg < 0
      ? 0
      : reg === RIP
        ? before.getUint32(CASE.rip, true) + before.getUint32(CASE.insnAt, true) + insn.length
        : before.getUint32(CASE.gpr + 8 * reg, true);
  const segment = seg < 0 ? 0 : before.getUint32(seg === SEG.fs ? CASE.fsBase : CASE.gsBase, true);
  return (register(base) + register(index) * 2 ** scale + disp + segment - LOW_BASE - DATA_OFFSET) | 0;
}
/** Images of the x87 environment hold FOP, FIP and FDP, which the two makers store under different conditions. */
const image =
  (...ranges: [number, number][]): Rule =>
  (skip, judged) => {
    const at = operandOffset(judged);
    // Where in a page a fault within a long operand is reported is up to the CPU.
    skip.fault = true;
    for (const [from, to] of ranges) skip.memory.push([at + from, at + to]);
  };
const environment: Rule = (skip, judged) => image(judged.insn.opSize === 2 ? [6, 14] : [12, 28])(skip, judged);
/** FXSAVE: the same pointers, MXCSR_MASK (AMD has a bit more), and the reserved end, which some CPUs write and others do not. */
const fxsaveImage = image([6, 24], [28, 32], [416, 512]);
/**
 * With a segment base and a bit offset in a register: AMD's CPUs want a canonical offset as well as a canonical sum, and far
 * bit offsets leave that range.
 */
const bitTest: Rule = (skip, { insn }) => {
  skip.flags |= OF | SF | AF | PF;
  if (insn.operands[0]!.kind === Kind.Mem && insn.operands[0]!.seg >= 0) skip.fault = true;
};

/**
 * x87 comparisons: after an unmasked invalid operand Intel leaves the condition codes (or RFLAGS), AMD sets them; FCOMI and its
 * kin clear C1 on Intel and leave it on AMD.
 */
const comparison: Rule = (skip, { insn, host }) => {
  const unmasked = (host.getUint16(OUTCOME.fx + FX.fsw, true) & 0x80) !== 0;
  if (insn.mnemonic.includes('comi')) {
    skip.fsw |= C1;
    if (unmasked) skip.flags |= CF | PF | AF | ZF | SF | OF;
  } else if (unmasked) skip.fsw |= C0 | C2 | C3;
};
/** FPREM: the bits of the quotient mean nothing after an invalid operation. */
const remainder: Rule = (skip, { host }) => {
  if (host.getUint16(OUTCOME.fx + FX.fsw, true) & 1) skip.fsw |= C0 | C2 | C3;
};
/** Conversions to MMX registers that fault: AMD's CPUs have switched from x87 to MMX operation before they notice. */
const toMmx: Rule = (skip, { host }) => {
  if (host.getUint32(OUTCOME.vector, true) < 32) skip.x87 = true;
};

/** UD0 and UD1: whether the bytes of a ModRM operand are fetched before #UD is up to the CPU. */
const eitherFault: Rule = (skip) => {
  skip.fault = true;
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
  bt: bitTest, bts: bitTest, btr: bitTest, btc: bitTest,
  fnstenv: environment, fnsave: environment, fxsave: fxsaveImage,
  fldenv: image(), frstor: image(), fxrstor: image(), ffree: fsw(C0 | C1 | C2 | C3), ffreep: fsw(C0 | C1 | C2 | C3),
  cvtpi2ps: toMmx, cvtpi2pd: toMmx, cvtps2pi: toMmx, cvtpd2pi: toMmx, cvttps2pi: toMmx, cvttpd2pi: toMmx,
  // The first selected byte or the first byte?
  maskmovq: eitherFault, maskmovdqu: eitherFault,
  fprem: remainder, fprem1: remainder,
  fcom: comparison, fcomp: comparison, fcompp: comparison, fucom: comparison, fucomp: comparison, fucompp: comparison,
  ficom: comparison, ficomp: comparison,
  fcomi: comparison, fcomip: comparison, fucomi: comparison, fucomip: comparison,
  ud0: eitherFault, ud1: eitherFault,
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

export const hasRule = (mnemonic: string): boolean => RULES[mnemonic] !== undefined;

export function undefinedFor(judged: Judged): Undefined {
  const skip = nothingUndefined();
  const { mnemonic } = judged.insn;
  RULES[mnemonic]?.(skip, judged);
  if (mnemonic.startsWith('f') && judged.insn.row.encoding.startsWith('D')) {
    if (X87_FUNCTIONS.has(mnemonic)) x87Function(skip, judged);
    // FCMOVcc tells C1 only for a stack underflow; otherwise AMD leaves it.
    else if (mnemonic.startsWith('fcmov')) fsw(C0 | C1 | C2 | C3)(skip, judged);
    else if (!X87_DEFINED.has(mnemonic)) x87Arithmetic(skip, judged);
  }
  return skip;
}
