/**
 * The vCPU as instructions performed in TypeScript see it: registers in the state block, guest memory by virtual address with
 * precise faults. Rare and irregular instructions live here (x87, FXSAVE, what is left to the hypervisor); common ones are
 * generated code.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import { type Insn, Kind } from '../../x86/decode.ts';
import type { Exit } from '../../x86/exits.ts';
import { SEG, STATE } from '../../x86/state.ts';
import { ACCESS, Status } from '../layout.ts';

/** Thrown to end an instruction with the fault that is recorded in the state block. Caught by the engine. */
export class InstructionFault extends Error {
  constructor() {
    super('guest fault');
    this.stack = undefined;
  }
}
const FAULT = new InstructionFault();

/** Performs `insn`; a number returned is a Status (layout.ts), nothing means "go on with the next instruction". */
// biome-ignore lint/suspicious/noConfusingVoidType: most helpers have nothing to say
export type Helper = (cpu: HelperCpu, insn: Insn) => number | void;

export class HelperCpu {
  readonly memory: GuestMemory;
  readonly base: number;
  readonly view: DataView;
  /** 64 bits that nobody can foretell. */
  readonly random: () => bigint;
  private readonly translate: (cpu: number, va: bigint, access: number) => number;

  constructor(
    memory: GuestMemory,
    base: number,
    translate: (cpu: number, va: bigint, access: number) => number,
    random: () => bigint,
  ) {
    this.random = random;
    this.memory = memory;
    this.base = base;
    this.view = memory.view;
    this.translate = translate;
  }

  gpr(index: number): bigint {
    return this.view.getBigUint64(this.base + STATE.gpr + 8 * index, true);
  }
  setGpr(index: number, value: bigint): void {
    this.view.setBigUint64(this.base + STATE.gpr + 8 * index, value, true);
  }
  /** Low `size` bytes of a register, or of AH … BH. */
  register(op: { reg: number; high: boolean; size: number }): bigint {
    const value = this.gpr(op.reg) >> (op.high ? 8n : 0n);
    return BigInt.asUintN(op.size * 8, value);
  }
  /** Write `size` bytes of a register: 4 clear the upper half, 1 and 2 keep the rest. */
  setRegister(op: { reg: number; high: boolean; size: number }, value: bigint): void {
    const at = this.base + STATE.gpr + 8 * op.reg;
    if (op.size >= 4) this.view.setBigUint64(at, BigInt.asUintN(op.size * 8, value), true);
    else if (op.size === 2) this.view.setUint16(at, Number(BigInt.asUintN(16, value)), true);
    else this.view.setUint8(at + (op.high ? 1 : 0), Number(BigInt.asUintN(8, value)));
  }
  u16(offset: number): number {
    return this.view.getUint16(this.base + offset, true);
  }
  setU16(offset: number, value: number): void {
    this.view.setUint16(this.base + offset, value, true);
  }
  u32(offset: number): number {
    return this.view.getUint32(this.base + offset, true);
  }
  setU32(offset: number, value: number): void {
    this.view.setUint32(this.base + offset, value, true);
  }
  u64(offset: number): bigint {
    return this.view.getBigUint64(this.base + offset, true);
  }
  setU64(offset: number, value: bigint): void {
    this.view.setBigUint64(this.base + offset, value, true);
  }

  /** Address of the instruction at hand. */
  rip(record: number): bigint {
    return this.u64(STATE.codePage) + BigInt(this.view.getUint16(record + 2, true));
  }
  /** Set by the engine before each helper call: the running instruction's address. */
  currentRip = 0n;

  /** Linear address of memory operand `k`. */
  address(insn: Insn, k: number): bigint {
    const op = insn.operands[k]!;
    if (op.kind !== Kind.Mem) throw new Error(`${insn.mnemonic}: operand ${k} is not in memory`);
    let offset = BigInt(op.disp);
    if (op.base === 16) offset += this.currentRip + BigInt(insn.length);
    else if (op.base >= 0) offset += this.gpr(op.base);
    if (op.index >= 0) offset += this.gpr(op.index) << BigInt(op.scale);
    if (insn.addrSize === 4) offset = BigInt.asUintN(32, offset);
    if (op.seg >= 0) offset += this.u64(op.seg === SEG.fs ? STATE.fsBase : STATE.gsBase);
    return BigInt.asUintN(64, offset);
  }
  private access(insn: Insn | undefined, k: number): number {
    if (insn === undefined) return 0;
    const op = insn.operands[k]!;
    return (op.base === 4 || op.base === 5) && op.seg < 0 ? ACCESS.stack : 0;
  }

