/**
 * Tier 1 of one vCPU's engine: makes regions of hot code, keeps their functions in the table, and drops them with the code
 * they were made from. Which code belongs together and what it becomes is translate/region's.
 */
import type { GuestMemory } from '../hypervisor/memory.ts';
import type { CodeCache } from '../translate/interpreter/code-cache.ts';
import { Arm } from '../translate/interpreter/generate.ts';
import {
  ENTRY_PAGE_SHIFT,
  PLACE,
  RECORD,
  REGION_PLACE_BYTES,
  REGION_PLACES,
  REGION_SLOTS,
  REGION_SLOTS_END,
} from '../translate/layout.ts';
import { type DiscoverPorts, discover, generateRegions, LIMITS, type RegionPlan } from '../translate/region/index.ts';
import { decode, INSN_MAX, type Insn } from '../x86/decode.ts';
import type { WatchedRegions } from './watched-regions.ts';

/** For profilers. */
const nameOf = (va: bigint): string => `region ${BigInt.asUintN(64, va).toString(16)}`;

/** A page that a region has code from. */
interface Part {
  /** Linear address. */
  readonly base: number;
  /** Bit per 512-byte piece that code is from. */
  readonly pieces: number;
  /** Bit per byte of its instructions. */
  readonly code: Uint8Array;
}

const isCode = ({ code }: Part, offset: number): boolean => ((code[offset >> 3]! >> (offset & 7)) & 1) !== 0;

interface Region {
  readonly slot: number;
  readonly parts: readonly Part[];
  /** Its pages, seen from the first entry's. */
  readonly pages: readonly number[];
  /** Record → the handler that it had. */
  readonly entries: Map<number, number>;
  /** Linear addresses of entries whose instructions had no record. */
  readonly waiting: readonly number[];
  readonly module: RegionModule;
  /** What it was made for. */
  readonly request: Request;
}

/** A region before its function is there. */
interface Planned {
  readonly request: Request;
  readonly plan: RegionPlan;
  /** Of its first entry. */
  readonly va: bigint;
  readonly parts: readonly Part[];
  /** Of each entry its record, 0 for what is somebody else's, or where it is without having one yet. */
  readonly entries: readonly (number | { readonly at: number })[];
}

/** Hot code, as it was mapped when it was found hot. */
interface Request {
  readonly record: number;
  readonly va: bigint;
  /** Linear address of the instruction. */
  readonly at: number;
  /** Linear addresses of the pages around it, from AROUND pages before on; 0 for what is not known to be mapped. */
  readonly around: readonly number[];
  /** The same of pages further away, as they are mapped now: perhaps by somebody else. */
  readonly mapped: (page: number) => number;
  /** The pointer so many bytes behind the beginning of the page, as an offset from there itself; undefined if it is not at hand. */
  readonly pointer: (offset: number) => number | undefined;
  /** The slot of the region whose computed jump led here, or 0. */
  readonly from: number;
}
const AROUND = LIMITS.pages - 1;
/** So often at most is a region made, with targets of its computed jumps that it had not known before. */
const TIMES_MADE = 2;

/** A module lives as long as one of its functions can be reached. */
interface RegionModule {
  readonly bytes: number;
  /** Regions of it that have not been dropped. */
  live: number;
}

export interface RegionOptions {
  /** Regions of one module. */
  readonly batch: number;
  /** Of code, too, that the interpreter has not seen run: everything that branches name. */
  readonly unseen: boolean;
  /**
   * Of code inside of a region, no other when it is found hot for the first time: the interpreter was in it when the region
   * was made, and will come to one of its entries.
   */
  readonly patient: boolean;
  /** Instructions of a region, if not as many as usual. */
  readonly instructions?: number;
  /** So often must control have come to what a region takes for a target of its computed jumps. */
  readonly arrivals: number;
  /** Code to which control has come less often is not part of a region. */
  readonly rare: number;
  /** Bytes of modules that may live at the same time. */
  readonly moduleBytes: number;
}
/**
 * Usually. What V8 makes of them takes some five times as much. A guest that would need
 * more has all its code forgotten, and what is hot by then made again.
 */
