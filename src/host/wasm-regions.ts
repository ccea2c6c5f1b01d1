/**
 * Tier 1 of one vCPU's engine: has regions made of hot code, keeps their functions in the table, and drops them with the code
 * they were made from. Which code belongs together and what it becomes is translate/region's.
 */
import type { GuestMemory } from '../hypervisor/memory.ts';
import type { CodeCache } from '../translate/interpreter/code-cache.ts';
import { Arm } from '../translate/interpreter/generate.ts';
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
} from '../translate/layout.ts';
import {
  type DiscoverPorts,
  discover,
  entryHint,
  entryKey,
  isThere,
  LIMITS,
  orderOf,
  originOf,
  type PageCode,
  pageCodes,
  type RegionOrder,
  type RegionOrigin,
  type RegionPlan,
} from '../translate/region/index.ts';
import { decode, INSN_MAX, type Insn } from '../x86/decode.ts';
import { MXCSR_PE, STATE } from '../x86/state.ts';
import type { KeptPlace, KeptRegion, KeptRegions } from './kept-regions.ts';
import { type MadeModule, type OrderedModule, type RegionTranslator, TranslatorAtOnce } from './region-translator.ts';
import type { WatchedRegions } from './watched-regions.ts';

/** For profilers. */
const nameOf = (va: bigint): string => `region ${BigInt.asUintN(64, va).toString(16)}`;

/** A page that a region has code from. */
interface Part extends PageCode {
  /** Linear address. */
  readonly base: number;
}

const isCode = ({ code }: Part, offset: number): boolean => ((code[offset >> 3]! >> (offset & 7)) & 1) !== 0;

interface Region {
  readonly slot: number;
  readonly parts: readonly Part[];
  /** Its pages, seen from the first entry's. */
  readonly pages: readonly number[];
  /** Of its entries, from the beginning of that page. */
  readonly offsets: readonly number[];
  /** Record → the handler that it had. */
  readonly entries: Map<number, number>;
  /** Linear addresses of entries whose instructions had no record. */
  readonly waiting: readonly number[];
  /** Undefined: it lives for ever. */
  readonly module: RegionModule | undefined;
  /** What it was made for; undefined: it was kept. */
  readonly request: Request | undefined;
}

/** A region before its function is in the table. */
interface Prepared {
  readonly request: Request | undefined;
  readonly origin: RegionOrigin;
  readonly parts: readonly Part[];
  /** Of each entry its record, 0 for what is somebody else's, or where it is without having one yet. */
  readonly entries: readonly (number | { readonly at: number })[];
}

/** A region that is to be made. */
interface Planned {
  readonly request: Request;
  readonly plan: RegionPlan;
  readonly origin: RegionOrigin;
  readonly order: RegionOrder;
  readonly parts: readonly Part[];
  /** Records that will be its entries. */
  readonly claimed: readonly number[];
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

export interface RegionPorts {
  /** Milliseconds, for the statistics. */
  clock(): number;
  /** Linear address of the page at `va` if code may be fetched from it, else 0. Leaves no trace of a fault. */
  fetch(va: bigint): number;
  /** Regions of other domains, or of earlier times, if any are kept. */
  readonly kept: KeptRegions | undefined;
  /** Who makes new ones. */
  readonly translator: RegionTranslator;
}

export interface RegionOptions {
  /** So often control comes to an instruction before its region is made. */
  readonly threshold: number;
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

/** Instructions that a module has as soon as no further region comes to it. To plan one takes some 10 microseconds, to make it 30. */
const AT_ONCE = 200;
const LONG_WAIT_MS = 5;
/** So many new regions are kept together, or fewer when the guest has nothing to do. */
const KEPT_TOGETHER = 12;
const KEPT_AT_LEAST = 6;
/** After so many times that control came to its entry a kept region is looked for again, when not all of its pages were mapped. */
const EXPECTED_AFTER = [16, 64, 300, 1000] as const;
/** … and after so many when its code has changed. */
const AGAIN = 100;

export interface RegionStatistics {
  regions: number;
  /** Dropped because a page of theirs was somewhere else when they were entered. */
  regionsMoved: number;
  /** Of the regions: those that were kept. */
  regionsKept: number;
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
    regionsKept: 0,
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
  private readonly queue: Request[] = [];
  /** What is being made, module by module. Nothing is wanted any more of those that all code was forgotten after. */
  private ordered: { readonly order: OrderedModule; planned: readonly Planned[] }[] = [];
  /** For regions that somebody watches. */
  private readonly atOnce = new TranslatorAtOnce();
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
  private readonly ports: RegionPorts;
  /** Regions that are new, and may soon be kept. */
  private fresh: { readonly region: Region; readonly kept: KeptRegion }[] = [];
  /** Records whose region is kept, but not all there yet → how often it was looked for. */
  private readonly expected = new Map<number, number>();
  /** Contents of pages, as they were when a region was planned. */
  private readonly copies: Uint8Array[] = [];
  private watched: WatchedRegions | undefined;

