/**
 * The decoded code of one vCPU: blocks of records in its arena, keyed by the linear address (so, by the physical page) of
 * their instructions. Aliases of a page share its records, and a store drops those of what it changes, whichever alias it used.
 *
 * A dropped record is not freed: its handler becomes Arm.Resolve, so that whoever is running it looks the address up again.
 * The arena is emptied as a whole when it is full.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import { decode, INSN_MAX, type Insn, Kind } from '../../x86/decode.ts';
import {
  ARENA,
  ARENA_END,
  CODE_HASH,
  CODE_HASH_ENTRIES,
  CODE_HASH_OTHER,
  COUNTER,
  COUNTER_BYTES,
  COUNTERS,
  DECODER,
  HINTS,
  RECORD,
  RECORD_BYTES,
} from '../layout.ts';
import { exampleOf, HANDLERS_BYTES, TABLES } from './decode-tables.ts';
import { entryHint } from './entry-hint.ts';
import { Arm, codeHashSlot } from './generate.ts';
import { LINE_BYTES, RecordIndex } from './record-index.ts';
import { endsBlock, targetInPage, writeRecord } from './shape.ts';

/** Instructions decoded at once. */
const BLOCK_MAX = 96;
/** Of the index, for a block: of its page, and of the lines that it lies in. */
const BLOCK_UNITS = 1 + (BLOCK_MAX * INSN_MAX) / LINE_BYTES + 2;

interface CodePage {
  /** Linear address of the page. */
  readonly base: number;
  /** How many records there are for instructions that begin in it. */
  records: number;
  /** Linear addresses of crossing instructions that end in this page, if there are any. */
  crossers: Set<number> | undefined;
  /** Stores to pieces with code that were looked at byte by byte since pieces of it were last dropped. */
  stores: number;
}

/**
 * So many stores are looked at one by one, for the sake of a kernel that patches itself: most change nothing that was decoded. Then
 * whole pieces are dropped and stores to them are fast again, for the sake of pages with code and data.
 */
const STORES_MAX = 200;

interface Crossing {
  readonly second: number;
  readonly record: number;
}

export interface CodeCachePorts {
  /** decode-block.ts, for this vCPU. */
  decodeBlock(at: number, page: number, unit: number, record: number, most: number): number;
  /** Handler number for the shape of `insn`. */
  handler(insn: Insn): number;
  /** The handler that raises #UD, or #GP for an instruction that is too long. */
  invalid(kind: 'ud' | 'long'): number;
  /** Is a region probably entered at linear address `at`? Its instructions need not be decoded. */
  expected(at: number): boolean;
  /** Remember what a record was decoded from, where its handler needs to know. */
  remember(record: number, insn: Insn): void;
  /** Everything remembered is void. */
  forgetAll(): void;
  /** Code is about to be decoded from guest frame `frame` for the first time: no store to it may go unnoticed. */
  withholdWrites(frame: number): void;
  /** Pieces of the page at linear address `base` have changed: what was made of their code is void. */
  dropped(base: number, pieces: number): void;
  /** The same of bytes of it, from offset `from` to below `to`; true when something was void. */
  overwritten(base: number, from: number, to: number): boolean;
}

/** What the interpreter had counted at some time. */
export interface Counts {
  /** COUNTERS of all records that there were. */
  readonly words: Uint32Array;
  /** Index in the memory's words of the first. */
  readonly first: number;
}

export class CodeCache {
  private readonly memory: GuestMemory;
  /** Linear address of the vCPU's state block. */
  readonly cpu: number;
  private readonly ports: CodeCachePorts;
  private readonly pages = new Map<number, CodePage>();
  private readonly records: RecordIndex;
  private readonly crossings = new Map<number, Crossing>();
  /** See counts(). */
  private counted = new Uint32Array(0);
  private next: number;
  /** Where the room for records ends. */
  private readonly end: number;
  /** How often the arena had been emptied when a branch was last linked. */
  private linkedAtFlush = 0;
  /** Times the arena was emptied, pages dropped: for the engine's statistics. */
  readonly stats = { blocks: 0, instructions: 0, pagesDropped: 0, flushes: 0 };

