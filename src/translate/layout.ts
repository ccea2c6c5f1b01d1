/**
 * What the engine keeps in a vCPU's part of the linear memory, behind the state block. Offsets from the block's base.
 *
 * TLB entry, 32 bytes: tagR, tagW, tagX (i64: page address, or -1), addend (i32 at 24: linear address minus the low half of
 * the virtual one), guest frame (u32 at 28). A page address has 12 low zero bits, so -1 never matches.
 * A page that holds decoded code never has its write tag set: stores to it take the slow path, which drops the code.
 */
/** With 1024, a page fault of Linux walked 58 times, a ping-pong of two processes 42 times; with 4096 it was 35 and 13. */
export const TLB_ENTRIES = 4096;
export const TLB_ENTRY_BYTES = 32;
/**
 * Exclusive-or of an entry's offset: its other place, where a page is kept that another one has displaced. Generated code
 * looks into the first place only; a miss looks into the other and exchanges the two. It is never the place of the next page
 * (`probe` in runtime/mmu.ts). Without it a page fault of Linux walked 13 times instead of 5, a fork 306 times instead of 61.
 */
export const TLB_OTHER = (TLB_ENTRIES / 2) * TLB_ENTRY_BYTES;
/**
 * Behind an array's entries, u32: how many were filled since it was last emptied, and the linear addresses of the first of
 * them: emptying an array of which little was used costs little.
 */
export const TLB_FILLS = TLB_ENTRIES * TLB_ENTRY_BYTES;
export const TLB_FILL_LIST = TLB_FILLS + 8;
export const TLB_FILL_LIST_ENTRIES = 1000;
/**
 * i64 behind the list: changes with every change of the addresses that the array lets code be fetched from, never back to what it was in
 * this or another array (see TLB_STAMPS).
 */
export const TLB_STAMP = TLB_FILLS + 0xff8;
/** From one array to the next. */
export const TLB_STRIDE = TLB_FILLS + 0x1000;
/** 0x9000 to 0x9fff are the hypervisor's (hypervisor/gates.ts). */

/** The array of guest kernel mode, and one for each of the last few user roots: see runtime/tlb.ts. */
export const KERNEL_TLB = 0x100000;
export const USER_TLBS = KERNEL_TLB + TLB_STRIDE;
export const USER_SPACES = 8;
/** i64: the last stamp that an array has got. */
export const TLB_STAMPS = 0x4a8;
/** u32 for each user array: the root that it was filled under, and when it was last taken. */
export const SPACE_ROOTS = 0x420;
export const SPACE_STAMPS = 0x440;
/** No frame number, nor that of "no root". */
export const SPACE_FREE = -2;
/** u32: counts changes of the user array. */
export const SPACE_CLOCK = 0x460;
/** u32: linear address of the array of the user root in the state block. */
export const USER_TLB = 0x464;
/** u32: the kernel root that the kernel's array belongs to. */
export const KERNEL_TLB_ROOT = 0x468;
/**
 * u32: how many entries of the kernel's array were filled for addresses of the lower half, and the linear addresses of the
 * first of them: what a change of the kernel root drops.
 */
export const LOW_FILLS = 0x410;
export const LOW_FILL_LIST = 0xc00;
export const LOW_FILL_LIST_ENTRIES = 128;
/** A word of MemoryLayout.tableSpans: 0 for nothing, bits 47–21 of the addresses translated through the table, or many. */
export const SPAN_VALID = 0x80000000 | 0;
export const SPAN_MANY = -1;
/**
 * Linear address of an instruction → its record. {u32 key, u32 record}. Generated code looks into an address's slot; what was
 * displaced from there by another address is in the slot beside it (offset exclusive-or CODE_HASH_OTHER): the interpreter
 * exchanges the two. Without that a page fault of Linux came 5 times to TypeScript for records that existed.
 */
export const CODE_HASH = 0x20000;
export const CODE_HASH_ENTRIES = 0x10000;
export const CODE_HASH_OTHER = 8;
/** u32: set when a store of the guest dropped code, for the region that may have been running it. */
export const CODE_DROPPED = 0x400;
/** u64: where a region was left so that the interpreter performs the instruction there: not the moment to translate it. */
export const REGION_STOPPED = 0x408;
/** u64, u32: where a computed jump led that left its region without finding another one, and the region's slot. */
export const COMPUTED_TARGET = 0x4b0;
export const COMPUTED_FROM = 0x4a0;
/**
 * u64, i32: the page of the stack that a region may keep, and its addend as in the TLB; see runtime/mmu.ts. NO_PAGE for none: the
 * interpreter says so each time that it is entered or an exit was performed, as does what takes write tags away.
 */
export const STACK_PAGE = 0x480;
export const STACK_ADDEND = 0x488;
/**
 * u64: an address that no page has and no program names, for what keeps a page to have none. Not canonical, its upper half
 * drawn at random, its lower half 0: with an addend of 0 its bytes are in the part of the memory that is never used. The addend is behind
 * it, as in KEPT_PAGES.
 */
export const NO_PAGE = 0x490;
/**
 * u32, i64, i64, i64: the operation that the flags are of, if it is not 0, and its operands (runtime/flags.ts): then the pair in STATE is an
 * earlier one. Only regions, between themselves, leave flags like this.
 */
