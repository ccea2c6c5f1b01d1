/**
 * The language that instruction semantics are written in. A semantic function says once what an instruction does; each tier
 * brings a `Lift` that knows where operands live: the interpreter's reads them through a decoded record, the translator's
 * through locals and constants.
 *
 * Values: operands of 1, 2 and 4 bytes are i32, zero-extended when loaded (what is stored may have anything above its size);
 * 8 bytes are i64, 16 are v128. Addresses are i64.
 *
 * Order is the contract that makes faults precise: everything that can fault (loads, stores, `update`) comes before the first
 * change of a register or flag. A store to memory is therefore written first.
 */
import { atomic, E, F32, F64, I32, I64, i32, i64, i64pair, select, v128const } from '../wasm/expr.ts';
import type { Fn } from '../wasm/module.ts';
import { type Insn, Kind, type Operand } from '../x86/decode.ts';
import type { Exit } from '../x86/exits.ts';
import { GPR, STATE } from '../x86/state.ts';
import { ACCESS } from './layout.ts';

/** A destination that is read first. */
export interface Update {
  readonly value: E;
  write(value: E): void;
}

/** Condition codes in encoding order. */
export const CONDITIONS = [
  'o',
  'no',
  'b',
  'ae',
  'e',
  'ne',
  'be',
  'a',
  's',
  'ns',
  'p',
  'np',
  'l',
  'ge',
  'le',
  'g',
] as const;
export type Condition = (typeof CONDITIONS)[number];

/** Rounding to nearest, all exceptions masked, and PE set, as the first operation that rounds leaves it. */
const MXCSR_FAST = 0x1fa0;
/** MXCSR's rounding mode, masks and PE. */
const MXCSR_MODE = 0x7fa0;

/** MXCSR's rounding mode, masks and PE, as their difference from MXCSR_FAST: 0 is the usual case. */
export const roundingState = (mxcsr: E): E => mxcsr.and(MXCSR_MODE).xor(MXCSR_FAST);

/** The exponents of numbers that are neither zero, denormal, the least normal binade, infinite nor NaN, and where they stand. */
const ORDINARY = { [F32]: { least: 2, count: 0xfd, bit: 24 }, [F64]: { least: 2, count: 0x7fd, bit: 53 } } as const;
/** `count` exponents at their place in a number shifted left by 1. */
const exponents = (type: typeof F32 | typeof F64, count: number): E =>
  type === F64 ? i64pair(0, count << (ORDINARY[F64].bit - 32)) : i32(count << ORDINARY[F32].bit);
/** What `ordinaryDistance` of an ordinary number is below. */
export const ordinaryCount = (type: typeof F32 | typeof F64): E => exponents(type, ORDINARY[type].count);
/** The same, but 0 in another rounding state than the usual. */
export const ordinaryLimit = (type: typeof F32 | typeof F64, state: E): E =>
  select(state.eqz(), ordinaryCount(type), exponents(type, 0));
const v128Of = (words: readonly number[]): E => v128const(new Uint8Array(new Int32Array(words).buffer));
const VECTORS = {
  f32x4: {
    least: [0x0100_0000, 0x0100_0000, 0x0100_0000, 0x0100_0000],
    most: [0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff],
  },
  f64x2: { least: [0, 0x0020_0000, 0, 0x0020_0000], most: [-1, 0x7fff_ffff, -1, 0x7fff_ffff] },
} as const;
/** The least ordinary exponent in each element: less it any other that is less is negative. */
export const vectorLeast = (t: keyof typeof VECTORS): E => v128Of(VECTORS[t].least);
/** The same, but more than all exponents in another rounding state than the usual. */
export const vectorLimit = (t: keyof typeof VECTORS, state: E): E =>
  select(state.eqz(), vectorLeast(t), v128Of(VECTORS[t].most));
/** All ones in another rounding state than the usual, else 0. */
export const exactMask = (state: E): E => select(state, v128Of([-1, -1, -1, -1]), v128Of([0, 0, 0, 0]));
/** The sign is shifted out; what is below the ordinary exponents wraps. */
export function ordinaryDistance(value: E): E {
  const type = value.type as typeof F32 | typeof F64;
  const bits = type === F64 ? value.asI64() : value.asI32();
  return bits.shl(1).sub(exponents(type, ORDINARY[type].least));
}

/** The lowest single or double, or all of a register. */
export type FloatFormat = 'f32' | 'f64' | 'f32x4' | 'f64x2';

export abstract class Lift {
  readonly f: Fn;
  readonly insn: Insn;
  /** Base of the state block. */
  readonly cpu: E;