  /** `records`: how many to keep, if not as many as there is room for. */
  constructor(memory: GuestMemory, cpu: number, ports: CodeCachePorts, records = Number.POSITIVE_INFINITY) {
    this.memory = memory;
    this.cpu = cpu;
    this.ports = ports;
    this.records = new RecordIndex(memory, cpu);
    this.next = cpu + ARENA;
    this.end = cpu + Math.min(ARENA_END, ARENA + records * RECORD_BYTES);
  }

  private page(at: number): CodePage {
    const base = at - ((at - this.memory.layout.ramBase) & 4095);
    let page = this.pages.get(base);
    if (page === undefined) {
      page = { base, records: 0, crossers: undefined, stores: 0 };
      this.pages.set(base, page);
    }
    return page;
  }

  private frameOf(at: number): number {
    return (at - this.memory.layout.ramBase) >>> 12;
  }

  /** Mark the bytes [at, at + length) as decoded; the first mark in a 512-byte piece takes the write tags of the frame away. */
  private markCode(at: number, length: number): void {
    const frame = this.frameOf(at);
    const offset = (at - this.memory.layout.ramBase) & 4095;
    let bits = 0;
    for (let piece = offset >> 9; piece <= (offset + length - 1) >> 9 && piece < 8; piece++) bits |= 1 << piece;
    const flags = this.memory.frameFlags;
    const before = Atomics.or(flags, frame, bits);
    if (before === 0) this.ports.withholdWrites(frame);
  }

  /** The record of the instruction at linear address `at`, decoded if need be. */
  lookup(at: number): number {
    const record = this.records.get(at) || this.decodeBlock(at);
    this.hash(at, record);
    return record;
  }

  private reserve(records: number): void {
    if (this.next + records * RECORD_BYTES <= this.end && this.records.room >= BLOCK_UNITS) return;
    this.dropAll();
  }

  private allocate(): number {
    const record = this.next;
    this.next += RECORD_BYTES;
    return record;
  }

  private decodeBlock(at: number): number {
    // Emptying the arena forgets the pages as well.
    this.reserve(BLOCK_MAX + 2);
    const page = this.page(at);
    this.stats.blocks++;
    const head = this.next;
    const start = at - page.base;
    const end = this.decodeFrom(page, start, this.ports.expected(at) ? 1 : BLOCK_MAX);
    if (end > start) this.markCode(at, end - start);
    return head;
  }

  /**
   * Records for the instructions of `page` from offset `start` on, `most` at most, up to where there is one, or a region is expected: WebAssembly's as
   * long as it knows them, and one of ours where it does not. The offset behind the last.
   */
  private decodeFrom(page: CodePage, start: number, most: number): number {
    const { u8, u16, u32 } = this.memory;
    const { base } = page;
    const tables = this.cpu + DECODER;
    const unit = this.records.page(base);
    let offset = start;
    for (let left = most; ; ) {
      const isOver = left === 0 || offset >= 4096 || (offset !== start && this.isReached(base + offset));
      if (isOver) return this.goOnAt(page, offset);
      const decoded = this.ports.decodeBlock(base + offset, base, unit, this.next, left);
      const count = decoded >>> 1;
      if (count > 0) {
        this.next += count * RECORD_BYTES;
        this.stats.instructions += count;
        page.records += count;
        left -= count;
        const last = this.next - RECORD_BYTES;
        offset = u16[(last + RECORD.position) >>> 1]! + u8[last + RECORD.length]!;
        if ((decoded & 1) !== 0) return offset;
        continue;
      }
      const wanted = u32[(tables + TABLES.wanted) >>> 2]!;
      if (wanted !== 0) {
        u16[(tables + TABLES.handlers + 2 * wanted) >>> 1] = this.ports.handler(exampleOf(wanted));
        continue;
      }
      const insn = this.decodeAt(page, offset);
      if (insn === undefined) return Math.min(offset + INSN_MAX, 4096);
      offset += insn.length;
      if (endsBlock(insn.row)) return offset;
      left--;
    }
  }

