/**
 * What a row means, as data: the opcode's place in the maps and a specification for each operand. Made once per row from the
 * notation that rows.ts documents; the decoder and the encoder read it. Wrong notation is our mistake and throws at start.
 */
import { Kind } from '../operand.ts';
import type { Row } from '../rows.ts';

/** Sizes that depend on prefixes; positive ones are bytes. */
export const SIZE = { v: -1, y: -2, z: -3, pointer: -4, env: -5, state: -6 } as const;

// biome-ignore format: a table
const SIZES: Record<string, number> = {
  '': 0, b: 1, w: 2, d: 4, ss: 4, q: 8, sd: 8, t: 10, s: 10, dq: 16, x: 16, ps: 16, pd: 16, fx: 512,
  v: SIZE.v, y: SIZE.y, z: SIZE.z, p: SIZE.pointer, env: SIZE.env, state: SIZE.state,
};

/** The bytes of a size code. */
export function sizeOf(code: number, opSize: number, rexW: boolean): number {
  if (code >= 0) return code;
  switch (code) {
    case SIZE.v:
      return opSize;
    case SIZE.y:
      return rexW ? 8 : 4;
    case SIZE.z:
      return opSize === 2 ? 2 : 4;
    case SIZE.pointer:
      return opSize + 2;
    case SIZE.env:
      return opSize === 2 ? 14 : 28;
    default:
      return opSize === 2 ? 94 : 108;
  }
}

/** Where an operand comes from. */
export const Source = {
  Rm: 0,
  Reg: 1,
  /** Low three bits of the opcode. */
  Opcode: 2,
  Imm: 3,
  Rel: 4,
  Moffs: 5,
  /** Memory at a register that the instruction names by itself. */
  Memory: 6,
  /** A register that the instruction names by itself. */
  Fixed: 7,
  /** The constant 1. */
  One: 8,
} as const;
export type Source = (typeof Source)[keyof typeof Source];

export class OperandSpec {
  readonly source: number;
  /** Kind of the operand when it is not in memory. */
  readonly kind: number;
  readonly size: number;
  /** Size code of the memory form, for Source.Rm. */
  readonly memSize: number;
  /** Size code of the encoded immediate or displacement. */
  readonly encodedSize: number;
  /** The register of Source.Fixed and Source.Memory. */
  readonly value: number;
  /** Source.Memory: segment overrides apply. */
  readonly overridable: boolean;
  /** Forms of ModRM that the operand has. */
  readonly register: boolean;
  readonly memory: boolean;

  constructor(source: number, kind: number, size: number, more: Partial<OperandSpec> = {}) {
    this.source = source;
    this.kind = kind;
    this.size = size;
    this.memSize = more.memSize ?? size;
    this.encodedSize = more.encodedSize ?? size;
    this.value = more.value ?? 0;
    this.overridable = more.overridable ?? false;
    this.register = more.register ?? true;
    this.memory = more.memory ?? true;
  }
}

const fixed = (kind: number, size: number, value: number) => new OperandSpec(Source.Fixed, kind, size, { value });
const at = (value: number, size: number, overridable: boolean) =>
  new OperandSpec(Source.Memory, Kind.Mem, size, { value, overridable });
const rm = (kind: number, size: number) => new OperandSpec(Source.Rm, kind, size);
const rmRegister = (kind: number, size: number) => new OperandSpec(Source.Rm, kind, size, { memory: false });
const reg = (kind: number, size: number) => new OperandSpec(Source.Reg, kind, size);

const NAMED: Record<string, OperandSpec> = {
  AL: fixed(Kind.Reg, 1, 0),
  CL: fixed(Kind.Reg, 1, 1),
  AX: fixed(Kind.Reg, 2, 0),
  DX: fixed(Kind.Reg, 2, 2),
  rAX: fixed(Kind.Reg, SIZE.v, 0),
  eAX: fixed(Kind.Reg, SIZE.z, 0),
  ST: fixed(Kind.St, 10, 0),
  'ST(i)': rmRegister(Kind.St, 10),
  XMM0: fixed(Kind.Xmm, 16, 0),
  FS: fixed(Kind.Seg, 2, 4),
  GS: fixed(Kind.Seg, 2, 5),
  '1': new OperandSpec(Source.One, Kind.Imm, 1),
};

const LETTERS: Record<string, (size: number) => OperandSpec> = {
  E: (size) => rm(Kind.Reg, size),
  G: (size) => reg(Kind.Reg, size),
  R: (size) => rmRegister(Kind.Reg, size),
  M: (size) => new OperandSpec(Source.Rm, Kind.Mem, size, { register: false }),
  Z: (size) => new OperandSpec(Source.Opcode, Kind.Reg, size),
  I: (size) => new OperandSpec(Source.Imm, Kind.Imm, size),
  sI: (size) => new OperandSpec(Source.Imm, Kind.Imm, SIZE.v, { encodedSize: size }),
  J: (size) => new OperandSpec(Source.Rel, Kind.Rel, 8, { encodedSize: size }),
  O: (size) => new OperandSpec(Source.Moffs, Kind.Mem, size),
  X: (size) => at(6, size, true),
  Y: (size) => at(7, size, false),
  BB: (size) => at(3, size, true),
  BD: (size) => at(7, size, true),
  V: (size) => reg(Kind.Xmm, size),
  W: (size) => rm(Kind.Xmm, size),
  U: (size) => rmRegister(Kind.Xmm, size),
  P: (size) => reg(Kind.Mmx, size),
  Q: (size) => rm(Kind.Mmx, size),
  N: (size) => rmRegister(Kind.Mmx, size),
  S: (size) => reg(Kind.Seg, size),
  C: (size) => reg(Kind.Cr, size),
  D: (size) => reg(Kind.Dr, size),
};

