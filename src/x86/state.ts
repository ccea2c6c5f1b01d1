/**
 * The CPU state block: where one vCPU's architectural state lives in the domain's shared memory.
 *
 * Every engine (interpreter, translator, and one day KVM) and the hypervisor agree on these byte offsets, so the block is
 * also the vCPU part of the state inventory that save, restore and migration use. Offsets are relative to the block's base,
 * which is 64 KiB aligned. All fields are little endian.
 */
export const STATE = {
  /** 16 general registers of 8 bytes, in encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8 … r15. */
  gpr: 0x000,
  /** Always zero: the base or index of an address that has none. */
  zero: 0x080,
  rip: 0x088,
  /** Lazy flags: the last result, sign-extended to 64 bits. See flags.ts. */
  flagResult: 0x090,
  /** Lazy flags: carries and corrections (u32). See flags.ts. */
  flagAux: 0x098,
  /** RFLAGS bits that are not the six status flags: TF, IF, DF, IOPL, NT, RF, AC, ID and bit 1 (u32). */
  flagsRest: 0x09c,
  fsBase: 0x0a0,
  /** The active GS base. */
  gsBase: 0x0a8,
  /** Virtual address of the page that holds the running instruction; engines keep it for RIP-relative operands. */
  codePage: 0x0b0,
  /** The inactive GS bases: kernel's while in user mode is unused, user's while in kernel mode. Owned by the hypervisor. */
  gsBaseKernel: 0x0b8,
  gsBaseUser: 0x0c0,
  /** Visible selectors, u32 each, in encoding order: es cs ss ds fs gs. */
  selector: 0x0c8,
  /** 1 in guest kernel mode, 0 in guest user mode (u32). */
  kernelMode: 0x0e0,
  /** Other threads set this to 1 (atomically) to make the engine return `Exit.Kick` soon (i32; Atomics.wait-able). */
  kick: 0x0e4,
  /** Exit details, written by the engine when it returns. */
  exitVector: 0x0e8,
  exitErrorCode: 0x0ec,
  /** Faulting linear address of the last #PF. */
  cr2: 0x0f0,
  /** For `Exit.Instruction`: which one (see PRIVILEGED in exits.ts), its length and its decoded operands. */
  exitOp: 0x0f8,
  exitLength: 0x0fc,
  /** ModRM.reg (with REX.R) and ModRM.rm (with REX.B) of the instruction, or the port / vector immediate. */
  exitReg: 0x100,
  exitRm: 0x104,
  /** Operand size in bytes of the instruction (1, 2, 4, 8). */
  exitSize: 0x108,
  /** Taken branches left until the engine returns `Exit.Slice` (i32). */
  budget: 0x10c,
  /** Virtual CR0.TS (u32): any x87/MMX/SSE instruction raises #NM while it is 1. */
  taskSwitched: 0x110,
  mxcsr: 0x114,
  /** x87 control word, status word (TOP in bits 11–13), full tag word (2 bits per physical register, 3 = empty). u16 each. */
  fcw: 0x118,
  fsw: 0x11a,
  ftw: 0x11c,
  /** Last x87 opcode (11 bits), instruction and data pointers. */
  fop: 0x11e,
  fip: 0x120,
  fdp: 0x128,
  /** Guest frame numbers of the page-table roots (u32), ~0 when there is none. */
  kernelRoot: 0x130,
  userRoot: 0x134,
  /** Byte offset of the TLB in use (kernel's or user's), a linear-memory address (u32). */
  tlb: 0x138,
  /** Guest TSC value of TSC_AUX for RDTSCP/RDPID (u32). */
  tscAux: 0x13c,
  /** The 8 physical x87 registers R0–R7, 16 bytes each: u64 significand, u16 sign+exponent. MMX registers are the significands. */
  x87: 0x140,
  /** 16 XMM registers of 16 bytes. */
  xmm: 0x200,
  /** 64 bytes through which page-crossing accesses pass. */
  crossing: 0x300,
  /** Instructions retired, approximately (u64), for statistics. */
  retired: 0x340,
  /** CR4 bits of interest to the engine (u32): DE, TSD, FSGSBASE. */
  cr4: 0x348,
  /** For `Exit.Instruction`: linear address of its memory operand (u64). */
  exitAddress: 0x350,
  /** For `Exit.Instruction`: bit 0 the operand is in memory, bit 1 REX.W (u32). */
  exitFlags: 0x358,
  /** First frame of the machine-to-physical table and the pages of RAM that it describes (u32 each). */
  m2pFrame: 0x35c,
  m2pPages: 0x360,
  /** A frame that a single step may write although its page-table entry forbids it, or ~0 (u32). */
  writableFrame: 0x364,
  /** x87 pending unmasked exception etc. live in fsw. Bytes up to here are the architectural block. */
  end: 0x400,
} as const;

/** Selector slots at STATE.selector + 4 * index. */
export const SEG = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;
// biome-ignore format: a table
export const GPR = {
  rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7,
  r8: 8, r9: 9, r10: 10, r11: 11, r12: 12, r13: 13, r14: 14, r15: 15,
} as const;

/** RFLAGS bits. Intel SDM volume 1, 3.4.3. */
// biome-ignore format: a table
export const RFLAGS = {
  CF: 1, fixed: 2, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, TF: 0x100, IF: 0x200, DF: 0x400, OF: 0x800,
  IOPL: 0x3000, NT: 0x4000, RF: 0x10000, VM: 0x20000, AC: 0x40000, ID: 0x200000,
} as const;
export const STATUS_FLAGS = 0x8d5;
/** MXCSR.PE: an operation has rounded since this was cleared. */
export const MXCSR_PE = 0x20;