  /** The record of the instruction at `offset`, which is TypeScript's to decode; undefined when it is none, or reaches into the next page. */
  private decodeAt(page: CodePage, offset: number): Insn | undefined {
    const { u8, u16, view } = this.memory;
    const record = this.allocate();
    this.enter(page, offset, record);
    const insn = decode(u8, page.base + offset, page.base + 4096);
    if (typeof insn === 'string') {
      // Of one that reaches into the next page it depends on that page's mapping at the time which bytes follow.
      u16[(record + RECORD.position) >>> 1] = offset;
      view.setUint8(record + RECORD.length, INSN_MAX);
      u16[record >>> 1] = insn === 'more' ? Arm.Crossing : this.ports.invalid(insn);
      view.setInt32(record + RECORD.immHi, 0, true);
      return undefined;
    }
    this.writeInsn(record, insn, offset);
    const [target] = insn.operands;
    if (target?.kind === Kind.Rel && targetInPage(insn, offset)) {
      const to = this.records.get(page.base + offset + insn.length + target.immLo);
      if (to !== 0) view.setInt32(record + RECORD.immHi, to, true);
    }
    return insn;
  }

  /** Is there a record at linear address `at`, or probably a region that is entered there? */
  private isReached(at: number): boolean {
    return this.records.get(at) !== 0 || this.ports.expected(at);
  }

  /** The end of a block that goes on at `offset`; the same. */
  private goOnAt(page: CodePage, offset: number): number {
    const { u16, u32 } = this.memory;
    const linked = offset < 4096 ? this.records.get(page.base + offset) : 0;
    const record = this.allocate();
    u16[(record + RECORD.position) >>> 1] = offset;
    u16[record >>> 1] = linked === 0 ? Arm.Resolve : Arm.Goto;
    u32[(record + RECORD.immHi) >>> 2] = linked;
    return offset;
  }

  /** Handlers may have other numbers from now on. All records are void as well. */
  forgetHandlers(): void {
    const handlers = this.cpu + DECODER + TABLES.handlers;
    this.memory.u8.fill(0, handlers, handlers + HANDLERS_BYTES);
    this.dropAll();
  }

  /** A region is expected at linear address `at`: decoding stops there. */
  expect(at: number): void {
    const offset = (at - this.memory.layout.ramBase) & 4095;
    this.memory.u8[this.cpu + HINTS + entryHint(this.memory.u8, at - offset, offset)] = 1;
  }

  private enter(page: CodePage, offset: number, record: number): void {
    this.records.set(page.base + offset, record);
    page.records++;
  }

  private writeInsn(record: number, insn: Insn, position: number): void {
    this.stats.instructions++;
    writeRecord(this.memory.view, record, insn, position);
    this.memory.u16[record >>> 1] = this.ports.handler(insn);
    this.ports.remember(record, insn);
  }

  /** The record of the instruction that begins at linear address `at`, or 0. */
  recordAt(at: number): number {
    return this.records.get(at);
  }

  /** Calls `visit` with the offset and the record of each instruction that begins in the page at linear address `base`. */
  eachRecord(base: number, visit: (offset: number, record: number) => void): void {
    this.records.each(base, 0, 4096, visit);
  }

  /** Code of these 512-byte pieces was decoded beyond what records say: a store to them has to drop it. */
  mark(base: number, pieces: number): void {
    for (let piece = 0; piece < 8; piece++) if ((pieces >> piece) & 1) this.markCode(base + piece * 512, 512);
  }

