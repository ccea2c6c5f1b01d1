/**
 * The decoder: bytes to instructions, 64-bit mode only. What an opcode means comes from the tables (opcodes/); this file owns
 * prefixes, ModRM, SIB, displacements and immediates. SDM volume 2, chapter 2.
 */
import { type Form, type OperandSpec, OpSize, Source, sizeOf } from './opcodes/form.ts';
import { slotOf } from './opcodes/lookup.ts';
import { Kind, Operand, RIP } from './operand.ts';
import type { Row } from './rows.ts';
import { SEG } from './state.ts';

export { Kind, Operand, RIP } from './operand.ts';

export class Insn {
  readonly row: Row;
  readonly mnemonic: string;
  readonly length: number;
  /** Effective integer operand size: 1, 2, 4, 8. */
  readonly opSize: number;
  readonly addrSize: 4 | 8;
  readonly lock: boolean;
  /** The repeat prefix of a string instruction. */
  readonly rep: 0 | 0xf2 | 0xf3;
  readonly rexW: boolean;
  /** ModRM.reg with REX.R and ModRM.rm with REX.B; 0 without ModRM. */
  readonly modrmReg: number;
  readonly modrmRm: number;
  /** An operand is in memory. */
  readonly hasMem: boolean;
  readonly operands: readonly Operand[];

  // biome-ignore format: one line per purpose
  constructor(
    row: Row, length: number, opSize: number, addrSize: 4 | 8, lock: boolean, rep: 0 | 0xf2 | 0xf3, rexW: boolean,
    modrmReg: number, modrmRm: number, hasMem: boolean, operands: readonly Operand[],
  ) {
    this.row = row;
    this.mnemonic = row.mnemonic;
    this.length = length;
    this.opSize = opSize;
    this.addrSize = addrSize;
    this.lock = lock;
    this.rep = rep;
    this.rexW = rexW;
    this.modrmReg = modrmReg;
    this.modrmRm = modrmRm;
    this.hasMem = hasMem;
    this.operands = operands;
  }
}

/** No instruction is longer. */
export const INSN_MAX = 15;

/**
 * The instruction at bytes[offset], of which bytes before `limit` may be read: 'ud' for #UD, 'long' for #GP, 'more' when
 * bytes from `limit` on are needed.
 */
