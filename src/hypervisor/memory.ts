/**
 * A domain's memory: one shared linear memory that holds the engine's private tables first and guest RAM after.
 *
 *   0            64 KiB never used, so that address 0 means "nothing"
 *   control      hypervisor state shared by the vCPU threads and the device thread (event channels, mailboxes)
 *   vcpus        per vCPU: state block, TLBs, decode caches
 *   frameFlags   one byte per guest frame
 *   tableSpans   one word per guest frame
 *   frameTypes   one word per guest frame
 *   ram          guest frames 0 … pages-1; frame number and machine frame number are the same (pv-abi, central simplification)
 *   special      frames above RAM that the hypervisor owns and the guest maps: shared_info, grant table, M2P
 *
 * Every frame number that a guest can name is an index into [ram, special end): whatever it writes into its page tables, it
 * can reach its own memory only. That is the isolation argument; keep it true.
 */
export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;

/** frameFlags: one bit for each 512 bytes of the frame from which an engine has decoded code. */
export const FrameFlag = {
  /** The engine has decoded code from this frame: whoever writes it from outside must report it. */
  code: 0xff,
} as const;

export const CONTROL_BASE = 0x10000;
export const CONTROL_SIZE = 0x100000;
/** Linear-memory bytes reserved per vCPU; untouched ones cost nothing. */
export const VCPU_SIZE = 0x4c00000;
export const VCPUS_BASE = CONTROL_BASE + CONTROL_SIZE + 0xf0000;

/** Special frames, as offsets from the first frame above RAM. */
export const SPECIAL = {
  sharedInfo: 0,
  /** 64 grant-table frames. */
  grantTable: 1,
  /** Status and hypercall scratch frames, reserved. */
  reserved: 65,
  /** The read-only machine-to-physical table: 8 bytes a frame. Its frames are filled when first looked at. */
  m2p: 80,
} as const;

export interface MemoryLayout {
  readonly pages: number;
  readonly vcpus: number;
  readonly frameFlags: number;
  /** The addresses that the engine translated through a frame as a level 1 page table: translate/runtime/tlb.ts. */
  readonly tableSpans: number;
  /** Which frames are page tables: mmu/frame-types.ts. */
  readonly frameTypes: number;
  readonly ramBase: number;
  /** RAM and special frames; valid guest frame numbers are below this. */
  readonly frames: number;
  /** Total bytes, a multiple of 64 KiB. */
  readonly bytes: number;
}

export function planLayout(pages: number, vcpus: number): MemoryLayout {
  const m2pFrames = Math.ceil((pages * 8) / PAGE_SIZE);
  const frames = pages + SPECIAL.m2p + m2pFrames;
  const frameFlags = VCPUS_BASE + vcpus * VCPU_SIZE;
  const tableSpans = (frameFlags + frames + 3) & ~3;
  const frameTypes = tableSpans + frames * 4;
  const ramBase = (frameTypes + frames * 4 + 0x1fffff) & ~0x1fffff;
  const bytes = ramBase + frames * PAGE_SIZE;
  return {
    pages,
    vcpus,
    frameFlags,
    tableSpans,
    frameTypes,
    ramBase: ramBase >>> 0,
    frames,
    bytes: Math.ceil(bytes / 0x10000) * 0x10000,
  };
}

export class GuestMemory {
  readonly buffer: SharedArrayBuffer;
  readonly layout: MemoryLayout;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;
  readonly i64: BigInt64Array;
  readonly view: DataView;
  readonly frameFlags: Uint8Array;

  constructor(buffer: SharedArrayBuffer, layout: MemoryLayout) {
    this.buffer = buffer;
    this.layout = layout;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
    this.i64 = new BigInt64Array(buffer);
    this.view = new DataView(buffer);
    this.frameFlags = new Uint8Array(buffer, layout.frameFlags, layout.frames);
  }

  /** Is `mfn` a frame that the guest may name? */
  valid(mfn: number): boolean {
    return mfn >= 0 && mfn < this.layout.frames;
  }

  /** Byte offset in the buffer of guest frame `mfn`. The caller has checked `valid`. */
  at(mfn: number): number {
    return this.layout.ramBase + mfn * PAGE_SIZE;
  }

  /** The bytes of one frame. */
  frame(mfn: number): Uint8Array {
    return this.u8.subarray(this.at(mfn), this.at(mfn) + PAGE_SIZE);
  }

  /** Base of the state block of vCPU `index`. */
  vcpuBase(index: number): number {
    return VCPUS_BASE + index * VCPU_SIZE;
  }
}
