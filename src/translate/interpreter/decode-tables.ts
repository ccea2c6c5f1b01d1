/**
 * The opcode tables once more, as bytes in the vCPU's part of the memory: what WebAssembly (decode-block.ts) needs to turn most instructions
 * into records. Instructions that it does not know are TypeScript's, which knows all: those whose handler needs the instruction itself or
 * a value of its immediate, string instructions, 32-bit addresses, forms that ModRM.rm tells apart.
 *
 * From DECODER on: a byte for each prefix; for each opcode with each mandatory prefix (as in x86/opcodes/lookup.ts) the number of a group; the
 * groups, each of 32 numbers of forms, by ModRM and REX bits; the forms, FORM_BYTES each; for each form, with what
 * else a shape depends on (`variant`), its handler, u16, or 0 as long as nobody has asked for it.
 */
import { decode, INSN_MAX, type Insn, operandSize } from '../../x86/decode.ts';
import { type Form, type OperandSpec, PREFIXES, Source, sizeOf } from '../../x86/opcodes/form.ts';
import { FORMS, SLOTS, type Slot, slotOf } from '../../x86/opcodes/lookup.ts';
import { Kind } from '../../x86/operand.ts';
import { STATE } from '../../x86/state.ts';
import { HELPERS } from '../helpers/index.ts';
import { DECODER, DECODER_END } from '../layout.ts';
import { SEMANTICS } from '../semantics/index.ts';
import { endsBlock, knowsImmediate } from './shape.ts';

/** Offsets from DECODER. */
export const TABLES = {
  prefixes: 0x0,
  /** u32: the variant of a form whose handler was missing, or 0. */
  wanted: 0x100,
  opcodes: 0x200,
  groups: 0x2200,
  forms: 0xa000,
  handlers: 0x12000,
} as const;
const END = 0x22000;

/** What an instruction's prefixes say, a bit each; two bits of one kind are TypeScript's to weigh. REX bits are its own. */
export const PREFIX = { data16: 1, f3: 2, f2: 4, lock: 8, fs: 16, gs: 32, rex: 64, ignored: 128 } as const;
const PREFIX_BYTES: readonly (readonly [number, number])[] = [
  [0x66, PREFIX.data16],
  [0xf3, PREFIX.f3],
  [0xf2, PREFIX.f2],
  [0xf0, PREFIX.lock],
  [0x64, PREFIX.fs],
  [0x65, PREFIX.gs],
  ...[0x26, 0x2e, 0x36, 0x3e].map((byte) => [byte, PREFIX.ignored] as const),
  ...Array.from({ length: 16 }, (_, k) => [0x40 + k, PREFIX.rex] as const),
];

/** In a group's number: a ModRM byte follows the opcode. */
export const HAS_MODRM = 0x8000;
export const GROUP_FORMS = 32;
/** Index in a group, with ModRM and without. */
const withModrm = (isRegister: boolean, reg: number, w: number): number => (isRegister ? 16 : 0) + 2 * reg + w;
const withoutModrm = (rexB: number, w: number): number => 2 * rexB + w;

/** Fields of a form: three operands, u32 each (`operand`); bytes of the immediate, u8, by REX.W + 2 * 66; FLAG, u32. */
export const FORM = { operands: 0, immediate: 12, flags: 16 } as const;
export const FORM_BYTES = 32;
export const FLAG = { lock: 1, modless: 2, ends: 4, one: 8, relative: 16 } as const;

/**
 * An operand in a register: where its number comes from (bits 0–1), how far its registers are apart as a shift (2–4), which bits of the number
 * count (5–8), whether it may be AH, CH, DH or BH (9); and the state-block offset of the first (16–31). 0 for none.
 */
export const OPERAND = { source: 3, shift: 2, mask: 5, byte: 1 << 9, base: 16 } as const;
export const FROM = { nowhere: 0, rm: 1, reg: 2, opcode: 3 } as const;

