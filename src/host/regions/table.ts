/**
 * The regions that can be entered: their functions in the table, the records that lead to them, and the pages that they have
 * code from. A region goes when such a page changes, or is somewhere else when it is entered.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import type { CodeCache } from '../../translate/interpreter/code-cache.ts';
import { Arm } from '../../translate/interpreter/generate.ts';
import {
  ENTRY_PAGE_SHIFT,
  JUMP_BYTES,
  JUMP_ENTRIES,
  JUMPS,
  JUMPS_FILLED,
  LINK_ENTRY_SHIFT,
  PLACE,
  RECORD,
  REGION_PLACE_BYTES,
  REGION_PLACES,
  REGION_SLOTS,
  REGION_SLOTS_END,
} from '../../translate/layout.ts';
import { originId, type PageCode, type RegionOrigin } from '../../translate/region/index.ts';

/** A page that a region has code from. */
export interface Part extends PageCode {
  /** Linear address. */
  readonly base: number;
}

const isCode = ({ code }: Part, offset: number): boolean => ((code[offset >> 3]! >> (offset & 7)) & 1) !== 0;

/** Is the byte at `offset` of the page at linear address `base` one of an instruction of these? */
export const hasCode = (parts: readonly Part[], base: number, offset: number): boolean =>
  parts.some((part) => part.base === base && isCode(part, offset));

/** Has `region` an entry at an instruction of one of `regions`? */
const beginsIn = ({ offsets, pages, parts }: Region, regions: ReadonlyMap<number, readonly Part[]>): boolean =>
  offsets.some((offset) => {
    const there = regions.get(parts[pages.indexOf(offset >> 12)]!.base);
    return there?.some((part) => isCode(part, offset & 4095)) === true;
  });

export interface Region {
  readonly slot: number;
  /** originId of what it was made from. */
  readonly id: number;
  readonly parts: readonly Part[];
  /** Its pages, seen from the first entry's. */
  readonly pages: readonly number[];
  readonly instructions: number;
  /** Of its entries, from the beginning of that page. */
  readonly offsets: readonly number[];
  /** Record → the handler that it had. */
  readonly entries: Map<number, number>;
  /** Linear addresses of entries whose instructions had no record. */
  readonly waiting: readonly number[];
  /** KeptPlace.age; 0 for what was made here, which is newer than all that is kept. */
  readonly age: number;
  /** Undefined: it lives for ever. */
  readonly module: RegionModule | undefined;
}

/** A region before its function is in the table. */
export interface Prepared {
  readonly origin: RegionOrigin;
  readonly parts: readonly Part[];
  /** Of each entry its record, 0 for what is somebody else's, or where it is without having one yet. */
  readonly entries: readonly (number | { readonly at: number })[];
  /** Region.age */
  readonly age: number;
}

/** A module lives as long as one of its functions can be reached. */
export interface RegionModule {
  readonly bytes: number;
  /** Regions of it that have not been dropped. */
  live: number;
}

export interface TableStatistics {
  regions: number;
  /** Dropped because a page of theirs was somewhere else when they were entered. */
  regionsMoved: number;
  regionModules: number;
  regionModulesLive: number;
  regionsLive: number;
  regionInstructions: number;
  /** Of the modules: all, and those that live. */
  regionBytes: number;
  regionBytesLive: number;
}

export class RegionTable {
  readonly stats: TableStatistics = {
    regions: 0,
    regionsMoved: 0,
    regionModules: 0,
    regionModulesLive: 0,
    regionsLive: 0,
    regionInstructions: 0,
    regionBytes: 0,
    regionBytesLive: 0,
  };
  private readonly memory: GuestMemory;
  private readonly cache: CodeCache;
  private readonly table: WebAssembly.Table;
  /** `outdated` is told the records that led into a region whose code has changed. */
  private readonly outdated: (records: readonly number[]) => void;
  /** Page's linear address → its regions. */
  private readonly pages = new Map<number, Set<Region>>();
  private readonly handlers = new Map<number, number>();
  private readonly freeSlots: number[] = [];
  private nextSlot: number = REGION_SLOTS;
  /** By their places in the table. */
  private readonly bySlot = new Map<number, Region>();
  /** Linear address of an entry that has had no record yet → its region, and which of its entries it is. */
  private readonly waiting = new Map<number, { readonly region: Region; readonly byte: number }>();
  /** Those that nobody enters for now, with the records that led into them, and RECORD.entry of each. */
  private readonly suspended = new Map<Region, readonly (readonly [record: number, byte: number])[]>();
  /** Pages whose neighbours change: their regions stay within one page. */
  private readonly alone = new Set<number>();

