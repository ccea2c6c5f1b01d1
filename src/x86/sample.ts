/**
 * Random instructions for tests: every row, with all its sizes, registers, addresses and prefixes. The same random numbers
 * give the same instruction.
 */
import { type Encoding, encode, formOf, operandSizes } from './encode.ts';
import { type OperandSpec, OpSize, Source, sizeOf } from './opcodes/form.ts';
import {
  immediateOperand,
  Kind,
  memoryOperand,
  type Operand,
  RIP,
  registerOperand,
  relativeOperand,
} from './operand.ts';
import type { Row } from './rows.ts';
import { SEG } from './state.ts';

/** A whole number from 0 to `below` - 1. */
export type Choose = (below: number) => number;

/** A small seeded generator (mulberry32). */
export function seeded(seed: number): Choose {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000) * below);
  };
}

export interface SampleOptions {
  /** Only the register form (false) or the memory form (true) of a ModRM operand that has both. */
  memory?: boolean;
  opSize?: number;
  /** Addresses for memory operands (64-bit ones); the default takes any that can be encoded, of 32 bits as well. */
  address?: (choose: Choose, size: number) => Operand;
}

const EDGES = [0, 1, -1, 2, 0x7f, -0x80, 0x80, 0xff, 0x7fff, -0x8000, 0x7fff_ffff, -0x8000_0000];

function anyInt32(choose: Choose): number {
  return choose(3) === 0 ? choose(0x1_0000_0000) | 0 : EDGES[choose(EDGES.length)]!;
}

export function anyAddress(choose: Choose, size: number): Operand {
  const seg = choose(8) === 0 ? (choose(2) === 0 ? SEG.fs : SEG.gs) : -1;
  const base = choose(18) - 1;
  if (base === RIP) return memoryOperand(size, { base, disp: anyInt32(choose), seg });
  let index = choose(2) === 0 ? -1 : choose(16);
  if (index === 4) index = -1;
  return memoryOperand(size, { base, index, scale: index < 0 ? 0 : choose(4), disp: anyInt32(choose), seg });
}

/** How to encode a random instance of a row; the operands are as the decoder will return them. */
export function sample(row: Row, choose: Choose, options: SampleOptions = {}): Encoding {
  const form = formOf(row);
  const sizes = operandSizes(row);
  const opSize = options.opSize ?? sizes[choose(sizes.length)]!;
  const rexW = form.rexW || (opSize === 8 && form.opSize === OpSize.Normal);
  const address = options.address ?? anyAddress;
  const memory = form.memory && !form.modless && (options.memory ?? choose(2) === 0);
  const inMemory = memory || !form.register;

  const operand = (spec: OperandSpec): Operand => {
    const size = sizeOf(spec.size, opSize, rexW);
    switch (spec.source) {
      case Source.Rm:
        if (inMemory) return address(choose, sizeOf(spec.memSize, opSize, rexW));
        return registerOperand(spec.kind, register(spec), size);
      case Source.Reg:
      case Source.Opcode:
        return registerOperand(spec.kind, register(spec), size);
      case Source.Imm: {
        const encoded = sizeOf(spec.encodedSize, opSize, rexW);
        const lo = anyInt32(choose) << (encoded < 4 ? 32 - 8 * encoded : 0);
        const value = encoded < 4 ? lo >> (32 - 8 * encoded) : lo;
        return immediateOperand(value, size, encoded === 8 ? anyInt32(choose) : value >> 31);
      }
      case Source.Rel: {
        const value = anyInt32(choose);
        return relativeOperand(sizeOf(spec.encodedSize, opSize, rexW) === 1 ? (value << 24) >> 24 : value);
      }
      case Source.Moffs:
        return memoryOperand(size, { disp: anyInt32(choose), dispHi: anyInt32(choose), seg: -1 });
      case Source.Memory: {
        const seg = spec.overridable && choose(8) === 0 ? (choose(2) === 0 ? SEG.fs : SEG.gs) : -1;
        return memoryOperand(size, { base: spec.value, seg });
      }
      case Source.Fixed:
        return registerOperand(spec.kind, spec.value, size);
      default:
        return immediateOperand(1, 1);
    }
  };
  const register = (spec: OperandSpec): number => {
    if (spec.kind === Kind.Seg) return choose(6);
    if (spec.kind === Kind.Mmx || spec.kind === Kind.St) return choose(8);
    return choose(16);
  };

  // Where the opcode extension is the segment register, it is not free.
  const operands = form.specs.map((spec) =>
    spec.source === Source.Reg && spec.kind === Kind.Seg && form.digit >= 0
      ? registerOperand(Kind.Seg, form.digit, 2)
      : operand(spec),
  );
  // The high byte registers take their turn where nothing in the instruction needs REX.
  if (choose(4) === 0 && !rexW && operands.every(withoutRex)) {
    for (const [k, op] of operands.entries()) {
      const fixed = form.specs[k]!.source === Source.Fixed;
      if (op.kind === Kind.Reg && op.size === 1 && !fixed) operands[k] = registerOperand(Kind.Reg, op.reg & 3, 1, true);
    }
  }
  const repeats = form.repeats ? ([0, 0xf2, 0xf3] as const)[choose(3)]! : 0;
  const moffs = form.specs.some((spec) => spec.source === Source.Moffs);
  return {
    opSize,
    operands,
    rexW,
    addr32: options.address === undefined && !moffs && choose(8) === 0,
    lock: form.lock && memory && choose(3) === 0,
    rep: repeats,
    longDisp: choose(8) === 0,
  };
}

function withoutRex(op: Operand): boolean {
  if (op.kind === Kind.Mem) return (op.base < 8 || op.base === RIP) && op.index < 8;
  return op.reg < 8;
}

/** The bytes of a random instance of a row. */
export function sampleBytes(row: Row, choose: Choose, options: SampleOptions = {}): Uint8Array {
  return encode(row, sample(row, choose, options));
}