  constructor(f: Fn, insn: Insn, cpu: E) {
    this.f = f;
    this.insn = insn;
    this.cpu = cpu;
  }

  // What a tier provides.

  /** General register operand `k`. */
  protected abstract readReg(k: number): E;
  protected abstract writeReg(k: number, value: E): void;
  /** A register that the instruction names by itself. `size` 1 means the low byte. */
  abstract gpr(index: number, size: number): E;
  abstract setGpr(index: number, size: number, value: E): void;
  /** Immediate operand `k`, sign-extended, as a value of `size` bytes. */
  abstract immediate(k: number, size: number): E;
  /** Low byte of immediate `k` as a number, when the shape makes it known at generation time (see SHAPE_IMMEDIATE). */
  abstract knownImmediate(k: number): number;
  /** Linear-memory address of XMM or MMX register operand `k`. */
  protected abstract vectorAddress(k: number): E;
  /** Virtual address of memory operand `k`. */
  abstract address(k: number): E;
  /** Offset part of memory operand `k`, as LEA gives it. */
  abstract addressWithoutSegment(k: number): E;
  /** register + offset in the instruction's segment (DS unless overridden), for operands that the instruction implies. */
  abstract implicitAddress(register: number, offset: E): E;
  /** Address of the next instruction. */
  abstract nextRip(): E;
  /** Inline address translation: the linear address for `size` bytes at `va` (an i64 local); faults leave the instruction. */
  abstract linear(va: E, size: number, access: number, k?: number): E;
  /** Like `linear` for a store of `bytes` (an i32, at most to the end of the page) at `va`. */
  abstract linearRange(va: E, bytes: E): E;
  /** Completes a store that was made at `linear`: page-crossing ones are carried to their pages. */
  abstract stored(va: E, linear: E, size: number): void;
  /** Flags as a lazy pair (x86/flags.ts): result i64, aux i32. */
  abstract writeFlags(result: E, aux: E): void;
  abstract flagResult(): E;
  abstract flagAux(): E;
  abstract writeAux(aux: E): void;
  /** Leave with an exception at this instruction. */
  abstract raise(vector: number, errorCode?: number): void;
  /** Continue at the displacement operand 0, always or if. */
  abstract jump(): void;
  abstract jumpIf(condition: E): void;
  /** Continue at a computed address. */
  abstract jumpTo(address: E): void;
  /** Return to the hypervisor; rip is at this instruction, or behind it. */
  abstract exit(code: Exit, behind: boolean): void;
  /** It takes as long as so many branches: the slice shall be shorter by them. */
  abstract spend(branches: E): void;
  /** The domain's clock in nanoseconds, which is its TSC too (i64). */
  abstract now(): E;
  /** Perform the instruction in TypeScript (helpers.ts). */
  abstract helper(): void;

  // What follows from that.

  operand(k: number): Operand {
    return this.insn.operands[k]!;
  }
  size(k: number): number {
    return this.operand(k).size;
  }

  load(k: number): E {
    const op = this.operand(k);
    switch (op.kind) {
      case Kind.Reg:
        return this.readReg(k);
      case Kind.Mem:
        return this.loadAt(this.f.let(this.address(k)), op.size, k);
      case Kind.Imm:
        return this.immediate(k, op.size);
      case Kind.Xmm:
      case Kind.Mmx:
        return this.vectorPart(k, op.size);
      case Kind.Seg:
        return this.state32(STATE.selector + 4 * op.reg).and(0xffff);
      default:
        throw new Error(`${this.insn.mnemonic}: operand ${k} cannot be loaded`);
    }
  }

  /** Operand `k` as a value of `size` bytes: immediates take the width of their partner. */
  loadAs(k: number, size: number): E {
    return this.operand(k).kind === Kind.Imm ? this.immediate(k, size) : this.load(k);
  }

  /** Store to operand `k`. A vector register keeps its upper bytes when the operand is narrower: see `storeZeroed`. */
  store(k: number, value: E): void {
    const op = this.operand(k);
    if (op.kind === Kind.Reg) this.writeReg(k, value);
    else if (op.kind === Kind.Mem) this.storeAt(this.f.let(this.address(k)), op.size, this.f.let(value), k);
    else this.setVectorPart(k, op.size, value);
  }

  /** Operand `k`, to be read and then written. */
  update(k: number): Update {
    const op = this.operand(k);
    if (op.kind !== Kind.Mem) return { value: this.f.let(this.load(k)), write: (value) => this.store(k, value) };
    return this.updateAt(this.f.let(this.address(k)), op.size, k);
  }

