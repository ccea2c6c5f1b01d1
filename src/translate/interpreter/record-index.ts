/**
 * Linear address of an instruction → its record: a hash table in one typed array. A booted Linux has 170,000 entries; as
 * JavaScript Maps they took 15 MB of every domain's monitor, and a tenth of the time for decoding.
 */

/** Slots at first; a power of two. */
const INITIAL_SLOTS = 1 << 14;

export class RecordIndex {
  /** {key, record} per slot; key 0, an address without code, is a free slot. Runs are kept without holes (linear probing). */
  private table = new Uint32Array(2 * INITIAL_SLOTS);
  private mask = INITIAL_SLOTS - 1;
  private entries = 0;

  get size(): number {
    return this.entries;
  }

  /** What lies together in a page does so here: it is asked for one after the other. */
  private home(at: number): number {
    return ((Math.imul(at >>> 12, 0x9e3779b1) >>> 8) + (at & 4095)) & this.mask;
  }

  /** The slot of `at`, or the free one where it would be. */
  private find(at: number): number {
    const { table, mask } = this;
    let slot = this.home(at);
    for (;;) {
      const key = table[2 * slot]!;
      if (key === at || key === 0) return slot;
      slot = (slot + 1) & mask;
    }
  }

  /** The record at linear address `at`, or 0. */
  get(at: number): number {
    const slot = this.find(at);
    return this.table[2 * slot] === 0 ? 0 : this.table[2 * slot + 1]!;
  }

  set(at: number, record: number): void {
    let slot = this.find(at);
    if (this.table[2 * slot] === 0) {
      if (3 * ++this.entries > 2 * (this.mask + 1)) {
        this.grow();
        slot = this.find(at);
      }
      this.table[2 * slot] = at;
    }
    this.table[2 * slot + 1] = record;
  }

  /** False when there was none. */
  delete(at: number): boolean {
    const { table, mask } = this;
    let hole = this.find(at);
    if (table[2 * hole] === 0) return false;
    this.entries--;
    // What follows in the run moves up, unless it would come to stand before its home.
    for (let slot = (hole + 1) & mask; table[2 * slot] !== 0; slot = (slot + 1) & mask) {
      const home = this.home(table[2 * slot]!);
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      table[2 * hole] = table[2 * slot]!;
      table[2 * hole + 1] = table[2 * slot + 1]!;
      hole = slot;
    }
    table[2 * hole] = 0;
    return true;
  }

  clear(): void {
    this.table = new Uint32Array(2 * INITIAL_SLOTS);
    this.mask = INITIAL_SLOTS - 1;
    this.entries = 0;
  }

  private grow(): void {
    const old = this.table;
    this.table = new Uint32Array(2 * old.length);
    this.mask = old.length - 1;
    for (let k = 0; k < old.length; k += 2) {
      if (old[k] === 0) continue;
      const slot = this.find(old[k]!);
      this.table[2 * slot] = old[k]!;
      this.table[2 * slot + 1] = old[k + 1]!;
    }
  }
}
