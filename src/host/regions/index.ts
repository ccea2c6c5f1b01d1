/**
 * Tier 1 of one vCPU's engine: has regions made of hot code, or takes those that are kept, and puts their functions into the table
 * (table.ts). Which code belongs together is the planner's to find; what it becomes is translate/region's; in which thread, a translator's.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import type { CodeCache, Counts } from '../../translate/interpreter/code-cache.ts';
import { HINTS } from '../../translate/layout.ts';
import { isThere, type RegionOrigin } from '../../translate/region/index.ts';
import { RegionAdopter } from './adopter.ts';
import type { KeptPlace, KeptRegions } from './kept.ts';
import type { KeptRegion } from './kept-files.ts';
import { AROUND, type Planned, type PlannerOptions, RegionPlanner, type Rehearsed, type Request } from './planner.ts';
import { hasCode, type Region, type RegionModule, RegionTable, type TableStatistics } from './table.ts';
import { type Arrival, linkSlot, type Path, Trail, type TrailOptions } from './trail.ts';
import { type MadeModule, type OrderedModule, type RegionTranslator, TranslatorAtOnce } from './translator.ts';
import { type WaitStatistics, Waits } from './waits.ts';
import { WarmCode } from './warm.ts';
import type { WatchedRegions } from './watched.ts';

export interface RegionPorts {
  /** Milliseconds of CPU time of the vCPU's thread. */
  clock(): number;
  /** Linear address of what is at `va` if code may be fetched from there, else 0. Leaves no trace of a fault. */
  fetch(va: bigint): number;
  /** For Request.pointer, seen from the page at `va`. */
  pointers(va: bigint): Request['pointer'];
  /** Regions of other domains, or of earlier times, if any are kept. */
  readonly kept: KeptRegions | undefined;
  /** Who makes new ones. */
  readonly translator: RegionTranslator;
}

export interface RegionOptions extends PlannerOptions {
  /** So often control comes to an instruction before its region is made. */
  readonly threshold: number;
  /** … and so often to one of which later domains are to have a region; 0: of none. */
  readonly warm: number;
  /** Regions of one module. */
  readonly batch: number;
  /**
   * Of code inside of a region, no other when it is found hot for the first time: the interpreter was in it when the region
   * was made, and will come to one of its entries.
   */
  readonly patient: boolean;
  /** How control is followed, if not as usual. */
  readonly trail?: TrailOptions | undefined;
  /** Bytes of modules that may live at the same time. */
  readonly moduleBytes: number;
}
/**
 * Usually. What V8 makes of them takes some five times as much. A guest that would need
 * more has all its code forgotten, and what is hot by then made again.
 */
export const MODULE_BYTES_MAX = 32 << 20;

/** So often at most is a region made, with targets of its computed jumps that it had not known before. */
const TIMES_MADE = 2;
/** Instructions that a module has as soon as no further region comes to it. To plan one takes some 10 microseconds, to make it 30. */
const AT_ONCE = 200;
/** So many branches of the guest's at least are between two ends of slices at which it waits for what there is to do. */
const SLICE_BRANCHES = 40_000;
/** A rehearsal ends with the slice in which control has come to its beginning so often, or is given up after so many slices, which are short. */
const REHEARSED = 32;
const REHEARSAL_SLICES = 32;
const REHEARSAL_BRANCHES = 4000;
/** So many new regions are kept together, or fewer when the guest has nothing to do. */
const KEPT_TOGETHER = 12;
const KEPT_AT_LEAST = 6;
/** So long is planned at once what is warm: a guest that is woken meanwhile waits. */
const IDLE_PLANNING_MS = 1;
/** Counts of arrivals begin again here. */
const COUNTS_END = 0x10000;
/** After so many times that control came to code that has changed it is hot again. */
const AGAIN = 100;

export interface RegionStatistics extends TableStatistics, WaitStatistics {
  /** Of the regions: those that were kept. */
  readonly regionsKept: number;
  /** … and those that were made of others. */
  readonly regionsJoined: number;
}

interface Rehearsal {
  readonly path: Path;
  /** Where the region is to begin. */
  readonly record: number;
  /** Of the region that begins there now. */
  readonly instructions: number;
  /** CodeCache.counts() when it had begun: to count is enough for the end of one slice. */
  since: Counts | undefined;
  slices: number;
  /** What is to come of it, being planned. */
  steps: Generator<void, Planned | undefined> | undefined;
}