  constructor(
    memory: GuestMemory,
    cache: CodeCache,
    table: WebAssembly.Table,
    outdated: (records: readonly number[]) => void,
  ) {
    this.memory = memory;
    this.cache = cache;
    this.table = table;
    this.outdated = outdated;
  }

  /** The handler of `record` as the interpreter alone would have it. */
  handlerOf(record: number): number {
    return this.handlers.get(record) ?? this.memory.u16[record >>> 1]!;
  }

  /** Is `record` run by the interpreter, and can a region be entered at it? */
  isInterpreted(record: number): boolean {
    const handler = this.memory.u16[record >>> 1]!;
    return handler >= Arm.Crossing && handler < REGION_SLOTS;
  }

  /** There is no room for another region. */
  get isFull(): boolean {
    return this.freeSlots.length === 0 && this.nextSlot === REGION_SLOTS_END;
  }

  /** The region in `slot`, if there is one. */
  at(slot: number): Region | undefined {
    return this.bySlot.get(slot);
  }

  /** Do regions with code from the page at linear address `base` have to do without others? */
  isAlone(base: number): boolean {
    return this.alone.has(base);
  }

  /** The region that is entered at `record`. */
  enteredBy(record: number): Region | undefined {
    return this.bySlot.get(this.memory.u16[record >>> 1]!);
  }

  /** Is there an entry at linear address `at` whose instruction has had no record yet? */
  isWaiting(at: number): boolean {
    return this.waiting.has(at);
  }

  /** The region that has it. */
  waitingAt(at: number): Region | undefined {
    return this.waiting.get(at)?.region;
  }

  /** Has a region the instruction at `offset` of the page at linear address `base`? */
  hasCode(base: number, offset: number): boolean {
    return [...(this.pages.get(base) ?? [])].some(({ parts }) => hasCode(parts, base, offset));
  }

  /** There is a record now for the instruction at linear address `at`: if an entry waits for it, it leads into that region from now on. */
  awaited(record: number, at: number): boolean {
    const waiting = this.waiting.get(at);
    if (waiting === undefined || this.suspended.has(waiting.region)) return false;
    this.waiting.delete(at);
    this.enter(waiting.region, record, waiting.byte);
    return true;
  }

  /** From now on the interpreter runs the code that the regions with these slots have, whichever region begins in it. */
  suspend(slots: ReadonlySet<number>): void {
    /** Page's linear address → what those regions have of it. */
    const code = new Map<number, Part[]>();
    for (const slot of slots) {
      for (const part of this.bySlot.get(slot)?.parts ?? []) {
        const there = code.get(part.base);
        if (there === undefined) code.set(part.base, [part]);
        else there.push(part);
      }
    }
    const { u16, u8 } = this.memory;
    const seen = new Set<Region>();
    for (const base of code.keys()) {
      for (const region of this.pages.get(base)!) {
        if (seen.has(region)) continue;
        seen.add(region);
        if (!beginsIn(region, code)) continue;
        const { entries } = region;
        this.suspended.set(
          region,
          Array.from(entries.keys(), (record) => [record, u8[record + RECORD.entry]!]),
        );
        for (const [record, handler] of entries) u16[record >>> 1] = handler;
      }
    }
    this.forgetJumps();
  }

  /** Has a region that is suspended the instruction at `offset` of the page at linear address `base`? */
  isSuspended(base: number, offset: number): boolean {
    return [...this.suspended.keys()].some(({ parts }) => hasCode(parts, base, offset));
  }

  /** The regions that were suspended are entered again. */
  resume(): void {
    const { u16, u8 } = this.memory;
    const regions = [...this.suspended];
    this.suspended.clear();
    for (const [{ slot, entries, waiting }, bytes] of regions) {
      for (const [record, byte] of bytes) {
        if (u16[record >>> 1] === entries.get(record)) {
          this.handlers.set(record, u16[record >>> 1]!);
          u16[record >>> 1] = slot;
          u8[record + RECORD.entry] = byte;
        } else {
          // Meanwhile it has become another's, or is there no more.
          entries.delete(record);
        }
      }
      for (const at of waiting) {
        const record = this.cache.recordAt(at);
        if (record !== 0) this.awaited(record, at);
      }
    }
  }

