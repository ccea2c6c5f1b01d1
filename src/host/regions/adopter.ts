/**
 * Regions that are kept from other domains (kept.ts): looks for them where control comes to code for the first time, compares all
 * bytes, and has them entered there.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import type { CodeCache } from '../../translate/interpreter/code-cache.ts';
import { entryHint } from '../../translate/interpreter/entry-hint.ts';
import { entryKey, isThere, pageCodes, type RegionOrigin } from '../../translate/region/index.ts';
import type { KeptPlace, KeptRegions } from './kept.ts';
import type { RegionTable } from './table.ts';
import type { Waits } from './waits.ts';

/** After so many times that control came to its entry a kept region is looked for again, when not all of its pages were mapped. */
const EXPECTED_AFTER = [16, 64, 300, 1000] as const;

export interface AdopterPorts {
  readonly kept: KeptRegions;
  /** What regions import: RegionImports, memory and table. */
  readonly imports: Record<string, unknown>;
  /** Linear address of the page at `va` if code may be fetched from it, else 0. Leaves no trace of a fault. */
  fetch(va: bigint): number;
  readonly waits: Waits;
  /** The function that is to be called instead of `code`, that of the kept region at `place`: itself, unless somebody watches. */
  watched(origin: RegionOrigin, place: KeptPlace, code: unknown): unknown;
}

/** 'missing': not all of its pages are mapped. A number: that file has to be loaded first, which has begun. */
type Found = 'taken' | 'missing' | 'none' | number;

export class RegionAdopter {
  adopted = 0;
  private readonly memory: GuestMemory;
  private readonly cache: CodeCache;
  private readonly table: RegionTable;
  private readonly ports: AdopterPorts;
  /** As RegionOptions.threshold. */
  private readonly threshold: number;
  /** Records whose region is kept, but not all there yet → how often it was looked for. */
  private readonly expected = new Map<number, number>();
  /** File that is being loaded → records, with their instructions, that it may have regions for. */
  private readonly coming = new Map<number, { readonly record: number; readonly at: number; readonly rip: bigint }[]>();
  /** All those records. */
  private readonly awaiting = new Set<number>();

  constructor(memory: GuestMemory, cache: CodeCache, table: RegionTable, ports: AdopterPorts, threshold: number) {
    this.memory = memory;
    this.cache = cache;
    this.table = table;
    this.ports = ports;
    this.threshold = threshold;
  }

  /** Is there probably a kept region that is entered at linear address `at`? */
  mayAdopt(at: number): boolean {
    const { kept } = this.ports;
    const { u8 } = this.memory;
    const { base, offset } = this.placeOf(at);
    return kept.hints[entryHint(u8, base, offset)] === 1 && kept.find(entryKey(u8, base, offset)).length > 0;
  }

  /** Control has come to `record` for the first time, or once more: looks for its region unless that was done, and is to be done later. */
  reached(record: number, at: number, rip: bigint): void {
    if (!this.expected.has(record) && !this.awaiting.has(record)) this.adopt(record, at, rip);
  }

  /**
   * Looks for a kept region that is entered at `record`, of the instruction at `rip` and linear address `at`. True when it is there,
   * or will be looked for another time.
   */
  adopt(record: number, at: number, rip: bigint): boolean {
    if (this.awaiting.has(record)) return true;
    const found = this.find(at, rip, Number.POSITIVE_INFINITY);
    if (typeof found === 'number') {
      this.await(found, record, at, rip);
      return true;
    }
    if (found === 'taken') {
      this.expected.delete(record);
      return true;
    }
    const times = this.expected.get(record) ?? 0;
    if (found === 'none' || times >= EXPECTED_AFTER.length) return false;
    // The guest maps pages as it comes to them.
    this.expected.set(record, times + 1);
    this.cache.count(record, Math.max(this.threshold - EXPECTED_AFTER[times]!, 0));
    return true;
  }

  private await(file: number, record: number, at: number, rip: bigint): void {
    this.awaiting.add(record);
    const list = this.coming.get(file);
    if (list === undefined) this.coming.set(file, [{ record, at, rip }]);
    else list.push({ record, at, rip });
  }

  /** Is anything being loaded? */
  get isAwaiting(): boolean {
    return this.coming.size > 0;
  }

  /** Has regions of files that have come entered where control has come to meanwhile. The guest waits. */
  takeCome(): void {
    for (const file of this.ports.kept.come()) {
      const list = this.coming.get(file) ?? [];
      this.coming.delete(file);
      for (const { record, at, rip } of list) {
        this.awaiting.delete(record);
        // Its code may have changed, and another program may run now.
        if (this.cache.recordAt(at) !== record || !this.table.isInterpreted(record)) continue;
        if (this.ports.fetch(rip) === at) this.adopt(record, at, rip);
        else this.cache.count(record, Math.max(this.threshold - EXPECTED_AFTER[0], 0));
      }
    }
  }

  /** Has a kept region that is newer than `age` entered at the instruction at `rip` and linear address `at`, if there is one. */
  adoptNewer(at: number, rip: bigint, age: number): boolean {
    return this.find(at, rip, age) === 'taken';
  }

  /** Of the kept regions that are entered there and newer than `age` the newest. */
  private find(at: number, rip: bigint, age: number): Found {
    const { kept, waits } = this.ports;
    const { u8 } = this.memory;
    const { base, offset } = this.placeOf(at);
    if (kept.hints[entryHint(u8, base, offset)] !== 1) return 'none';
    const places = kept.find(entryKey(u8, base, offset));
    if (places.length === 0 || places[0]!.age >= age) return 'none';
    return waits.during(() => this.findAmong(places, at, rip, age));
  }

  private findAmong(places: readonly KeptPlace[], at: number, rip: bigint, age: number): Found {
    const { kept } = this.ports;
    const { u8 } = this.memory;
    const { base, offset } = this.placeOf(at);
    const page = rip - BigInt(offset);
    let isMissing = false;
    for (const place of places) {
      if (place.age >= age) break;
      const origin = kept.origin(place);
      if (origin === 'coming') return place.file;
      const entry = origin?.entries[place.entry];
      if (origin === undefined || entry === undefined || (entry & 4095) !== offset) continue;
      const bases = origin.pages.map((other) =>
        other === entry >> 12 ? base : this.ports.fetch(page + BigInt(other - (entry >> 12)) * 4096n),
      );
      if (bases.includes(0)) isMissing = true;
      else if (isThere(origin, u8, bases) && this.take(place, origin, bases)) return 'taken';
    }
    return isMissing ? 'missing' : 'none';
  }

  /** Installs a kept region whose pages are at `bases`. */
  private take(place: KeptPlace, origin: RegionOrigin, bases: readonly number[]): boolean {
    const { table, ports } = this;
    if (table.isFull || (bases.length > 1 && bases.some((base) => table.isAlone(base)))) return false;
    const code = ports.kept.code(place, ports.imports);
    if (code === undefined) return false;
    const parts = pageCodes(origin).map((code, k) => ({ ...code, base: bases[k]! }));
    const called = ports.watched(origin, place, code);
    const { age } = place;
    table.install({ origin, parts, entries: table.entriesOf(origin, parts, age, true), age }, called);
    this.adopted++;
    return true;
  }

  private placeOf(at: number): { readonly base: number; readonly offset: number } {
    const offset = (at - this.memory.layout.ramBase) & 4095;
    return { base: at - offset, offset };
  }

  /** All code is forgotten. */
  forgetAll(): void {
    this.expected.clear();
    this.coming.clear();
    this.awaiting.clear();
  }
}
