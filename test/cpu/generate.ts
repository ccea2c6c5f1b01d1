/**
 * Makes one case: instruction bytes of a form with random prefixes, registers and addressing, and a random state in which the
 * instruction has something to do: addresses are solved so that operands mostly lie in mapped memory, counts are mostly small.
 */
import { decode, type Insn, Kind, type Operand, RIP } from '../../src/x86/decode.ts';
import { SEG } from '../../src/x86/state.ts';
import { type Address, type Choice, emit } from './emit.ts';
import { type Form, operandCodes } from './forms.ts';
import {
  CASE,
  CODE_OFFSET,
  CODE_SIZE,
  DATA_OFFSET,
  DATA_SIZE,
  FX,
  HIGH_BASE,
  LOW_BASE,
  WRITABLE_SIZE,
} from './layout.ts';
import { prepare } from './prepare.ts';
import { type Flavour, integer32, putInteger64, putValues, Random } from './random.ts';

const MASK64 = 0xffff_ffff_ffff_ffffn;
const MASK32 = 0xffff_ffffn;
const RFLAGS_RANDOM = 0x8d5;
const DF = 0x400;

/** A case under construction. */
export class Draft {
  readonly random: Random;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** LOW_BASE or HIGH_BASE. */
  readonly base: number;
  insn: Insn | undefined;
  /** Where the memory operands begin, as offsets in the data pages; may be outside of them. */
  targets: number[] = [];
  #patches = 0;

  constructor(random: Random, bytes: Uint8Array, base: number) {
    this.random = random;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, CASE.size);
    this.base = base;
  }

  gpr(reg: number): bigint {
    return this.view.getBigUint64(CASE.gpr + 8 * reg, true);
  }
  setGpr(reg: number, value: bigint): void {
    this.view.setBigUint64(CASE.gpr + 8 * reg, value & MASK64, true);
  }
  /** Set the low 32 bits and clear the rest, or leave the rest as it is. */
  setGpr32(reg: number, value: number, keepHigh = false): void {
    this.view.setUint32(CASE.gpr + 8 * reg, value, true);
    if (!keepHigh) this.view.setUint32(CASE.gpr + 8 * reg + 4, 0, true);
  }
  addressOf(target: number): bigint {
    return BigInt(this.base + DATA_OFFSET + target);
  }

  /** Fill `length` bytes (at most 64) of data memory from `target` on; returns where they are in the record, or 0. */
  patch(target: number, length: number, flavour: Flavour): number {
    if (target < 0 || target >= DATA_SIZE || this.#patches === CASE.patches) return 0;
    const at = CASE.patch + this.#patches++ * CASE.patchSize;
    const size = Math.min(length, CASE.patchMax, DATA_SIZE - target);
    this.view.setUint32(at, target, true);
    this.view.setUint32(at + 4, size, true);
    putValues(this.random, this.view, at + 8, Math.min(CASE.patchMax, (size + 15) & ~15), flavour);
    return at + 8;
  }
}

/** A place for `size` bytes: mostly inside the writable pages, sometimes across pages, read-only or not there. */
export function chooseTarget(random: Random, size: number, aligned: boolean): number {
  const align = (at: number): number => (aligned && !random.chance(40) ? at & -16 : at);
  const kind = random.below(32);
  const span = Math.max(size, 1);
  if (kind < 24) return align(64 + random.below(WRITABLE_SIZE - 1024));
  if (kind < 27) return align(0x1000 - random.below(span + 1)); // Around the border of the two writable pages.
  if (kind === 27) return align(WRITABLE_SIZE - random.below(span + 1)); // Into the read-only page.
  if (kind === 28) return align(WRITABLE_SIZE + random.below(DATA_SIZE - WRITABLE_SIZE - span));
  if (kind === 29) return align(DATA_SIZE - random.below(span + 1)); // Into nothing.
  if (kind === 30) return align(-random.below(span + 1)); // From nothing.
  return align(0x3800 + random.below(0x400));
}

/** Code positions: anywhere in a page, sometimes across pages, rarely cut off by the end of the code. */
function chooseCodeOffset(random: Random, length: number): number {
  if (random.chance(24) && length > 1) return 0x1000 - 1 - random.below(length - 1);
  if (random.chance(400) && length > 1) return CODE_SIZE - 1 - random.below(length - 1);
  return 0x200 + random.below(0xc00);
}