export const MODULE_BYTES_MAX = 32 << 20;

/**
 * Instructions that a module has as soon as no further region comes to it. An instruction takes some 20 to 30 microseconds, V8's part
 * included.
 */
const AT_ONCE = 200;
const LONG_WAIT_MS = 5;

export interface RegionStatistics {
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
  regionMs: number;
  /** How long the guest has waited at most for a module: two in a row are two waits. Both are CPU time of the vCPU's thread. */
  regionMsLongest: number;
  /** Of these waits, those of more than LONG_WAIT_MS. */
  regionWaitsLong: number;
}

export class Regions {
  readonly stats: RegionStatistics = {
    regions: 0,
    regionsMoved: 0,
    regionModules: 0,
    regionModulesLive: 0,
    regionsLive: 0,
    regionInstructions: 0,
    regionBytes: 0,
    regionBytesLive: 0,
    regionMs: 0,
    regionMsLongest: 0,
    regionWaitsLong: 0,
  };
  private readonly memory: GuestMemory;
  private readonly cache: CodeCache;
  private readonly table: WebAssembly.Table;
  private readonly imports: Record<string, unknown>;
  /** Page's linear address → its regions. */
  private readonly pages = new Map<number, Set<Region>>();
  private readonly handlers = new Map<number, number>();
  private readonly freeSlots: number[] = [];
  private nextSlot: number = REGION_SLOTS;
  private readonly clock: () => number;
  private readonly queue: Request[] = [];
  /** Record that is an entry → its region. */
  private readonly byEntry = new Map<number, Region>();
  /** By their places in the table. */
  private readonly bySlot = new Map<number, Region>();
  /** Linear address of the first entry → how often its region was made, where that is more than once. */
  private readonly timesMade = new Map<number, number>();
  /** Records that were hot inside of a region. */
  private readonly patiently = new Set<number>();
  /** Linear address of an entry that has had no record yet → its region, and which of its entries it is. */
  private readonly waiting = new Map<number, { readonly region: Region; readonly byte: number }>();
  /** Pages whose neighbours change: their regions stay within one page. */
  private readonly alone = new Set<number>();
  private readonly options: RegionOptions;
  private watched: WatchedRegions | undefined;

  /** `imports` is what regions import: RegionImports, memory and table. `clock`: milliseconds, for the statistics. */
  constructor(
    memory: GuestMemory,
    cache: CodeCache,
    table: WebAssembly.Table,
    imports: Record<string, unknown>,
    clock: () => number,
    options: RegionOptions,
  ) {
    this.memory = memory;
    this.cache = cache;
    this.table = table;
    this.imports = imports;
    this.clock = clock;
    this.options = options;
  }

  /** The handler of `record` as the interpreter alone would have it. */
  handlerOf(record: number): number {
    return this.handlers.get(record) ?? this.memory.u16[record >>> 1]!;
  }

  /**
   * The code that begins with `record`, at linear address `at`, is hot: translate it, with others soon. `mapped` says where the
   * n-th page behind it is, as far as that is known; 0 if it is not. `va` is its name. `from`: the slot of the region whose computed jump led here, or 0.
   */
  request(
    record: number,
    at: number,
    va: bigint,
    from: number,
    mapped: Request['mapped'],
    pointer: Request['pointer'],
  ): void {
    if (this.queue.some((known) => known.record === record)) return;
    const around = Array.from({ length: 2 * AROUND + 1 }, (_, k) => mapped(k - AROUND));
    this.queue.push({ record, va, at, around, mapped, pointer, from });
    if (this.queue.length >= this.options.batch) this.flush();
  }