/** The kinds of registers whose place in the state block the record says: its first, and a shift and a mask as above. */
const FILES: Partial<Record<number, { readonly base: number; readonly shift: number; readonly mask: number }>> = {
  [Kind.Reg]: { base: STATE.gpr, shift: 3, mask: 15 },
  [Kind.Xmm]: { base: STATE.xmm, shift: 4, mask: 15 },
  [Kind.Mmx]: { base: STATE.x87, shift: 4, mask: 7 },
};

/** What of an instruction's operand in memory its shape depends on. */
export const MEMORY = { none: 0, simple: 1, any: 2 } as const;
/** Bits of a variant: REX.W is bit 0, the form's number (that of its row, plus 1) the uppermost. */
export const VARIANT = { data16: 1, lock: 2, memory: 3, form: 5 } as const;

const REGISTERS: readonly number[] = [Source.Reg, Source.Opcode, Source.Fixed];

function isKnown(form: Form): boolean {
  const { row, specs } = form;
  if (SEMANTICS[row.mnemonic] === undefined || HELPERS[row.mnemonic] !== undefined) return false;
  if (knowsImmediate(row) || form.repeats || specs.length > 3) return false;
  const immediates = specs.filter(({ source }) => source === Source.Imm || source === Source.Rel);
  return immediates.length <= 1 && specs.every((spec) => immediates.includes(spec) || isPlain(spec));
}

/** Is it in a register that the record says, in memory by ModRM, or the constant 1? */
function isPlain({ source, kind }: OperandSpec): boolean {
  if (source === Source.One) return true;
  if (source === Source.Rm) return kind === Kind.Mem || FILES[kind] !== undefined;
  return REGISTERS.includes(source) && FILES[kind] !== undefined;
}

function operand(spec: OperandSpec): number {
  const file = FILES[spec.kind];
  if (file === undefined) return 0;
  const { base, shift, mask } = file;
  // What the instruction names by itself, here by its number, is never AH.
  if (spec.source === Source.Fixed) return (base + (spec.value << shift)) << OPERAND.base;
  const from = spec.source === Source.Rm ? FROM.rm : spec.source === Source.Reg ? FROM.reg : FROM.opcode;
  const isByte = spec.kind === Kind.Reg && spec.size === 1;
  const bits = from | (shift << OPERAND.shift) | (mask << OPERAND.mask) | (isByte ? OPERAND.byte : 0);
  return bits | (base << OPERAND.base);
}

function writeForm(view: DataView, at: number, form: Form): void {
  const { specs, row } = form;
  for (const [k, spec] of specs.entries()) view.setUint32(at + FORM.operands + 4 * k, operand(spec), true);
  const immediate = specs.find(({ source }) => source === Source.Imm || source === Source.Rel);
  for (let k = 0; k < 4; k++) {
    const rexW = (k & 1) !== 0;
    const opSize = operandSize(form.opSize, rexW, (k & 2) !== 0);
    const bytes = immediate === undefined ? 0 : sizeOf(immediate.encodedSize, opSize, rexW);
    view.setUint8(at + FORM.immediate + k, bytes);
  }
  const flags =
    (form.lock ? FLAG.lock : 0) |
    (form.modless ? FLAG.modless : 0) |
    (endsBlock(row) ? FLAG.ends : 0) |
    (specs.some(({ source }) => source === Source.One) ? FLAG.one : 0) |
    (immediate?.source === Source.Rel ? FLAG.relative : 0);
  view.setUint32(at + FORM.flags, flags, true);
}

/** The number of `form` in a group, or 0. */
const numberOf = (form: Form | null | undefined): number => (form && isKnown(form) ? form.row.index + 1 : 0);

function groupOf({ hasModrm, forms }: Slot): Uint16Array {
  const group = new Uint16Array(GROUP_FORMS);
  for (let w = 0; w < 2; w++) {
    if (!hasModrm) {
      for (let b = 0; b < 2; b++) group[withoutModrm(b, w)] = numberOf(forms[2 * b + w]);
      continue;
    }
    for (let reg = 0; reg < 8; reg++) {
      group[withModrm(false, reg, w)] = numberOf(forms[2 * reg + w]);
      const inRegister = Array.from({ length: 8 }, (_, rm) => forms[2 * (8 + 8 * reg + rm) + w]);
      const isOne = inRegister.every((form) => form === inRegister[0]);
      group[withModrm(true, reg, w)] = isOne ? numberOf(inRegister[0]) : 0;
    }
  }
  return group;
}

