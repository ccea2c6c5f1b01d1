/**
 * What the two sides of the CPU comparison agree on: guest addresses, the byte layout of a case and of an outcome, and what
 * guest memory holds before a case. Judging and generating cases is left to others.
 *
 * Both sides see the same small address space at two bases, a low one (for 32-bit addresses) and a high one:
 *
 *   base + 0x10000   two code pages, filled with INT3, then nothing
 *   base + 0x1f000   nothing
 *   base + 0x20000   two data pages, readable and writable
 *   base + 0x22000   one data page, read-only
 *   base + 0x23000   nothing
 *
 * A case is instructions somewhere in the code pages. They end in the INT3 behind them, or in a fault.
 */
// The lower halves are the same: a high address that is cut to 32 bits is the low one of the same byte.
// Node's own program lies below 0x800_0000 and its heap somewhere in the gigabyte above it; both bases keep away from that.
export const LOW_BASE = 0x6000_0000;
export const HIGH_BASE = 0x6b6b_6000_0000;
export const CODE_OFFSET = 0x10000;
export const CODE_SIZE = 0x2000;
export const DATA_OFFSET = 0x20000;
/** All data pages, and how many bytes of them can be written. */
export const DATA_SIZE = 0x3000;
export const WRITABLE_SIZE = 0x2000;
export const INT3 = 0xcc;

/** A case. Registers are in encoding order; `fx` is an FXSAVE image (SDM volume 1, 10.5.1). */
export const CASE = {
  gpr: 0x000,
  rip: 0x080,
  rflags: 0x088,
  fsBase: 0x090,
  gsBase: 0x098,
  /** u32: how many bytes of `code` are used. */
  codeLength: 0x0a0,
  /** u32: which form this is, for the report. */
  form: 0x0a4,
  /** u32: where the memory operand begins in the data pages; the generator's note for the judge. */
  target: 0x0a8,
  /** u32: where in `code` the instruction of the form is. */
  insnAt: 0x0ac,
  code: 0x0b0,
  codeMax: 64,
  fx: 0x100,
  /** Two patches of data memory: u32 offset in the data pages, u32 length, 64 bytes. */
  patch: 0x300,
  patchSize: 0x48,
  patchMax: 64,
  patches: 2,
  size: 0x390,
} as const;

export const OUTCOME = {
  gpr: 0x000,
  rip: 0x080,
  rflags: 0x088,
  /** u32: exception vector, or one of the values below. */
  vector: 0x090,
  /** u32: error code of a fault. */
  errorCode: 0x094,
  /** u64: faulting address of a page fault, otherwise 0. */
  cr2: 0x098,
  /** u32, u32: the first changed byte of data memory and the one behind the last; equal when nothing changed. */
  memoryLow: 0x0a0,
  memoryHigh: 0x0a4,
  fx: 0x100,
  /** The bytes of that span; of a longer one the first 768. */
  memory: 0x300,
  memoryMax: 0x300,
  size: 0x600,
} as const;

/** Values of OUTCOME.vector that are no exception. */
export const COMPLETED = 0xffff_ffff;
/** The code executed SYSCALL or INT 80h, which the oracle does not let through. */
export const SYSCALL = 0xffff_fffe;
/** The oracle process died of this case. */
export const DIED = 0xffff_fffd;
/** The subject cannot run this case (not implemented); the detail is beside the outcome. */
export const UNSUPPORTED = 0xffff_fffc;
/** The case loops for ever, or for longer than anybody waits. */
export const ENDLESS = 0xffff_fffb;
/** The oracle gave the case up without running it, after too many others that had cost it its process. */
export const GIVEN_UP = 0xffff_fffa;

/** FXSAVE image offsets. */
export const FX = {
  fcw: 0,
  fsw: 2,
  ftw: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st: 32,
  xmm: 160,
  end: 416,
} as const;

/** What the data pages hold before a case: a mixture of patterns and noise, the same on both sides. */
export function pristineData(): Uint8Array {
  const bytes = new Uint8Array(DATA_SIZE);
  let state = 0x9e3779b9;
  for (let i = 0; i < DATA_SIZE; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state >>> 11;
  }
  return bytes;
}

/** Find what changed in the writable data pages and note it in the outcome at `at`. Returns whether anything did. */
export function recordChanges(
  outcomes: Uint8Array,
  view: DataView,
  at: number,
  before: Uint8Array,
  after: Uint8Array,
): boolean {
  let low = 0;
  while (low < WRITABLE_SIZE && before[low] === after[low]) low++;
  if (low === WRITABLE_SIZE) {
    view.setUint32(at + OUTCOME.memoryLow, 0, true);
    view.setUint32(at + OUTCOME.memoryHigh, 0, true);
    return false;
  }
  let high = WRITABLE_SIZE;
  while (before[high - 1] === after[high - 1]) high--;
  view.setUint32(at + OUTCOME.memoryLow, low, true);
  view.setUint32(at + OUTCOME.memoryHigh, high, true);
  outcomes.set(after.subarray(low, Math.min(high, low + OUTCOME.memoryMax)), at + OUTCOME.memory);
  return true;
}
