/**
 * What a vCPU's kernel has registered to be entered at: the virtual IDT and the callbacks. Addresses are kept as halves
 * because entering the guest is a hot path. Follows pv-abi 2.1, 2.14.
 */
export const TRAP_DPL = 3;
/** Trap flag: mask events on entry. Callback flag bit 0 means the same. */
export const TRAP_MASK_EVENTS = 4;

export class TrapTable {
  readonly lo = new Uint32Array(256);
  readonly hi = new Uint32Array(256);
  readonly flags = new Uint8Array(256);
  readonly cs = new Uint16Array(256);

  set(vector: number, flags: number, cs: number, address: bigint): void {
    this.lo[vector] = Number(address & 0xffff_ffffn);
    this.hi[vector] = Number(address >> 32n);
    this.flags[vector] = flags;
    this.cs[vector] = cs;
  }

  has(vector: number): boolean {
    return (this.lo[vector]! | this.hi[vector]!) !== 0;
  }

  clear(): void {
    this.lo.fill(0);
    this.hi.fill(0);
    this.flags.fill(0);
    this.cs.fill(0);
  }
}

/** One registered entry point; address 0 is none. */
export class Callback {
  lo = 0;
  hi = 0;
  masksEvents = false;

  set(address: bigint, masksEvents: boolean): void {
    this.lo = Number(address & 0xffff_ffffn);
    this.hi = Number((address >> 32n) & 0xffff_ffffn);
    this.masksEvents = masksEvents;
  }

  get present(): boolean {
    return (this.lo | this.hi) !== 0;
  }
}

export class Callbacks {
  readonly event = new Callback();
  readonly failsafe = new Callback();
  readonly syscall = new Callback();
  readonly syscall32 = new Callback();
  readonly sysenter = new Callback();
}
