/**
 * WebAssembly expressions as values. An `E` is a small tree with a type; methods build bigger trees; `emit` writes it in
 * stack order. Which opcode a method means follows from the operands' type: `a.add(b)` is i32.add or i64.add.
 *
 * An expression may be used once only when it has effects or is expensive; `Fn.let` gives a name to one that is used more.
 * Opcode numbers: WebAssembly core specification, "Binary Format / Instructions".
 */
import { SIMD, type SimdOp } from './simd.ts';
import type { Sink } from './sink.ts';

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;
export type ValType = typeof I32 | typeof I64 | typeof F32 | typeof F64 | typeof V128;

/** Prefixes, kept in the upper bits of an opcode number. */
const MISC = 0xfc00;
const SIMD_PREFIX = 0xfd00;
const ATOMIC = 0xfe00;

const LOCAL_GET = 0x20;
const I32_CONST = 0x41;
const I64_CONST = 0x42;
const CALL = 0x10;
const CALL_INDIRECT = 0x11;
const SELECT = 0x1b;

export class E {
  readonly type: ValType;
  readonly op: number;
  readonly args: readonly E[];
  /** Constant's low half, local or function index, memory offset, lane. */
  readonly imm: number;
  /** Constant's high half, alignment exponent. */
  readonly imm2: number;
  readonly bytes: Uint8Array | undefined;

  constructor(type: ValType, op: number, args: readonly E[], imm = 0, imm2 = 0, bytes?: Uint8Array) {
    this.type = type;
    this.op = op;
    this.args = args;
    this.imm = imm;
    this.imm2 = imm2;
    this.bytes = bytes;
  }

  get isConst(): boolean {
    return this.op === I32_CONST || this.op === I64_CONST;
  }
  /** Is this the constant zero? */
  get isZero(): boolean {
    return this.isConst && this.imm === 0 && this.imm2 === 0;
  }
  get isLocal(): boolean {
    return this.op === LOCAL_GET;
  }

  // Integer arithmetic: the two opcodes are i32's and i64's.
  add(b: E | number): E {
    return isZero(b) ? this : this.both(0x6a, 0x7c, b);
  }
  sub(b: E | number): E {
    return isZero(b) ? this : this.both(0x6b, 0x7d, b);
  }
  mul(b: E | number): E {
    return this.both(0x6c, 0x7e, b);
  }
  divS(b: E | number): E {
    return this.both(0x6d, 0x7f, b);
  }
  divU(b: E | number): E {
    return this.both(0x6e, 0x80, b);
  }
  remS(b: E | number): E {
    return this.both(0x6f, 0x81, b);
  }
  remU(b: E | number): E {
    return this.both(0x70, 0x82, b);
  }
  and(b: E | number): E {
    return this.both(0x71, 0x83, b);
  }
  or(b: E | number): E {
    return isZero(b) ? this : this.both(0x72, 0x84, b);
  }
  xor(b: E | number): E {
    return isZero(b) ? this : this.both(0x73, 0x85, b);
  }
  shl(b: E | number): E {
    return isZero(b) ? this : this.both(0x74, 0x86, b);
  }
  shrS(b: E | number): E {
    return isZero(b) ? this : this.both(0x75, 0x87, b);
  }
  shrU(b: E | number): E {
    return isZero(b) ? this : this.both(0x76, 0x88, b);
  }
  rotl(b: E | number): E {
    return this.both(0x77, 0x89, b);
  }
  rotr(b: E | number): E {
    return this.both(0x78, 0x8a, b);
  }
  clz(): E {
    return this.one(0x67, 0x79);
  }
  ctz(): E {
    return this.one(0x68, 0x7a);
  }
  popcnt(): E {
    return this.one(0x69, 0x7b);
  }
  /** All ones xor this. */
  not(): E {
    return this.xor(-1);
  }
  neg(): E {
    return same(this, 0).sub(this);
  }