/** Where a branch goes: mostly into the code pages, else to nothing or to data, which cannot be executed. */
export function chooseBranchTarget(draft: Draft, codeOffset: number, length: number): number {
  const { random } = draft;
  for (;;) {
    const kind = random.below(16);
    let offset = CODE_OFFSET + 0x100 + random.below(0x1e00);
    if (kind === 0) offset = 0x15000 + random.below(0x1000);
    else if (kind === 1) offset = DATA_OFFSET + random.below(DATA_SIZE);
    const at = offset - CODE_OFFSET;
    if (at < codeOffset || at >= codeOffset + length) return draft.base + offset;
  }
}

const POOL_SIZE = 64;
/** FXSAVE images that registers come from when the instruction does not work on them. */
const pool: Uint8Array[] = (() => {
  const random = new Random(0x706f6f6c);
  return Array.from({ length: POOL_SIZE }, () => {
    const image = new Uint8Array(512);
    const view = new DataView(image.buffer);
    for (let st = 0; st < 8; st++) putValues(random, view, FX.st + 16 * st, 16, 'extended');
    for (let st = 0; st < 8; st++) image.fill(0, FX.st + 16 * st + 10, FX.st + 16 * st + 16);
    for (let x = 0; x < 16; x++) {
      putValues(random, view, FX.xmm + 16 * x, 16, random.pick(['integer', 'single', 'double', 'bytes'] as const));
    }
    return image;
  });
})();

/** What the operands of an instruction mean, from its mnemonic. */
export function flavourOf(mnemonic: string, size: number): Flavour {
  const conversion = /^cvtt?(ps|pd|ss|sd|dq|si|pi)2/.exec(mnemonic);
  if (conversion) {
    const from = conversion[1]!;
    return from === 'ps' || from === 'ss' ? 'single' : from === 'pd' || from === 'sd' ? 'double' : 'integer';
  }
  if (/^f[^x]/.test(mnemonic) && mnemonic !== 'fence') {
    if (mnemonic.startsWith('fi') || mnemonic.startsWith('fb')) return 'integer';
    return size === 4 ? 'single' : size === 8 ? 'double' : size === 10 ? 'extended' : 'integer';
  }
  if (/^p/.test(mnemonic)) return 'bytes';
  if (/(ps|ss)$/.test(mnemonic) && !/^(movs|cmps|lods|scas|stos|lss)$/.test(mnemonic)) return 'single';
  if (/(pd|sd)$/.test(mnemonic)) return 'double';
  return 'integer';
}

const usesX87 = (insn: Insn): boolean =>
  insn.row.flags.includes('x87') || insn.operands.some(({ kind }) => kind === Kind.Mmx);

/** Fill the record at `at` of `buffer` with a case of `form`. */
export function fillCase(random: Random, form: Form, buffer: Uint8Array, at: number): void {
  const draft = begin(random, buffer, at);
  const memory = form.rm === 'memory';
  const moffs = form.row.operands.some((code) => operandCodes(code).some(({ letter }) => letter === 'O'));
  const { code, steer } = emitCase(draft, form, choose(draft, form, memory || moffs));
  const codeOffset = chooseCodeOffset(random, code.length);
  finish(draft, code, codeOffset, steer(codeOffset));
}

/** The bytes of a form with choices made; and, placed at a code offset, how they reach their target. */
export function emitCase(
  draft: Draft,
  form: Form,
  choice: Choice,
): { code: number[]; steer: (codeOffset: number) => (target: number) => number[] } {
  const moffs = form.row.operands.some((one) => operandCodes(one).some(({ letter }) => letter === 'O'));
  let code = emit(form.row, form.encoding, choice);
  const steer = (codeOffset: number) => (target: number) => {
    // Addresses that registers cannot steer: those relative to RIP, absolute ones, and branch displacements.
    const rip = draft.base + CODE_OFFSET + codeOffset;
    if (typeof choice.rm === 'object' && (choice.rm.base === RIP || (choice.rm.base < 0 && choice.rm.index < 0))) {
      const from = choice.rm.base === RIP ? rip + code.length : 0;
      const disp = (draft.base + DATA_OFFSET + target - from) | 0;
      code = emit(form.row, form.encoding, { ...choice, rm: { ...choice.rm, disp } });
    } else if (moffs) {
      const address = draft.addressOf(target);
      const bytes = Array.from({ length: choice.addr32 ? 4 : 8 }, (_, i) => Number((address >> BigInt(8 * i)) & 255n));
      code = emit(form.row, form.encoding, { ...choice, immediate: bytes });
    }
    return code;
  };
  return { code, steer };
}