  /** Linear-memory pieces of [va, va + size): checked as a whole before the first is used. */
  private pieces(va: bigint, size: number, access: number): [at: number, count: number][] {
    const pieces: [number, number][] = [];
    let done = 0;
    while (done < size) {
      const address = BigInt.asUintN(64, va + BigInt(done));
      const count = Math.min(size - done, 4096 - Number(address & 0xfffn));
      const at = this.translate(this.base, BigInt.asIntN(64, address), access | count) >>> 0;
      if (at === 0) throw FAULT;
      pieces.push([at, count]);
      done += count;
    }
    return pieces;
  }
  /** Copy of `size` bytes at guest-virtual `va`. `insn` and `k` say which operand it is, for #SS. */
  readBytes(va: bigint, size: number, insn?: Insn, k = 0): Uint8Array {
    const bytes = new Uint8Array(size);
    let done = 0;
    for (const [at, count] of this.pieces(va, size, this.access(insn, k))) {
      bytes.set(this.memory.u8.subarray(at, at + count), done);
      done += count;
    }
    return bytes;
  }
  writeBytes(va: bigint, bytes: Uint8Array, insn?: Insn, k = 0): void {
    let done = 0;
    for (const [at, count] of this.pieces(va, bytes.length, this.access(insn, k) | ACCESS.write)) {
      this.memory.u8.set(bytes.subarray(done, done + count), at);
      done += count;
    }
  }
  /** Fault now if [va, va + size) cannot be written. */
  checkWrite(va: bigint, size: number, insn?: Insn, k = 0): void {
    this.pieces(va, size, this.access(insn, k) | ACCESS.write);
  }
  /** Linear address of an operand of 1, 2, 4, 8 or 10 bytes in one page, which most are; 0 for all others. */
  private inPage(va: bigint, size: number, access: number): number {
    if (Number(va & 0xfffn) + size > 4096 || (size & (size - 1) && size !== 10) || size > 10) return 0;
    const at = this.translate(this.base, BigInt.asIntN(64, va), access | size) >>> 0;
    if (at === 0) throw FAULT;
    return at;
  }
  read(va: bigint, size: number, insn?: Insn, k = 0): bigint {
    const at = this.inPage(va, size, this.access(insn, k));
    if (at !== 0) {
      const low = size < 8 ? 0n : this.view.getBigUint64(at, true);
      if (size === 8) return low;
      if (size === 10) return (BigInt(this.view.getUint16(at + 8, true)) << 64n) | low;
      if (size === 4) return BigInt(this.view.getUint32(at, true));
      return BigInt(size === 2 ? this.view.getUint16(at, true) : this.view.getUint8(at));
    }
    const bytes = this.readBytes(va, size, insn, k);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    return value;
  }
  write(va: bigint, size: number, value: bigint, insn?: Insn, k = 0): void {
    const at = this.inPage(va, size, this.access(insn, k) | ACCESS.write);
    if (at !== 0) {
      if (size >= 8) this.view.setBigUint64(at, value, true);
      if (size === 10) this.view.setUint16(at + 8, Number(value >> 64n), true);
      else if (size === 4) this.view.setUint32(at, Number(value & 0xffff_ffffn), true);
      else if (size === 2) this.view.setUint16(at, Number(value & 0xffffn), true);
      else if (size === 1) this.view.setUint8(at, Number(value & 0xffn));
      return;
    }
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = Number((value >> BigInt(8 * i)) & 0xffn);
    this.writeBytes(va, bytes, insn, k);
  }
  /** Value of a register, memory or immediate operand at its size. */
  load(insn: Insn, k: number): bigint {
    const op = insn.operands[k]!;
    if (op.kind === Kind.Mem) return this.read(this.address(insn, k), op.size, insn, k);
    if (op.kind === Kind.Imm) {
      const value = (BigInt(op.immHi) << 32n) | BigInt(op.immLo >>> 0);
      return BigInt.asUintN(op.size * 8, value);
    }
    return this.register(op);
  }
  store(insn: Insn, k: number, value: bigint): void {
    const op = insn.operands[k]!;
    if (op.kind === Kind.Mem) this.write(this.address(insn, k), op.size, value, insn, k);
    else this.setRegister(op, value);
  }

  /** End the instruction with an exception at it. */
  fault(vector: number, errorCode = 0): never {
    this.setU32(STATE.exitVector, vector);
    this.setU32(STATE.exitErrorCode, errorCode);
    throw FAULT;
  }
  /** Leave to the hypervisor; rip is at the instruction, or behind it. */
  exit(insn: Insn, code: Exit, behind: boolean): number {
    this.setU64(STATE.rip, BigInt.asUintN(64, this.currentRip + BigInt(behind ? insn.length : 0)));
    return Status.Exit + code;
  }
}
