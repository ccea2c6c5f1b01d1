/**
 * PCMPxSTRx: comparisons of strings of up to 16 bytes or 8 words, with lengths in registers or ended by a zero. Intel SDM
 * volume 2, 4.1 ("Imm8 Control Byte Operation"), step by step.
 */
import type { Insn } from '../../x86/decode.ts';
import { writeFlags } from '../../x86/flags.ts';
import { GPR, RFLAGS, STATE, STATUS_FLAGS } from '../../x86/state.ts';
import type { Helper, HelperCpu } from './cpu.ts';
import { readOperand, vectorHelpers } from './sse-operands.ts';

type Elements = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Int8Array<ArrayBuffer> | Int16Array<ArrayBuffer>;
/** By the low two bits of the control byte. */
const ELEMENTS: readonly (() => Elements)[] = [
  () => new Uint8Array(16),
  () => new Uint16Array(8),
  () => new Int8Array(16),
  () => new Int16Array(8),
];

interface Text {
  readonly elements: Elements;
  /** Elements before the end, at most all. */
  readonly length: number;
}

/** |length|, at most `count`. */
function explicitLength(cpu: HelperCpu, insn: Insn, register: number, count: number): number {
  const value = BigInt.asIntN(insn.rexW ? 64 : 32, cpu.gpr(register));
  const magnitude = value < 0n ? -value : value;
  return magnitude > BigInt(count) ? count : Number(magnitude);
}

function text(cpu: HelperCpu, insn: Insn, k: 0 | 1): Text {
  const control = insn.operands[2]!.immLo;
  const elements = ELEMENTS[control & 3]!();
  const count = elements.length;
  const value = readOperand(cpu, insn, k);
  const bytes = new DataView(elements.buffer);
  bytes.setBigUint64(0, BigInt.asUintN(64, value), true);
  bytes.setBigUint64(8, value >> 64n, true);
  if (insn.mnemonic.startsWith('pcmpe')) {
    return { elements, length: explicitLength(cpu, insn, k === 0 ? GPR.rax : GPR.rdx, count) };
  }
  const end = elements.indexOf(0);
  return { elements, length: end < 0 ? count : end };
}

/** Does element `j` of `b` satisfy the aggregation against all of `a`? Elements behind an end count as the manual's table says. */
function aggregate(kind: number, a: Text, b: Text, j: number): boolean {
  const count = a.elements.length;
  switch (kind) {
    case 0: // Equal to any element of the set.
      if (j >= b.length) return false;
      for (let i = 0; i < a.length; i++) if (a.elements[i] === b.elements[j]) return true;
      return false;
    case 1: // In one of the ranges that pairs of elements give.
      if (j >= b.length) return false;
      for (let i = 0; i + 1 < a.length; i += 2) {
        if (b.elements[j]! >= a.elements[i]! && b.elements[j]! <= a.elements[i + 1]!) return true;
      }
      return false;
    case 2: // Equal at the same place; both behind their ends is equal.
      if (j >= a.length || j >= b.length) return j >= a.length && j >= b.length;
      return a.elements[j] === b.elements[j];
    default: // The first string begins here in the second.
      for (let i = 0; i < a.length && i + j < count; i++) {
        if (i + j >= b.length || a.elements[i] !== b.elements[i + j]) return false;
      }
      return true;
  }
}

const compareStrings =
  (result: 'index' | 'mask'): Helper =>
  (cpu, insn) => {
    const control = insn.operands[2]!.immLo;
    const b = text(cpu, insn, 1);
    const a = text(cpu, insn, 0);
    const count = a.elements.length;
    let bits = 0;
    for (let j = 0; j < count; j++) {
      let bit = aggregate((control >> 2) & 3, a, b, j);
      // Negative polarity; "masked" leaves what is behind the end of the second string.
      if ((control & 0x10) !== 0 && ((control & 0x20) === 0 || j < b.length)) bit = !bit;
      if (bit) bits |= 1 << j;
    }
    if (result === 'index') {
      const index = bits === 0 ? count : control & 0x40 ? 31 - Math.clz32(bits) : 31 - Math.clz32(bits & -bits);
      cpu.setGpr(GPR.rcx, BigInt(index));
    } else writeMask(cpu, bits, count, (control & 0x40) !== 0);
    const flags =
      (bits !== 0 ? RFLAGS.CF : 0) |
      (b.length < count ? RFLAGS.ZF : 0) |
      (a.length < count ? RFLAGS.SF : 0) |
      (bits & 1 ? RFLAGS.OF : 0);
    writeFlags(cpu.view, cpu.base, (cpu.u32(STATE.flagsRest) & ~STATUS_FLAGS) | flags);
  };

/** XMM0: the bits, or elements of all ones and all zeros. */
function writeMask(cpu: HelperCpu, bits: number, count: number, wide: boolean): void {
  let mask = BigInt(bits);
  if (wide) {
    mask = 0n;
    const size = BigInt(128 / count);
    for (let i = 0; i < count; i++) if ((bits >> i) & 1) mask |= ((1n << size) - 1n) << (size * BigInt(i));
  }
  cpu.setU64(STATE.xmm, BigInt.asUintN(64, mask));
  cpu.setU64(STATE.xmm + 8, mask >> 64n);
}

export const SSE_STRING: Record<string, Helper> = vectorHelpers({
  pcmpestri: compareStrings('index'),
  pcmpistri: compareStrings('index'),
  pcmpestrm: compareStrings('mask'),
  pcmpistrm: compareStrings('mask'),
});