  /**
   * Translate what was requested, as much of it as the guest may wait for: the rest is for the next slice's end. A module costs as
   * much as some dozen instructions, so several regions share one.
   */
  flush(): void {
    if (this.queue.length === 0) return;
    const started = this.clock();
    const { layout } = this.memory;
    const planned: Planned[] = [];
    /** Records that will be entries when this is done. */
    const claimed = new Set<number>();
    let instructions = 0;
    while (this.queue.length > 0 && instructions < AT_ONCE) {
      const request = this.queue.shift()!;
      if (this.options.patient && this.isCovered(request, planned)) continue;
      const incomplete = claimed.has(request.record) ? undefined : this.incomplete(request);
      if (incomplete !== undefined) {
        this.release(incomplete);
        const again = this.plan(incomplete.request, claimed);
        if (again !== undefined) planned.push(again);
        instructions += again?.plan.instructions ?? 0;
      }
      const region = claimed.has(request.record) ? undefined : this.plan(request, claimed);
      if (region === undefined) continue;
      planned.push(region);
      instructions += region.plan.instructions;
    }
    if (planned.length > 0) {
      const bytes = generateRegions(
        layout,
        planned.map(({ plan, va }) => ({ plan, name: nameOf(va) })),
      );
      const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: this.imports });
      const module: RegionModule = { bytes: bytes.length, live: 0 };
      for (const [k, region] of planned.entries()) {
        const code = instance.exports[String(k)];
        const watched = this.watched?.add(region.va, region.plan, bytes, String(k), code);
        this.install(region, watched ?? code, module);
      }
      this.stats.regionBytes += bytes.length;
      this.stats.regionBytesLive += bytes.length;
      this.stats.regionModules++;
      this.stats.regionModulesLive++;
    }
    const ms = this.clock() - started;
    this.stats.regionMs += ms;
    this.stats.regionMsLongest = Math.max(this.stats.regionMsLongest, ms);
    if (ms > LONG_WAIT_MS) this.stats.regionWaitsLong++;
  }

  /** From now on keep what regions are made of, and count how often they are entered; undefined: no longer. */
  watch(watched: WatchedRegions | undefined): void {
    this.watched = watched;
  }

  /** There are more modules than may live, or as many regions as there is room for: it is time to drop all code. */
  get full(): boolean {
    const noSlot = this.freeSlots.length === 0 && this.nextSlot === REGION_SLOTS_END;
    return noSlot || this.stats.regionBytesLive > this.options.moduleBytes;
  }

  /** The region whose computed jump led to what is hot now, if it is to be made anew: it did not know that target. */
  private incomplete({ from, at }: Request): Region | undefined {
    const region = from === 0 ? undefined : this.bySlot.get(from);
    if (region === undefined) return undefined;
    const base = at - ((at - this.memory.layout.ramBase) & 4095);
    const times = this.timesMade.get(region.request.at) ?? 1;
    if (times === TIMES_MADE || !region.parts.some((part) => part.base === base)) return undefined;
    this.timesMade.set(region.request.at, times + 1);
    return region;
  }

  /** Is it inside of a region, and asked for the first time? */
  private isCovered({ record, at }: Request, planned: readonly Planned[]): boolean {
    if (this.patiently.has(record)) return false;
    const offset = (at - this.memory.layout.ramBase) & 4095;
    const base = at - offset;
    const has = ({ parts }: { readonly parts: readonly Part[] }): boolean =>
      parts.some((part) => part.base === base && isCode(part, offset));
    if (!planned.some(has) && ![...(this.pages.get(base) ?? [])].some(has)) return false;
    this.patiently.add(record);
    this.cache.cool(record);
    return true;
  }

  private plan(request: Request, claimed: Set<number>): Planned | undefined {
    const { record, va, at, around, mapped, pointer } = request;
    const { u16, u8, layout } = this.memory;
    const isFree = (entry: number): boolean => {
      const handler = u16[entry >>> 1]!;
      return handler >= Arm.first && handler < REGION_SLOTS && !claimed.has(entry);
    };
    const first = (at - layout.ramBase) & 4095;
    const home = at - first;
    // It may have been dropped since.
    if (this.cache.recordAt(at) !== record || !isFree(record)) return undefined;
    const waiting = this.waiting.get(at);
    if (waiting !== undefined) {
      this.waiting.delete(at);
      this.enter(waiting.region, record, waiting.byte);
      return undefined;
    }
    if (this.freeSlots.length === 0 && this.nextSlot === REGION_SLOTS_END) return undefined;
    const bases = new Map([[0, home]]);
    const baseOf = (page: number): number => {
      let base = bases.get(page);
      if (base === undefined) {
        base = this.alone.has(home) ? 0 : (around[page + AROUND] ?? mapped(page));
        if (this.alone.has(base)) base = 0;
        bases.set(page, base);
      }
      return base;
    };
    const recordAt = (offset: number): number => {
      const base = baseOf(offset >> 12);
      return base === 0 ? 0 : this.cache.recordAt(base + (offset & 4095));
    };
    const ports: DiscoverPorts = {
      mapped: (page) => baseOf(page) !== 0,
      decode: (offset) => {
        const base = baseOf(offset >> 12);
        if (base === 0) return undefined;
        const insn = decode(u8, base + (offset & 4095), base + 4096);
        if (insn !== 'more') return typeof insn === 'string' ? undefined : insn;
        return this.decodeCrossing(base + (offset & 4095), baseOf((offset >> 12) + 1));
      },
      leads: (offset, insn) => pointer(offset + insn.length + insn.operands[0]!.disp),
      taken: (offset) => {
        const entry = recordAt(offset);
        if (entry === 0) return this.waiting.has(baseOf(offset >> 12) + (offset & 4095));
        return u16[entry >>> 1]! >= REGION_SLOTS || claimed.has(entry);
      },
      arrivals: (page) => {
        const found: { readonly offset: number; readonly count: number }[] = [];
        this.cache.eachRecord(baseOf(page), (offset, entry) => {
          const count = this.cache.arrivals(entry);
          if (count >= this.options.arrivals) found.push({ offset: page * 4096 + offset, count });
        });
        return found.sort((a, b) => b.count - a.count).map(({ offset }) => offset);
      },
      known: (offset) => this.options.unseen || recordAt(offset) !== 0,
      flow: (offset) => {
        const record = recordAt(offset);
        return record === 0 ? Number.POSITIVE_INFINITY : this.cache.flow(record);
      },
      rare: this.options.rare,
    };
    const plan = discover(first, ports, this.options.instructions);
    if (plan === undefined) return undefined;
    const parts = plan.pages.map((page) => {
      let pieces = 0;
      const code = new Uint8Array(512);
      for (const { start, end, insns } of plan.blocks.values()) {
        let at = start - page * 4096;
        for (const { length } of insns) {
          for (const after = at + length; at < after; at++) if (at >= 0 && at < 4096) code[at >> 3]! |= 1 << (at & 7);
        }
        const from = Math.max(start - page * 4096, 0);
        const to = Math.min(end - page * 4096, 4096);
        for (let piece = from >> 9; from < to && piece <= (to - 1) >> 9; piece++) pieces |= 1 << piece;
      }
      return { base: baseOf(page), pieces, code };
    });
    for (const { base, pieces } of parts) this.cache.mark(base, pieces);
    // What is a region's entry already stays that one's.
    const entries = plan.entries.map((offset) => {
      const entry = recordAt(offset);
      if (entry === 0) return { at: baseOf(offset >> 12) + (offset & 4095) };
      return isFree(entry) ? entry : 0;
    });
    for (const entry of entries) if (typeof entry === 'number' && entry !== 0) claimed.add(entry);
    return { request, plan, va, parts, entries };
  }

  /** The instruction at linear address `at` that goes on at `next`, in another page. */
  private decodeCrossing(at: number, next: number): Insn | undefined {
    if (next === 0) return undefined;
    const { u8, layout } = this.memory;
    const head = 4096 - ((at - layout.ramBase) & 4095);
    const bytes = new Uint8Array(head + INSN_MAX);
    bytes.set(u8.subarray(at, at + head));
    bytes.set(u8.subarray(next, next + INSN_MAX), head);
    const insn = decode(bytes, 0, bytes.length);
    return typeof insn === 'string' ? undefined : insn;
  }

  private install({ request, plan, parts, entries: records }: Planned, code: unknown, module: RegionModule): void {
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    this.table.set(slot, code);
    this.place(slot, plan.pages, parts);
    const waiting = records.flatMap((entry) => (typeof entry === 'number' ? [] : [entry.at]));
    const { pages } = plan;
    const region: Region = { slot, parts, pages, entries: new Map(), waiting, module, request };
    module.live++;
    this.bySlot.set(slot, region);
    records.forEach((entry, k) => {
      const byte = k | (plan.pages.indexOf(plan.entries[k]! >> 12) << ENTRY_PAGE_SHIFT);
      if (typeof entry !== 'number') this.waiting.set(entry.at, { region, byte });
      else if (entry !== 0) this.enter(region, entry, byte);
    });
    for (const { base } of parts) {
      const list = this.pages.get(base);
      if (list === undefined) this.pages.set(base, new Set([region]));
      else list.add(region);
    }
    this.stats.regions++;
    this.stats.regionsLive++;
    this.stats.regionInstructions += plan.instructions;
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
    const handler = u16[record >>> 1]!;
    region.entries.set(record, handler);
    this.handlers.set(record, handler);
    this.byEntry.set(record, region);
    u16[record >>> 1] = region.slot;
    u8[record + RECORD.entry] = byte;
  }

  /**
   * A region was entered at `record`, and its pages are not all known to be where they were. `mapped` says where the n-th page
   * behind the record's is mapped now, 0 for nowhere. Drops the region and says true when one is somewhere else.
   */
  moved(record: number, mapped: (page: number) => number): boolean {
    const region = this.byEntry.get(record);
    if (region === undefined) return true;
    const home = region.pages[this.memory.u8[record + RECORD.entry]! >> ENTRY_PAGE_SHIFT]!;
    if (region.parts.every(({ base }, k) => mapped(region.pages[k]! - home) === base)) return false;
    this.stats.regionsMoved++;
    for (const { base } of region.parts) this.alone.add(base);
    this.release(region);
    return true;
  }

  /** Code of the page at linear address `base` has changed, in `pieces` of 512 bytes. */
  drop(base: number, pieces: number): void {
    this.alone.delete(base);
    for (const region of this.pages.get(base) ?? []) {
      if (region.parts.some((part) => part.base === base && (part.pieces & pieces) !== 0)) this.release(region);
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
      this.release(region);
      found = true;
    }
    if (found) this.alone.delete(base);
    return found;
  }

  private release(region: Region): void {
    const { u16 } = this.memory;
    const { slot, entries, parts, waiting } = region;
    this.table.set(slot, null);
    this.bySlot.delete(slot);
    this.freeSlots.push(slot);
    for (const [record, handler] of entries) {
      // The code cache has taken the handlers of changed instructions back already.
      if (u16[record >>> 1] === slot) u16[record >>> 1] = handler;
      this.handlers.delete(record);
      this.byEntry.delete(record);
    }
    for (const at of waiting) if (this.waiting.get(at)?.region === region) this.waiting.delete(at);
    for (const { base } of parts) {
      const regions = this.pages.get(base)!;
      regions.delete(region);
      if (regions.size === 0) this.pages.delete(base);
    }
    this.stats.regionsLive--;
    if (--region.module.live > 0) return;
    this.stats.regionModulesLive--;
    this.stats.regionBytesLive -= region.module.bytes;
  }

  dropAll(): void {
    this.queue.length = 0;
    this.patiently.clear();
    this.timesMade.clear();
    for (const base of [...this.pages.keys()]) this.drop(base, 0xff);
  }
}
