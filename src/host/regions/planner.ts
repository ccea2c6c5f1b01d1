/**
 * From an instruction that is hot to the order for a region: what code belongs to it, as it lies in the guest's memory now, and what
 * the interpreter has counted there. Everything is read once; what comes of it is compared with the memory again before it is run.
 */
import type { GuestMemory } from '../../hypervisor/memory.ts';
import type { CodeCache, Counts } from '../../translate/interpreter/code-cache.ts';
import { REGION_SLOTS } from '../../translate/layout.ts';
import {
  type DiscoverPorts,
  discover,
  LIMITS,
  orderOf,
  originId,
  originOf,
  pageCodes,
  type RegionOrder,
  type RegionOrigin,
} from '../../translate/region/index.ts';
import { decode, INSN_MAX, type Insn } from '../../x86/decode.ts';
import { MXCSR_PE, STATE } from '../../x86/state.ts';
import type { Part, RegionTable } from './table.ts';

/** For profilers: where it was made, and what it was made from (watched.ts). */
const nameOf = (va: bigint, origin: RegionOrigin): string =>
  `region ${BigInt.asUintN(64, va).toString(16)} ${originId(origin).toString(16)}`;

/** Hot code, as it was mapped when it was found hot. */
export interface Request {
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
  /** So often had control come to it then. */
  readonly heat: number;
  /** If it is to be one region instead of several. */
  readonly rehearsed: Rehearsed | undefined;
}
/** Of code that was hot: what control has come to in so many times less is no target of its computed jumps, or no part of its region. */
const TARGETS_SHARE = 5;
const RARE_SHARE = 32;

export interface Rehearsed {
  /** How often control came to its beginning since CodeCache.counts() was `since`. */
  readonly times: number;
  readonly since: Counts;
  /** Where the regions were entered, from the beginning of the page. */
  readonly targets: readonly number[];
}
/** In a region that was rehearsed is what control came to more than once in so many times. */
const RARE_OF_REHEARSED = 32;
export const AROUND = LIMITS.pages - 1;

/** A region that is to be made. */
export interface Planned {
  readonly request: Request;
  readonly instructions: number;
  readonly origin: RegionOrigin;
  readonly order: RegionOrder;
  readonly parts: readonly Part[];
  /** Records that will be its entries. */
  readonly claimed: readonly number[];
}

export interface PlannerOptions {
  /** Of code, too, that the interpreter has not seen run: everything that branches name. */
  readonly unseen: boolean;
  /** Instructions of a region, if not as many as usual. */
  readonly instructions?: number;
}

export class RegionPlanner {
  private readonly memory: GuestMemory;
  private readonly cache: CodeCache;
  private readonly table: RegionTable;
  private readonly options: PlannerOptions;
  /** Room for contents of pages, as they were when a region was planned. */
  private readonly copies: Uint8Array[] = [];

  constructor(memory: GuestMemory, cache: CodeCache, table: RegionTable, options: PlannerOptions) {
    this.memory = memory;
    this.cache = cache;
    this.table = table;
    this.options = options;
  }

  /** Undefined: nothing is to be made. Records in `claimed` will be other regions' entries. */
  plan(request: Request, claimed: ReadonlySet<number>): Planned | undefined {
    const steps = this.steps(request, claimed);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  }

  /** The same in steps, between which the guest may run on; where it has run the code of `request` all the time, the pages are those that it sees. */
  *steps(request: Request, claimed: ReadonlySet<number>): Generator<void, Planned | undefined> {
    const { record, va, at, around, mapped, pointer, heat, rehearsed } = request;
    const { u16, layout } = this.memory;
    const isFree = (entry: number): boolean => this.table.isInterpreted(entry) && !claimed.has(entry);
    const first = (at - layout.ramBase) & 4095;
    const home = at - first;
    // It may have been dropped since.
    if (this.cache.recordAt(at) !== record || !isFree(record)) return undefined;
    if (this.table.awaited(record, at) || this.table.isFull) return undefined;
    const bases = new Map([[0, home]]);
    const baseOf = (page: number): number => {
      let base = bases.get(page);
      if (base === undefined) {
        base = this.table.isAlone(home) ? 0 : (around[page + AROUND] ?? mapped(page));
        if (this.table.isAlone(base)) base = 0;
        bases.set(page, base);
      }
      return base;
    };
    const recordAt = (offset: number): number => {
      const base = baseOf(offset >> 12);
      return base === 0 ? 0 : this.cache.recordAt(base + (offset & 4095));
    };
    const share = (of: number): number => Math.floor(heat / of);
    const rare = rehearsed === undefined ? share(RARE_SHARE) : Math.max(rehearsed.times / RARE_OF_REHEARSED, 1);
    const often = rehearsed === undefined ? share(TARGETS_SHARE) : rare;
    const arrivals = (page: number): readonly number[] => {
      const found: { readonly offset: number; readonly count: number }[] = [];
      this.cache.eachRecord(baseOf(page), (offset, entry) => {
        const count = this.cache.arrivals(entry, rehearsed?.since);
        if (count >= often) found.push({ offset: page * 4096 + offset, count });
      });
      return found.sort((a, b) => b.count - a.count).map(({ offset }) => offset);
    };
    const copies = new Map<number, Uint8Array>();
    /** The page at `base` as it is now: it is read once, as what is kept of it must be what was decoded. */
    const content = (base: number): Uint8Array => {
      let copy = copies.get(base);
      if (copy === undefined) {
        copy = this.copies.pop() ?? new Uint8Array(4096);
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
        if (entry === 0) return this.table.isWaiting(baseOf(offset >> 12) + (offset & 4095));
        return u16[entry >>> 1]! >= REGION_SLOTS || claimed.has(entry);
      },
      arrivals: (pages) => [...(rehearsed?.targets ?? []), ...pages.flatMap(arrivals)],
      known: (offset) => this.options.unseen || recordAt(offset) !== 0,
      flow: (offset) => {
        const record = recordAt(offset);
        return record === 0 ? Number.POSITIVE_INFINITY : this.cache.flow(record, rehearsed?.since);
      },
      hasRounded: (this.memory.view.getUint32(this.cache.cpu + STATE.mxcsr, true) & MXCSR_PE) !== 0,
      rare,
    };
    const { instructions } = this.options;
    const { joined, kernel } = LIMITS;
    const limits = {
      ...LIMITS,
      ...(BigInt.asIntN(64, va) < 0n && kernel),
      ...(rehearsed !== undefined && joined),
    };
    const plan = yield* discover(first, ports, { ...limits, ...(instructions !== undefined && { instructions }) });
    let planned: Planned | undefined;
    if (plan !== undefined) {
      const contentOf = (page: number): Uint8Array => content(baseOf(page));
      const origin = originOf(plan, contentOf);
      const order = orderOf(nameOf(va, origin), plan, contentOf);
      const parts = pageCodes(origin).map((code, k) => ({ ...code, base: baseOf(plan.pages[k]!) }));
      const entries = plan.entries.map(recordAt).filter((entry) => entry !== 0 && isFree(entry));
      planned = { request, instructions: plan.instructions, origin, order, parts, claimed: entries };
    }
    this.copies.push(...copies.values());
    return planned;
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
