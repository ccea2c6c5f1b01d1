/** Instructions as text, in Intel's syntax: for crash reports, traces and failing tests. Never on a hot path. */
import { type Insn, Kind, type Operand, RIP } from './decode.ts';

const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const LOW8 = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const HIGH8 = ['ah', 'ch', 'dh', 'bh'];
const CLASSIC = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const POINTERS: Readonly<Record<number, string>> = {
  1: 'BYTE PTR ',
  2: 'WORD PTR ',
  4: 'DWORD PTR ',
  6: 'FWORD PTR ',
  8: 'QWORD PTR ',
  10: 'TBYTE PTR ',
  16: 'XMMWORD PTR ',
};

/** Rows have one name for all widths and for both directions of a move; the manual and assemblers have these. */
const BY_SIZE: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  cbw: { 2: 'cbw', 4: 'cwde', 8: 'cdqe' },
  cwd: { 2: 'cwd', 4: 'cdq', 8: 'cqo' },
  iret: { 2: 'iretw', 4: 'iretd', 8: 'iretq' },
};
const SPELLING: Readonly<Record<string, string>> = {
  mov_from_seg: 'mov',
  mov_to_seg: 'mov',
  mov_from_cr: 'mov',
  mov_to_cr: 'mov',
  mov_from_dr: 'mov',
  mov_to_dr: 'mov',
  push_seg: 'push',
  pop_seg: 'pop',
  far_call: 'call',
  far_jmp: 'jmp',
  far_ret: 'retf',
};

/** The text of an instruction at `rip`; without it, branches show as `.+0x12`, relative to the instruction. */
export function disassemble(insn: Insn, rip?: bigint): string {
  const { mnemonic, operands } = insn;
  const words: string[] = [];
  if (insn.lock) words.push('lock');
  if (insn.rep) words.push(!insn.row.flags.includes('repz') ? 'rep' : insn.rep === 0xf3 ? 'repz' : 'repnz');
  const wide = insn.rexW && (mnemonic === 'fxsave' || mnemonic === 'fxrstor') ? '64' : '';
  words.push(insn.addrSize === 4 && mnemonic === 'jrcxz' ? 'jecxz' : spell(insn) + wide);
  const text = operands.map((op) => operandText(op, insn, rip)).join(',');
  return text === '' ? words.join(' ') : `${words.join(' ')} ${text}`;
}

function spell(insn: Insn): string {
  // With 66 the stack moves by two bytes, which the operands need not show.
  if (insn.opSize === 2 && insn.row.flags.includes('d64')) return `${SPELLING[insn.mnemonic] ?? insn.mnemonic}w`;
  return BY_SIZE[insn.mnemonic]?.[insn.opSize] ?? SPELLING[insn.mnemonic] ?? insn.mnemonic;
}

export function registerName(reg: number, size: number, high = false): string {
  if (high) return HIGH8[reg]!;
  if (reg >= 8) return `r${reg}${size === 8 ? '' : size === 4 ? 'd' : size === 2 ? 'w' : 'b'}`;
  if (size === 1) return LOW8[reg]!;
  return (size === 8 ? 'r' : size === 4 ? 'e' : '') + CLASSIC[reg]!;
}

function operandText(op: Operand, insn: Insn, rip?: bigint): string {
  switch (op.kind) {
    case Kind.Reg:
      return registerName(op.reg, op.size, op.high);
    case Kind.Mem:
      return (POINTERS[op.size] ?? '') + addressText(op, insn.addrSize);
    case Kind.Imm:
      return `0x${BigInt.asUintN(8 * op.size, value64(op.immLo, op.immHi)).toString(16)}`;
    case Kind.Rel: {
      const target = BigInt(insn.length) + value64(op.immLo, op.immHi);
      if (rip === undefined) return target < 0n ? `.-0x${(-target).toString(16)}` : `.+0x${target.toString(16)}`;
      return `0x${BigInt.asUintN(64, rip + target).toString(16)}`;
    }
    case Kind.Xmm:
      return `xmm${op.reg}`;
    case Kind.Mmx:
      return `mm${op.reg}`;
    case Kind.Seg:
      return SEGMENTS[op.reg] ?? `seg${op.reg}`;
    case Kind.Cr:
      return `cr${op.reg}`;
    case Kind.Dr:
      return `dr${op.reg}`;
    case Kind.St:
      return insn.row.operands.includes('ST') && op === insn.operands[insn.row.operands.indexOf('ST')]
        ? 'st'
        : `st(${op.reg})`;
    default:
      return '?';
  }
}

function addressText(op: Operand, addrSize: number): string {
  const segment = op.seg < 0 ? '' : `${SEGMENTS[op.seg]}:`;
  if (op.base < 0 && op.index < 0) {
    const address = BigInt.asUintN(8 * addrSize, value64(op.disp, op.immHi));
    return `${segment || 'ds:'}0x${address.toString(16)}`;
  }
  let text = op.base < 0 ? '' : op.base === RIP ? (addrSize === 8 ? 'rip' : 'eip') : registerName(op.base, addrSize);
  if (op.index >= 0) text += `${text && '+'}${registerName(op.index, addrSize)}*${1 << op.scale}`;
  if (op.disp < 0) text += `-0x${(-op.disp).toString(16)}`;
  else if (op.disp > 0) text += `+0x${op.disp.toString(16)}`;
  return `${segment}[${text}]`;
}

function value64(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}
