/**
 * Linear address of an instruction → its record, in the vCPU's part of the memory: decoding in WebAssembly (decode-block.ts) reads and fills it,
 * too.
 *
 * Units of 64 words. For each frame a word says which unit is its page's; that says which unit each line of 64 bytes has; and that, which
 * record the instruction has that begins at each of these bytes. Unit 0 is all zeros and never written, so that what is not there is looked up
 * like what is. Units are named by their distance from INDEX_UNITS.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import { INDEX_END, INDEX_FRAMES, INDEX_NEXT, INDEX_UNITS } from '../layout.ts';

export const LINE_BYTES = 64;
export const UNIT_BYTES = LINE_BYTES * 4;

export class RecordIndex {
  private readonly memory: GuestMemory;
  private readonly cpu: number;
  /** Frames that have a unit. */
  private readonly frames: number[] = [];

  constructor(memory: GuestMemory, cpu: number) {
    this.memory = memory;
    this.cpu = cpu;
    this.clear();
  }

  /** How many units more there can be. */
  get room(): number {
    return (INDEX_END - INDEX_UNITS - this.memory.u32[this.next]!) / UNIT_BYTES;
  }

  /** The record at linear address `at`, or 0. */
  get(at: number): number {
    const { u32 } = this.memory;
    const line = u32[this.lineWord(u32[this.frameWord(at)]!, at)]!;
    return u32[this.recordWord(line, at)]!;
  }

  /** There must be room for two units. */
  set(at: number, record: number): void {
    const { u32 } = this.memory;
    const word = this.lineWord(this.page(at), at);
    if (u32[word] === 0) u32[word] = this.allocate();
    u32[this.recordWord(u32[word]!, at)] = record;
  }

  delete(at: number): void {
    const { u32 } = this.memory;
    const line = u32[this.lineWord(u32[this.frameWord(at)]!, at)]!;
    if (line !== 0) u32[this.recordWord(line, at)] = 0;
  }

  /** The unit of the page of linear address `at`, made if need be. */
  page(at: number): number {
    const { u32 } = this.memory;
    const word = this.frameWord(at);
    if (u32[word] === 0) {
      u32[word] = this.allocate();
      this.frames.push(word);
    }
    return u32[word]!;
  }

  /** Calls `visit` for each record of the page at linear address `base` from offset `from` to below `to`. */
  each(base: number, from: number, to: number, visit: (offset: number, record: number) => void): void {
    const { u32 } = this.memory;
    const page = u32[this.frameWord(base)]!;
    for (let offset = from; offset < to; ) {
      const end = Math.min((offset | (LINE_BYTES - 1)) + 1, to);
      const line = u32[this.lineWord(page, offset)]!;
      if (line === 0) offset = end;
      for (; offset < end; offset++) {
        const record = u32[this.recordWord(line, offset)]!;
        if (record !== 0) visit(offset, record);
      }
    }
  }

  clear(): void {
    const { u32 } = this.memory;
    for (const word of this.frames) u32[word] = 0;
    this.frames.length = 0;
    const units = (this.cpu + INDEX_UNITS) >>> 2;
    u32.fill(0, units, units + (u32[this.next]! >>> 2));
    u32[this.next] = UNIT_BYTES;
  }

  private allocate(): number {
    const { u32 } = this.memory;
    const unit = u32[this.next]!;
    u32[this.next] = unit + UNIT_BYTES;
    return unit;
  }

  // Indices of words.
  private get next(): number {
    return (this.cpu + INDEX_NEXT) >>> 2;
  }
  private frameWord(at: number): number {
    return ((this.cpu + INDEX_FRAMES) >>> 2) + ((at - this.memory.layout.ramBase) >>> 12);
  }
  private lineWord(page: number, at: number): number {
    return ((this.cpu + INDEX_UNITS + page) >>> 2) + ((at & 4095) >>> 6);
  }
  private recordWord(line: number, at: number): number {
    return ((this.cpu + INDEX_UNITS + line) >>> 2) + (at & (LINE_BYTES - 1));
  }
}