/** All of it but the handlers, which are zeros: what belongs at DECODER. */
export function decodeTables(): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(TABLES.handlers));
  for (const [byte, bits] of PREFIX_BYTES) view.setUint8(TABLES.prefixes + byte, bits);
  for (const [k, form] of FORMS.entries()) writeForm(view, TABLES.forms + (k + 1) * FORM_BYTES, form);
  const groups = new Map<string, number>([[new Uint16Array(GROUP_FORMS).join(), 0]]);
  for (let key = 0; key < SLOTS; key++) {
    const slot = slotOf(key);
    if (slot === null) continue;
    const forms = groupOf(slot);
    const name = forms.join();
    const number = groups.get(name) ?? groups.size;
    groups.set(name, number);
    for (const [k, form] of forms.entries()) view.setUint16(TABLES.groups + 2 * (GROUP_FORMS * number + k), form, true);
    if (number > 0) view.setUint16(TABLES.opcodes + 2 * key, number | (slot.hasModrm ? HAS_MODRM : 0), true);
  }
  const end = Math.max(
    TABLES.groups + 2 * GROUP_FORMS * groups.size - TABLES.forms,
    TABLES.forms + FORM_BYTES * (FORMS.length + 1) - TABLES.handlers,
    TABLES.handlers + (2 << VARIANT.form) * (FORMS.length + 1) - END,
    DECODER + END - DECODER_END,
  );
  if (end > 0) throw new Error('the tables for decoding are larger than their places');
  return new Uint8Array(view.buffer);
}

/** Bytes of the handlers' numbers. */
export const HANDLERS_BYTES = (2 << VARIANT.form) * (FORMS.length + 1);

/** An instruction of the variant `wanted`: its shape is that of all. */
export function exampleOf(wanted: number): Insn {
  const form = FORMS[(wanted >> VARIANT.form) - 1]!;
  // Of an opcode whose ModRM.reg is an operand, some numbers may be another form.
  for (let reg = 0; reg < 8; reg++) {
    const insn = decode(exampleBytes(form, wanted, reg), 0, 2 * INSN_MAX);
    if (typeof insn !== 'string' && insn.row === form.row) return insn;
  }
  throw new Error(`no example of ${form.row.encoding}`);
}

function exampleBytes(
  { prefix, map, opcode, plusR, hasModrm, digit, modrm }: Form,
  wanted: number,
  reg: number,
): Uint8Array {
  const bytes: number[] = [];
  if ((wanted >> VARIANT.data16) & 1) bytes.push(0x66);
  if ((wanted >> VARIANT.lock) & 1) bytes.push(0xf0);
  if (prefix > 1) bytes.push(Number.parseInt(PREFIXES[prefix]!, 16));
  // 90 is XCHG with REX.B only, and else NOP.
  bytes.push(0x40 | ((wanted & 1) << 3) | (plusR ? 1 : 0));
  if (map > 0) bytes.push(0x0f);
  if (map > 1) bytes.push(map === 2 ? 0x38 : 0x3a);
  bytes.push(opcode);
  if (hasModrm) {
    const memory = (wanted >> VARIANT.memory) & 3;
    const middle = modrm >= 0 ? modrm & 0x38 : (digit >= 0 ? digit : reg) << 3;
    if (memory === MEMORY.none) bytes.push(0xc0 | middle | (modrm >= 0 ? modrm & 7 : 0));
    else bytes.push(middle | (memory === MEMORY.any ? 4 : 0));
  }
  return Uint8Array.from({ length: 2 * INSN_MAX }, (_, k) => bytes[k] ?? 0);
}
