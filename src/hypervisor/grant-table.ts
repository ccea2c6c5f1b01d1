/**
 * The grant table, version 1: which frames the guest lets domain 0 (or itself) use. The entries are in guest-visible frames;
 * how many uses of each are under way is in the CONTROL region, so that the vCPU threads and the device thread agree. The
 * hypercall is in grant-table-op.ts. Follows pv-abi 8.5.
 */
import { GrantEntryV1 } from '../abi/grants.ts';
import { DOMID, GNTST, GTF } from '../abi/numbers.ts';
import { isAllocated } from './allocation.ts';
import { CONTROL, Lock } from './control.ts';
import { type GuestMemory, PAGE_SIZE, SPECIAL } from './memory.ts';

export const GRANT_FRAMES_MAX = SPECIAL.reserved - SPECIAL.grantTable;
const ENTRIES_PER_FRAME = PAGE_SIZE / GrantEntryV1.size;
/** Uses of one reference at a time; each half of a pin word counts to 65535. */
const PINS_MAX = 0xffff;
const WRITER = 0x1_0000;

export class GrantTable {
  private readonly memory: GuestMemory;
  private readonly i32: Int32Array;
  private readonly domid: number;
  private readonly lock: Lock;

  constructor(memory: GuestMemory, domid: number) {
    this.memory = memory;
    this.i32 = memory.i32;
    this.domid = domid;
    this.lock = new Lock(memory, CONTROL.grantLock);
    // The first frame is there from the start: the builder seeds entries in it.
    Atomics.compareExchange(this.i32, CONTROL.grantFrames >>> 2, 0, 1);
  }

  get frames(): number {
    return Atomics.load(this.i32, CONTROL.grantFrames >>> 2);
  }

  /** Have at least `frames` frames; false when that is more than there may be. */
  grow(frames: number): boolean {
    if (frames > GRANT_FRAMES_MAX) return false;
    this.lock.with(() => {
      if (frames > this.frames) Atomics.store(this.i32, CONTROL.grantFrames >>> 2, frames);
    });
    return true;
  }

  /** Frame number of frame `index` of the table. */
  mfn(index: number): number {
    return this.memory.layout.pages + SPECIAL.grantTable + index;
  }

  private entry(gref: number): number {
    return this.memory.at(this.mfn(0)) + gref * GrantEntryV1.size;
  }

  /** Make an entry, for the builder. */
  seed(gref: number, frame: number, domid: number = DOMID.dom0): void {
    const at = this.entry(gref);
    GrantEntryV1.domid.set(this.memory.view, at, domid);
    GrantEntryV1.frame.set(this.memory.view, at, frame);
    GrantEntryV1.flags.set(this.memory.view, at, GTF.permit_access);
  }

  /**
   * Begin a use of `gref` by `domid`: the frame number, or a negative GNTST. The guest sees the use in the entry and cannot
   * revoke it until `release` with the same arguments.
   */
  resolve(gref: number, domid: number = DOMID.dom0, write = false): number {
    if (!(gref >= 0 && gref < this.frames * ENTRIES_PER_FRAME)) return GNTST.bad_gntref;
    return this.lock.with(() => {
      const pinIndex = (CONTROL.grantPins >>> 2) + gref;
      const pins = this.i32[pinIndex]! >>> 0;
      if ((pins & 0xffff) === PINS_MAX) return GNTST.general_error;
      const at = this.entry(gref) >>> 2;
      const use = GTF.reading | (write ? GTF.writing : 0);
      // The guest may change the word as often as it likes; it must not keep us here.
      for (let tries = 0; tries < 8; tries++) {
        const word = Atomics.load(this.i32, at);
        if ((word & GTF.type_mask) !== GTF.permit_access || word >>> 16 !== domid) return GNTST.general_error;
        if (write && word & GTF.readonly) return GNTST.general_error;
        if (Atomics.compareExchange(this.i32, at, word, word | use) !== word) continue;
        const frame = Atomics.load(this.i32, at + 1) >>> 0;
        this.i32[pinIndex] = pins + 1 + (write ? WRITER : 0);
        if (isAllocated(this.memory, frame)) return frame;
        this.unpin(gref, write);
        return GNTST.bad_page;
      }
      return GNTST.general_error;
    });
  }

  /** End a use that `resolve` began. */
  release(gref: number, write = false): void {
    this.lock.with(() => this.unpin(gref, write));
  }

  private unpin(gref: number, write: boolean): void {
    const pinIndex = (CONTROL.grantPins >>> 2) + gref;
    const pins = (this.i32[pinIndex]! - 1 - (write ? WRITER : 0)) >>> 0;
    this.i32[pinIndex] = pins;
    let done = 0;
    if (pins >>> 16 === 0) done |= GTF.writing;
    if ((pins & 0xffff) === 0) done |= GTF.reading;
    if (done !== 0) Atomics.and(this.i32, this.entry(gref) >>> 2, ~done);
  }

  /** Is any use of the reference under way? */
  inUse(gref: number): boolean {
    return Atomics.load(this.i32, (CONTROL.grantPins >>> 2) + gref) !== 0;
  }

  /** Forget all entries and uses: the fresh table of a resumed domain. */
  reset(): void {
    this.memory.u8.fill(0, this.memory.at(this.mfn(0)), this.memory.at(this.mfn(this.frames)));
    this.i32.fill(0, CONTROL.grantPins >>> 2, (CONTROL.grantPins >>> 2) + GRANT_FRAMES_MAX * ENTRIES_PER_FRAME);
    Atomics.store(this.i32, CONTROL.grantFrames >>> 2, 1);
  }

  /** Is `domid` this table's own domain? */
  isOwner(domid: number): boolean {
    return domid === DOMID.self || domid === this.domid;
  }

  get owner(): number {
    return this.domid;
  }
}
