/**
 * The WebAssembly engine of one vCPU: instantiates the generated interpreter over the domain's memory and connects it to the
 * code cache and to the instructions performed in TypeScript. This is where `WebAssembly` is used; what the modules contain
 * is `translate/`'s.
 */
import { randomFillSync } from 'node:crypto';
import { CodeWrites } from '../hypervisor/code-writes.ts';
import type { GuestMemory } from '../hypervisor/memory.ts';
import type { BuildExitPaths } from '../translate/exit-paths.ts';
import { HelperCpu, InstructionFault } from '../translate/helpers/cpu.ts';
import { HELPERS } from '../translate/helpers/index.ts';
import { CodeCache } from '../translate/interpreter/code-cache.ts';
import { Arm, generateHandlers } from '../translate/interpreter/generate.ts';
import { shapeKey } from '../translate/interpreter/shape.ts';
import {
  ACCESS,
  CODE_DROPPED,
  COMPUTED_FROM,
  COMPUTED_TARGET,
  DECODER,
  KERNEL_TLB,
  NO_PAGE,
  PENDING_FLAGS,
  RECORD,
  RECORD_BYTES,
  REGION_SLOTS,
  REGION_SLOTS_END,
  REGION_STOPPED,
  STEP_RECORDS,
  Status,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TLB_FILLS,
  TLB_STRIDE,
  USER_SPACES,
} from '../translate/layout.ts';
import { SEMANTICS } from '../translate/semantics/index.ts';
import { decode, type Insn } from '../x86/decode.ts';
import type { Engine } from '../x86/engine.ts';
import { Exit } from '../x86/exits.ts';
import { ROWS } from '../x86/opcodes/index.ts';
import { RFLAGS, STATE } from '../x86/state.ts';
import { ARMS, COMMON, engineCode } from './engine-code.ts';
import { MODULE_BYTES_MAX, type RegionStatistics, Regions } from './regions/index.ts';
import type { KeptRegions } from './regions/kept.ts';
import type { TrailOptions } from './regions/trail.ts';
import { type RegionTranslator, TranslatorAtOnce } from './regions/translator.ts';
import type { WatchedRegions } from './regions/watched.ts';
import { threadCpuMs } from './thread-cpu.ts';

const UD = 6;
const GP = 13;
const DEBUG = 1;

/** The second tier: how often control comes to an instruction before its region is translated. The rest: RegionOptions. */
interface RegionTier {
  readonly threshold: number;
  /** … and before later domains are to have it translated; not there: never. */
  readonly warm?: number;
  readonly unseen?: boolean;
  readonly instructions?: number;
  readonly trail?: TrailOptions;
}
export interface EngineOptions {
  /** False for the interpreter alone. */
  readonly tier1?: false | RegionTier;
  /** Decoded instructions to keep at most, before all are forgotten; at least 1000, and never more than there is room for. */
  readonly records?: number;
  /** Bytes of regions' modules to keep at most, before all code is forgotten. */
  readonly moduleBytes?: number;
  /** Handlers of their own to keep at most, before all are made anew as they are needed. */
  readonly shapes?: number;
  /** Folder of generated code that is kept from one start to the next. */
  readonly codeFolder?: string;
  /** Where translated code is kept, and comes from: for tiers with a threshold only. */
  readonly kept?: KeptRegions | undefined;
  /** Who translates, if not the vCPU's thread itself. */
  readonly translator?: RegionTranslator | undefined;
  /** Code for exits that need not come here: see translate/exit-paths.ts. */
  readonly exitPaths?: BuildExitPaths;
}
/**
 * Linux boots with a few hundred. A guest can make tens of thousands, of 12 KB and a millisecond each: it shall fill neither the
 * table nor the host's memory.
 */
const SHAPES_MAX = 4096;
/** Shapes that one look-up may add: a block of instructions. */
const SHAPES_AT_ONCE = 128;
/**
 * What is hot is translated at once: V8's compilers take CPU time that a guest on a machine with few CPUs wants itself, and more of it than the
 * interpreter for what runs some thousand times. What is warm is translated for later domains, when nobody waits.
 */
export const HOT = 8000;
const WARM = 3000;
/** Regions that are translated together, unless a slice ends before there are as many. */
const BATCH = 8;