  // Comparisons give i32 0 or 1.
  eqz(): E {
    return this.test(0x45, 0x50);
  }
  eq(b: E | number): E {
    return this.compare(0x46, 0x51, 0x5b, 0x61, b);
  }
  ne(b: E | number): E {
    return this.compare(0x47, 0x52, 0x5c, 0x62, b);
  }
  ltS(b: E | number): E {
    return this.compare(0x48, 0x53, 0, 0, b);
  }
  ltU(b: E | number): E {
    return this.compare(0x49, 0x54, 0, 0, b);
  }
  gtS(b: E | number): E {
    return this.compare(0x4a, 0x55, 0, 0, b);
  }
  gtU(b: E | number): E {
    return this.compare(0x4b, 0x56, 0, 0, b);
  }
  leS(b: E | number): E {
    return this.compare(0x4c, 0x57, 0, 0, b);
  }
  leU(b: E | number): E {
    return this.compare(0x4d, 0x58, 0, 0, b);
  }
  geS(b: E | number): E {
    return this.compare(0x4e, 0x59, 0, 0, b);
  }
  geU(b: E | number): E {
    return this.compare(0x4f, 0x5a, 0, 0, b);
  }
  /** Floating-point order comparisons (false for NaN). */
  lt(b: E): E {
    return this.compare(0, 0, 0x5d, 0x63, b);
  }
  gt(b: E): E {
    return this.compare(0, 0, 0x5e, 0x64, b);
  }
  le(b: E): E {
    return this.compare(0, 0, 0x5f, 0x65, b);
  }
  ge(b: E): E {
    return this.compare(0, 0, 0x60, 0x66, b);
  }

  // Conversions between integers.
  wrap(): E {
    if (this.type === I32) return this;
    return this.op === I64_CONST ? i32(this.imm) : new E(I32, 0xa7, [this]);
  }
  extendS(): E {
    if (this.type === I64) return this;
    return this.op === I32_CONST ? i64pair(this.imm, this.imm >> 31) : new E(I64, 0xac, [this]);
  }
  extendU(): E {
    if (this.type === I64) return this;
    return this.op === I32_CONST ? i64pair(this.imm, 0) : new E(I64, 0xad, [this]);
  }
  ext8S(): E {
    return this.one(0xc0, 0xc2);
  }
  ext16S(): E {
    return this.one(0xc1, 0xc3);
  }
  ext32S(): E {
    return this.type === I32 ? this : new E(I64, 0xc4, [this]);
  }

  // Floating point, f32 and f64.
  fabs(): E {
    return this.float(0x8b, 0x99);
  }
  fneg(): E {
    return this.float(0x8c, 0x9a);
  }
  ceil(): E {
    return this.float(0x8d, 0x9b);
  }
  floor(): E {
    return this.float(0x8e, 0x9c);
  }
  trunc(): E {
    return this.float(0x8f, 0x9d);
  }
  nearest(): E {
    return this.float(0x90, 0x9e);
  }
  sqrt(): E {
    return this.float(0x91, 0x9f);
  }
  fadd(b: E): E {
    return this.float(0x92, 0xa0, b);
  }
  fsub(b: E): E {
    return this.float(0x93, 0xa1, b);
  }
  fmul(b: E): E {
    return this.float(0x94, 0xa2, b);
  }
  fdiv(b: E): E {
    return this.float(0x95, 0xa3, b);
  }
  demote(): E {
    return new E(F32, 0xb6, [this]);
  }
  promote(): E {
    return new E(F64, 0xbb, [this]);
  }
  /** Same bits, other type. */
  asI32(): E {
    return new E(I32, 0xbc, [this]);
  }
  asI64(): E {
    return new E(I64, 0xbd, [this]);
  }
  asF32(): E {
    return new E(F32, 0xbe, [this]);
  }
  asF64(): E {
    return new E(F64, 0xbf, [this]);
  }
  /** Signed integer to float. */
  toF32(): E {
    return new E(F32, this.type === I32 ? 0xb2 : 0xb4, [this]);
  }
  toF64(): E {
    return new E(F64, this.type === I32 ? 0xb7 : 0xb9, [this]);
  }
  /** Float to signed integer, saturating; NaN gives 0. */
  satI32(): E {
    return new E(I32, MISC | (this.type === F32 ? 0 : 2), [this]);
  }
  satI64(): E {
    return new E(I64, MISC | (this.type === F32 ? 4 : 6), [this]);
  }