  /** Index in the memory's words of what is counted of `record`. */
  private counters(record: number): number {
    return (this.cpu + COUNTERS + ((record - this.cpu) / RECORD_BYTES) * COUNTER_BYTES) >>> 2;
  }
  /** How often control came to `record` by a branch, while the interpreter ran it; since `before`, if that is there. */
  arrivals(record: number, before?: Counts): number {
    const k = this.counters(record) + COUNTER.arrivals / 4;
    const count = this.memory.u32[k]! & 0xffff;
    const then = (before?.words[k - before.first] ?? 0) & 0xffff;
    // It may have been counted anew.
    return count < then ? count : count - then;
  }
  /** How often the interpreter came to `record` by a branch, taken or not; since `before`, if that is there. */
  flow(record: number, before?: Counts): number {
    const k = this.counters(record) + COUNTER.flow / 4;
    return (this.memory.u32[k]! - (before?.words[k - before.first] ?? 0)) >>> 0;
  }
  /** What was counted of all records so far: good until it is asked for again. Memory for it each time would be collected, with all else. */
  counts(): Counts {
    const first = this.counters(this.cpu + ARENA);
    const now = this.memory.u32.subarray(first, this.counters(this.next));
    if (this.counted.length < now.length) this.counted = new Uint32Array(Math.ceil(1.25 * now.length));
    this.counted.set(now);
    return { first, words: this.counted.subarray(0, now.length) };
  }
  /** Count anew how often control comes to `record`, from `count` on. */
  count(record: number, count: number): void {
    this.memory.u32[this.counters(record) + COUNTER.arrivals / 4] = count;
  }

  /** `from`, a direct branch with its target in its own page, goes to record `to`. */
  link(from: number, to: number): void {
    // The look-up of `to` may have emptied the arena: `from` is something else now.
    if (this.linkedAtFlush !== this.stats.flushes) {
      this.linkedAtFlush = this.stats.flushes;
      return;
    }
    // Only while both are live records of one page.
    const { u16, u32 } = this.memory;
    if (u16[from >>> 1] === Arm.Resolve) return;
    u32[(from + RECORD.immHi) >>> 2] = to;
  }

  /**
   * The record for an instruction that starts at linear address `at` and reaches into the page at linear address `second`.
   * It is followed by a record that goes on behind it. The interpreter finds it in the record at `at`, with `second`, as long as it is
   * the one.
   */
  crossing(at: number, second: number): number {
    const known = this.crossings.get(at);
    if (known !== undefined && known.second === second) {
      this.noteCrossing(at, known);
      return known.record;
    }
    this.reserve(2);
    const base = this.page(at).base;
    const offset = at - base;
    const head = 4096 - offset;
    const bytes = new Uint8Array(2 * INSN_MAX);
    bytes.set(this.memory.u8.subarray(at, at + head));
    bytes.set(this.memory.u8.subarray(second, second + INSN_MAX), head);
    const record = this.allocate();
    const after = this.allocate();
    const insn = decode(bytes, 0, head + INSN_MAX);
    const { u16 } = this.memory;
    u16[(after + RECORD.position) >>> 1] = offset;
    u16[after >>> 1] = Arm.Resolve;
    if (typeof insn === 'string') {
      u16[(record + RECORD.position) >>> 1] = offset;
      u16[record >>> 1] = this.ports.invalid(insn === 'long' ? 'long' : 'ud');
    } else {
      this.writeInsn(record, insn, offset);
      // A branch from here is by address: it is in two pages.
      if (insn.operands[0]?.kind === 4) this.memory.view.setInt32(record + RECORD.displacement, 1, true);
      u16[(after + RECORD.position) >>> 1] = offset + insn.length;
      this.markCode(second, Math.max(1, insn.length - head));
    }
    this.markCode(at, head);
    this.crossings.set(at, { second, record });
    this.noteCrossing(at, { second, record });
    (this.page(second).crossers ??= new Set()).add(at);
    return record;
  }

  private noteCrossing(at: number, { second, record }: Crossing): void {
    const first = this.records.get(at);
    if (first === 0) return;
    this.memory.u32[(first + RECORD.immLo) >>> 2] = second;
    this.memory.u32[(first + RECORD.immHi) >>> 2] = record;
  }

  /**
   * The guest is about to store `bytes` bytes to guest frame `frame` at `offset`, in `pieces` that code was decoded from. Drops the
   * code that this changes; true when there was any.
   */
  overwrite(frame: number, pieces: number, offset: number, bytes: number): boolean {
    const page = this.pages.get(this.memory.layout.ramBase + frame * 4096);
    if (page === undefined || page.stores === STORES_MAX) {
      this.drop(frame, pieces);
      return true;
    }
    page.stores++;
    const end = offset + bytes;
    const { base, crossers } = page;
    let found = this.ports.overwritten(base, offset, end);
    this.records.each(base, Math.max(offset - INSN_MAX + 1, 0), Math.min(end, 4096), (start, record) => {
      if (start + this.memory.u8[record + RECORD.length]! <= offset) return;
      this.forget(page, start, record);
      found = true;
    });
    if (offset < INSN_MAX && crossers !== undefined) {
      this.forgetCrossers(page);
      found = true;
    }
    return found;
  }