export const PENDING_FLAGS = { code: 0x4c0, a: 0x4c8, b: 0x4d0, r: 0x4d8 } as const;
/** u64: the tag that a region has found in the TLB last instead of the one that it looked for. Nobody reads it (region/lift.ts). */
export const MISSED_TAG = 0x4e0;
/** Pages that a region keeps from one round of a loop to the next, 16 bytes each: u64 address or NO_PAGE, i32 addend. */
export const KEPT_PAGES = 0x500;
export const KEPT_PAGES_MAX = 16;
/** Table slots from here on are regions' (tier 1); below are handlers of single instructions. */
export const REGION_SLOTS = 0x4000;
export const REGION_SLOTS_END = 0x8000;
/** For each of these slots where its region's pages are: see runtime/region-places.ts. */
export const REGION_PLACES = 0x240000;
export const REGION_PLACE_BYTES = 256;
/** i64, i64, u32, and for each page an i32 (distance in pages) and a u32 (linear address). */
export const PLACE = { stamp: 0, first: 8, count: 16, pages: 24 } as const;
/** So many pages there is room for. */
export const PLACE_PAGES = (REGION_PLACE_BYTES - PLACE.pages) / 8;
/** RECORD.entry: the number of the entry, and above it that of its page. */
export const ENTRY_PAGE_SHIFT = 5;
/**
 * How a region is entered, in one word: its slot, and from here on RECORD.entry of the instruction to begin with. 0 is no region's.
 */
export const LINK_ENTRY_SHIFT = 16;
/**
 * Where jumps out of regions led last, 32 bytes each: u64 target, u64 stamp of the array (TLB_STAMP), u64 address of the region's first page,
 * u32 link. Emptied when a region is dropped. See runtime/region-links.ts.
 */
export const JUMPS = REGION_PLACES + (REGION_SLOTS_END - REGION_SLOTS) * REGION_PLACE_BYTES;
export const JUMP_ENTRIES = 4096;
export const JUMP_BYTES = 32;
/** u32: an entry was filled since they were emptied last. */
export const JUMPS_FILLED = 0x4b8;
/**
 * How control went lately from region to region, while somebody wants to know: TRAIL_LEFT (u32) says of how many steps more. Step n
 * from the end, 16 bytes: u64 where it led, u32 its link or 0 for the interpreter, u32 how (STEP). Jumps are not noted in JUMPS meanwhile, so
 * that all come by.
 */
export const TRAIL_LEFT = 0x4bc;
export const TRAIL = 0xa0000;
export const TRAIL_STEPS = 4096;
export const TRAIL_STEP_BYTES = 16;
export const STEP = { target: 0, link: 8, how: 12, byJump: 0, byOthers: 1 } as const;
/** Tables by which WebAssembly decodes, up to DECODER_END: see interpreter/decode-tables.ts. */
export const DECODER = 0xb0000;
export const DECODER_END = 0xd2000;
/** A byte for each entryHint (region/origin.ts): 1 when a region is expected at such an instruction. */
export const HINTS = 0xe0000;
/** u32: the next free unit of the index of records, see interpreter/record-index.ts. */
export const INDEX_NEXT = 0x4a4;
/** Scratch records for single steps. */
export const STEP_RECORDS = 0x800;
/** Decoded instruction records. */
export const ARENA = JUMPS + JUMP_ENTRIES * JUMP_BYTES;
export const ARENA_END = 0x2600000;
/**
 * What the interpreter counts of a record, COUNTER_BYTES behind COUNTERS for each RECORD_BYTES that the record is behind the state block's base:
 * u32 flow, how often control came to it by any branch, taken or not, and u16 arrivals, how often by one that makes code hot (interpreter/generate.ts).
 * Each record has its own. When two shared one, what became of code in a domain depended on what had run in it before: it was hot 60,000 rounds too late, or rare code was taken for what runs often.
 */
export const COUNTERS = ARENA_END;
export const COUNTER_BYTES = 8;
export const COUNTER = { flow: 0, arrivals: 4 } as const;

/** The index of records (interpreter/record-index.ts): a word for each frame, and units. A million of records in lines of their own have no room: then all is forgotten. */
export const INDEX_FRAMES = 0x3000000;
export const INDEX_UNITS = 0x3400000;
export const INDEX_END = 0x4c00000;

/** Bits of an access descriptor, beside the size in bytes (up to 4096) in bits 0–12. */
export const ACCESS = {
  size: 0x1fff,
  write: 0x2000,
  /** The address is relative to SS: a non-canonical one raises #SS instead of #GP. */
  stack: 0x4000,
  execute: 0x8000,
} as const;

/** Fields of a 32-byte instruction record. */
export const RECORD_BYTES = 32;
export const RECORD = {
  /** u16: arm of the interpreter's br_table, or table slot of an out-of-line handler. */
  handler: 0,
  /** u16: offset of the instruction in its page. */
  position: 2,
  /** u8 */
  length: 4,
  /** u8: of a record whose handler is a region, which of the region's entries it is. */
  entry: 5,
  /** u16 each: state-block offsets of up to three register operands. */
  reg: 6,
  /** u16: state-block offsets of base, index and segment base (STATE.zero when there is none). */
  base: 12,
  index: 14,
  segment: 16,
  /** u8: shift of the index. */
  scale: 18,
  /** u8: 1 when the base is rsp or rbp and no segment was named. */
  stack: 19,
  /** i32 */
  displacement: 20,
  immLo: 24,
  /** i32: high half of an immediate; for direct branches the target's record once it is known, else 0. */
  immHi: 28,
} as const;

/** What an out-of-line handler tells the interpreter loop. */
export const Status = {
  Next: 0,
  /** A fault: rip is the instruction's. */
  Fault: 1,
  /** STATE.rip holds the next address. */
  Jump: 2,
  /** Leave with exit `status - Exit`; STATE.rip is right. */
  Exit: 16,
} as const;