const SPECS = new Map(Object.entries(NAMED));

/** What an operand code means. There are some hundred, in two thousand places. */
function operandSpec(code: string): OperandSpec {
  const spec = SPECS.get(code) ?? parseOperand(code);
  SPECS.set(code, spec);
  return spec;
}

function parseOperand(code: string): OperandSpec {
  const [first, second] = code.split('/');
  const [, letter, size] = /^(s?[A-Z]+)([a-z]*)$/.exec(first!) ?? [];
  const make = LETTERS[letter ?? ''];
  const bytes = SIZES[size ?? ''];
  if (!make || bytes === undefined) throw new Error(`operand code "${code}" is not in rows.ts`);
  const spec = make(bytes);
  if (second === undefined) return spec;
  const memSize = SIZES[second.slice(1)];
  if (second[0] !== 'M' || memSize === undefined) throw new Error(`operand code "${code}" is not in rows.ts`);
  return new OperandSpec(spec.source, spec.kind, spec.size, { memSize });
}

/** How the operand size of an instruction follows from its prefixes. */
export const OpSize = {
  /** 4; 2 with 66; 8 with REX.W. */
  Normal: 0,
  /** 8; 2 with 66. */
  Default64: 1,
  Always8: 2,
  Byte: 3,
  /** 4; 2 with 66; REX.W is ignored. */
  AtMost4: 4,
} as const;

/** Mandatory prefixes, in the order of their index in the opcode tables. */
export const PREFIXES = ['NP', '66', 'F3', 'F2'] as const;

export class Form {
  readonly row: Row;
  /** Index into PREFIXES, or -1 where prefixes are not part of the opcode. */
  readonly prefix: number;
  readonly rexW: boolean;
  /** 0 one byte, 1 0F, 2 0F 38, 3 0F 3A. */
  readonly map: number;
  readonly opcode: number;
  /** The low three bits of the opcode name a register. */
  readonly plusR: boolean;
  readonly hasModrm: boolean;
  /** ModRM.reg, or -1 when it is an operand. */
  readonly digit: number;
  /** A whole ModRM byte, or -1; with `anyRm` its rm is free. */
  readonly modrm: number;
  readonly anyRm: boolean;
  readonly register: boolean;
  readonly memory: boolean;
  readonly modless: boolean;
  readonly lock: boolean;
  readonly repeats: boolean;
  readonly opSize: number;
  readonly specs: readonly OperandSpec[];

  constructor(row: Row) {
    this.row = row;
    const flag = (name: string) => row.flags.includes(name);
    const tokens = row.encoding.split(' ');
    this.prefix = PREFIXES.indexOf(tokens[0] as (typeof PREFIXES)[number]);
    if (this.prefix >= 0) tokens.shift();
    this.rexW = tokens[0] === 'rex.w';
    if (this.rexW) tokens.shift();
    let map = 0;
    if (tokens[0] === '0F') {
      const [, second] = tokens;
      map = second === '38' ? 2 : second === '3A' ? 3 : 1;
      tokens.splice(0, map > 1 ? 2 : 1);
    }
    this.map = map;
    this.opcode = Number.parseInt(tokens.shift()!, 16);
    this.plusR = tokens.includes('+r');
    const byte = tokens.find((token) => /^[0-9A-F]{2}(\+i)?$/.test(token));
    this.modrm = byte === undefined ? -1 : Number.parseInt(byte, 16);
    this.anyRm = byte?.endsWith('+i') ?? false;
    const digit = tokens.find((token) => /^\/[0-7]$/.test(token));
    this.digit = digit === undefined ? -1 : Number(digit[1]);
    this.hasModrm = this.modrm >= 0 || this.digit >= 0 || tokens.includes('/r');
    this.specs = row.operands.map(operandSpec);
    const modrmSpecs = this.specs.filter((spec) => spec.source === Source.Rm);
    this.modless = flag('modless');
    this.register = modrmSpecs.every((spec) => spec.register);
    this.memory = this.modless || (this.modrm < 0 && modrmSpecs.every((spec) => spec.memory));
    this.lock = flag('lock');
    this.repeats = flag('rep') || flag('repz');
    this.opSize = flag('f64') ? OpSize.Always8 : flag('d64') ? OpSize.Default64 : this.integerSize();
    if (!(this.opcode >= 0 && this.opcode < 256)) throw new Error(`encoding "${row.encoding}" has no opcode`);
  }

  private integerSize(): number {
    // An instruction on bytes alone has operand size 1; one that widens them (movzx Gv,Eb) has that of its result.
    const general = (spec: OperandSpec) => spec.kind === Kind.Reg || spec.kind === Kind.Mem;
    const sizes = this.specs.filter(general).map((spec) => spec.size);
    if (sizes.includes(SIZE.v) || sizes.includes(SIZE.y)) return OpSize.Normal;
    if (sizes.includes(SIZE.z)) return OpSize.AtMost4;
    return sizes.includes(1) ? OpSize.Byte : OpSize.Normal;
  }
}