  /** Nobody finds `record` of the instruction at `offset` any more. */
  private forget(page: CodePage, offset: number, record: number): void {
    const at = page.base + offset;
    this.memory.u16[record >>> 1] = Arm.Resolve;
    this.records.delete(at);
    page.records--;
    this.unhash(at);
    this.dropCrossing(at);
  }

  private forgetCrossers(page: CodePage): void {
    for (const at of page.crossers ?? []) {
      this.dropCrossing(at);
      this.unhash(at);
    }
    page.crossers = undefined;
  }

  /** Drop what was decoded from guest frame `frame`, or from the 512-byte pieces of it that `pieces` says. */
  drop(frame: number, pieces = 0xff): void {
    const base = this.memory.layout.ramBase + frame * 4096;
    const page = this.pages.get(base);
    Atomics.and(this.memory.frameFlags, frame, ~pieces);
    if (page === undefined) {
      // Regions that others have made can have code in a page of which nothing was decoded.
      this.ports.dropped(base, pieces);
      return;
    }
    this.stats.pagesDropped++;
    page.stores = 0;
    for (let piece = 0; piece < 8 && page.records > 0; piece++) {
      if ((pieces & (1 << piece)) === 0) continue;
      // The last instructions of the piece before may reach into this one.
      const from = Math.max(piece * 512 - INSN_MAX + 1, 0);
      this.records.each(base, from, (piece + 1) * 512, (offset, record) => this.forget(page, offset, record));
    }
    if ((pieces & 1) !== 0) this.forgetCrossers(page);
    this.ports.dropped(base, pieces);
    if (page.records === 0 && page.crossers === undefined) this.pages.delete(base);
  }

  /** Index in u32 of the slot for `at`. */
  private slotOf(at: number): number {
    return (this.cpu + CODE_HASH + codeHashSlot(at) * 8) >>> 2;
  }

  private hash(at: number, record: number): void {
    const { u32 } = this.memory;
    const slot = this.slotOf(at);
    const before = u32[slot]!;
    // What had been displaced to here is forgotten. Moved again, it displaced an address in use, and two of them came here for ever.
    if (before !== at && before !== 0 && this.slotOf(before) === slot) {
      const other = slot ^ (CODE_HASH_OTHER >>> 2);
      u32[other] = before;
      u32[other + 1] = u32[slot + 1]!;
    }
    u32[slot] = at;
    u32[slot + 1] = record;
  }

  private unhash(at: number): void {
    const { u32 } = this.memory;
    const slot = this.slotOf(at);
    if (u32[slot] === at) u32[slot] = 0;
    const other = slot ^ (CODE_HASH_OTHER >>> 2);
    if (u32[other] === at) u32[other] = 0;
  }

  private dropCrossing(at: number): void {
    const crossing = this.crossings.get(at);
    if (crossing === undefined) return;
    this.memory.u16[crossing.record >>> 1] = Arm.Resolve;
    this.noteCrossing(at, { second: 0, record: 0 });
    this.crossings.delete(at);
  }

  dropAll(): void {
    this.stats.flushes++;
    for (const page of this.pages.values()) this.memory.frameFlags[this.frameOf(page.base)] = 0;
    this.pages.clear();
    this.records.clear();
    this.crossings.clear();
    this.memory.u32.fill(0, (this.cpu + CODE_HASH) >>> 2, (this.cpu + CODE_HASH + CODE_HASH_ENTRIES * 8) >>> 2);
    this.memory.u32.fill(0, this.counters(this.cpu + ARENA), this.counters(this.next));
    this.next = this.cpu + ARENA;
    this.ports.forgetAll();
  }
}
