/**
 * The six arguments of one hypercall as two 32-bit halves each, so that the hot calls never make a BigInt.
 * Filled from rdi, rsi, rdx, r10, r8, r9 of a state block or from a multicall entry. Follows pv-abi 1.11 and 2.7.
 */
import { GPR, STATE } from '../x86/state.ts';

// biome-ignore format: a table
const REGISTERS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9];

export class HypercallArgs {
  readonly words = new Uint32Array(12);

  /** The low half of argument `i`: what a 32-bit parameter is. */
  lo(i: number): number {
    return this.words[2 * i]!;
  }

  hi(i: number): number {
    return this.words[2 * i + 1]!;
  }

  /** The unsigned value as a double: exact below 2^53, and never near a valid frame number or count above. */
  number(i: number): number {
    return this.words[2 * i]! + this.words[2 * i + 1]! * 0x1_0000_0000;
  }

  u64(i: number): bigint {
    return (BigInt(this.words[2 * i + 1]!) << 32n) | BigInt(this.words[2 * i]!);
  }

  isZero(i: number): boolean {
    return (this.words[2 * i]! | this.words[2 * i + 1]!) === 0;
  }

  setLo(i: number, value: number): void {
    this.words[2 * i] = value;
  }

  set(i: number, value: bigint): void {
    this.words[2 * i] = Number(value & 0xffff_ffffn);
    this.words[2 * i + 1] = Number((value >> 32n) & 0xffff_ffffn);
  }

  /** Take the argument registers of the state block at `base`. */
  fromRegisters(u32: Uint32Array, base: number): this {
    for (let i = 0; i < 6; i++) {
      const at = (base + STATE.gpr + 8 * REGISTERS[i]!) >>> 2;
      this.words[2 * i] = u32[at]!;
      this.words[2 * i + 1] = u32[at + 1]!;
    }
    return this;
  }

  /** Put them back into the state block, for a call that is made again. */
  toRegisters(u32: Uint32Array, base: number): void {
    for (let i = 0; i < 6; i++) {
      const at = (base + STATE.gpr + 8 * REGISTERS[i]!) >>> 2;
      u32[at] = this.words[2 * i]!;
      u32[at + 1] = this.words[2 * i + 1]!;
    }
  }

  /** Move argument `i`, an address, on by `bytes`. */
  advance(i: number, bytes: number): void {
    const sum = this.words[2 * i]! + bytes;
    this.words[2 * i] = sum;
    this.words[2 * i + 1] = this.words[2 * i + 1]! + Math.floor(sum / 0x1_0000_0000);
  }

  /** Take the arguments of a multicall entry: a private copy of its 64 bytes, as words. */
  fromMulticall(entry: Uint32Array): this {
    for (let i = 0; i < 12; i++) this.words[i] = entry[4 + i]!;
    return this;
  }
}