  /** `size` bytes at `va`, which must be a local, to be read and then written. */
  updateAt(va: E, size: number, k?: number): Update {
    const at = this.linear(va, size, ACCESS.write, k);
    const old = this.f.let(this.loadLinear(at, size));
    return {
      value: old,
      write: (value) => {
        if (this.isAtomic) this.exchange(at, size, old, this.f.let(value));
        else this.storeLinear(at, size, value);
        this.stored(va, at, size);
      },
    };
  }

  /** LOCK, and XCHG without it: other threads use the guest's memory as well, the device thread at least. */
  private get isAtomic(): boolean {
    return this.insn.lock || this.insn.mnemonic === 'xchg';
  }

  /** Store if memory still holds what was read, else do the instruction again: nothing else has changed yet. */
  private exchange(at: E, size: number, old: E, value: E): void {
    const f = this.f;
    const swap = (): void => f.if(atomic.cas(size, at, old, value).ne(old), () => this.retry());
    if (size === 1) swap();
    // WebAssembly has no misaligned atomic accesses; across cache lines they are not atomic for the device thread here.
    else f.if(at.and(size - 1).eqz(), swap, () => this.storeLinear(at, size, value));
  }
  /** Begin this instruction again. */
  protected abstract retry(): void;

  /** Load `size` bytes at virtual address `va`, which must be a local. */
  loadAt(va: E, size: number, k?: number, access = 0): E {
    return this.f.let(this.loadLinear(this.linear(va, size, access, k), size));
  }
  storeAt(va: E, size: number, value: E, k?: number, access = 0): void {
    const at = this.linear(va, size, access | ACCESS.write, k);
    this.storeLinear(at, size, value);
    this.stored(va, at, size);
  }

  loadLinear(at: E, size: number, offset = 0): E {
    const op = size === 1 ? 0x2d : size === 2 ? 0x2f : size === 4 ? 0x28 : size === 8 ? 0x29 : 0xfd00;
    const type = size <= 4 ? I32 : size === 8 ? I64 : 0x7b;
    const align = size === 16 ? 0 : Math.log2(size);
    return new E(type, op, [at], offset, align);
  }
  storeLinear(at: E, size: number, value: E, offset = 0): void {
    if (value.type === F64) this.f.storeF64(at, value, offset);
    else if (value.type === F32) this.f.storeF32(at, value, offset);
    else if (size === 1) this.f.store8(at, value, offset);
    else if (size === 2) this.f.store16(at, value, offset);
    else if (size === 4) this.f.store32(at, value, offset);
    else if (size === 8) this.f.store64(at, value, offset);
    else this.f.store128(at, value, offset);
  }

  // Vector registers: XMM or MMX operand `k`. A tier can keep XMM registers elsewhere than in the state block.

  /** `size` bytes from `offset` on: i32, i64 or v128. */
  vectorPart(k: number, size: number, offset = 0): E {
    return this.loadLinear(this.vectorAddress(k), size, offset);
  }
  /** Write `size` bytes from `offset` on. */
  setVectorPart(k: number, size: number, value: E, offset = 0): void {
    this.storeLinear(this.vectorAddress(k), size, value, offset);
  }
  /** Write all 16 bytes. */
  setVector(k: number, value: E): void {
    this.setVectorPart(k, 16, value);
  }
  /** The lowest element as f32 or f64, by `size`. */
  float(k: number, size: number): E {
    const bits = this.vectorPart(k, size);
    return size === 8 ? bits.asF64() : bits.asF32();
  }
  /** Write the lowest element, an f32 or f64. */
  setFloat(k: number, value: E): void {
    const size = value.type === F64 ? 8 : 4;
    this.setVectorPart(k, size, size === 8 ? value.asI64() : value.asI32());
  }
  /** A v128 from its four words. */
  vectorConstant(words: readonly number[]): E {
    return v128Of(words);
  }
  /** Are these two operands known to be one XMM register? */
  isSameVector(_a: number, _b: number): boolean {
    return false;
  }
  /** An exponent of 0 with a significand that is not: elements of operand `k`, of this format, are known to have none. */
  hasNoDenormal(_k: number, _format: FloatFormat): boolean {
    return false;
  }
  /** What was just found out about operand `k`, or written to it. */
  noteNoDenormal(_k: number, _format: FloatFormat): void {}
  /** The same for elements that are no NaN either. */
  hasNumber(_k: number, _format: FloatFormat): boolean {
    return false;
  }
  noteNumber(_k: number, _format: FloatFormat): void {}
  /** Raise #NM while CR0.TS is set: before anything else of a vector instruction. */
  checkTaskSwitched(raise: () => void): void {
    this.f.if(this.state32(STATE.taskSwitched), raise);
  }
  /**
   * Is it likely that no operation rounds, and PE stays clear? This is about speed alone. If so, `ordinaryLimit` and `vectorLimit` let numbers
   * pass in that rounding state too, and who asks them asks for exactness as well.
   */
  get isExact(): boolean {
    return false;
  }
  /** All ones unless an operation may round without leaving a trace, as it may when PE is set: for tiers where `isExact`. */
  mustBeExact(): E {
    return this.f.let(exactMask(this.roundingState()));
  }
  roundingState(): E {
    return roundingState(this.state32(STATE.mxcsr));
  }
  /** See ordinaryLimit. */
  ordinaryLimit(type: typeof F32 | typeof F64): E {
    return ordinaryLimit(type, this.roundingState());
  }
  vectorLimit(t: 'f32x4' | 'f64x2'): E {
    return this.f.let(vectorLimit(t, this.roundingState()));
  }

