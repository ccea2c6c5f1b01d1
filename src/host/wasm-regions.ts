/**
 * Tier 1 of one vCPU's engine: makes regions of hot code, keeps their functions in the table, and drops them with the code
 * they were made from. Which code belongs together and what it becomes is translate/region's.
 */
import type { GuestMemory } from '../hypervisor/memory.ts';
import type { CodeCache } from '../translate/interpreter/code-cache.ts';
import { Arm } from '../translate/interpreter/generate.ts';
import { RECORD, REGION_SLOTS, REGION_SLOTS_END } from '../translate/layout.ts';
import { discover, generateRegions, type RegionPlan } from '../translate/region/index.ts';
import { decode, type Insn } from '../x86/decode.ts';

interface Region {
  readonly slot: number;
  /** Bit per 512-byte piece of the page that it has code from. */
  readonly pieces: number;
  /** Record → the handler that it had. */
  readonly entries: ReadonlyMap<number, number>;
}

/** A region before its function is there; `entries` has 0 for what is somebody else's. */
interface Planned {
  readonly plan: RegionPlan;
  readonly base: number;
  readonly pieces: number;
  readonly entries: readonly number[];
}

export interface RegionStatistics {
  regions: number;
  regionModules: number;
  regionsLive: number;
  regionInstructions: number;
  /** Of the modules. */
  regionBytes: number;
  regionMs: number;
}

export class Regions {
  readonly stats: RegionStatistics = {
    regions: 0,
    regionModules: 0,
    regionsLive: 0,
    regionInstructions: 0,
    regionBytes: 0,
    regionMs: 0,
  };
  private readonly memory: GuestMemory;
  private readonly cache: CodeCache;
  private readonly table: WebAssembly.Table;
  private readonly imports: Record<string, unknown>;
  /** Page's linear address → its regions. */
  private readonly pages = new Map<number, Region[]>();
  private readonly handlers = new Map<number, number>();
  private readonly freeSlots: number[] = [];
  private nextSlot: number = REGION_SLOTS;
  private readonly clock: () => number;
  private readonly queue: { readonly record: number; readonly at: number }[] = [];
  /** Regions of one module. */
  private readonly batch: number;

  /** `imports` is what regions import: RegionImports, memory and table. `clock`: milliseconds, for the statistics. */
  constructor(
    memory: GuestMemory,
    cache: CodeCache,
    table: WebAssembly.Table,
    imports: Record<string, unknown>,
    clock: () => number,
    batch: number,
  ) {
    this.memory = memory;
    this.cache = cache;
    this.table = table;
    this.imports = imports;
    this.clock = clock;
    this.batch = batch;
  }

  /** The handler of `record` as the interpreter alone would have it. */
  handlerOf(record: number): number {
    return this.handlers.get(record) ?? this.memory.u16[record >>> 1]!;
  }

  /** The code that begins with `record`, at linear address `at`, is hot: translate it, with others soon. */
  request(record: number, at: number): void {
    if (this.queue.some((known) => known.record === record)) return;
    this.queue.push({ record, at });
    if (this.queue.length >= this.batch) this.flush();
  }

  /** Translate what was requested. A module costs as much as some dozen instructions, so several regions share one. */
  flush(): void {
    if (this.queue.length === 0) return;
    const started = this.clock();
    const { layout } = this.memory;
    const planned: Planned[] = [];
    /** Records that will be entries when this is done. */
    const claimed = new Set<number>();
    for (const { record, at } of this.queue.splice(0)) {
      const region = claimed.has(record) ? undefined : this.plan(record, at, claimed);
      if (region !== undefined) planned.push(region);
    }
    if (planned.length > 0) {
      const bytes = generateRegions(
        layout,
        planned.map(({ plan }) => plan),
      );
      const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: this.imports });
      for (const [k, region] of planned.entries()) this.install(region, instance.exports[String(k)]);
      this.stats.regionBytes += bytes.length;
      this.stats.regionModules++;
    }
    this.stats.regionMs += this.clock() - started;
  }

  private plan(record: number, at: number, claimed: Set<number>): Planned | undefined {
    const { u16, u8, layout } = this.memory;
    const isFree = (entry: number): boolean => {
      const handler = u16[entry >>> 1]!;
      return handler >= Arm.first && handler < REGION_SLOTS && !claimed.has(entry);
    };
    const offset = (at - layout.ramBase) & 4095;
    const base = at - offset;
    const records = this.cache.recordsOf(base);
    // It may have been dropped since.
    if (records?.get(offset) !== record || !isFree(record)) return undefined;
    if (this.freeSlots.length === 0 && this.nextSlot === REGION_SLOTS_END) return undefined;
    const plan = discover(offset, {
      decode: (from: number): Insn | undefined => {
        const insn = decode(u8, base + from, base + 4096);
        return typeof insn === 'string' ? undefined : insn;
      },
      known: (from) => records.has(from),
    });
    if (plan === undefined) return undefined;
    let pieces = 0;
    for (const { start, end } of plan.blocks.values()) {
      this.cache.mark(base, start, end);
      for (let piece = start >> 9; piece <= (end - 1) >> 9; piece++) pieces |= 1 << piece;
    }
    // What is a region's entry already stays that one's.
    const entries = plan.entries.map((entry) => records.get(entry) ?? 0);
    const own = entries.map((entry) => (entry !== 0 && isFree(entry) ? entry : 0));
    for (const entry of own) if (entry !== 0) claimed.add(entry);
    return { plan, base, pieces, entries: own };
  }

  private install({ plan, base, pieces, entries: records }: Planned, code: unknown): void {
    const { u16, u8 } = this.memory;
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    this.table.set(slot, code);
    const entries = new Map<number, number>();
    records.forEach((record, k) => {
      if (record === 0) return;
      const handler = u16[record >>> 1]!;
      entries.set(record, handler);
      this.handlers.set(record, handler);
      u16[record >>> 1] = slot;
      u8[record + RECORD.entry] = k;
    });
    const list = this.pages.get(base);
    const region = { slot, pieces, entries };
    if (list === undefined) this.pages.set(base, [region]);
    else list.push(region);
    this.stats.regions++;
    this.stats.regionsLive++;
    this.stats.regionInstructions += plan.instructions;
  }

  /** Code of the page at linear address `base` has changed, in `pieces` of 512 bytes. */
  drop(base: number, pieces: number): void {
    const regions = this.pages.get(base);
    if (regions === undefined) return;
    const kept = regions.filter((region) => (region.pieces & pieces) === 0);
    if (kept.length === 0) this.pages.delete(base);
    else this.pages.set(base, kept);
    for (const region of regions) if ((region.pieces & pieces) !== 0) this.release(region);
  }

  private release({ slot, entries }: Region): void {
    const { u16 } = this.memory;
    this.table.set(slot, null);
    this.freeSlots.push(slot);
    for (const [record, handler] of entries) {
      // The code cache has taken the handlers of changed instructions back already.
      if (u16[record >>> 1] === slot) u16[record >>> 1] = handler;
      this.handlers.delete(record);
    }
    this.stats.regionsLive--;
  }

  dropAll(): void {
    this.queue.length = 0;
    for (const base of [...this.pages.keys()]) this.drop(base, 0xff);
  }
}