export class Regions {
  /** What can be entered. */
  readonly table: RegionTable;
  private readonly waits: Waits;
  private readonly memory: GuestMemory;
  private readonly cache: CodeCache;
  private readonly imports: Record<string, unknown>;
  private readonly options: RegionOptions;
  private readonly ports: RegionPorts;
  private readonly planner: RegionPlanner;
  private readonly adopter: RegionAdopter | undefined;
  private readonly warm: WarmCode | undefined;
  private readonly queue: Request[] = [];
  /** What is being made, module by module. Nothing is wanted any more of those that all code was forgotten after. */
  private ordered: { readonly order: OrderedModule; planned: readonly Planned[] }[] = [];
  /** For regions that somebody watches. */
  private readonly atOnce = new TranslatorAtOnce();
  /** What those that were made here were made for. */
  private readonly requests = new WeakMap<Region, Request>();
  private trail: Trail;
  /** What is to be rehearsed from the next slice's end on: to find it was enough for one. */
  private found: Path | undefined;
  private rehearsal: Rehearsal | undefined;
  private joined = 0;
  /** What came of it, until it is ordered. */
  private joining: Planned | undefined;
  /** Linear address of the first entry → how often its region was made, where that is more than once. */
  private readonly timesMade = new Map<number, number>();
  /** Records that were hot inside of a region. */
  private readonly patiently = new Set<number>();
  /** Regions that are new, and may soon be kept. */
  private fresh: { readonly region: Region; readonly kept: KeptRegion }[] = [];
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
    this.imports = imports;
    this.ports = ports;
    this.options = options;
    this.waits = new Waits(ports.clock);
    const { threshold } = options;
    this.table = new RegionTable(memory, cache, table, (records) => {
      // A kernel's that was hot before it patched itself will be so again: it need not be counted from the beginning.
      if (threshold > AGAIN) for (const record of records) cache.count(record, threshold - AGAIN);
    });
    this.trail = new Trail(memory, cache.cpu, options.trail);
    this.planner = new RegionPlanner(memory, cache, this.table, options);
    const { kept, fetch } = ports;
    const watched = (origin: RegionOrigin, place: KeptPlace, code: unknown): unknown =>
      this.watched?.add({ origin, how: 'kept', module: () => kept!.module(place) }, code) ?? code;
    if (kept !== undefined) memory.u8.set(kept.hints, cache.cpu + HINTS);
    const { waits } = this;
    this.adopter =
      kept && new RegionAdopter(memory, cache, this.table, { kept, fetch, imports, waits, watched }, threshold);
    this.warm =
      kept &&
      new WarmCode(memory, {
        isInterpreted: (at) => !this.hasCode(at) && this.adopter?.mayAdopt(at) !== true,
        plan: (request, claimed) => this.planner.steps(request, claimed),
        want: (regions) => kept.want(regions),
      });
  }

  get stats(): RegionStatistics {
    return {
      ...this.table.stats,
      ...this.waits.stats,
      regionsKept: this.adopter?.adopted ?? 0,
      regionsJoined: this.joined,
    };
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
    if (this.rehearsal !== undefined && this.isSuspended(at)) {
      this.cache.count(record, 0);
      return;
    }
    if (this.queue.some((known) => known.record === record)) return;
    if (this.ordered.some(({ planned }) => planned.some(({ claimed }) => claimed.includes(record)))) return;
    const around = this.around(mapped);
    this.queue.push({
      record,
      va,
      at,
      around,
      mapped,
      pointer,
      from,
      heat: this.options.threshold,
      rehearsed: undefined,
    });
    if (this.queue.length >= this.options.batch) this.waits.during(() => this.flush());
  }

  /** As request, for code that is warm. */
  note(record: number, at: number, va: bigint, mapped: Request['mapped']): void {
    if (this.warm === undefined || this.rehearsal !== undefined || this.hasCode(at)) return;
    const around = this.around(mapped);
    const elsewhere = { mapped: () => 0, pointer: () => undefined };
    this.warm.note({ record, va, at, around, ...elsewhere, from: 0, heat: this.options.warm, rehearsed: undefined });
  }

  /** The guest has nothing to do: plans for some milliseconds what later domains are to have. True when there is more. */
  planWarm(): boolean {
    if (this.warm === undefined) return false;
    const { clock } = this.ports;
    const until = clock() + IDLE_PLANNING_MS;
    return this.warm.plan(() => clock() < until);
  }

  private around(mapped: Request['mapped']): readonly number[] {
    return Array.from({ length: 2 * AROUND + 1 }, (_, k) => mapped(k - AROUND));
  }

  /** Has a region the instruction at linear address `at`? */
  private hasCode(at: number): boolean {
    const offset = (at - this.memory.layout.ramBase) & 4095;
    return this.table.hasCode(at - offset, offset);
  }

  /**
   * Take what is made, and order what was requested, as much of it as the guest may wait for: the rest is for the next slice's
   * end. A module costs as much as some dozen instructions, so several regions share one.
   */
  private flush(): void {
    this.takeMade();
    const by = this.translator;
    if ((this.queue.length === 0 && this.joining === undefined) || !by.isReady()) return;
    const { clock } = this.ports;
    const started = clock();
    const planned: Planned[] = [];
    const claimed = this.claimed();
    let instructions = 0;
    const add = (region: Planned | undefined): void => {
      if (region === undefined) return;
      planned.push(region);
      instructions += region.instructions;
      for (const record of region.claimed) claimed.add(record);
    };
    add(this.joining);
    this.joining = undefined;
    const isTime = (): boolean => clock() - started < by.planningMs;
    for (let goesOn = true; goesOn && this.queue.length > 0 && instructions < AT_ONCE; goesOn = isTime()) {
      const request = this.hottest();
      if (claimed.has(request.record) || this.isKept(request)) continue;
      if (this.options.patient && this.isCovered(request, planned)) continue;
      const incomplete = this.incomplete(request);
      if (incomplete !== undefined) {
        this.table.release(incomplete.region);
        this.fresh = this.fresh.filter(({ region }) => region !== incomplete.region);
        add(this.planner.plan(incomplete.request, claimed));
      }
      if (!claimed.has(request.record)) add(this.planner.plan(request, claimed));
    }
    if (planned.length > 0) {
      const order = by.order(
        this.cache.cpu,
        planned.map(({ order }) => order),
      );
      this.ordered.push({ planned, order });
    }
    this.takeMade();
  }

  /** Takes from the queue what control has come to most often: many may wait while the translator is busy. */
  private hottest(): Request {
    const { threshold } = this.options;
    // Counts have 16 bits: one below the threshold has begun again.
    const heat = ({ record }: Request): number => {
      const arrivals = this.cache.arrivals(record);
      return arrivals < threshold ? COUNTS_END + arrivals : arrivals;
    };
    let hottest = 0;
    let most = -1;
    this.queue.forEach((request, k) => {
      const times = heat(request);
      if (times > most) [hottest, most] = [k, times];
    });
    return this.queue.splice(hottest, 1)[0]!;
  }

  private get translator(): RegionTranslator {
    return this.watched === undefined ? this.ports.translator : this.atOnce;
  }

  /** Branches that a slice may have now, and from one call of `sliceEnded` to the next. */
  get sliceMost(): number {
    return this.rehearsal === undefined ? SLICE_BRANCHES : REHEARSAL_BRANCHES;
  }

  /** A slice has ended: what there is to do for regions is done now. */
  sliceEnded(): void {
    const nothing = this.queue.length + this.ordered.length === 0 && this.joining === undefined;
    const path = this.found ?? this.rehearsal;
    const awaits = this.adopts && this.adopter?.isAwaiting === true;
    if (nothing && !awaits && path === undefined && !this.trail.isTaken) this.followControl();
    else
      this.waits.during(() => {
        if (awaits) this.adopter!.takeCome();
        this.followControl();
        this.flush();
      });
  }

  /** Now and then control is followed from region to region, and those that are better one are made anew. */
  private followControl(): void {
    if (!this.options.patient) return;
    const { found, rehearsal } = this;
    if (rehearsal !== undefined) this.rehearse(rehearsal);
    else if (found !== undefined) this.beginRehearsal(found);
    else if (!this.isJoining) {
      this.found = this.trail.take();
      if (this.found === undefined && this.trail.sliceEnded()) this.table.forgetJumps();
    }
  }

  /** Is a region on its way that will be there instead of others? */
  private get isJoining(): boolean {
    const joins = ({ request }: Planned): boolean => request.rehearsed !== undefined;
    return this.joining !== undefined || this.ordered.some(({ planned }) => planned.some(joins));
  }

  /** The record where control came to when it went to `va` by `link`, if that is still so; else 0. */
  private recordOf({ va, link }: Arrival): number {
    const at = this.ports.fetch(va);
    const record = at === 0 ? 0 : this.cache.recordAt(at);
    return record !== 0 && this.table.enteredBy(record)?.slot === linkSlot(link) ? record : 0;
  }

  /**
   * The interpreter runs for a while what is to be one region, and counts: its counts from when that code was new say little of what it does
   * now, and of regions that are kept there are none.
   */
  private beginRehearsal(path: Path): void {
    this.found = undefined;
    const record = this.recordOf(path.head);
    if (record === 0) return;
    const { instructions } = this.table.enteredBy(record)!;
    this.table.suspend(path.slots);
    this.rehearsal = { path, record, instructions, since: undefined, slices: 0, steps: undefined };
  }

  private rehearse(rehearsal: Rehearsal): void {
    const { path, record } = rehearsal;
    if (rehearsal.since === undefined) {
      rehearsal.since = this.cache.counts();
      return;
    }
    const { va } = path.head;
    const times = this.cache.flow(record, rehearsal.since);
    // Where another program runs now there is other code, or none.
    const at = times >= REHEARSED ? this.ports.fetch(va) : 0;
    const isThere = at !== 0 && this.cache.recordAt(at) === record;
    if (!isThere && ++rehearsal.slices < REHEARSAL_SLICES) return;
    if (isThere) {
      const rehearsed = { times, since: rehearsal.since };
      rehearsal.steps ??= this.planner.steps(this.rehearsed(rehearsal, at, rehearsed), this.claimed());
      const step = this.goOn(rehearsal.steps);
      if (step.done !== true) return;
      const planned = step.value;
      if (planned !== undefined && planned.instructions > rehearsal.instructions) this.joining = planned;
    }
    if (this.joining === undefined) this.trail.cameToNothing(path);
    this.table.resume();
    this.rehearsal = undefined;
  }

  /** The request for what was rehearsed, which begins at linear address `at`. */
  private rehearsed({ path, record }: Rehearsal, at: number, counted: Pick<Rehearsed, 'times' | 'since'>): Request {
    const { va } = path.head;
    const page = va & ~0xfffn;
    const mapped = (n: number): number => this.ports.fetch(page + BigInt(n * 4096));
    const pointer = this.ports.pointers(page);
    const rehearsed = { ...counted, targets: path.targets.map((target) => Number(target - page)) };
    return { record, va, at, around: [], mapped, pointer, from: 0, heat: 0, rehearsed };
  }

  /** Goes on planning for as long as the guest may wait for it. */
  private goOn(steps: Generator<void, Planned | undefined>): IteratorResult<void, Planned | undefined> {
    const { clock } = this.ports;
    const until = clock() + this.translator.planningMs;
    let step = steps.next();
    while (step.done !== true && clock() < until) step = steps.next();
    return step;
  }

  /** Records that will be entries when what is ordered is made. */
  private claimed(): Set<number> {
    return new Set(this.ordered.flatMap(({ planned }) => planned.flatMap(({ claimed }) => claimed)));
  }

  /** Put into the table what has been made. */
  private takeMade(): void {
    if (this.ordered.length === 0) return;
    this.ordered = this.ordered.filter(({ order, planned }) => {
      const { made } = order;
      if (made === undefined) return true;
      this.installMade(planned, made);
      return false;
    });
  }

  private installMade(planned: readonly Planned[], { bytes, module, codes }: MadeModule): void {
    const instance = new WebAssembly.Instance(module, { e: this.imports });
    const shared: RegionModule = { bytes: bytes.length, live: 0 };
    for (const [k, { request, origin, parts, order }] of planned.entries()) {
      if (this.table.isFull) break;
      const entries = this.table.entriesOf(origin, parts, 0, request.rehearsed !== undefined);
      // The guest has run on since it was planned.
      const bases = parts.map(({ base }) => base);
      if (!entries.some((entry) => entry !== 0) || !isThere(origin, this.memory.u8, bases)) continue;
      const code = instance.exports[String(k)];
      const how = request.rehearsed === undefined ? 'made' : 'joined';
      const watched = this.watched?.add({ origin, how, module: () => ({ bytes, exported: String(k) }) }, code);
      const region = this.table.install({ origin, parts, entries, age: 0 }, watched ?? code, shared);
      if (request.rehearsed === undefined) this.requests.set(region, request);
      else this.joined++;
      if (this.ports.kept === undefined) continue;
      this.fresh.push({ region, kept: { name: order.name, origin, code: codes[k]! } });
    }
    if (this.fresh.length >= KEPT_TOGETHER) this.keepFresh();
  }

  /**
   * From now on keep what regions are made of, and count how often they are entered; undefined: no longer. All code is forgotten then: what
   * was one region may soon be one again.
   */
  watch(watched: WatchedRegions | undefined): void {
    this.watched = watched;
    this.trail = new Trail(this.memory, this.cache.cpu, this.options.trail);
  }

  /** There are more modules than may live, or as many regions as there is room for: it is time to drop all code. */
  get full(): boolean {
    return this.table.isFull || this.table.stats.regionBytesLive > this.options.moduleBytes;
  }

  /** The region whose computed jump led to what is hot now, if it is to be made anew: it did not know that target. */
  private incomplete({ from, at }: Request): { readonly region: Region; readonly request: Request } | undefined {
    const region = from === 0 ? undefined : this.table.at(from);
    const request = region && this.requests.get(region);
    if (request === undefined) return undefined;
    const base = at - ((at - this.memory.layout.ramBase) & 4095);
    const times = this.timesMade.get(request.at) ?? 1;
    if (times === TIMES_MADE || !region!.parts.some((part) => part.base === base)) return undefined;
    this.timesMade.set(request.at, times + 1);
    return { region: region!, request };
  }

  private isSuspended(at: number): boolean {
    const offset = (at - this.memory.layout.ramBase) & 4095;
    return this.table.isSuspended(at - offset, offset);
  }

  /** Is it inside of a region, and asked for the first time? */
  private isCovered({ record, at }: Request, planned: readonly Planned[]): boolean {
    if (this.patiently.has(record)) return false;
    const offset = (at - this.memory.layout.ramBase) & 4095;
    const base = at - offset;
    const has = ({ parts }: Planned): boolean => hasCode(parts, base, offset);
    const isOrdered = planned.some(has) || this.ordered.some((order) => order.planned.some(has));
    if (!isOrdered && !this.table.hasCode(base, offset)) return false;
    this.patiently.add(record);
    this.cache.count(record, 0);
    return true;
  }

  /** Is there probably a region that is entered at linear address `at`, although no record says so? */
  expects(at: number): boolean {
    return this.table.isWaiting(at) || (this.adopts && this.adopter?.mayAdopt(at) === true);
  }

  /**
   * Control has come to `record`, of the instruction at `rip` and linear address `at`, for the first time or once more. If a region is
   * entered there that did not know this record yet, or one that is kept, it is from now on: the newest.
   */
  reached(record: number, at: number, rip: bigint): void {
    if (!this.table.isInterpreted(record)) return;
    const adopter = this.adopts ? this.adopter : undefined;
    const waiting = this.table.waitingAt(at);
    if (waiting === undefined) adopter?.reached(record, at, rip);
    else if (adopter?.adoptNewer(at, rip, waiting.age) !== true) this.table.awaited(record, at);
  }

  /** What was suspended for a rehearsal would be adopted once more. */
  private get adopts(): boolean {
    return this.rehearsal === undefined;
  }

  /** Is there a kept region for the request now, or will it be looked for another time? Then none needs to be made. */
  private isKept({ record, at, va }: Request): boolean {
    if (this.adopter === undefined) return false;
    if (this.cache.recordAt(at) !== record || !this.table.isInterpreted(record)) return false;
    return this.adopter.adopt(record, at, va);
  }

  /** Gives away what is new, unless it is too little for a file: fewer than `least` regions. */
  keepFresh(least: number = KEPT_AT_LEAST): void {
    if (this.fresh.length < least) return;
    // Those too whose code has changed since: a kernel patches itself at each boot.
    this.ports.kept?.keep(this.fresh.map(({ kept }) => kept));
    this.fresh = [];
  }

  dropAll(): void {
    this.queue.length = 0;
    this.found = undefined;
    this.rehearsal = undefined;
    this.joining = undefined;
    for (const order of this.ordered) order.planned = [];
    this.patiently.clear();
    this.timesMade.clear();
    this.adopter?.forgetAll();
    this.warm?.forgetAll();
    this.table.releaseAll();
  }
}