  isMem(k: number): boolean {
    return this.operand(k).kind === Kind.Mem;
  }

  /** RSP-relative push and pop; `size` 2 or 8. */
  push(value: E, size: number): void {
    const rsp = this.f.let(this.gpr(GPR.rsp, 8).sub(size));
    this.storeAt(rsp, size, this.f.let(value), undefined, ACCESS.stack);
    this.setGpr(GPR.rsp, 8, rsp);
  }
  /** The value on top of the stack; the caller moves rsp when nothing can fault any more. */
  top(size: number): E {
    return this.loadAt(this.f.let(this.gpr(GPR.rsp, 8)), size, undefined, ACCESS.stack);
  }

  /** Store a popped value to memory operand 0, whose address counts with rsp already moved; `rsp` is the old one. */
  popToMemory(value: E, size: number, rsp: E): void {
    this.setGpr(GPR.rsp, 8, rsp.add(size));
    const va = this.f.let(this.address(0));
    this.setGpr(GPR.rsp, 8, rsp);
    this.storeAt(va, size, value, 0);
    this.setGpr(GPR.rsp, 8, rsp.add(size));
  }
  /** After POPF: when TF was set, leave so that single stepping starts with the next instruction. */
  abstract afterFlags(flags: E): void;

  // Flags.

  /** Sign-extend from `size` bytes to i64. */
  signed(value: E, size: number): E {
    if (size === 8) return value;
    if (size === 4) return value.extendS();
    return (size === 2 ? value.ext16S() : value.ext8S()).extendS();
  }
  /** Zero-extend a possibly dirty i32 value. */
  clean(value: E, size: number): E {
    return size === 1 ? value.and(0xff) : size === 2 ? value.and(0xffff) : value;
  }
  /** A constant of the type that values of `size` bytes have. */
  constant(value: number, size: number): E {
    return size === 8 ? i64(value) : i32(value);
  }
  /** Extend a zero-or-one i32 to the type of `size`. */
  bit(value: E, size: number): E {
    return size === 8 ? value.extendU() : value;
  }

  /** The two highest bits and bit 3 of a carry vector of `size` bytes, as `aux`. */
  private carries(vector: E, size: number): E {
    const f = this.f;
    if (size === 8) {
      const v = f.let(vector);
      return v
        .shrU(32)
        .wrap()
        .and(0xc0000000 | 0)
        .or(v.wrap().and(8));
    }
    if (size === 4) return vector.and(0xc0000008 | 0);
    const v = f.let(vector);
    return v
      .shl(size === 2 ? 16 : 24)
      .and(0xc0000000 | 0)
      .or(v.and(8));
  }
  /** Flags of r = a + b (+ carry). Operands must be locals. */
  flagsAdd(size: number, a: E, b: E, r: E): void {
    const vector = a.and(b).or(a.or(b).and(r.not()));
    this.writeFlags(this.signed(r, size), this.carries(vector, size));
  }
  /** Flags of r = a - b (- borrow). */
  flagsSub(size: number, a: E, b: E, r: E): void {
    const vector = a.not().and(b).or(a.not().or(b).and(r));
    this.writeFlags(this.signed(r, size), this.carries(vector, size));
  }
  /** Flags of r = d + delta (1 or -1), which leaves CF alone. */
  flagsStep(size: number, r: E, delta: 1 | -1): void {
    const carry = this.f.let(this.carry());
    // OF when the result is the least number (inc) or the greatest (dec); AF when the low digit wrapped.
    const least = size === 8 ? i64(-(2 ** 63)) : size === 4 ? i32(-(2 ** 31)) : i32(size === 2 ? 0x8000 : 0x80);
    const edge = delta === 1 ? least : size === 8 ? i64(0).sub(1).xor(least) : least.sub(1);
    const overflow = this.f.let(this.clean(r, size).eq(edge));
    const low = size === 8 ? r.wrap() : r;
    const adjust = low.and(15).eq(delta === 1 ? 0 : 15);
    this.writeFlags(this.signed(r, size), carry.shl(31).or(carry.xor(overflow).shl(30)).or(adjust.shl(3)));
  }
  /** Flags of a logical result: CF = OF = 0. */
  flagsLogic(size: number, r: E): void {
    this.writeFlags(this.signed(r, size), i32(0));
  }
  /** ZF SF PF from the result, CF and OF (i32 0/1) given, AF clear. */
  flagsShift(size: number, r: E, carry: E, overflow: E): void {
    const cf = this.f.let(carry);
    this.writeFlags(this.signed(r, size), cf.shl(31).or(cf.xor(overflow).shl(30)));
  }
  /** Flags of the comparison of two numbers of which none is NaN: ZF and CF. The low byte keeps PF clear (x86/flags.ts). */
  flagsOrder(a: E, b: E): void {
    this.writeFlags(select(a.eq(b), i64(0), i64(0x100)), select(a.lt(b), i32(0xc000_0100 | 0), i32(0x100)));
  }
  /** Change CF and OF only. */
  setCarryOverflow(carry: E, overflow: E): void {
    const cf = this.f.let(carry);
    this.writeAux(this.flagAux().and(0x3fffffff).or(cf.shl(31)).or(cf.xor(overflow).shl(30)));
  }
  /** Change CF only. */
  setCarry(carry: E): void {
    const overflow = this.f.let(this.overflow());
    this.setCarryOverflow(carry, overflow);
  }

