/**
 * A two-pass assembler for the tests' kernels: Intel notation, labels, a few data directives. Instructions are encoded from the
 * decoder's own rows (src/x86/encode.ts), and each encoding is decoded again and compared, so that a kernel is what it says.
 *
 *   start:  mov rdi, table          labels are addresses; all lie in the top 2 GiB, so they fit 32-bit immediates
 *           lock cmpxchg qword [rbx + rcx*8 + 16], rdx
 *           jne start               branches always have 32-bit displacements
 *   table:  .quad start, 0x1234     also .byte .long .ascii "text" .zero N .align N .org OFFSET
 */
import { decode, type Insn, Kind, type Operand } from '../../src/x86/decode.ts';
import { encode, formOf, operandSizes } from '../../src/x86/encode.ts';
import { ROWS } from '../../src/x86/opcodes/index.ts';
import { immediateOperand, memoryOperand, RIP, registerOperand, relativeOperand } from '../../src/x86/operand.ts';
import type { Row } from '../../src/x86/rows.ts';
import { SEG } from '../../src/x86/state.ts';

export interface Assembled {
  readonly origin: bigint;
  readonly bytes: Uint8Array;
  readonly labels: ReadonlyMap<string, bigint>;
}

// biome-ignore format: a table
const REG64 = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
const REG32 = REG64.map((name, i) => (i < 8 ? `e${name.slice(1)}` : `${name}d`));
const REG16 = REG64.map((name, i) => (i < 8 ? name.slice(1) : `${name}w`));
const REG8 = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil', ...REG64.slice(8).map((name) => `${name}b`)];
const HIGH8 = ['ah', 'ch', 'dh', 'bh'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const SIZES: Record<string, number> = { byte: 1, word: 2, dword: 4, qword: 8, oword: 16 };
const PREFIXES = new Set(['lock', 'rep', 'repe', 'repne', 'addr32']);

const REGISTERS = new Map<string, Operand>();
const general = (names: string[], size: number, high = false) =>
  names.forEach((name, i) => {
    REGISTERS.set(name, registerOperand(Kind.Reg, i, size, high));
  });
general(REG64, 8);
general(REG32, 4);
general(REG16, 2);
general(REG8, 1);
general(HIGH8, 1, true);
SEGMENTS.forEach((name, i) => {
  REGISTERS.set(name, registerOperand(Kind.Seg, i, 2));
});
for (let i = 0; i < 16; i++) {
  REGISTERS.set(`xmm${i}`, registerOperand(Kind.Xmm, i, 16));
  REGISTERS.set(`cr${i}`, registerOperand(Kind.Cr, i, 8));
  REGISTERS.set(`dr${i}`, registerOperand(Kind.Dr, i, 8));
}

const BY_MNEMONIC = new Map<string, Row[]>();
for (const row of ROWS) {
  const rows = BY_MNEMONIC.get(row.mnemonic);
  if (rows) rows.push(row);
  else BY_MNEMONIC.set(row.mnemonic, [row]);
}
/** Names with which people write what the rows name by the operation. */
// biome-ignore format: a table
const ALIASES: Record<string, { mnemonic: string; size?: number }> = {
  iretq: { mnemonic: 'iret', size: 8 },     retfq: { mnemonic: 'far_ret', size: 8 },
  movsb: { mnemonic: 'movs', size: 1 },     movsq: { mnemonic: 'movs', size: 8 },
  stosb: { mnemonic: 'stos', size: 1 },     stosq: { mnemonic: 'stos', size: 8 },
  scasb: { mnemonic: 'scas', size: 1 },     lodsb: { mnemonic: 'lods', size: 1 },   cmpsb: { mnemonic: 'cmps', size: 1 },
};

/** What a value stands for in the first pass, when labels are not known: any address of the kernel's. */
type Resolve = (name: string) => bigint;

class Line {
  readonly number: number;
  readonly text: string;
  constructor(number: number, text: string) {
    this.number = number;
    this.text = text;
  }
}

/** Split at commas that are not in brackets or quotes. */
function splitOperands(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quoted = false;
  let part = '';
  for (const char of text) {
    if (char === '"') quoted = !quoted;
    if (!quoted && char === '[') depth++;
    if (!quoted && char === ']') depth--;
    if (char === ',' && depth === 0 && !quoted) {
      parts.push(part.trim());
      part = '';
    } else part += char;
  }
  if (part.trim() !== '') parts.push(part.trim());
  return parts;
}

/** A sum of numbers and labels: `table + 8 - 0x10`. */
function value(text: string, resolve: Resolve): bigint {
  let sum = 0n;
  const terms = text.match(/[+-]?\s*[^\s+-]+/g);
  if (!terms) throw new Error(`no value in "${text}"`);
  for (const term of terms) {
    const negative = term.startsWith('-');
    const body = term.replace(/^[+-]\s*/, '').trim();
    const n = /^\d/.test(body) ? BigInt(body) : resolve(body);
    sum += negative ? -n : n;
  }
  return BigInt.asIntN(64, sum);
}

const low = (n: bigint) => Number(BigInt.asIntN(32, n));
const high = (n: bigint) => Number(BigInt.asIntN(32, n >> 32n));

function parseMemory(inside: string, size: number, resolve: Resolve): Operand {
  let base = -1;
  let index = -1;
  let scale = 0;
  let disp = 0n;
  let seg = -1;
  let text = inside.trim();
  const override = /^(fs|gs)\s*:/.exec(text);
  if (override) {
    seg = override[1] === 'fs' ? SEG.fs : SEG.gs;
    text = text.slice(override[0].length);
  }
  for (const term of text.match(/[+-]?\s*[^\s+-]+/g) ?? []) {
    const body = term.replace(/^[+-]\s*/, '').trim();
    const scaled = /^(\w+)\s*\*\s*([1248])$/.exec(body);
    const register = REGISTERS.get(scaled ? scaled[1]! : body);
    if (body === 'rip') base = RIP;
    else if (scaled) {
      index = register!.reg;
      scale = Math.log2(Number(scaled[2]));
    } else if (register) {
      if (base < 0) base = register.reg;
      else index = register.reg;
    } else {
      const n = /^\d/.test(body) ? BigInt(body) : resolve(body);
      disp += term.startsWith('-') ? -n : n;
    }
  }
  disp = BigInt.asIntN(64, disp);
  if (BigInt.asIntN(32, disp) !== disp) throw new Error(`displacement ${disp} does not fit`);
  return memoryOperand(size, { base, index, scale, disp: low(disp), seg });
}

interface ParsedOperand {
  readonly operand: Operand;
  /** The size was written, or is the register's. */
  readonly sized: boolean;
}

function parseOperand(text: string, branch: boolean, next: bigint, resolve: Resolve): ParsedOperand {
  const register = REGISTERS.get(text);
  if (register) return { operand: register, sized: true };
  const memory = /^(?:(\w+)\s+)?(?:ptr\s+)?\[(.*)\]$/.exec(text);
  if (memory) {
    const size = memory[1] ? SIZES[memory[1]] : undefined;
    if (memory[1] && size === undefined) throw new Error(`${memory[1]} is no size`);
    return { operand: parseMemory(memory[2]!, size ?? 0, resolve), sized: size !== undefined };
  }
  const n = value(text, resolve);
  if (branch) return { operand: relativeOperand(low(n - next)), sized: true };
  return { operand: immediateOperand(low(n), 0, high(n)), sized: false };
}

function sameOperand(want: ParsedOperand, got: Operand): boolean {
  const { operand, sized } = want;
  if (operand.kind !== got.kind) return false;
  switch (operand.kind) {
    case Kind.Imm: {
      const wanted = BigInt.asUintN(64, (BigInt(operand.immHi) << 32n) | BigInt(operand.immLo >>> 0));
      const found = BigInt.asUintN(64, (BigInt(got.immHi) << 32n) | BigInt(got.immLo >>> 0));
      // An immediate narrower than 64 bits may have been written unsigned.
      return wanted === found || (got.size < 8 && wanted === BigInt.asUintN(8 * got.size, found));
    }
    case Kind.Rel:
      return operand.immLo === got.immLo;
    case Kind.Mem:
      if (sized && got.size !== operand.size) return false;
      return (
        operand.base === got.base &&
        operand.index === got.index &&
        (operand.index < 0 || operand.scale === got.scale) &&
        operand.disp === got.disp &&
        operand.seg === got.seg
      );
    default:
      // A vector register is as wide as the row says.
      return (
        operand.reg === got.reg && operand.high === got.high && (operand.kind !== Kind.Reg || operand.size === got.size)
      );
  }
}

interface Wanted {
  readonly mnemonic: string;
  readonly size: number | undefined;
  readonly operands: readonly ParsedOperand[];
  readonly lock: boolean;
  readonly rep: 0 | 0xf2 | 0xf3;
  readonly addr32: boolean;
}

function matches(insn: Insn, want: Wanted, implied: boolean): boolean {
  if (insn.mnemonic !== want.mnemonic || insn.lock !== want.lock) return false;
  if (implied) return true;
  if (insn.operands.length !== want.operands.length) return false;
  return want.operands.every((operand, k) => sameOperand(operand, insn.operands[k]!));
}

/** The shortest encoding that decodes to what was wanted. */
function encodeInsn(want: Wanted): Uint8Array {
  let best: Uint8Array | undefined;
  for (const row of BY_MNEMONIC.get(want.mnemonic) ?? []) {
    const form = formOf(row);
    // String instructions name their operands by their size only.
    const implied = want.size !== undefined && want.operands.length === 0;
    if (!implied && form.specs.length !== want.operands.length) continue;
    // Pushes and pops are of 8 bytes.
    const sizes = row.flags.includes('d64') ? [8] : operandSizes(row);
    for (const opSize of implied ? [want.size!] : sizes) {
      if (implied && !['far_ret', 'iret'].includes(row.mnemonic) && !operandSizes(row).includes(opSize)) continue;
      const operands = implied
        ? form.specs.map((spec) => registerOperand(Kind.None, 0, spec.size))
        : want.operands.map(({ operand }) => operand);
      let bytes: Uint8Array;
      try {
        const rexW = implied && opSize === 8;
        bytes = encode(row, { opSize, operands, lock: want.lock, rep: want.rep, addr32: want.addr32, rexW });
      } catch {
        continue;
      }
      const insn = decode(bytes, 0, bytes.length);
      if (typeof insn === 'string' || insn.length !== bytes.length || !matches(insn, want, implied)) continue;
      if (implied && insn.opSize !== want.size && insn.operands.length > 0) continue;
      // Labels move: branches keep the long form.
      if (insn.operands[0]?.kind === Kind.Rel && /^J[b]$/.test(row.operands[0]!) && longForm(row.mnemonic)) continue;
      if (!best || bytes.length < best.length) best = bytes;
    }
  }
  if (!best) throw new Error('no row encodes this');
  return best;
}

/** The rows have names of their own for moves to and from registers that are not general ones. */
function moveName(written: string, operands: string): string {
  if (written !== 'mov') return written;
  const kinds = splitOperands(operands).map((part) => REGISTERS.get(part)?.kind);
  for (const [kind, name] of [
    [Kind.Seg, 'seg'],
    [Kind.Cr, 'cr'],
    [Kind.Dr, 'dr'],
  ] as const) {
    if (kinds[0] === kind) return `mov_to_${name}`;
    if (kinds[1] === kind) return `mov_from_${name}`;
  }
  return written;
}

const longForm = (mnemonic: string) => BY_MNEMONIC.get(mnemonic)!.some((row) => row.operands[0] === 'Jz');

function instruction(text: string, at: bigint, resolve: Resolve): Uint8Array {
  let rest = text;
  let lock = false;
  let rep: 0 | 0xf2 | 0xf3 = 0;
  let addr32 = false;
  for (;;) {
    const word = /^(\w+)\s*/.exec(rest)!;
    if (!PREFIXES.has(word[1]!)) break;
    rest = rest.slice(word[0].length);
    if (word[1] === 'lock') lock = true;
    else if (word[1] === 'addr32') addr32 = true;
    else rep = word[1] === 'repne' ? 0xf2 : 0xf3;
  }
  const [, written, tail] = /^(\w+)\s*(.*)$/.exec(rest)!;
  const alias = ALIASES[written!];
  const mnemonic = alias?.mnemonic ?? moveName(written!, tail!);
  if (!BY_MNEMONIC.has(mnemonic)) throw new Error(`${mnemonic} is no instruction`);
  const branchy = BY_MNEMONIC.get(mnemonic)!.some((row) => row.operands[0]?.startsWith('J'));
  const make = (next: bigint) =>
    encodeInsn({
      mnemonic,
      size: alias?.size,
      lock,
      rep,
      addr32,
      operands: splitOperands(tail!).map((part) => parseOperand(part, branchy && !part.includes('['), next, resolve)),
    });
  // The displacement counts from the end, which does not depend on it.
  const branchToAddress = branchy && !REGISTERS.has(tail!) && !tail!.includes('[');
  return branchToAddress ? make(at + BigInt(make(at).length)) : make(at);
}

/** Assemble `source` for `origin`. `constants` are names for numbers. */
export function assemble(
  source: string,
  origin: bigint,
  constants: Readonly<Record<string, bigint | number>> = {},
): Assembled {
  const lines = source
    .split('\n')
    .map((text, i) => new Line(i + 1, text.replace(/(;|#).*$/, '').trim()))
    .filter((line) => line.text !== '');
  const labels = new Map<string, bigint>();
  let bytes: number[] = [];
  for (const pass of [1, 2]) {
    bytes = [];
    const resolve: Resolve = (name) => {
      const known = constants[name] ?? labels.get(name);
      if (known !== undefined) return BigInt(known);
      if (pass === 2) throw new Error(`${name} is not defined`);
      return BigInt.asIntN(64, origin);
    };
    for (const line of lines) {
      try {
        assembleLine(line.text, origin, bytes, resolve, (name) => {
          const here = origin + BigInt(bytes.length);
          if (pass === 1 && labels.has(name)) throw new Error(`${name} is defined twice`);
          if (pass === 2 && labels.get(name) !== here) throw new Error(`${name} moved between the passes`);
          labels.set(name, here);
        });
      } catch (error) {
        throw new Error(`line ${line.number}: ${line.text}: ${(error as Error).message}`);
      }
    }
  }
  return { origin, bytes: Uint8Array.from(bytes), labels };
}

function assembleLine(
  text: string,
  origin: bigint,
  bytes: number[],
  resolve: Resolve,
  define: (name: string) => void,
): void {
  let rest = text;
  for (let label = /^([A-Za-z_]\w*):\s*/.exec(rest); label; label = /^([A-Za-z_]\w*):\s*/.exec(rest)) {
    define(label[1]!);
    rest = rest.slice(label[0].length);
  }
  if (rest === '') return;
  const directive = /^(\.\w+)\s*(.*)$/.exec(rest);
  if (!directive) {
    bytes.push(...instruction(rest, origin + BigInt(bytes.length), resolve));
    return;
  }
  const [, name, tail] = directive;
  const fill = (count: number) => {
    for (let i = 0; i < count; i++) bytes.push(0);
  };
  const numbers = (size: number) => {
    for (const part of splitOperands(tail!)) {
      const n = value(part, resolve);
      for (let i = 0; i < size; i++) bytes.push(Number((n >> BigInt(8 * i)) & 0xffn));
    }
  };
  if (name === '.byte') numbers(1);
  else if (name === '.word') numbers(2);
  else if (name === '.long') numbers(4);
  else if (name === '.quad') numbers(8);
  else if (name === '.ascii') for (const char of tail!.replace(/^"|"$/g, '')) bytes.push(char.charCodeAt(0));
  else if (name === '.zero') fill(Number(value(tail!, resolve)));
  else if (name === '.align') fill(-bytes.length & (Number(value(tail!, resolve)) - 1));
  else if (name === '.org') {
    const count = Number(value(tail!, resolve)) - bytes.length;
    if (count < 0) throw new Error('already beyond');
    fill(count);
  } else throw new Error(`${name} is no directive`);
}
