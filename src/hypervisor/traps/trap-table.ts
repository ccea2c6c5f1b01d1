/**
 * What a vCPU's kernel has registered to be entered at: the virtual IDT and the callbacks. They lie in the vCPU's memory
 * (gates.ts), addresses as halves, because entering the guest is a hot path. Follows pv-abi 2.1, 2.14.
 */
import { GATES } from '../gates.ts';
import type { GuestMemory } from '../memory.ts';

export const TRAP_DPL = 3;
/** Trap flag: mask events on entry. Callback flag bit 0 means the same. */
export const TRAP_MASK_EVENTS = 4;
const VECTORS = 256;

export class TrapTable {
  /** Halves of the address of each vector. */
  private readonly address: Uint32Array;
  readonly flags: Uint8Array;
  readonly cs: Uint16Array;

  constructor(memory: GuestMemory, base: number) {
    this.address = new Uint32Array(memory.buffer, base + GATES.trapAddress, 2 * VECTORS);
    this.flags = new Uint8Array(memory.buffer, base + GATES.trapFlags, VECTORS);
    this.cs = new Uint16Array(memory.buffer, base + GATES.trapCs, VECTORS);
  }

  lo(vector: number): number {
    return this.address[2 * vector]!;
  }

  hi(vector: number): number {
    return this.address[2 * vector + 1]!;
  }

  set(vector: number, flags: number, cs: number, address: bigint): void {
    this.address[2 * vector] = Number(address & 0xffff_ffffn);
    this.address[2 * vector + 1] = Number(address >> 32n);
    this.flags[vector] = flags;
    this.cs[vector] = cs;
  }

  has(vector: number): boolean {
    return (this.lo(vector) | this.hi(vector)) !== 0;
  }

  clear(): void {
    this.address.fill(0);
    this.flags.fill(0);
    this.cs.fill(0);
  }
}

/** One registered entry point; address 0 is none. */
export class Callback {
  /** Halves of the address, and whether events are masked. */
  private readonly words: Uint32Array;

  constructor(memory: GuestMemory, at: number) {
    this.words = new Uint32Array(memory.buffer, at, 3);
  }

  set(address: bigint, masksEvents: boolean): void {
    this.words[0] = Number(address & 0xffff_ffffn);
    this.words[1] = Number((address >> 32n) & 0xffff_ffffn);
    this.words[2] = masksEvents ? 1 : 0;
  }

  get lo(): number {
    return this.words[0]!;
  }

  get hi(): number {
    return this.words[1]!;
  }

  get masksEvents(): boolean {
    return this.words[2] !== 0;
  }

  get present(): boolean {
    return (this.lo | this.hi) !== 0;
  }
}

export class Callbacks {
  readonly event: Callback;
  readonly failsafe: Callback;
  readonly syscall: Callback;
  readonly syscall32: Callback;
  readonly sysenter: Callback;

  constructor(memory: GuestMemory, base: number) {
    this.event = new Callback(memory, base + GATES.callbackEvent);
    this.failsafe = new Callback(memory, base + GATES.callbackFailsafe);
    this.syscall = new Callback(memory, base + GATES.callbackSyscall);
    this.syscall32 = new Callback(memory, base + GATES.callbackSyscall32);
    this.sysenter = new Callback(memory, base + GATES.callbackSysenter);
  }
}