/** By row: is the instruction, or are rare cases of it that generated code leaves, performed in TypeScript? */
const HELPED = Uint8Array.from(ROWS, ({ mnemonic }) =>
  SEMANTICS[mnemonic] === undefined || HELPERS[mnemonic] !== undefined ? 1 : 0,
);

interface Exports {
  run(cpu: number, record: number): number;
  decodeBlock(cpu: number, at: number, page: number, unit: number, record: number, most: number): number;
  miss(cpu: number, va: bigint, access: number): number;
  translate(cpu: number, va: bigint, access: number): number;
  scatter(cpu: number, va: bigint, size: number): void;
  regionMiss(cpu: number, va: bigint, access: number): number;
  regionAgain(cpu: number, va: bigint, access: number): number;
  regionStack(cpu: number, va: bigint, access: number): number;
  regionLink(cpu: number, target: bigint): number;
  regionExit(cpu: number, exit: number): number;
  settleFlags(cpu: number): void;
  flushTlb(cpu: number): void;
  flushPage(cpu: number, lo: number, hi: number): void;
  modeChanged(cpu: number): void;
  entryChanged(cpu: number, frame: number, index: number): void;
  tableDetached(cpu: number, frame: number): void;
  withholdWrites(cpu: number, frame: number): void;
  forgetRoot(cpu: number, root: number): void;
  /** Only with `EngineOptions.exitPaths`. */
  exitPaths?(cpu: number, exit: number): number;
}

/** Place of the TLB entry for `va`. */
function tlbSlot(va: bigint): number {
  return (Number((va >> 12n) & 0xffffffffn) % TLB_ENTRIES) * TLB_ENTRY_BYTES;
}

