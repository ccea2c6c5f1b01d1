/**
 * Tier 1 of one vCPU's engine: makes regions of hot code, keeps their functions in the table, and drops them with the code
 * they were made from. Which code belongs together and what it becomes is translate/region's.
 */
import type { GuestMemory } from '../hypervisor/memory.ts';
import type { CodeCache } from '../translate/interpreter/code-cache.ts';
import { Arm } from '../translate/interpreter/generate.ts';
import { RECORD, REGION_SLOTS, REGION_SLOTS_END } from '../translate/layout.ts';
import { discover, generateRegions } from '../translate/region/index.ts';
import { decode, type Insn } from '../x86/decode.ts';

interface Region {
  readonly slot: number;
  /** Record → the handler that it had. */
  readonly entries: ReadonlyMap<number, number>;
}

export interface RegionStatistics {
  regions: number;
  regionsLive: number;
  regionInstructions: number;
  /** Of the modules. */
  regionBytes: number;
  regionMs: number;
}

export class Regions {
  readonly stats: RegionStatistics = {
    regions: 0,
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

  /** `imports` is what regions import: RegionImports, memory and table. `clock`: milliseconds, for the statistics. */
  constructor(
    memory: GuestMemory,
    cache: CodeCache,
    table: WebAssembly.Table,
    imports: Record<string, unknown>,
    clock: () => number,
  ) {
    this.memory = memory;
    this.cache = cache;
    this.table = table;
    this.imports = imports;
    this.clock = clock;
  }

  /** The handler of `record` as the interpreter alone would have it. */
  handlerOf(record: number): number {
    return this.handlers.get(record) ?? this.memory.u16[record >>> 1]!;
  }

  /** Translate the code that begins with `record`, at linear address `at`. */
  make(record: number, at: number): void {
    const { u16, u8, layout } = this.memory;
    const handler = u16[record >>> 1]!;
    if (handler < Arm.first || handler >= REGION_SLOTS) return;
    const offset = (at - layout.ramBase) & 4095;
    const base = at - offset;
    const records = this.cache.recordsOf(base);
    if (records?.get(offset) !== record) return;
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    if (slot >= REGION_SLOTS_END) {
      this.nextSlot = REGION_SLOTS_END;
      return;
    }
    const started = this.clock();
    const plan = discover(offset, {
      decode: (from: number): Insn | undefined => {
        const insn = decode(u8, base + from, base + 4096);
        return typeof insn === 'string' ? undefined : insn;
      },
      known: (from) => records.has(from),
    });
    if (plan === undefined) {
      this.freeSlots.push(slot);
      return;
    }
    for (const block of plan.blocks.values()) this.cache.mark(base, block.start, block.end);
    const bytes = generateRegions(layout, [plan]);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: this.imports });
    this.table.set(slot, instance.exports['0']);
    const entries = new Map<number, number>();
    plan.entries.forEach((entry, k) => {
      const at = records.get(entry);
      if (at === undefined) return;
      const before = u16[at >>> 1]!;
      // What is a region's entry already stays that one's.
      if (before < Arm.first || before >= REGION_SLOTS) return;
      entries.set(at, before);
      this.handlers.set(at, before);
      u16[at >>> 1] = slot;
      u8[at + RECORD.entry] = k;
    });
    const list = this.pages.get(base);
    const region = { slot, entries };
    if (list === undefined) this.pages.set(base, [region]);
    else list.push(region);
    this.stats.regions++;
    this.stats.regionsLive++;
    this.stats.regionInstructions += plan.instructions;
    this.stats.regionBytes += bytes.length;
    this.stats.regionMs += this.clock() - started;
  }

  /** The code of the page at linear address `base` is void; its records' handlers were taken back already. */
  drop(base: number): void {
    const regions = this.pages.get(base);
    if (regions === undefined) return;
    this.pages.delete(base);
    for (const { slot, entries } of regions) {
      this.table.set(slot, null);
      this.freeSlots.push(slot);
      for (const record of entries.keys()) this.handlers.delete(record);
      this.stats.regionsLive--;
    }
  }

  dropAll(): void {
    for (const base of [...this.pages.keys()]) this.drop(base);
  }
}