  private both(op32: number, op64: number, b: E | number): E {
    const right = same(this, b);
    const folded = fold(this, op32, right);
    return folded ?? new E(this.type, this.type === I32 ? op32 : op64, [this, right]);
  }
  private one(op32: number, op64: number): E {
    return new E(this.type, this.type === I32 ? op32 : op64, [this]);
  }
  private test(op32: number, op64: number): E {
    return new E(I32, this.type === I32 ? op32 : op64, [this]);
  }
  private compare(op32: number, op64: number, opF32: number, opF64: number, b: E | number): E {
    const op = this.type === I32 ? op32 : this.type === I64 ? op64 : this.type === F32 ? opF32 : opF64;
    return new E(I32, op, [this, same(this, b)]);
  }
  private float(op32: number, op64: number, b?: E): E {
    return new E(this.type, this.type === F32 ? op32 : op64, b === undefined ? [this] : [this, b]);
  }
}

function isZero(b: E | number): boolean {
  return typeof b === 'number' ? b === 0 : b.isZero;
}

/** `b` as an expression of the type of `a`. */
function same(a: E, b: E | number): E {
  if (typeof b !== 'number') {
    if (b.type !== a.type) throw new Error(`operand types differ: ${a.type.toString(16)} and ${b.type.toString(16)}`);
    return b;
  }
  return a.type === I32 ? i32(b) : i64(b);
}

/** Constants of both kinds are folded where translated code has many: addition, and, shifts left. 32 bits only. */
function fold(a: E, op32: number, b: E): E | undefined {
  if (a.op !== I32_CONST || b.op !== I32_CONST) return undefined;
  switch (op32) {
    case 0x6a:
      return i32((a.imm + b.imm) | 0);
    case 0x6b:
      return i32((a.imm - b.imm) | 0);
    case 0x71:
      return i32(a.imm & b.imm);
    case 0x72:
      return i32(a.imm | b.imm);
    case 0x74:
      return i32(a.imm << (b.imm & 31));
    default:
      return undefined;
  }
}

/** The operands of what has none: a third of all expressions. */
const NONE: readonly E[] = [];
export const i32 = (value: number): E => new E(I32, I32_CONST, NONE, value | 0);
/** An i64 constant from a safe integer. */
export const i64 = (value: number): E => new E(I64, I64_CONST, NONE, value | 0, Math.floor(value / 0x1_0000_0000) | 0);
/** An i64 constant from its 32-bit halves. */
export const i64pair = (lo: number, hi: number): E => new E(I64, I64_CONST, NONE, lo | 0, hi | 0);
export const i64big = (value: bigint): E =>
  i64pair(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
export const f64 = (value: number): E => i64big(f64bits(value)).asF64();
export const f32 = (value: number): E => i32(f32bits(value)).asF32();
const scratch = new DataView(new ArrayBuffer(8));
function f64bits(value: number): bigint {
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0);
}
function f32bits(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getInt32(0);
}

const load =
  (type: ValType, op: number, align: number) =>
  (address: E, offset = 0): E =>
    new E(type, op, [address], offset, align);