  /** `imports` is what regions import: RegionImports, memory and table. */
  constructor(
    memory: GuestMemory,
    cache: CodeCache,
    table: WebAssembly.Table,
    imports: Record<string, unknown>,
    ports: RegionPorts,
    options: RegionOptions,
  ) {
    this.memory = memory;
    this.cache = cache;
    this.table = table;
    this.imports = imports;
    this.ports = ports;
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
    if (this.ordered.some(({ planned }) => planned.some(({ claimed }) => claimed.includes(record)))) return;
    const around = Array.from({ length: 2 * AROUND + 1 }, (_, k) => mapped(k - AROUND));
    this.queue.push({ record, va, at, around, mapped, pointer, from });
    if (this.queue.length >= this.options.batch) this.flush();
  }

  /**
   * Take what is made, and order what was requested, as much of it as the guest may wait for: the rest is for the next slice's
   * end. A module costs as much as some dozen instructions, so several regions share one.
   */
  flush(): void {
    this.takeMade();
    const by = this.watched === undefined ? this.ports.translator : this.atOnce;
    if (this.queue.length === 0 || by.isBusy) return;
    const started = this.ports.clock();
    const planned: Planned[] = [];
    /** Records that will be entries when what is ordered is made. */
    const claimed = new Set<number>();
    for (const { planned } of this.ordered)
      for (const region of planned) for (const record of region.claimed) claimed.add(record);
    let instructions = 0;
    const add = (region: Planned | undefined): void => {
      if (region === undefined) return;
      planned.push(region);
      instructions += region.plan.instructions;
      for (const record of region.claimed) claimed.add(record);
    };
    while (this.queue.length > 0 && instructions < AT_ONCE) {
      const request = this.queue.shift()!;
      if (claimed.has(request.record) || this.isKept(request)) continue;
      if (this.options.patient && this.isCovered(request, planned)) continue;
      const incomplete = this.incomplete(request);
      if (incomplete !== undefined) {
        this.release(incomplete);
        this.fresh = this.fresh.filter(({ region }) => region !== incomplete);
        add(this.plan(incomplete.request!, claimed));
      }
      if (!claimed.has(request.record)) add(this.plan(request, claimed));
    }
    if (planned.length > 0) {
      const order = by.order(
        this.cache.cpu,
        planned.map(({ order }) => order),
      );
      this.ordered.push({ planned, order });
    }
    this.waited(started);
    this.takeMade();
  }

  /** Put into the table what has been made. */
  private takeMade(): void {
    if (this.ordered.length === 0) return;
    this.ordered = this.ordered.filter(({ order, planned }) => {
      const started = this.ports.clock();
      const { made } = order;
      if (made === undefined) return true;
      this.installMade(planned, made);
      this.waited(started);
      return false;
    });
  }

  private installMade(planned: readonly Planned[], { bytes, module, codes }: MadeModule): void {
    const instance = new WebAssembly.Instance(module, { e: this.imports });
    const shared: RegionModule = { bytes: bytes.length, live: 0 };
    for (const [k, { request, plan, origin, parts, order }] of planned.entries()) {
      if (this.freeSlots.length === 0 && this.nextSlot === REGION_SLOTS_END) break;
      const entries = this.entriesOf(origin, parts);
      // The guest has run on since it was planned.
      const bases = parts.map(({ base }) => base);
      if (!entries.some((entry) => entry !== 0) || !isThere(origin, this.memory.u8, bases)) continue;
      const code = instance.exports[String(k)];
      const watched = this.watched?.add(request.va, plan, bytes, String(k), code);
      const region = this.install({ request, origin, parts, entries }, watched ?? code, shared);
      if (this.ports.kept === undefined) continue;
      this.fresh.push({ region, kept: { name: order.name, origin, code: codes[k]! } });
    }
    if (shared.live === 0) return;
    this.stats.regionBytes += bytes.length;
    this.stats.regionBytesLive += bytes.length;
    this.stats.regionModules++;
    this.stats.regionModulesLive++;
    if (this.fresh.length >= KEPT_TOGETHER) this.keepFresh();
  }

  /** The guest has waited for a region since `started`. */
  private waited(started: number): void {
    const ms = this.ports.clock() - started;
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
    if (region?.request === undefined) return undefined;
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
    const isOrdered = planned.some(has) || this.ordered.some((order) => order.planned.some(has));
    if (!isOrdered && ![...(this.pages.get(base) ?? [])].some(has)) return false;
    this.patiently.add(record);
    this.cache.count(record, 0);
    return true;
  }

