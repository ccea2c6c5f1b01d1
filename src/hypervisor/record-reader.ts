/**
 * Reads arrays of small records from guest memory, as hypercalls have them: each word once, the translation once a page and
 * call, without making anything.
 */
import type { Vcpu } from './vcpu.ts';

export class RecordReader {
  readonly words: Uint32Array;
  private vcpu!: Vcpu;
  private readonly bytes: Uint8Array;
  private pageLo = -1;
  private pageHi = -1;
  private page = 0;

  constructor(size: number) {
    this.words = new Uint32Array(size / 4);
    this.bytes = new Uint8Array(this.words.buffer);
  }

  /** Begin a new call: nothing translated before holds any more. */
  start(vcpu: Vcpu): void {
    this.vcpu = vcpu;
    this.pageLo = -1;
  }

  /** Take the record at hi:lo into `words`; false after a fault. */
  read(lo: number, hi: number): boolean {
    const { words, bytes } = this;
    const offset = lo & 0xfff;
    if (offset + bytes.length > 4096 || offset & 3) {
      return this.vcpu.readInto((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0), bytes);
    }
    if (lo - offset !== this.pageLo || hi !== this.pageHi) {
      this.page = this.vcpu.translate((lo - offset) >>> 0, hi, false);
      this.pageLo = lo - offset;
      this.pageHi = hi;
    }
    if (this.page === 0) return false;
    const from = (this.page + offset) / 4;
    const { u32 } = this.vcpu.memory;
    for (let i = 0; i < words.length; i++) words[i] = u32[from + i]!;
    return true;
  }
}