export const load32 = load(I32, 0x28, 2);
export const load64 = load(I64, 0x29, 3);
export const loadF32 = load(F32, 0x2a, 2);
export const loadF64 = load(F64, 0x2b, 3);
export const load8u = load(I32, 0x2d, 0);
export const load8s = load(I32, 0x2c, 0);
export const load16u = load(I32, 0x2f, 1);
export const load16s = load(I32, 0x2e, 1);
export const load32s64 = load(I64, 0x34, 2);
export const load32u64 = load(I64, 0x35, 2);
export const load128 = load(V128, SIMD_PREFIX | 0, 4);
export const atomicLoad32 = load(I32, ATOMIC | 0x10, 2);
/** v128 of an aligned 32 or 64-bit value and zeros. */
export const load32zero = load(V128, SIMD_PREFIX | 92, 2);
export const load64zero = load(V128, SIMD_PREFIX | 93, 3);
/** Atomic read-modify-write expressions; they give the old value. */
export const atomic = {
  add32: (address: E, value: E, offset = 0): E => new E(I32, ATOMIC | 0x1e, [address, value], offset, 2),
  add64: (address: E, value: E, offset = 0): E => new E(I64, ATOMIC | 0x1f, [address, value], offset, 3),
  or64: (address: E, value: E, offset = 0): E => new E(I64, ATOMIC | 0x34, [address, value], offset, 3),
  /** Compare-exchange of 1, 2, 4 (i32) or 8 (i64) bytes. */
  cas: (size: number, address: E, expected: E, replacement: E): E => {
    const op = size === 8 ? 0x49 : size === 4 ? 0x48 : size === 2 ? 0x4b : 0x4a;
    const align = size === 8 ? 3 : size === 4 ? 2 : size === 2 ? 1 : 0;
    return new E(size === 8 ? I64 : I32, ATOMIC | op, [address, expected, replacement], 0, align);
  },
};

export const select = (condition: E, yes: E, no: E): E => new E(yes.type, SELECT, [yes, no, condition]);
export const localGet = (type: ValType, index: number): E => new E(type, LOCAL_GET, NONE, index);
export const callExpr = (type: ValType, index: number, args: readonly E[]): E => new E(type, CALL, args, index);
/** Call through table 0; `typeIndex` is the function type's. */
export const callIndirectExpr = (type: ValType, typeIndex: number, args: readonly E[], index: E): E =>
  new E(type, CALL_INDIRECT, [...args, index], typeIndex);

/** A SIMD operation by its name in the specification, e.g. `simd('i32x4.add', a, b)`. */
export function simd(name: SimdOp, ...args: E[]): E {
  const [op, type] = SIMD[name];
  return new E(type as ValType, SIMD_PREFIX | op, args);
}
/** A SIMD operation with a lane number. */
export function lane(name: SimdOp, index: number, ...args: E[]): E {
  const [op, type] = SIMD[name];
  return new E(type as ValType, SIMD_PREFIX | op, args, index, -1);
}
export const v128const = (bytes: Uint8Array): E => new E(V128, SIMD_PREFIX | 12, [], 0, 0, bytes);
export const v128zero = (): E => v128const(new Uint8Array(16));
/** i8x16.shuffle: lanes 0–15 are a's bytes, 16–31 b's. */
export const shuffle = (a: E, b: E, lanes: readonly number[]): E =>
  new E(V128, SIMD_PREFIX | 13, [a, b], 0, 0, Uint8Array.from(lanes));

/** Write `e` in stack order. */
export function emit(e: E, out: Sink): void {
  const { args, op } = e;
  for (let k = 0; k < args.length; k++) emit(args[k]!, out);
  if (op < 0x100) {
    out.byte(op);
    if (op === LOCAL_GET || op === CALL) out.uleb(e.imm);
    else if (op === I32_CONST) out.sleb(e.imm);
    else if (op === I64_CONST) out.sleb64(e.imm, e.imm2);
    else if (op >= 0x28 && op <= 0x35) {
      out.uleb(e.imm2);
      out.uleb(e.imm);
    } else if (op === CALL_INDIRECT) {
      out.uleb(e.imm);
      out.byte(0);
    }
    return;
  }
  out.byte(op >> 8);
  out.uleb(op & 0xff);
  if (op >= ATOMIC) {
    out.uleb(e.imm2);
    out.uleb(e.imm);
  } else if (op >= SIMD_PREFIX) {
    if (e.bytes !== undefined) out.raw(e.bytes);
    else if (e.imm2 === -1) out.byte(e.imm);
    else if (op === SIMD_PREFIX || op === (SIMD_PREFIX | 92) || op === (SIMD_PREFIX | 93)) {
      out.uleb(e.imm2);
      out.uleb(e.imm);
    }
  }
}