  /**
   * Prepared.entries of a region of this age; what it is made of is marked as code. What is another region's entry already stays that one's unless
   * this one is not older and `takesOver`.
   */
  entriesOf(origin: RegionOrigin, parts: readonly Part[], age: number, takesOver: boolean): Prepared['entries'] {
    for (const { base, pieces } of parts) this.cache.mark(base, pieces);
    return origin.entries.map((offset) => {
      const page = origin.pages.indexOf(offset >> 12);
      const at = parts[page]!.base + (offset & 4095);
      const entry = this.cache.recordAt(at);
      const other = entry === 0 ? this.waitingAt(at) : this.enteredBy(entry);
      if (other !== undefined && (other.age < age || (entry !== 0 && !takesOver))) return 0;
      if (entry === 0) return { at };
      return other !== undefined || this.isInterpreted(entry) ? entry : 0;
    });
  }

  /** `module`: undefined when it lives for ever. */
  install({ origin, parts, entries: records, age }: Prepared, code: unknown, module?: RegionModule): Region {
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    this.table.set(slot, code);
    const { pages } = origin;
    this.place(slot, pages, parts);
    const waiting = records.flatMap((entry) => (typeof entry === 'number' ? [] : [entry.at]));
    const region: Region = {
      slot,
      id: originId(origin),
      parts,
      pages,
      instructions: origin.instructions,
      offsets: origin.entries,
      entries: new Map(),
      waiting,
      age,
      module,
    };
    if (module !== undefined && module.live++ === 0) {
      this.stats.regionBytes += module.bytes;
      this.stats.regionBytesLive += module.bytes;
      this.stats.regionModules++;
      this.stats.regionModulesLive++;
    }
    this.bySlot.set(slot, region);
    records.forEach((entry, k) => {
      const byte = k | (pages.indexOf(origin.entries[k]! >> 12) << ENTRY_PAGE_SHIFT);
      if (typeof entry !== 'number') {
        this.waiting.set(entry.at, { region, byte });
        this.cache.expect(entry.at);
      } else if (entry !== 0) this.enter(region, entry, byte);
    });
    for (const { base } of parts) {
      const list = this.pages.get(base);
      if (list === undefined) this.pages.set(base, new Set([region]));
      else list.add(region);
    }
    this.stats.regions++;
    this.stats.regionsLive++;
    this.stats.regionInstructions += origin.instructions;
    return region;
  }

  /** Region.id of those that have been entered → the address of the first entry, as far as it was last known. */
  addresses(): Map<number, bigint> {
    const { view } = this.memory;
    const found = new Map<number, bigint>();
    for (const { slot, id, offsets } of this.bySlot.values()) {
      const at = this.cache.cpu + REGION_PLACES + (slot - REGION_SLOTS) * REGION_PLACE_BYTES;
      if (view.getBigUint64(at + PLACE.stamp, true) === 0n) continue;
      found.set(id, BigInt.asUintN(64, view.getBigUint64(at + PLACE.first, true) + BigInt(offsets[0]!)));
    }
    return found;
  }

  /** Write down for runtime/region-places.ts where the pages of the region in `slot` are; that they are is not known yet. */
  private place(slot: number, pages: readonly number[], parts: readonly Part[]): void {
    const { view } = this.memory;
    const at = this.cache.cpu + REGION_PLACES + (slot - REGION_SLOTS) * REGION_PLACE_BYTES;
    view.setBigUint64(at + PLACE.stamp, 0n, true);
    view.setUint32(at + PLACE.count, pages.length, true);
    pages.forEach((page, k) => {
      view.setInt32(at + PLACE.pages + 8 * k, page, true);
      view.setUint32(at + PLACE.pages + 8 * k + 4, parts[k]!.base, true);
    });
  }