/** The same for given bytes: a state is made for them as they are. */
export function fillCaseFromBytes(random: Random, code: readonly number[], buffer: Uint8Array, at: number): void {
  const draft = begin(random, buffer, at);
  finish(draft, [...code], 0x200 + random.below(0xc00), () => [...code]);
  draft.bytes.set(code, CASE.code); // Branch displacements have been chosen: take them back.
}

export function begin(random: Random, buffer: Uint8Array, at: number): Draft {
  const bytes = buffer.subarray(at, at + CASE.size).fill(0);
  const draft = new Draft(random, bytes, random.chance(2) ? LOW_BASE : HIGH_BASE);
  for (let reg = 0; reg < 16; reg++) putInteger64(random, draft.view, CASE.gpr + 8 * reg);
  return draft;
}

export function choose(draft: Draft, form: Form, memory: boolean): Choice {
  const { random, base } = draft;
  const fs = memory || form.row.operands.some((code) => /^[XB]/.test(code)) ? random.chance(6) : false;
  const segment = fs ? random.pick([0x64, 0x65]) : random.chance(24) ? random.pick([0x26, 0x2e, 0x36, 0x3e]) : 0;
  const string = form.row.operands.some((code) => /^[XYB]/.test(code));
  const counts = /^(loop|jrcxz)/.test(form.row.mnemonic);
  const rm = form.rm === 'memory' ? chooseAddress(random, base === LOW_BASE) : random.below(16);
  const addr32 = random.chance(8) && (counts || ((memory || string) && base === LOW_BASE));
  return {
    opSize: form.opSize,
    reg: /^bt[src]?$/.test(form.row.mnemonic) ? otherThan(rm, random) : random.below(16),
    rm,
    low:
      form.row.flags.includes('norexb') || form.encoding.lowBits === 'free'
        ? random.below(8)
        : lowRegister(random, form),
    immediate: immediates(random, form),
    lock: form.lock,
    rep: form.rep,
    addr32,
    segment,
    rex: random.chance(4),
  };
}

/**
 * A register that is not part of the address. As a bit offset, an address register would reach far away, into memory of the
 * oracle's process that the subject does not have.
 */
function otherThan(rm: number | Address, random: Random): number {
  const reg = random.below(16);
  return typeof rm === 'object' && (rm.base === reg || rm.index === reg) ? otherThan(rm, random) : reg;
}

/** XCHG with rAX itself is NOP (90): a row of its own. */
function lowRegister(random: Random, form: Form): number {
  return form.row.encoding === '90 +r' ? 1 + random.below(15) : random.below(16);
}

export function chooseAddress(random: Random, low: boolean): Address {
  const kind = random.below(16);
  const dispBytes = random.pick([0, 1, 1, 4] as const);
  const disp = dispBytes === 0 ? 0 : dispBytes === 1 ? (random.u32() << 24) >> 24 : integer32(random) | 0;
  const index = random.below(16);
  if (kind === 0) return { base: RIP, index: -1, scale: 0, disp: 0, dispBytes: 4 };
  if (kind === 1 && low) return { base: -1, index: -1, scale: random.below(4), disp: 0, dispBytes: 4 };
  if (kind === 2)
    return {
      base: -1,
      index: index === 4 ? -1 : index,
      scale: random.below(4),
      disp: integer32(random) | 0,
      dispBytes: 4,
    };
  if (kind < 9)
    return { base: random.below(16), index: -1, scale: random.chance(8) ? random.below(4) : 0, disp, dispBytes };
  return { base: random.below(16), index: index === 4 ? -1 : index, scale: random.below(4), disp, dispBytes };
}

function immediates(random: Random, form: Form): number[] {
  const bytes: number[] = [];
  for (const code of form.row.operands) {
    const { letter, size } = operandCodes(code)[0]!;
    if (letter !== 'I' && letter !== 'J' && letter !== 'O') continue;
    let count = { b: 1, w: 2, d: 4, q: 8, z: form.opSize === 2 && letter !== 'J' ? 2 : 4, v: form.opSize }[size] ?? 1;
    if (letter === 'O') count = 8;
    for (let i = 0; i < count; i += 4) {
      const value =
        count === 1 ? random.pick([random.below(256), random.below(70), 0, 1, 0x7f, 0x80, 0xff]) : integer32(random);
      for (let k = i; k < Math.min(count, i + 4); k++) bytes.push((value >>> (8 * (k - i))) & 255);
    }
  }
  return bytes;
}

