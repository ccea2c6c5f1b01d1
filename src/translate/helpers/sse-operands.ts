/**
 * Operands of MMX and SSE instructions for those performed in TypeScript, as unsigned integers of the operand's size; and what
 * ends such an instruction: exception flags, the change of the x87 registers to MMX use. SDM volume 1, 9.5 and 11.5.
 */
import { type Insn, Kind, type Operand } from '../../x86/decode.ts';
import { STATE } from '../../x86/state.ts';
import type { Helper, HelperCpu } from './cpu.ts';
import type { SoftFloat } from './sse-soft-float.ts';

const NM = 7;
const GP = 13;
const MF = 16;
const XM = 19;
/** Invalid, denormal, divide by zero: found before anything is computed. */
const BEFORE = 7;

/** `body` as an MMX or SSE instruction: not while CR0.TS is set, and MMX ones not with an x87 exception pending. */
export const vectorHelper =
  (body: Helper): Helper =>
  (cpu, insn) => {
    if (cpu.u32(STATE.taskSwitched) !== 0) cpu.fault(NM);
    if (usesMmx(insn) && (cpu.u16(STATE.fsw) & 0x80) !== 0) cpu.fault(MF);
    const status = body(cpu, insn);
    enterMmx(cpu, insn);
    return status;
  };
const usesMmx = (insn: Insn): boolean => insn.operands.some(({ kind }) => kind === Kind.Mmx);

/** An instruction with an MMX operand sets TOP to 0 and all tags to valid. */
export function enterMmx(cpu: HelperCpu, insn: Insn): void {
  if (!usesMmx(insn)) return;
  cpu.setU16(STATE.fsw, cpu.u16(STATE.fsw) & ~0x3800);
  cpu.setU16(STATE.ftw, 0);
}
export const vectorHelpers = (table: Record<string, Helper>): Record<string, Helper> =>
  Object.fromEntries(Object.entries(table).map(([name, body]) => [name, vectorHelper(body)]));

const registerAt = (op: Operand): number =>
  op.kind === Kind.Xmm ? STATE.xmm + 16 * op.reg : STATE.x87 + 16 * (op.reg & 7);

/** Address of memory operand `k`; 16 bytes have to be aligned unless the row says otherwise. */
export function vectorAddress(cpu: HelperCpu, insn: Insn, k: number): bigint {
  const va = cpu.address(insn, k);
  if (insn.operands[k]!.size === 16 && (va & 15n) !== 0n && !insn.row.flags.includes('unaligned')) cpu.fault(GP);
  return va;
}

/** Operand `k` of any kind. */
export function readOperand(cpu: HelperCpu, insn: Insn, k: number): bigint {
  const op = insn.operands[k]!;
  if (op.kind === Kind.Mem) return cpu.read(vectorAddress(cpu, insn, k), op.size, insn, k);
  if (op.kind !== Kind.Xmm && op.kind !== Kind.Mmx) return cpu.load(insn, k);
  const at = registerAt(op);
  if (op.size === 4) return BigInt(cpu.u32(at));
  return op.size === 8 ? cpu.u64(at) : cpu.u64(at) | (cpu.u64(at + 8) << 64n);
}

/** Write register operand `k`, as many bytes of it as the operand has. */
export function writeRegister(cpu: HelperCpu, insn: Insn, k: number, value: bigint): void {
  const op = insn.operands[k]!;
  if (op.kind === Kind.Reg) {
    cpu.setRegister(op, value);
    return;
  }
  const at = registerAt(op);
  if (op.size === 4) cpu.setU32(at, Number(value));
  else cpu.setU64(at, BigInt.asUintN(64, value));
  if (op.size === 16) cpu.setU64(at + 8, value >> 64n);
  if (op.kind === Kind.Mmx) cpu.setU16(at + 8, 0xffff);
}

/** Element `index` of `size` bytes. */
export const element = (value: bigint, size: number, index: number): bigint =>
  BigInt.asUintN(8 * size, value >> BigInt(8 * size * index));

/** Put elements together, the first one lowest. */
export const joinElements = (size: number, parts: readonly bigint[]): bigint =>
  parts.reduceRight((all, part) => (all << BigInt(8 * size)) | part, 0n);

/** Record the exceptions of `soft`; #XM if one of them is not masked. Comes before the result is written. */
export function raise(cpu: HelperCpu, insn: Insn, soft: SoftFloat): void {
  const mxcsr = cpu.u32(STATE.mxcsr);
  const unmasked = soft.flags & ~(mxcsr >> 7);
  const flags = (unmasked & BEFORE) !== 0 ? soft.flags & BEFORE : soft.flags;
  cpu.setU32(STATE.mxcsr, mxcsr | flags);
  if (unmasked === 0) return;
  // CPUs do so even when the instruction has no result.
  enterMmx(cpu, insn);
  cpu.fault(XM);
}
