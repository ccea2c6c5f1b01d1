/**
 * Instruction bytes from an opcode row, for the CPU comparison. The encoder in src/x86 writes the one encoding that an
 * assembler would choose; here the others are wanted as well: REX prefixes that change nothing, displacements and SIB bytes
 * longer than needed, segment prefixes. It also keeps the comparison independent of the encoder.
 */
import type { Row } from '../../src/x86/rows.ts';

/** What a row's encoding string says. */
export interface Encoding {
  /** Mandatory prefix, or 0. */
  readonly prefix: number;
  readonly rexW: boolean;
  readonly opcode: readonly number[];
  /** ModRM.reg when it is part of the opcode, -1 for `/r`, undefined without ModRM. */
  readonly extension: number | undefined;
  /** The low three bits of the last opcode byte name a register (`+r`) or are free (`+i`). */
  readonly lowBits: 'register' | 'free' | undefined;
}

const MANDATORY: Record<string, number> = { NP: 0, '66': 0x66, F3: 0xf3, F2: 0xf2 };
const IMMEDIATES = new Set(['ib', 'iw', 'id', 'io', 'iz', 'iv', 'cb', 'cz']);

export function parseEncoding(row: Row): Encoding {
  const tokens = row.encoding.split(' ');
  let prefix = 0;
  let rexW = false;
  let extension: number | undefined;
  let lowBits: Encoding['lowBits'];
  const opcode: number[] = [];
  tokens.forEach((token, i) => {
    if (token === 'rex.w') rexW = true;
    else if (token in MANDATORY && opcode.length === 0 && i < tokens.length - 1) prefix = MANDATORY[token]!;
    else if (token === '/r') extension = -1;
    else if (/^\/[0-7]$/.test(token)) extension = Number(token[1]);
    else if (token === '+r') lowBits = 'register';
    else if (/^[0-9A-F]{2}(\+i)?$/.test(token)) {
      opcode.push(Number.parseInt(token.slice(0, 2), 16));
      if (token.endsWith('+i')) lowBits = 'free';
    } else if (token === '+i') lowBits = 'free';
    else if (!IMMEDIATES.has(token)) throw new Error(`${row.mnemonic}: unknown token "${token}" in "${row.encoding}"`);
  });
  return { prefix, rexW, opcode, extension, lowBits };
}

/** A memory operand: register numbers, -1 for none; base 16 is RIP. */
export interface Address {
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly disp: number;
  /** Bytes of displacement: the least one that the addressing mode allows is taken when this is too few. */
  readonly dispBytes: 0 | 1 | 4;
}

export interface Choice {
  readonly opSize: number;
  /** ModRM.reg, 0–15 (only when it is no opcode extension). */
  readonly reg: number;
  /** ModRM.rm: a register number, or an address. */
  readonly rm: number | Address;
  /** Register in the opcode, 0–15. */
  readonly low: number;
  /** Immediate bytes. */
  readonly immediate: readonly number[];
  readonly lock: boolean;
  /** 0, 0xF2 or 0xF3. */
  readonly rep: number;
  readonly addr32: boolean;
  /** 0, 0x64 (FS), 0x65 (GS) or one of the segment prefixes that 64-bit mode ignores. */
  readonly segment: number;
  /** Write a REX prefix even if no bit of it is set. */
  readonly rex: boolean;
}

export function emit(row: Row, encoding: Encoding, choice: Choice): number[] {
  const bytes: number[] = [];
  const fixedSize = row.flags.includes('d64') || row.flags.includes('f64');
  if (choice.lock) bytes.push(0xf0);
  if (choice.segment) bytes.push(choice.segment);
  if (choice.addr32) bytes.push(0x67);
  if (choice.opSize === 2 && encoding.prefix !== 0x66) bytes.push(0x66);
  if (encoding.prefix) bytes.push(encoding.prefix);
  if (choice.rep) bytes.push(choice.rep);

  let rex = encoding.rexW || (choice.opSize === 8 && !fixedSize) ? 8 : 0;
  const tail: number[] = [...encoding.opcode];
  if (encoding.lowBits) {
    tail[tail.length - 1]! |= choice.low & 7;
    if (choice.low > 7) rex |= 1;
  }
  if (encoding.extension !== undefined) {
    const reg = encoding.extension < 0 ? choice.reg : encoding.extension;
    if (reg > 7) rex |= 4;
    const field = (reg & 7) << 3;
    if (typeof choice.rm === 'number') {
      if (choice.rm > 7) rex |= 1;
      tail.push(0xc0 | field | (choice.rm & 7));
    } else rex |= address(tail, field, choice.rm);
  }
  tail.push(...choice.immediate);
  if (rex || choice.rex) bytes.push(0x40 | rex);
  bytes.push(...tail);
  return bytes;
}

/** ModRM (with `field` in its reg bits), SIB and displacement; returns REX bits. SDM volume 2, 2.1.5 and 2.2.1. */
function address(bytes: number[], field: number, a: Address): number {
  const little = (count: number): number[] => Array.from({ length: count }, (_, i) => (a.disp >> (8 * i)) & 255);
  if (a.base === 16) {
    bytes.push(field | 5, ...little(4));
    return 0;
  }
  const rex = (a.base > 7 ? 1 : 0) | (a.index > 7 ? 2 : 0);
  if (a.base < 0) {
    bytes.push(field | 4, (a.scale << 6) | ((a.index < 0 ? 4 : a.index & 7) << 3) | 5, ...little(4));
    return rex;
  }
  const dispBytes = a.dispBytes === 0 && (a.base & 7) === 5 ? 1 : a.dispBytes;
  const mod = dispBytes === 0 ? 0 : dispBytes === 1 ? 0x40 : 0x80;
  if (a.index >= 0 || (a.base & 7) === 4 || a.scale > 0) {
    bytes.push(mod | field | 4, (a.scale << 6) | ((a.index < 0 ? 4 : a.index & 7) << 3) | (a.base & 7));
  } else bytes.push(mod | field | (a.base & 7));
  bytes.push(...little(dispBytes));
  return rex;
}