  private plan(request: Request, claimed: ReadonlySet<number>): Planned | undefined {
    const { record, va, at, around, mapped, pointer } = request;
    const { u16, layout } = this.memory;
    const isFree = (entry: number): boolean => this.isInterpreted(entry) && !claimed.has(entry);
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
    const copies = new Map<number, Uint8Array>();
    /** The page at `base` as it is now: it is read once, as what is kept of it must be what was decoded. */
    const content = (base: number): Uint8Array => {
      let copy = copies.get(base);
      if (copy === undefined) {
        copy = this.copies[copies.size] ??= new Uint8Array(4096);
        copy.set(this.memory.u8.subarray(base, base + 4096));
        copies.set(base, copy);
      }
      return copy;
    };
    const ports: DiscoverPorts = {
      mapped: (page) => baseOf(page) !== 0,
      decode: (offset) => {
        const base = baseOf(offset >> 12);
        if (base === 0) return undefined;
        const insn = decode(content(base), offset & 4095, 4096);
        if (insn !== 'more') return typeof insn === 'string' ? undefined : insn;
        const next = baseOf((offset >> 12) + 1);
        return next === 0 ? undefined : decodeCrossing(content(base).subarray(offset & 4095), content(next));
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
      hasRounded: (this.memory.view.getUint32(this.cache.cpu + STATE.mxcsr, true) & MXCSR_PE) !== 0,
      rare: this.options.rare,
    };
    const plan = discover(first, ports, this.options.instructions);
    if (plan === undefined) return undefined;
    const contentOf = (page: number): Uint8Array => content(baseOf(page));
    const origin = originOf(plan, contentOf);
    const parts = pageCodes(origin).map((code, k) => ({ ...code, base: baseOf(plan.pages[k]!) }));
    const entries = plan.entries.map(recordAt).filter((entry) => entry !== 0 && isFree(entry));
    return { request, plan, origin, order: orderOf(nameOf(va), plan, contentOf), parts, claimed: entries };
  }

  /** Is `record` run by the interpreter, and can a region be entered at it? */
  private isInterpreted(record: number): boolean {
    const handler = this.memory.u16[record >>> 1]!;
    return handler >= Arm.Crossing && handler < REGION_SLOTS;
  }

  /** Prepared.entries; what the region is made of is marked as code. */
  private entriesOf(origin: RegionOrigin, parts: readonly Part[]): Prepared['entries'] {
    for (const { base, pieces } of parts) this.cache.mark(base, pieces);
    return origin.entries.map((offset) => {
      const page = origin.pages.indexOf(offset >> 12);
      const at = parts[page]!.base + (offset & 4095);
      const entry = this.cache.recordAt(at);
      if (entry === 0) return { at };
      // What is a region's entry already stays that one's.
      return this.isInterpreted(entry) ? entry : 0;
    });
  }

  // Regions that are kept. ---------------------------------------------------------------------------------------------

  /** Is there probably a region that is entered at linear address `at`, although no record says so? */
  expects(at: number): boolean {
    if (this.waiting.has(at)) return true;
    const { kept } = this.ports;
    if (kept === undefined || this.watched !== undefined) return false;
    const { u8, layout } = this.memory;
    const offset = (at - layout.ramBase) & 4095;
    const base = at - offset;
    return kept.mayHave(entryHint(u8, base, offset)) && kept.find(entryKey(u8, base, offset)).length > 0;
  }

  /**
   * Control has come to `record`, of the instruction at `rip` and linear address `at`, for the first time or once more. If a region is
   * entered there that did not know this record yet, or one that is kept, it is from now on.
   */
  reached(record: number, at: number, rip: bigint): void {
    if (!this.isInterpreted(record)) return;
    const waiting = this.waiting.get(at);
    if (waiting !== undefined) {
      this.waiting.delete(at);
      this.enter(waiting.region, record, waiting.byte);
    } else if (this.watched === undefined && !this.expected.has(record)) this.adopt(record, at, rip);
  }

  /** Is there a kept region for the request now, or will it be looked for another time? Then none needs to be made. */
  private isKept({ record, at, va }: Request): boolean {
    if (this.cache.recordAt(at) !== record || !this.isInterpreted(record)) return false;
    return this.watched === undefined && this.adopt(record, at, va);
  }

  /** Looks for a kept region that is entered at `record`. True when it is there, or will be looked for another time. */
  private adopt(record: number, at: number, rip: bigint): boolean {
    const { kept } = this.ports;
    if (kept === undefined) return false;
    const { u8, layout } = this.memory;
    const offset = (at - layout.ramBase) & 4095;
    const base = at - offset;
    const page = rip - BigInt(offset);
    let isMissing = false;
    if (!kept.mayHave(entryHint(u8, base, offset))) return false;
    for (const place of kept.find(entryKey(u8, base, offset))) {
      const origin = kept.origin(place);
      const entry = origin?.entries[place.entry];
      if (origin === undefined || entry === undefined || (entry & 4095) !== offset) continue;
      const bases = origin.pages.map((other) =>
        other === entry >> 12 ? base : this.ports.fetch(page + BigInt(other - (entry >> 12)) * 4096n),
      );
      if (bases.includes(0)) isMissing = true;
      else if (isThere(origin, u8, bases) && this.take(kept, place, origin, bases)) {
        this.expected.delete(record);
        return true;
      }
    }
    const times = this.expected.get(record) ?? 0;
    if (!isMissing || times >= EXPECTED_AFTER.length) return false;
    // The guest maps pages as it comes to them.
    this.expected.set(record, times + 1);
    this.cache.count(record, Math.max(this.options.threshold - EXPECTED_AFTER[times]!, 0));
    return true;
  }

  /** Installs a kept region whose pages are at `bases`. */
  private take(kept: KeptRegions, place: KeptPlace, origin: RegionOrigin, bases: readonly number[]): boolean {
    if (this.freeSlots.length === 0 && this.nextSlot === REGION_SLOTS_END) return false;
    if (bases.length > 1 && bases.some((base) => this.alone.has(base))) return false;
    const started = this.ports.clock();
    const code = kept.code(place, this.imports);
    this.waited(started);
    if (code === undefined) return false;
    const parts = pageCodes(origin).map((code, k) => ({ ...code, base: bases[k]! }));
    const entries = this.entriesOf(origin, parts);
    this.install({ request: undefined, origin, parts, entries }, code, undefined);
    this.stats.regionsKept++;
    return true;
  }

  /** Gives away what is new, unless it is too little for a file: fewer than `least` regions. */
  keepFresh(least: number = KEPT_AT_LEAST): void {
    if (this.fresh.length < least) return;
    // Those too whose code has changed since: a kernel patches itself at each boot.
    this.ports.kept?.keep(this.fresh.map(({ kept }) => kept));
    this.fresh = [];
  }

  /** `module`: undefined when it lives for ever. */
  private install(
    { request, origin, parts, entries: records }: Prepared,
    code: unknown,
    module?: RegionModule,
  ): Region {
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    this.table.set(slot, code);
    const { pages } = origin;
    this.place(slot, pages, parts);
    const waiting = records.flatMap((entry) => (typeof entry === 'number' ? [] : [entry.at]));
    const region: Region = {
      slot,
      parts,
      pages,
      offsets: origin.entries,
      entries: new Map(),
      waiting,
      module,
      request,
    };
    if (module !== undefined) module.live++;
    this.bySlot.set(slot, region);
    records.forEach((entry, k) => {
      const byte = k | (pages.indexOf(origin.entries[k]! >> 12) << ENTRY_PAGE_SHIFT);
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
    this.stats.regionInstructions += origin.instructions;
    return region;
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

  /**
   * The code of `region` has changed. A kernel's that was hot before it patched itself will be so again: it need not be counted from the
   * beginning.
   */
  private outdate(region: Region): void {
    const entries = [...region.entries.keys()];
    this.release(region);
    if (this.options.threshold > AGAIN)
      for (const record of entries) this.cache.count(record, this.options.threshold - AGAIN);
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

  private release(region: Region): void {
    const { u16 } = this.memory;
    const { slot, entries, parts, waiting } = region;
    this.forgetJumps();
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
    if (region.module === undefined || --region.module.live > 0) return;
    this.stats.regionModulesLive--;
    this.stats.regionBytesLive -= region.module.bytes;
  }

  /** No jump is known any more to lead to a region. */
  private forgetJumps(): void {
    const { u8, view } = this.memory;
    const { cpu } = this.cache;
    if (view.getUint32(cpu + JUMPS_FILLED, true) === 0) return;
    u8.fill(0, cpu + JUMPS, cpu + JUMPS + JUMP_ENTRIES * JUMP_BYTES);
    view.setUint32(cpu + JUMPS_FILLED, 0, true);
  }

  dropAll(): void {
    this.queue.length = 0;
    for (const order of this.ordered) order.planned = [];
    this.patiently.clear();
    this.timesMade.clear();
    this.expected.clear();
    for (const region of [...this.bySlot.values()]) this.release(region);
    this.alone.clear();
  }
}

/** The instruction that begins with `head`, the end of a page, and goes on in the page `next`. */
function decodeCrossing(head: Uint8Array, next: Uint8Array): Insn | undefined {
  const bytes = new Uint8Array(head.length + INSN_MAX);
  bytes.set(head);
  bytes.set(next.subarray(0, INSN_MAX), head.length);
  const insn = decode(bytes, 0, bytes.length);
  return typeof insn === 'string' ? undefined : insn;
}
