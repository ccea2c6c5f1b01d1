/**
 * The encoder: a row and its operands to bytes. It reads the same rows as the decoder and is its inverse; the tests' assembler
 * and the generator of random instructions are built on it. SDM volume 2, chapter 2.
 */
import { INSN_MAX, Kind, type Operand, RIP } from './decode.ts';
import { Form, type OperandSpec, OpSize, Source, sizeOf } from './opcodes/form.ts';
import { FORMS } from './opcodes/lookup.ts';
import type { Row } from './rows.ts';
import { SEG } from './state.ts';

export interface Encoding {
  /** Effective operand size. Where the row fixes it, it may be left out; otherwise 4 is meant. */
  opSize?: number;
  operands?: readonly Operand[];
  lock?: boolean;
  rep?: 0 | 0xf2 | 0xf3;
  /** Addresses of 32 bits (67). */
  addr32?: boolean;
  /** REX.W where it changes nothing but the choice of row or a `y` operand; otherwise it follows from opSize. */
  rexW?: boolean;
  /** A REX prefix although none is needed. */
  rex?: boolean;
  /** Displacements of 4 bytes although 1 or none would do. */
  longDisp?: boolean;
}

/** The form of a row. */
export function formOf(row: Row): Form {
  const form = FORMS[row.index];
  return form?.row === row ? form : new Form(row);
}

/** The operand sizes that a row can be encoded with. */
export function operandSizes(row: Row): readonly number[] {
  const form = formOf(row);
  switch (form.opSize) {
    case OpSize.Byte:
      return [1];
    case OpSize.Always8:
      return [8];
    case OpSize.Default64:
      return [8, 2];
    case OpSize.AtMost4:
      return [4, 2];
    default:
      break;
  }
  if (form.rexW) return [8];
  const sizes = form.prefix === 1 ? [2, 8] : [4, 8];
  if (form.prefix !== 0 && form.prefix !== 1) sizes.push(2);
  // Where nothing depends on the operand size, one will do.
  return form.specs.some(dependsOnSize) || SIZED.has(row.mnemonic) ? sizes : sizes.slice(0, 1);
}

/** Their operands do not show it, but the operand size or REX.W counts. */
const SIZED = new Set([
  'cbw',
  'cwd',
  'far_ret',
  'fxrstor',
  'fxsave',
  'iret',
  'pcmpestri',
  'pcmpestrm',
  'sysexit',
  'sysret',
]);

function dependsOnSize(spec: OperandSpec): boolean {
  return spec.size < 0 || spec.memSize < 0 || spec.encodedSize < 0;
}

/** The bytes of an instruction. Operands that the row cannot express are the caller's mistake and throw. */
export function encode(row: Row, encoding: Encoding = {}): Uint8Array {
  const form = formOf(row);
  const { operands = [], lock = false, rep = 0, addr32 = false } = encoding;
  if (operands.length !== form.specs.length) throw new Error(`${row.mnemonic} takes ${form.specs.length} operands`);
  const opSize = encoding.opSize ?? operandSizes(row)[0]!;
  const rexW = encoding.rexW || form.rexW || (opSize === 8 && form.opSize === OpSize.Normal);
  const bytes: number[] = [];

  let rex = encoding.rex ? 0x40 : 0;
  let seg = -1;
  let opcode = form.opcode;
  let modrm = form.modrm >= 0 ? form.modrm : form.hasModrm ? 0xc0 : 0;
  if (form.digit >= 0) modrm |= form.digit << 3;
  let tail: number[] = [];
  const immediates: number[] = [];
  let noRex = false;
  if (rexW) rex |= 0x48;

  form.specs.forEach((spec, k) => {
    const op = operands[k]!;
    const wide = (low: number, bit: number) => {
      if (low > 7) rex |= 0x40 | bit;
      if (op.kind === Kind.Reg && op.size === 1) {
        if (op.high) noRex = true;
        else if (low > 3) rex |= 0x40;
      }
      return (op.high ? low + 4 : low) & 7;
    };
    if (op.kind === Kind.Mem && op.seg >= 0) seg = op.seg;
    switch (spec.source) {
      case Source.Rm:
        if (op.kind === Kind.Mem) {
          if (!form.memory || form.modless) throw new Error(`${row.mnemonic}: operand ${k} cannot be in memory`);
          const memory = encodeMemory(op, encoding.longDisp ?? false);
          modrm = (modrm & 0x38) | memory.modrm;
          rex |= memory.rex;
          tail = memory.tail;
        } else {
          if (!form.register) throw new Error(`${row.mnemonic}: operand ${k} must be in memory`);
          modrm |= wide(op.reg, 1);
        }
        break;
      case Source.Reg:
        modrm |= wide(op.reg, 4) << 3;
        break;
      case Source.Opcode:
        opcode |= wide(op.reg, 1);
        break;
      case Source.Imm:
      case Source.Rel:
        little(immediates, op.immLo, op.immHi, sizeOf(spec.encodedSize, opSize, rexW));
        break;
      case Source.Moffs:
        little(immediates, op.disp, op.immHi, addr32 ? 4 : 8);
        break;
    }
  });
  if (noRex && rex !== 0) throw new Error(`${row.mnemonic}: AH, CH, DH and BH cannot be encoded with REX`);

  if (lock) bytes.push(0xf0);
  if (rep) bytes.push(rep);
  if (addr32) bytes.push(0x67);
  if (seg >= 0) bytes.push(seg === SEG.fs ? 0x64 : 0x65);
  if (form.prefix === 1 || (opSize === 2 && form.opSize !== OpSize.Always8)) bytes.push(0x66);
  if (form.prefix > 1) bytes.push(form.prefix === 2 ? 0xf3 : 0xf2);
  if (rex !== 0) bytes.push(rex);
  if (form.map > 0) bytes.push(0x0f);
  if (form.map > 1) bytes.push(form.map === 2 ? 0x38 : 0x3a);
  bytes.push(opcode);
  if (form.hasModrm) bytes.push(modrm);
  bytes.push(...tail, ...immediates);
  if (bytes.length > INSN_MAX) throw new Error(`${row.mnemonic}: ${bytes.length} bytes are too many`);
  return Uint8Array.from(bytes);
}

function encodeMemory(op: Operand, longDisp: boolean): { modrm: number; rex: number; tail: number[] } {
  const { base, index, scale, disp } = op;
  const tail: number[] = [];
  if (index === 4) throw new Error('rsp cannot be an index');
  if (base === RIP) {
    little(tail, disp, 0, 4);
    return { modrm: 0x05, rex: 0, tail };
  }
  const rex = (base > 7 ? 0x41 : 0) | (index > 7 ? 0x42 : 0);
  const sib = (scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base < 0 ? 5 : base & 7);
  if (base < 0) {
    tail.push(sib);
    little(tail, disp, 0, 4);
    return { modrm: 0x04, rex, tail };
  }
  // rbp and r13 as a base without displacement would mean none: they get one of 0.
  const size = longDisp || disp !== (disp << 24) >> 24 ? 4 : disp !== 0 || (base & 7) === 5 ? 1 : 0;
  const needsSib = index >= 0 || (base & 7) === 4;
  if (needsSib) tail.push(sib);
  little(tail, disp, 0, size);
  return { modrm: (size === 4 ? 0x80 : size === 1 ? 0x40 : 0) | (needsSib ? 4 : base & 7), rex, tail };
}

function little(into: number[], lo: number, hi: number, size: number): void {
  for (let k = 0; k < size; k++) into.push(((k < 4 ? lo : hi) >>> (8 * (k & 3))) & 0xff);
}