  carry(): E {
    return this.flagAux().shrU(31);
  }
  overflow(): E {
    const aux = this.flagAux();
    return aux.shrU(31).xor(this.flagAux().shrU(30)).and(1);
  }
  zero(): E {
    return this.flagResult().eqz();
  }
  sign(): E {
    return this.flagResult().shrU(63).wrap().xor(this.flagAux()).and(1);
  }
  parity(): E {
    const byte = this.f.let(this.flagResult().wrap().xor(this.flagAux().shrU(8)).and(0xff));
    return byte.popcnt().and(1).eqz();
  }
  adjust(): E {
    return this.flagAux().shrU(3).and(1);
  }
  /** The condition as i32 0/1. */
  condition(code: Condition): E {
    switch (code) {
      case 'o':
        return this.overflow();
      case 'no':
        return this.overflow().eqz();
      case 'b':
        return this.carry();
      case 'ae':
        return this.carry().eqz();
      case 'e':
        return this.zero();
      case 'ne':
        return this.zero().eqz();
      case 'be':
        return this.carry().or(this.zero());
      case 'a':
        return this.carry().or(this.zero()).eqz();
      case 's':
        return this.sign();
      case 'ns':
        return this.sign().eqz();
      case 'p':
        return this.parity();
      case 'np':
        return this.parity().eqz();
      case 'l':
        return this.sign().xor(this.overflow());
      case 'ge':
        return this.sign().xor(this.overflow()).eqz();
      case 'le':
        return this.sign().xor(this.overflow()).or(this.zero());
      case 'g':
        return this.sign().xor(this.overflow()).or(this.zero()).eqz();
    }
  }
  /** The six status flags at their RFLAGS places. */
  statusFlags(): E {
    return this.carry()
      .or(this.parity().shl(2))
      .or(this.adjust().shl(4))
      .or(this.zero().shl(6))
      .or(this.sign().shl(7))
      .or(this.overflow().shl(11));
  }
  /** Set the six status flags from an i32 in RFLAGS layout. */
  setStatusFlags(flags: E): void {
    const v = this.f.let(flags);
    const cf = this.f.let(v.and(1));
    const of = v.shrU(11).and(1);
    const aux = cf.shl(31).or(cf.xor(of).shl(30)).or(v.shrU(1).and(8)).or(v.and(4).xor(4).shl(6)).or(v.shrU(7).and(1));
    this.writeFlags(select(v.and(0x40), i64(0), i64(0x100)), aux);
  }

  /** Loads and stores of other fields of the state block. */
  state32(offset: number): E {
    return this.loadLinear(this.cpu, 4, offset);
  }
  setState32(offset: number, value: E): void {
    this.f.store32(this.cpu, value, offset);
  }
  direction(size: number): E {
    // +size, or -size with DF (bit 10 of flagsRest).
    return select(this.state32(STATE.flagsRest).and(0x400), i64(-size), i64(size));
  }
}

/** What one mnemonic does. */
export type Semantics = (c: Lift) => void;
