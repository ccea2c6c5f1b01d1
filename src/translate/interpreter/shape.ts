/**
 * The shape of an instruction: everything that the interpreter's generated code depends on. Two instructions of one shape
 * run the same handler and differ in their records only.
 */
import { type Insn, Kind, type Operand } from '../../x86/decode.ts';
import { ROWS } from '../../x86/opcodes/index.ts';
import type { Row } from '../../x86/rows.ts';
import { SEG, STATE } from '../../x86/state.ts';
import { RECORD } from '../layout.ts';

/** Operand.base of a RIP-relative operand. */
export const RIP = 16;

/** Mnemonics whose immediate selects code (shuffles, rounding modes …): it is part of their shape. */
const SHAPE_IMMEDIATE = new Set([
  'pshufd',
  'pshufhw',
  'pshuflw',
  'pshufw',
  'shufps',
  'shufpd',
  'palignr',
  'pblendw',
  'blendps',
  'blendpd',
  'roundss',
  'roundsd',
  'roundps',
  'roundpd',
  'insertps',
  'extractps',
  'pinsrb',
  'pinsrw',
  'pinsrd',
  'pinsrq',
  'pextrb',
  'pextrw',
  'pextrd',
  'pextrq',
  'cmpps',
  'cmppd',
  'cmpss',
  'cmpsd_sse',
  'cmpsd',
  'dpps',
  'dppd',
  'mpsadbw',
  'psrldq',
  'pslldq',
  'pcmpistri',
]);
const KNOWN_IMMEDIATE = Uint8Array.from(ROWS, ({ mnemonic }) => (SHAPE_IMMEDIATE.has(mnemonic) ? 1 : 0));
/** Mnemonics after which the next instruction in memory is not the next one run. */
const ENDS = new Set([
  'jmp',
  'call',
  'ret',
  'syscall',
  'int',
  'int3',
  'ud2',
  'hlt',
  'iret',
  'far_jmp',
  'far_ret',
  'sysret',
  'sysexit',
]);
const ENDS_BLOCK = Uint8Array.from(ROWS, ({ mnemonic }) => (ENDS.has(mnemonic) ? 1 : 0));
/** Bit per operand: an `O`. */
const ABSOLUTE = Uint8Array.from(ROWS, ({ operands }) =>
  operands.reduce((bits, code, k) => bits | (code.startsWith('O') ? 1 << k : 0), 0),
);

/** base + displacement in a flat segment: no index, no override, 64-bit. */
export function isSimpleMemory(insn: Insn, op: Operand): boolean {
  return op.index < 0 && op.seg < 0 && insn.addrSize === 8;
}

export function hasKnownImmediate(insn: Insn): boolean {
  return knowsImmediate(insn.row);
}

/** Have the row's instructions an immediate that is part of their shape? */
export function knowsImmediate(row: Row): boolean {
  return KNOWN_IMMEDIATE[row.index] === 1;
}

/** Is the next instruction in memory not the next one run? */
export function endsBlock(row: Row): boolean {
  return ENDS_BLOCK[row.index] === 1;
}

/** MOV's operand at a 64-bit absolute address. */
export function isAbsolute(insn: Insn, k: number): boolean {
  return ((ABSOLUTE[insn.row.index]! >> k) & 1) === 1;
}

/** Is the branch target in the page of the instruction at `position`? */
export function targetInPage(insn: Insn, position: number): boolean {
  const target = position + insn.length + insn.operands[0]!.immLo;
  return target >= 0 && target < 4096;
}

export function shapeKey(insn: Insn): string {
  let key = insn.mnemonic + '/' + insn.opSize;
  if (insn.addrSize === 4) key += 'a';
  if (insn.lock) key += 'l';
  if (insn.rep !== 0) key += insn.rep === 0xf2 ? 'n' : 'z';
  for (let k = 0; k < insn.operands.length; k++) {
    const op = insn.operands[k]!;
    switch (op.kind) {
      case Kind.Reg:
        key += ' r' + op.size;
        break;
      case Kind.Mem:
        key += (isAbsolute(insn, k) ? ' o' : isSimpleMemory(insn, op) ? ' b' : ' m') + op.size;
        break;
      case Kind.Imm:
        key += hasKnownImmediate(insn) ? ' =' + (op.immLo & 0xff) : ' i';
        break;
      case Kind.Rel:
        key += ' j';
        break;
      case Kind.Xmm:
        key += ' x' + op.size;
        break;
      case Kind.Mmx:
        key += ' q' + op.size;
        break;
      case Kind.Seg:
        key += ' s' + op.reg;
        break;
      default:
        key += ' ?' + op.kind;
        break;
    }
  }
  return key;
}

/** State-block offset of a general register operand (byte registers include AH … BH). */
export function registerOffset(op: Operand): number {
  return op.high ? STATE.gpr + 8 * op.reg + 1 : STATE.gpr + 8 * op.reg;
}

/** Write everything of `insn` but its handler into the record at `at`. `position` is its offset in the page. */
export function writeRecord(view: DataView, at: number, insn: Insn, position: number): void {
  view.setUint16(at + RECORD.position, position, true);
  view.setUint8(at + RECORD.length, insn.length);
  view.setInt32(at + RECORD.immLo, 0, true);
  view.setInt32(at + RECORD.immHi, 0, true);
  const operands = insn.operands;
  let memory: Operand | undefined;
  let absolute = false;
  let segment: number = STATE.zero;
  for (let k = 0; k < operands.length; k++) {
    const op = operands[k]!;
    switch (op.kind) {
      case Kind.Reg:
        view.setUint16(at + RECORD.reg + 2 * k, registerOffset(op), true);
        break;
      case Kind.Xmm:
        view.setUint16(at + RECORD.reg + 2 * k, STATE.xmm + 16 * op.reg, true);
        break;
      case Kind.Mmx:
        view.setUint16(at + RECORD.reg + 2 * k, STATE.x87 + 16 * (op.reg & 7), true);
        break;
      case Kind.Mem:
        memory = op;
        if (op.seg >= 0) segment = op.seg === SEG.fs ? STATE.fsBase : STATE.gsBase;
        if (isAbsolute(insn, k)) absolute = true;
        break;
      case Kind.Imm:
        view.setInt32(at + RECORD.immLo, op.immLo, true);
        view.setInt32(at + RECORD.immHi, op.immHi, true);
        break;
      case Kind.Rel:
        view.setInt32(at + RECORD.immLo, op.immLo, true);
        view.setInt32(at + RECORD.displacement, targetInPage(insn, position) ? 0 : 1, true);
        break;
      default:
        break;
    }
  }
  view.setUint16(at + RECORD.segment, segment, true);
  if (memory === undefined) return;
  if (absolute) {
    view.setInt32(at + RECORD.immLo, memory.disp, true);
    view.setInt32(at + RECORD.immHi, memory.immHi, true);
    return;
  }
  let base: number = STATE.zero;
  let displacement = memory.disp;
  if (memory.base === RIP) {
    base = STATE.codePage;
    displacement += position + insn.length;
  } else if (memory.base >= 0) base = STATE.gpr + 8 * memory.base;
  view.setUint16(at + RECORD.base, base, true);
  view.setUint16(at + RECORD.index, memory.index < 0 ? STATE.zero : STATE.gpr + 8 * memory.index, true);
  view.setUint8(at + RECORD.scale, memory.scale);
  view.setUint8(at + RECORD.stack, (memory.base === 4 || memory.base === 5) && memory.seg < 0 ? 1 : 0);
  view.setInt32(at + RECORD.displacement, displacement, true);
}
