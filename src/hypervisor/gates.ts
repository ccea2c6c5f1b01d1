/**
 * Where a vCPU's kernel is entered, and what the way back is checked against: kept in the vCPU's part of the linear memory,
 * because the paths in WebAssembly (fast/) and those in TypeScript (traps/) read the same words. Offsets from the state
 * block's base; the engine leaves this page to the hypervisor (translate/layout.ts).
 */
export const GATES = {
  /** u32: not zero when entries and returns need a look at more than is here: see Vcpu.updateSpecial. */
  special: 0x9000,
  /** u32: linear address of the word that says where the vcpu_info is (CONTROL_VCPU.infoAddress). */
  infoPointer: 0x9004,
  /** u64: the stack of entries from user mode. */
  kernelSp: 0x9008,
  /** u32: entries of the guest's GDT, and the frame of the first 512 of them. */
  gdtEntries: 0x9010,
  gdtFrame: 0x9014,
  /** u32: the selector that goes with it; kept, but every entry has the flat one. */
  kernelSs: 0x901c,
  /** u32: entries that the trace has ever had. */
  traceCount: 0x9018,
  /** 16 bytes each: u64 address (0: none), u32 1 when entering masks events. */
  callbackEvent: 0x9020,
  callbackFailsafe: 0x9030,
  callbackSyscall: 0x9040,
  callbackSyscall32: 0x9050,
  callbackSysenter: 0x9060,
  /** u64 × 256, u8 × 256, u16 × 256: the virtual IDT's addresses, flags and selectors. */
  trapAddress: 0x9100,
  trapFlags: 0x9900,
  trapCs: 0x9a00,
  /** The trace: 32 entries of 32 bytes. */
  trace: 0x9c00,
  end: 0xa000,
} as const;
