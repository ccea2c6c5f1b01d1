/**
 * The shape of one line of the opcode tables in opcodes/. The tables follow the notation of Intel's manual (SDM volume 2)
 * and the operand codes of its appendix A; decoder, encoder, disassembler, both tiers and the tests read the same rows.
 * This file leaves the meaning of encodings and operand codes as data structures to opcodes/form.ts.
 *
 * encoding  `NP`, `66`, `F3`, `F2`: the mandatory prefix (without one of them, these prefixes are not part of the opcode);
 *           `rex.w`: REX.W must be 1; opcode bytes; `+r`: a register in the low three bits of the opcode; `/r`, `/0`…`/7`:
 *           ModRM, with an opcode extension; a further byte is a whole ModRM byte (`0F 01 F8`, x87 `D9 E0`), `+i`: with any rm.
 *           `ib iw id io iz iv cb cz` after it are there for the reader; the operand codes say the same.
 * operands  a letter for where, a size:
 *           E general register or memory (ModRM.rm) · G general register (ModRM.reg) · R general register (ModRM.rm)
 *           M memory · Z general register (opcode) · I immediate · sI immediate, sign-extended to the operand size
 *           J branch displacement · O memory at an absolute address · X memory at rSI · Y memory at ES:rDI
 *           BB memory at rBX (its index AL is not part of the operand) · BD memory at DS:rDI
 *           V XMM (reg) · W XMM or memory (rm) · U XMM (rm) · P MMX (reg) · Q MMX or memory (rm) · N MMX (rm)
 *           S segment · C control · D debug register (reg) · ST, ST(i) x87 · AL CL AX DX rAX eAX XMM0 FS GS 1 themselves
 *           `Rd/Mb`: differing sizes for register and memory
 *           sizes: b 1 · w 2 · d ss 4 · q sd 8 · t s 10 · dq x ps pd 16 · fx 512 · v 2,4,8 · z 2,4 · y 4, with REX.W 8
 *           p a far pointer · env state x87's, 14/28 and 94/108 · none: only the address counts
 *           A vector register is as wide as what is written to it: `movss Vdq,Mss` clears the upper bytes, `Vss,Uss` keeps them.
 * flags     `lock`       LOCK is allowed when the destination is in memory
 *           `d64`        the operand size is 8, with 66 it is 2
 *           `f64`        the operand size is 8, whatever the prefixes
 *           `rep` `repz` F3 and F2 repeat
 *           `priv`       left to the hypervisor: the mnemonic is one of PRIVILEGED (exits.ts)
 *           `unaligned`  16 bytes in memory may lie anywhere (without it, a misaligned address of 16 bytes is #GP)
 *           `modless`    ModRM.mod is ignored and taken as a register
 *           `norexb`     only without REX.B
 *           `alias`      a second encoding, which assemblers do not produce
 *           `x87` `mmx` `sse` `sse2` `sse3` `ssse3` `sse4_1` `sse4_2` `popcnt` `fsgsbase` … the CPUID feature, see FEATURES
 */
export interface Row {
  readonly encoding: string;
  readonly mnemonic: string;
  readonly operands: readonly string[];
  readonly flags: readonly string[];
  /** Position in ROWS (opcodes/index.ts). */
  readonly index: number;
}

/** Flags that name a CPUID feature: what CPUID shows to guests and what the decoder knows agree through these. */
export const FEATURES = [
  'x87',
  'mmx',
  'sse',
  'sse2',
  'sse3',
  'ssse3',
  'sse4_1',
  'sse4_2',
  'popcnt',
  'cx16',
  'fxsr',
  'fsgsbase',
  'rdtscp',
  'serialize',
  'rdrand',
  'rdseed',
] as const;
export type Feature = (typeof FEATURES)[number];

let count = 0;

export function row(encoding: string, mnemonic: string, operands = '', ...flags: string[]): Row {
  return { encoding, mnemonic, operands: operands === '' ? [] : operands.split(','), flags, index: count++ };
}

/** The feature that a row belongs to, or undefined for what every 64-bit processor has. */
export function featureOf(r: Row): Feature | undefined {
  return FEATURES.find((feature) => r.flags.includes(feature));
}