export function decode(bytes: Uint8Array, offset: number, limit: number): Insn | 'ud' | 'more' | 'long' {
  const short = limit - offset >= INSN_MAX ? 'long' : 'more';
  const end = short === 'long' ? offset + INSN_MAX : limit;
  let p = offset;
  let rex = 0;
  let data16 = false;
  let addrSize: 4 | 8 = 8;
  let lock = false;
  let seg = -1;
  let repeat: 0 | 0xf2 | 0xf3 = 0;
  let opcode = 0;

  for (;;) {
    if (p >= end) return short;
    opcode = bytes[p++]!;
    if ((opcode & 0xf0) === 0x40) {
      rex = opcode;
      continue;
    }
    if (opcode === 0x66) data16 = true;
    else if (opcode === 0xf2 || opcode === 0xf3) repeat = opcode;
    else if (opcode === 0xf0) lock = true;
    else if (opcode === 0x64) seg = SEG.fs;
    else if (opcode === 0x65) seg = SEG.gs;
    else if (opcode === 0x67) addrSize = 4;
    // The overrides to ES, CS, SS and DS are ignored.
    else if ((opcode & 0xe7) !== 0x26) break;
    // REX counts only directly before the opcode.
    rex = 0;
  }

  let map = 0;
  if (opcode === 0x0f) {
    if (p >= end) return short;
    opcode = bytes[p++]!;
    map = 0x100;
    if (opcode === 0x38 || opcode === 0x3a) {
      map = opcode === 0x38 ? 0x200 : 0x300;
      if (p >= end) return short;
      opcode = bytes[p++]!;
    }
  }
  const prefix = repeat === 0xf3 ? 2 : repeat === 0xf2 ? 3 : data16 ? 1 : 0;
  const slot = slotOf(((map | opcode) << 2) | prefix);
  if (!slot) return 'ud';

  const rexW = (rex & 8) !== 0;
  let form: Form | null | undefined;
  let reg = 0;
  let rm = 0;
  let base = -1;
  let index = -1;
  let scale = 0;
  let disp = 0;
  let inMemory = false;
  if (!slot.hasModrm) {
    form = slot.forms[((rex & 1) << 1) | ((rex >> 3) & 1)];
    if (!form) return 'ud';
  } else {
    if (p >= end) return short;
    const modrm = bytes[p++]!;
    const mod = modrm >> 6;
    reg = (modrm >> 3) & 7;
    form = slot.forms[((mod === 3 ? 8 + (modrm & 63) : reg) << 1) | ((rex >> 3) & 1)];
    if (!form) return 'ud';
    reg |= (rex & 4) << 1;
    rm = (modrm & 7) | ((rex & 1) << 3);
    if (mod !== 3 && !form.modless) {
      inMemory = true;
      let dispSize = mod === 1 ? 1 : mod === 2 ? 4 : 0;
      if ((modrm & 7) === 4) {
        if (p >= end) return short;
        const sib = bytes[p++]!;
        index = ((sib >> 3) & 7) | ((rex & 2) << 2);
        if (index === 4) index = -1;
        else scale = sib >> 6;
        base = (sib & 7) | ((rex & 1) << 3);
        if ((sib & 7) === 5 && mod === 0) {
          base = -1;
          dispSize = 4;
        }
      } else if ((modrm & 7) === 5 && mod === 0) {
        base = RIP;
        dispSize = 4;
      } else {
        base = rm;
      }
      if (dispSize !== 0) {
        if (p + dispSize > end) return short;
        disp = dispSize === 1 ? (bytes[p]! << 24) >> 24 : read32(bytes, p);
        p += dispSize;
      }
    }
  }

  const opSize = operandSize(form.opSize, rexW, data16);
  if (lock && !(form.lock && inMemory)) return 'ud';

  const specs = form.specs;
  const operands: Operand[] = [];
  let hasMem = inMemory;
  for (let k = 0; k < specs.length; k++) {
    const spec = specs[k]!;
    const size = sizeOf(spec.size, opSize, rexW);
    switch (spec.source) {
      case Source.Rm:
        if (inMemory) {
          const memSize = sizeOf(spec.memSize, opSize, rexW);
          operands.push(new Operand(Kind.Mem, memSize, 0, false, base, index, scale, disp, seg, 0, disp >> 31));
        } else {
          operands.push(register(spec, size, rm, rex));
        }
        break;
      case Source.Reg:
        operands.push(register(spec, size, reg, rex));
        break;
      case Source.Opcode:
        operands.push(register(spec, size, (opcode & 7) | ((rex & 1) << 3), rex));
        break;
      case Source.Imm:
      case Source.Rel: {
        const encoded = sizeOf(spec.encodedSize, opSize, rexW);
        if (p + encoded > end) return short;
        const lo =
          encoded === 1 ? (bytes[p]! << 24) >> 24 : encoded === 2 ? (read16(bytes, p) << 16) >> 16 : read32(bytes, p);
        const hi = encoded === 8 ? read32(bytes, p + 4) : lo >> 31;
        operands.push(new Operand(spec.kind, size, 0, false, -1, -1, 0, 0, -1, lo, hi));
        p += encoded;
        break;
      }
      case Source.Moffs: {
        if (p + addrSize > end) return short;
        const hi = addrSize === 8 ? read32(bytes, p + 4) : 0;
        operands.push(new Operand(Kind.Mem, size, 0, false, -1, -1, 0, read32(bytes, p), seg, 0, hi));
        p += addrSize;
        hasMem = true;
        break;
      }
      case Source.Memory:
        operands.push(new Operand(Kind.Mem, size, 0, false, spec.value, -1, 0, 0, spec.overridable ? seg : -1, 0, 0));
        hasMem = true;
        break;
      case Source.Fixed:
        operands.push(new Operand(spec.kind, size, spec.value, false, -1, -1, 0, 0, -1, 0, 0));
        break;
      default:
        operands.push(new Operand(Kind.Imm, 1, 0, false, -1, -1, 0, 0, -1, 1, 0));
    }
  }
  const rep = form.repeats ? repeat : 0;
  return new Insn(form.row, p - offset, opSize, addrSize, lock, rep, rexW, reg, rm, hasMem, operands);
}

/** Insn.opSize: what `kind` makes of the prefixes REX.W and 66. */
export function operandSize(kind: number, rexW: boolean, data16: boolean): number {
  switch (kind) {
    case OpSize.Normal:
      return rexW ? 8 : data16 ? 2 : 4;
    case OpSize.Default64:
      return data16 && !rexW ? 2 : 8;
    case OpSize.Always8:
      return 8;
    case OpSize.Byte:
      return 1;
    default:
      return data16 ? 2 : 4;
  }
}

function register(spec: OperandSpec, size: number, number: number, rex: number): Operand {
  let reg = number;
  let high = false;
  switch (spec.kind) {
    case Kind.Reg:
      // Any REX prefix makes 4–7 the low bytes of rsp, rbp, rsi, rdi.
      if (size === 1 && rex === 0 && reg > 3) {
        reg -= 4;
        high = true;
      }
      break;
    case Kind.Mmx:
    case Kind.Seg:
    case Kind.St:
      reg &= 7;
      break;
  }
  return new Operand(spec.kind, size, reg, high, -1, -1, 0, 0, -1, 0, 0);
}

function read16(bytes: Uint8Array, p: number): number {
  return bytes[p]! | (bytes[p + 1]! << 8);
}

function read32(bytes: Uint8Array, p: number): number {
  return bytes[p]! | (bytes[p + 1]! << 8) | (bytes[p + 2]! << 16) | (bytes[p + 3]! << 24);
}