/** An instruction whose handler only calls `helper`. */
function anyHelper(): Insn {
  const insn = decode(Uint8Array.of(0x0f, 0xb9, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 16);
  if (typeof insn === 'string') throw new Error('ud1 does not decode');
  return insn;
}

/** The system's random numbers, 64 bits each, fetched some at a time. */
function randomness(): () => bigint {
  const pool = new BigUint64Array(64);
  let left = 0;
  return () => {
    if (left === 0) {
      randomFillSync(pool);
      left = pool.length;
    }
    const value = pool[--left]!;
    pool[left] = 0n;
    return value;
  };
}

export class WasmEngine implements Engine {
  private readonly memory: GuestMemory;
  private readonly wasmMemory: WebAssembly.Memory;
  private readonly cpu: number;
  private readonly exports: Exports;
  private readonly codeWrites: CodeWrites;
  private readonly table: WebAssembly.Table;
  private readonly now: () => number;
  private readonly cache: CodeCache;
  private readonly helperCpu: HelperCpu;
  private readonly regions: Regions;
  private readonly threshold: number;
  /** Shape → handler number. */
  private readonly handlers = new Map<string, number>();
  private nextHandler: number;
  /** Records whose handler runs in TypeScript. */
  private readonly helperInsns = new Map<number, Insn>();

  constructor(
    memory: GuestMemory,
    wasmMemory: WebAssembly.Memory,
    index: number,
    now: () => number,
    {
      tier1 = { threshold: HOT, warm: WARM },
      shapes = SHAPES_MAX,
      records,
      moduleBytes = MODULE_BYTES_MAX,
      codeFolder,
      exitPaths,
      kept,
      translator = new TranslatorAtOnce(),
    }: EngineOptions = {},
  ) {
    this.memory = memory;
    this.wasmMemory = wasmMemory;
    this.cpu = memory.vcpuBase(index);
    this.now = now;
    this.codeWrites = new CodeWrites(memory);
    this.table = new WebAssembly.Table({ initial: REGION_SLOTS_END, element: 'anyfunc' });
    ARMS.forEach((insn, k) => {
      this.handlers.set(shapeKey(insn), Arm.first + k);
    });
    this.nextHandler = Arm.first + ARMS.length;
    this.threshold = tier1 === false ? 0 : tier1.threshold;
    const warm = tier1 === false ? 0 : (tier1.warm ?? 0);
    const code = engineCode(memory.layout, this.threshold, { folder: codeFolder, exitPaths, warm });
    const module = new WebAssembly.Module(code.interpreter);
    const imports = {
      m: wasmMemory,
      t: this.table,
      lookup: () => this.lookup(),
      link: (from: number, to: number) => this.cache.link(from, to),
      crossing: () => this.crossing(),
      codeWrite: (frame: number, pieces: number, offset: number, bytes: number) => {
        if (this.cache.overwrite(frame, pieces, offset, bytes)) {
          this.memory.view.setUint32(this.cpu + CODE_DROPPED, 1, true);
        }
      },
      now,
      hot: (record: number) => this.hot(record),
      helper: (_cpu: number, record: number) => this.help(record),
      regionMoved: (_cpu: number, link: number) => this.regionMoved(link),
    };
    this.exports = new WebAssembly.Instance(module, { e: imports }).exports as unknown as Exports;
    const random = randomness();
    this.helperCpu = new HelperCpu(memory, this.cpu, this.exports.translate, random);
    this.cache = new CodeCache(
      memory,
      this.cpu,
      {
        decodeBlock: (at, page, unit, record, most) => this.exports.decodeBlock(this.cpu, at, page, unit, record, most),
        handler: (insn) => this.handler(insn),
        expected: (at) => this.regions.expects(at),
        invalid: (kind) => (kind === 'ud' ? this.invalidOpcode : this.tooLong),
        remember: (record, insn) => {
          if (HELPED[insn.row.index] === 1) this.helperInsns.set(record, insn);
        },
        forgetAll: () => {
          this.helperInsns.clear();
          this.regions.dropAll();
        },
        withholdWrites: (frame) => this.exports.withholdWrites(this.cpu, frame),
        dropped: (base, pieces) => this.regions.table.drop(base, pieces),
        overwritten: (base, from, to) => this.regions.table.overwritten(base, from, to),
      },
      records,
    );
    const { regionMiss, regionAgain, regionStack, regionLink, regionExit, scatter, settleFlags } = this.exports;
    const regionHelper = (): number => this.helpRegion();
    const regionImports = {
      m: wasmMemory,
      t: this.table,
      regionMiss,
      regionAgain,
      regionStack,
      scatter,
      settleFlags,
      now,
      regionHelper,
      regionLink,
      regionExit,
    };
    // What is kept is for the state block of the first vCPU.
    const ports = {
      clock: threadCpuMs,
      fetch: (va: bigint) => this.codePage(va),
      pointers: (page: bigint) => this.pointers(page),
      kept: index === 0 ? kept : undefined,
      translator,
    };
    this.regions = new Regions(memory, this.cache, this.table, regionImports, ports, {
      threshold: this.threshold,
      warm,
      batch: tier1 !== false && tier1.threshold > 1 ? BATCH : 1,
      patient: tier1 !== false && tier1.threshold > 1,
      unseen: tier1 !== false && tier1.unseen === true,
      ...(tier1 !== false && tier1.instructions !== undefined && { instructions: tier1.instructions }),
      trail: tier1 === false ? undefined : tier1.trail,
      moduleBytes,
    });
    this.install(COMMON, code.handlers);
    this.invalidOpcode = this.raiser(UD);
    this.tooLong = this.raiser(GP);
    this.firstOwnHandler = this.nextHandler;
    this.lastOwnHandler = Math.min(this.nextHandler + shapes + SHAPES_AT_ONCE, REGION_SLOTS) - SHAPES_AT_ONCE;
    const view = memory.view;
    memory.u8.set(code.tables, this.cpu + DECODER);
    view.setUint32(this.cpu + STATE.writableFrame, 0xffffffff, true);
    view.setUint32(this.cpu + NO_PAGE + 4, Number(random() & 0x3fffffffn) | 0x40000000, true);
    // Nothing is known yet of what the arrays hold: more than their lists say.
    for (let k = 0; k <= USER_SPACES; k++) {
      view.setUint32(this.cpu + KERNEL_TLB + k * TLB_STRIDE + TLB_FILLS, 0xffffffff, true);
    }
    this.flushTlb();
  }

  /** Slots for handlers of shapes that have no arm. */
  private readonly firstOwnHandler: number;
  private readonly lastOwnHandler: number;
  private readonly invalidOpcode: number;
  private readonly tooLong: number;

  /** A handler that raises `vector`: records of undecodable bytes. A native function made by the same generator. */
  private raiser(vector: number): number {
    const slot = this.nextHandler++;
    const module = new WebAssembly.Module(generateHandlers(this.memory.layout, [anyHelper()]));
    const instance = new WebAssembly.Instance(module, {
      e: {
        m: this.wasmMemory,
        miss: this.exports.miss,
        scatter: this.exports.scatter,
        now: this.now,
        helper: () => {
          this.memory.view.setUint32(this.cpu + STATE.exitVector, vector, true);
          this.memory.view.setUint32(this.cpu + STATE.exitErrorCode, 0, true);
          return Status.Fault;
        },
      },
    });
    this.table.set(slot, instance.exports['0']);
    return slot;
  }

  private handler(insn: Insn): number {
    return this.handlers.get(shapeKey(insn)) ?? this.ownHandler(insn);
  }

  private ownHandler(insn: Insn): number {
    const slot = this.nextHandler;
    this.install([insn], generateHandlers(this.memory.layout, [insn]));
    return slot;
  }

  /** Put the handlers of `insns`, which `bytes` exports as "0", "1", …, into the table. */
  private install(insns: readonly Insn[], bytes: Uint8Array<ArrayBuffer>): void {
    if (this.nextHandler + insns.length > REGION_SLOTS) {
      throw new Error('more instruction shapes than the table has room for');
    }
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
      e: {
        m: this.wasmMemory,
        miss: this.exports.miss,
        scatter: this.exports.scatter,
        now: this.now,
        helper: (_cpu: number, record: number) => this.help(record),
      },
    });
    insns.forEach((insn, k) => {
      this.table.set(this.nextHandler, instance.exports[k]);
      this.handlers.set(shapeKey(insn), this.nextHandler++);
    });
  }

  private help(record: number): number {
    const insn = this.helperInsns.get(record >>> 0);
    if (insn === undefined) throw new Error('helper without an instruction');
    const cpu = this.helperCpu;
    cpu.currentRip =
      this.memory.view.getBigUint64(this.cpu + STATE.codePage, true) +
      BigInt(this.memory.view.getUint16(record + RECORD.position, true));
    const helper = HELPERS[insn.mnemonic];
    try {
      if (helper === undefined) cpu.fault(UD);
      return helper!(cpu, insn) ?? Status.Next;
    } catch (error) {
      if (error instanceof InstructionFault) return Status.Fault;
      throw error;
    }
  }

  /** A region has left a rare case of the instruction at STATE.rip to us. */
  private helpRegion(): number {
    const { view } = this.memory;
    if (view.getUint32(this.cpu + PENDING_FLAGS.code, true) !== 0) this.exports.settleFlags(this.cpu);
    const rip = view.getBigUint64(this.cpu + STATE.rip, true);
    view.setBigUint64(this.cpu + STATE.codePage, rip & ~0xfffn, true);
    const record = this.instruction();
    if (record === 0) return Status.Exit + Exit.Exception;
    const status = this.help(record);
    if (status === Status.Fault) return Status.Exit + Exit.Exception;
    if (status !== Status.Next) return status;
    view.setBigUint64(this.cpu + STATE.rip, rip + BigInt(view.getUint8(record + RECORD.length)), true);
    return Status.Jump;
  }

  /** The record of the instruction at STATE.rip itself, not of a link to its block; 0 with the fault recorded. */
  private instruction(): number {
    const { view } = this.memory;
    let record = this.lookup();
    while (record !== 0) {
      const arm = this.regions.table.handlerOf(record);
      if (arm === Arm.Goto) record = view.getUint32(record + RECORD.immHi, true);
      else if (arm === Arm.Crossing) record = this.crossing();
      else break;
    }
    return record;
  }

  /** Before code is decoded: when shapes have become too many, forget all of them, and all code with them. */
  private limitShapes(): void {
    if (this.nextHandler <= this.lastOwnHandler) return;
    for (const [key, slot] of this.handlers) if (slot >= this.firstOwnHandler) this.handlers.delete(key);
    for (let slot = this.firstOwnHandler; slot < this.nextHandler; slot++) this.table.set(slot, null);
    this.nextHandler = this.firstOwnHandler;
    this.cache.forgetHandlers();
  }

  private readonly dropFrame = (frame: number): void => this.cache.drop(frame);
  private readonly dropAll = (): void => this.cache.dropAll();

  /** Linear address of the byte at STATE.rip, or 0 with the fault recorded. */
  private fetch(va: bigint): number {
    return this.exports.translate(this.cpu, BigInt.asIntN(64, va), ACCESS.execute | 1) >>> 0;
  }

  private lookup(): number {
    const rip = this.memory.view.getBigUint64(this.cpu + STATE.rip, true);
    const at = this.fetch(rip);
    if (at === 0) return 0;
    this.limitShapes();
    const record = this.cache.lookup(at);
    this.regions.reached(record, at, rip);
    return record;
  }

  private hot(record: number): void {
    const { view } = this.memory;
    const page = view.getBigUint64(this.cpu + STATE.codePage, true);
    const rip = page + BigInt(view.getUint16(record + RECORD.position, true));
    const stopped = view.getBigUint64(this.cpu + REGION_STOPPED, true);
    view.setBigUint64(this.cpu + REGION_STOPPED, 0n, true);
    // As a region it would stop there again.
    if (stopped === rip) return;
    const at = this.fetch(rip);
    const led = view.getBigUint64(this.cpu + COMPUTED_TARGET, true) === rip;
    const from = led ? view.getUint32(this.cpu + COMPUTED_FROM, true) : 0;
    if (at === 0) return;
    const mapped = (n: number): number => this.executable(page + BigInt(n * 4096));
    if (this.threshold > 1 && this.cache.arrivals(record) !== this.threshold) {
      this.regions.note(record, at, rip, mapped);
      return;
    }
    this.regions.request(record, at, rip, from, mapped, this.pointers(page));
  }

  /** For Request.pointer, seen from `page`. */
  private pointers(page: bigint): (offset: number) => number | undefined {
    return (offset) => this.distance(page, page + BigInt(offset));
  }

  /** How far from `page` the pointer at `va` leads, if the TLB has it; undefined if it does not. */
  private distance(page: bigint, va: bigint): number | undefined {
    const { view } = this.memory;
    const entry = view.getUint32(this.cpu + STATE.tlb, true) + tlbSlot(va);
    const known = BigInt.asUintN(64, (va + 7n) & ~0xfffn);
    if (view.getBigUint64(entry, true) !== known) return undefined;
    const at = (view.getUint32(entry + 24, true) + Number(va & 0xffffffffn)) >>> 0;
    return Number(BigInt.asIntN(64, view.getBigUint64(at, true) - page));
  }

  /** Linear address of the page at `va` if the TLB has it as one that code was fetched from, else 0. */
  private executable(va: bigint): number {
    const { view } = this.memory;
    const entry = view.getUint32(this.cpu + STATE.tlb, true) + tlbSlot(va);
    if (view.getBigUint64(entry + 16, true) !== BigInt.asUintN(64, va)) return 0;
    return (view.getUint32(entry + 24, true) + Number(va & 0xffffffffn)) >>> 0;
  }

  /** Linear address of the page at `va` if code may be fetched from it, by the page tables, else 0. Leaves no trace of a fault. */
  private codePage(va: bigint): number {
    const { view } = this.memory;
    const cr2 = view.getBigUint64(this.cpu + STATE.cr2, true);
    const at = this.fetch(BigInt.asUintN(64, va));
    view.setBigUint64(this.cpu + STATE.cr2, cr2, true);
    return at;
  }

  /** InterpreterImports.regionMoved. */
  private regionMoved(link: number): number {
    const { view } = this.memory;
    const page = view.getBigUint64(this.cpu + STATE.codePage, true);
    const position = this.regions.table.moved(link, (n) => this.codePage(page + BigInt(n * 4096)));
    if (position === undefined) return 0;
    view.setBigUint64(this.cpu + STATE.rip, page + BigInt(position), true);
    return 1;
  }

  private crossing(): number {
    const rip = this.memory.view.getBigUint64(this.cpu + STATE.rip, true);
    const at = this.fetch(rip);
    if (at === 0) return 0;
    const next = BigInt.asUintN(64, (rip | 0xfffn) + 1n);
    const second = this.fetch(next);
    if (second === 0) return 0;
    this.limitShapes();
    return this.cache.crossing(at, second);
  }

  run(): Exit {
    this.codeWrites.take(this.dropFrame, this.dropAll);
    if (this.regions.full) this.cache.dropAll();
    if ((this.memory.view.getUint32(this.cpu + STATE.flagsRest, true) & RFLAGS.TF) !== 0) return this.stepTrapped();
    return this.exports.run(this.cpu, 0) as Exit;
  }

  get sliceMost(): number {
    return this.regions.sliceMost;
  }

  betweenSlices(): void {
    this.regions.sliceEnded();
  }

  /** With TF every instruction ends in #DB, except when it ended in something else. */
  private stepTrapped(): Exit {
    const exit = this.step();
    if (exit !== Exit.Stepped) return exit;
    this.memory.view.setUint32(this.cpu + STATE.exitVector, DEBUG, true);
    this.memory.view.setUint32(this.cpu + STATE.exitErrorCode, 0, true);
    return Exit.Exception;
  }

  step(writableFrame = 0xffffffff): Exit {
    const { view, u8 } = this.memory;
    const record = this.instruction();
    if (record === 0) return Exit.Exception;
    const scratch = this.cpu + STEP_RECORDS;
    u8.copyWithin(scratch, record, record + RECORD_BYTES);
    view.setUint16(scratch, this.regions.table.handlerOf(record), true);
    const insn = this.helperInsns.get(record);
    if (insn !== undefined) this.helperInsns.set(scratch, insn);
    const after = scratch + RECORD_BYTES;
    view.setUint16(after, Arm.Stop, true);
    view.setUint16(
      after + RECORD.position,
      view.getUint16(record + RECORD.position, true) + view.getUint8(record + RECORD.length),
      true,
    );
    const rip = view.getBigUint64(this.cpu + STATE.rip, true);
    view.setBigUint64(this.cpu + STATE.codePage, rip & ~0xfffn, true);
    view.setUint32(this.cpu + STATE.writableFrame, writableFrame, true);
    const budget = view.getInt32(this.cpu + STATE.budget, true);
    view.setInt32(this.cpu + STATE.budget, 1, true);
    const exit = this.exports.run(this.cpu, scratch) as Exit;
    view.setInt32(this.cpu + STATE.budget, budget, true);
    view.setUint32(this.cpu + STATE.writableFrame, 0xffffffff, true);
    return exit === Exit.Slice || exit === Exit.Kick ? Exit.Stepped : exit;
  }

  flushTlb(): void {
    this.exports.flushTlb(this.cpu);
  }

  flushPage(lo: number, hi: number): void {
    this.exports.flushPage(this.cpu, lo, hi);
  }

  modeChanged(): void {
    this.exports.modeChanged(this.cpu);
  }

  entryChanged(frame: number, index: number): void {
    this.exports.entryChanged(this.cpu, frame, index);
  }

  tableDetached(frame: number): void {
    this.exports.tableDetached(this.cpu, frame);
  }

  tableReleased(frame: number, level: number): void {
    if (level === 4) this.exports.forgetRoot(this.cpu, frame);
    if (level === 1) this.memory.u32[(this.memory.layout.tableSpans >>> 2) + frame] = 0;
  }

  frameWritten(frame: number): void {
    if (this.memory.frameFlags[frame] !== 0) this.cache.drop(frame);
  }

  translate(va: bigint, write: boolean): number {
    // A hypercall's access leaves no trace in CR2, and reads with the kernel's tables, which are active then.
    const { view } = this.memory;
    const cr2 = view.getBigUint64(this.cpu + STATE.cr2, true);
    const at = this.exports.translate(this.cpu, BigInt.asIntN(64, va), (write ? ACCESS.write : 0) | 1) >>> 0;
    if (at === 0) view.setBigUint64(this.cpu + STATE.cr2, cr2, true);
    return at;
  }

  /** Only the exits that need not come here, as the interpreter asks for them; false when this one has to. For tests. */
  performExit(exit: Exit): boolean {
    return this.exports.exitPaths?.(this.cpu, exit) === 1;
  }

  /**
   * Begin or end to watch regions. All code is forgotten, so that what is hot is made again as one wants it. Not while the
   * engine runs.
   */
  watchRegions(watched: WatchedRegions | undefined): void {
    this.regions.watch(watched);
    this.cache.dropAll();
  }

  /** What regions are made from (originId) → where they are in this domain. */
  regionAddresses(): Map<number, bigint> {
    return this.regions.table.addresses();
  }

  /** The guest has nothing to do, or has ended: give what was translated lately to those who keep it, if that is `least` regions. */
  keepRegions(least?: number): void {
    this.regions.keepFresh(least);
  }

  /** The guest has nothing to do: plan for a while what later domains are to find translated. True when there is more. */
  planWarm(): boolean {
    return this.regions.planWarm();
  }

  get statistics(): CodeCache['stats'] & RegionStatistics & { readonly shapes: number } {
    return { ...this.cache.stats, ...this.regions.stats, shapes: this.handlers.size };
  }
}