export function finish(draft: Draft, first: number[], codeOffset: number, steer: (target: number) => number[]): void {
  const { random, view, bytes } = draft;
  const scratch = new Uint8Array(32).fill(0x90);
  scratch.set(first);
  let insn = decodeAll(scratch);
  const operand = insn?.operands.find(({ kind }) => kind === Kind.Mem);
  const aligned = operand !== undefined && operand.size >= 16;
  const target = chooseTarget(random, operand?.size || 8, aligned);
  let code = steer(target);
  scratch.fill(0x90).set(code);
  insn = decodeAll(scratch);
  draft.insn = insn;
  view.setUint32(CASE.target, target, true);
  const rip = draft.base + CODE_OFFSET + codeOffset;
  // Undefined instructions need not be fetched to their end: do not let that matter.
  if (!insn && codeOffset + code.length > CODE_SIZE) {
    finish(draft, first, 0x300, steer);
    return;
  }
  view.setBigUint64(CASE.rip, BigInt(rip), true);

  // Flags, vectors and control words.
  const string = insn !== undefined && /^(movs|cmps|stos|lods|scas)$/.test(insn.mnemonic);
  view.setUint32(CASE.rflags, (random.u32() & RFLAGS_RANDOM) | 0x202 | (random.chance(string ? 2 : 16) ? DF : 0), true);
  fillVectors(draft, insn);

  // Segment bases: canonical ones, so that they can be loaded, and small enough to leave canonical offsets: AMD's CPUs check
  // the offset as well as the sum, Intel's only the sum.
  for (const field of [CASE.fsBase, CASE.gsBase]) {
    if (random.chance(3)) continue;
    view.setUint32(field, random.u32(), true);
    view.setInt32(field + 4, random.chance(2) ? 0 : (random.u32() << 19) >> 19, true);
  }

  if (insn) {
    code = branch(draft, insn, code, codeOffset);
    let place = target;
    for (const op of insn.operands) {
      if (op.kind !== Kind.Mem) continue;
      solve(draft, insn, op, place);
      draft.targets.push(place);
      const flavour = flavourOf(insn.mnemonic, op.size);
      draft.patch(place, Math.max(op.size, 8), flavour);
      place = chooseTarget(random, op.size || 8, aligned); // For the second one (MOVS, CMPS).
    }
    prepare(draft, insn, rip);
  }
  bytes.set(code, CASE.code);
  view.setUint32(CASE.codeLength, code.length, true);
}

function decodeAll(scratch: Uint8Array): Insn | undefined {
  const insn = decode(scratch, 0, scratch.length);
  return typeof insn === 'string' ? undefined : insn;
}

/** The instruction of a case, for whoever judges it; undefined when our decoder refuses it. */
export const insnOf = (view: DataView): Insn | undefined => insnAt(view, view.getUint32(CASE.insnAt, true));

/** The instruction so many bytes behind the beginning of a case's code. */
export function insnAt(view: DataView, at: number): Insn | undefined {
  const code = new Uint8Array(view.buffer, view.byteOffset + CASE.code, CASE.codeMax);
  const padded = new Uint8Array(32).fill(0x90);
  padded.set(code.subarray(at, at + 32));
  return decodeAll(padded);
}

/** Displacements of direct branches are the last bytes of the code. */
function branch(draft: Draft, insn: Insn, code: number[], codeOffset: number): number[] {
  const op = insn.operands[0];
  if (op?.kind !== Kind.Rel) return code;
  const { random } = draft;
  const short = /(^| )cb$/.test(insn.row.encoding);
  const end = codeOffset + code.length;
  const result = [...code];
  if (short) {
    let displacement = 0;
    do displacement = (random.u32() << 24) >> 24;
    while (end + displacement >= codeOffset && end + displacement < end);
    result[code.length - 1] = displacement & 255;
    return result;
  }
  const displacement = chooseBranchTarget(draft, codeOffset, code.length) - (draft.base + CODE_OFFSET + end);
  for (let i = 0; i < 4; i++) result[code.length - 4 + i] = (displacement >> (8 * i)) & 255;
  return result;
}