  /** From now on `record` leads into `region`, at the entry that `byte` names. */
  private enter(region: Region, record: number, byte: number): void {
    const { u16, u8 } = this.memory;
    const before = this.enteredBy(record);
    const handler = before?.entries.get(record) ?? u16[record >>> 1]!;
    region.entries.set(record, handler);
    this.handlers.set(record, handler);
    u16[record >>> 1] = region.slot;
    u8[record + RECORD.entry] = byte;
    if (before === undefined || before === region) return;
    before.entries.delete(record);
    this.forgetJumps();
    // Nobody comes to it any more.
    if (before.entries.size === 0 && !before.waiting.some((at) => this.waiting.get(at)?.region === before))
      this.release(before);
  }

  /**
   * A region was entered by `link`, and its pages are not all known to be where they were. `mapped` says where the n-th page
   * behind the entry's is mapped now, 0 for nowhere. When one is somewhere else, drops the region and says where in its page the entry is.
   */
  moved(link: number, mapped: (page: number) => number): number | undefined {
    const region = this.bySlot.get(link & ((1 << LINK_ENTRY_SHIFT) - 1))!;
    const offset = region.offsets[(link >> LINK_ENTRY_SHIFT) & ((1 << ENTRY_PAGE_SHIFT) - 1)]!;
    if (region.parts.every(({ base }, k) => mapped(region.pages[k]! - (offset >> 12)) === base)) return undefined;
    this.stats.regionsMoved++;
    for (const { base } of region.parts) this.alone.add(base);
    this.release(region);
    return offset & 4095;
  }

  /** Drops `region`, because its code has changed or it is to be made anew: it will be soon. */
  outdate(region: Region): void {
    const records = [...region.entries.keys()];
    this.release(region);
    this.outdated(records);
  }

  /** Code of the page at linear address `base` has changed, in `pieces` of 512 bytes. */
  drop(base: number, pieces: number): void {
    this.alone.delete(base);
    for (const region of this.pages.get(base) ?? []) {
      if (region.parts.some((part) => part.base === base && (part.pieces & pieces) !== 0)) this.outdate(region);
    }
  }

  /** Bytes of the page at linear address `base` change, from offset `from` to below `to`. True when regions had code there. */
  overwritten(base: number, from: number, to: number): boolean {
    const regions = this.pages.get(base);
    if (regions === undefined) return false;
    const end = Math.min(to, 4096);
    const has = (part: Part): boolean => {
      if (part.base !== base) return false;
      for (let offset = from; offset < end; offset++) if (isCode(part, offset)) return true;
      return false;
    };
    let found = false;
    for (const region of regions) {
      if (!region.parts.some(has)) continue;
      this.outdate(region);
      found = true;
    }
    if (found) this.alone.delete(base);
    return found;
  }

  release(region: Region): void {
    const { u16 } = this.memory;
    const { slot, entries, parts, waiting } = region;
    this.forgetJumps();
    this.table.set(slot, null);
    this.bySlot.delete(slot);
    this.suspended.delete(region);
    this.freeSlots.push(slot);
    for (const [record, handler] of entries) {
      // The code cache has taken the handlers of changed instructions back already.
      if (u16[record >>> 1] === slot) u16[record >>> 1] = handler;
      // It may be another's, that was made while this one was suspended.
      if (this.enteredBy(record) === undefined) this.handlers.delete(record);
    }
    for (const at of waiting) if (this.waiting.get(at)?.region === region) this.waiting.delete(at);
    for (const { base } of parts) {
      const regions = this.pages.get(base)!;
      regions.delete(region);
      if (regions.size === 0) this.pages.delete(base);
    }
    this.stats.regionsLive--;
    if (region.module === undefined || --region.module.live > 0) return;
    this.stats.regionModulesLive--;
    this.stats.regionBytesLive -= region.module.bytes;
  }

  /** No jump is known any more to lead to a region. */
  forgetJumps(): void {
    const { u8, view } = this.memory;
    const { cpu } = this.cache;
    if (view.getUint32(cpu + JUMPS_FILLED, true) === 0) return;
    u8.fill(0, cpu + JUMPS, cpu + JUMPS + JUMP_ENTRIES * JUMP_BYTES);
    view.setUint32(cpu + JUMPS_FILLED, 0, true);
  }

  releaseAll(): void {
    for (const region of [...this.bySlot.values()]) this.release(region);
    this.alone.clear();
  }
}