/** Choose register values so that memory operand `op` lies at `target`. */
function solve(draft: Draft, insn: Insn, op: Operand, target: number): void {
  const { random, view } = draft;
  let wanted = draft.addressOf(target);
  // Now and then an address that no CPU accepts.
  if (random.chance(64) && insn.addrSize === 8 && op.base >= 0 && op.base < 16) wanted ^= 0x1234_0000_0000_0000n;
  const mask = insn.addrSize === 4 ? MASK32 : MASK64;
  const disp = BigInt(op.disp);
  if (op.seg >= 0) {
    const field = op.seg === SEG.fs ? CASE.fsBase : CASE.gsBase;
    const steerable = (op.base >= 0 && op.base < 16) || op.index >= 0;
    if (insn.addrSize === 4 || !steerable) {
      // The base makes up for what the offset cannot reach.
      let offset = BigInt(random.u32());
      if (op.base === RIP)
        offset = BigInt(draft.view.getUint32(CASE.rip, true)); // Roughly: a fault is fine, too.
      else if (!steerable)
        offset = (op.immHi !== 0 && op.immHi !== -1 ? (BigInt(op.immHi) << 32n) | (disp & MASK32) : disp) & mask;
      const base = (wanted - offset) & MASK64;
      if (base >> 47n === 0n || base >> 47n === 0x1ffffn) view.setBigUint64(field, base, true);
    }
    wanted = (wanted - view.getBigUint64(field, true)) & MASK64;
  }
  const put = (reg: number, value: bigint): void => {
    if (insn.addrSize === 4) draft.setGpr32(reg, Number(value & MASK32), true);
    else draft.setGpr(reg, value);
  };
  const rest = (wanted - disp) & mask;
  if (op.base >= 0 && op.base < 16) {
    if (op.index === op.base) {
      const factor = 1n + (1n << BigInt(op.scale));
      put(op.base, factor === 2n ? rest >> 1n : (rest * inverse(factor)) & mask);
    } else put(op.base, op.index < 0 ? rest : (rest - (draft.gpr(op.index) << BigInt(op.scale))) & mask);
  } else if (op.index >= 0) put(op.index, rest >> BigInt(op.scale));
}

/** Inverses of 3, 5 and 9 modulo 2^64. */
function inverse(factor: bigint): bigint {
  let x = factor;
  for (let i = 0; i < 6; i++) x = (x * (2n - factor * x)) & MASK64;
  return x;
}

function fillVectors(draft: Draft, insn: Insn | undefined): void {
  const { random, view, bytes } = draft;
  bytes.set(pool[random.below(POOL_SIZE)]!, CASE.fx);
  if (insn) {
    for (const op of insn.operands) {
      if (op.kind !== Kind.Xmm) continue;
      putValues(random, view, CASE.fx + FX.xmm + 16 * op.reg, 16, flavourOf(insn.mnemonic, op.size));
    }
    if (usesX87(insn)) {
      const flavour = insn.row.flags.includes('x87') ? 'extended' : 'bytes';
      for (let st = 0; st < 8; st++) {
        putValues(random, view, CASE.fx + FX.st + 16 * st, 16, flavour);
        view.setUint32(CASE.fx + FX.st + 16 * st + 12, 0, true);
        view.setUint16(CASE.fx + FX.st + 16 * st + 10, 0, true);
      }
    }
  }
  let mxcsr = 0x1f80;
  if (random.chance(2)) mxcsr |= random.below(4) << 13;
  if (random.chance(4)) mxcsr |= random.below(64);
  if (random.chance(8)) mxcsr |= random.pick([0x8000, 0x40, 0x8040]);
  if (random.chance(16)) mxcsr &= ~(random.below(64) << 7);
  view.setUint32(CASE.fx + FX.mxcsr, mxcsr, true);

  let fcw = 0x37f;
  if (random.chance(2)) fcw |= random.below(4) << 10;
  if (random.chance(4)) fcw = (fcw & ~0x300) | (random.pick([0, 2]) << 8);
  if (random.chance(16)) fcw &= ~random.below(64);
  view.setUint16(CASE.fx + FX.fcw, fcw, true);
  let fsw = random.chance(2) ? random.below(8) << 11 : 0;
  if (random.chance(4)) fsw |= random.u32() & 0x477f;
  // ES and B follow from the flags and masks; a pending exception makes most x87 instructions fault, so it is rarer.
  if (fsw & ~fcw & 0x3f && !random.chance(4)) fsw &= ~0x3f;
  if (fsw & ~fcw & 0x3f) fsw |= 0x8080;
  view.setUint16(CASE.fx + FX.fsw, fsw, true);
  const kind = random.below(8);
  view.setUint8(CASE.fx + FX.ftw, kind < 3 ? 0xff : kind < 5 ? 0 : random.below(256));
}
