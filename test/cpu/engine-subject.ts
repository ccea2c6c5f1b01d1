/**
 * Runs cases on an engine: guest page tables that map the same addresses as the oracle's process, a state block filled from the
 * case, one instruction after the other, and the state block read back as an outcome.
 */
import { type GuestMemory, PAGE_SIZE, planLayout } from '../../src/hypervisor/memory.ts';
import { REGION_STOPPED } from '../../src/translate/layout.ts';
import type { Engine } from '../../src/x86/engine.ts';
import { Exit, PRIVILEGED } from '../../src/x86/exits.ts';
import { readFlags, writeFlags } from '../../src/x86/flags.ts';
import { SEG, STATE } from '../../src/x86/state.ts';
import {
  CASE,
  CODE_OFFSET,
  CODE_SIZE,
  COMPLETED,
  DATA_OFFSET,
  DATA_SIZE,
  ENDLESS,
  FX,
  HIGH_BASE,
  INT3,
  LOW_BASE,
  OUTCOME,
  pristineData,
  recordChanges,
  SYSCALL,
  UNSUPPORTED,
  WRITABLE_SIZE,
} from './layout.ts';
import { ScatteredPages } from './scattered.ts';
import type { Subject } from './subject.ts';

/** An engine for vCPU 0 of `memory`. */
export interface Machine {
  readonly memory: GuestMemory;
  readonly engine: Engine & { readonly statistics?: { readonly regionInstructions: number } };
}
/** `step` runs single instructions; `run` lets the engine go until the INT3 behind the code stops it. */
export type Drive = 'step' | 'run';

const PAGES = 64;
const ROOT = 1;
const CODE_PAGES = CODE_SIZE / PAGE_SIZE;
const DATA_PAGES = DATA_SIZE / PAGE_SIZE;
const CODE_FRAME = 32;
const DATA_FRAME = CODE_FRAME + 2 * CODE_PAGES;
const PTE = { present: 1, write: 2, user: 4, noExecute: 0x8000_0000 } as const;
const NO_FRAME = 0xffff_ffff;
/** More single steps than any generated case needs: a repeat count is below this. */
const STEPS = 20_000;
/** More taken branches than any case needs that the oracle waits for; code that loops for ever ends there. */
const BRANCHES = 5_000_000;
const VECTOR = { breakpoint: 3, invalidOpcode: 6, generalProtection: 13, pageFault: 14 } as const;
const FETCH = 0x10;
/** Of what is left to the hypervisor: what a program may not do on a real machine, whatever its operands. Code that is jumped into has such. */
const FORBIDDEN: readonly string[] = [
  ...['hlt', 'cli', 'sti', 'in', 'out', 'ins', 'outs', 'rdmsr', 'wrmsr', 'clts', 'invd', 'wbinvd', 'invlpg'],
  ...['lgdt', 'lidt', 'lldt', 'ltr', 'lmsw', 'swapgs'],
];

export class EngineSubject implements Subject {
  readonly name: string;
  readonly #memory: GuestMemory;
  readonly #engine: Machine['engine'];
  readonly #translated = new Set<number>();
  readonly #drive: Drive;
  readonly #cpu: number;
  readonly #code: ScatteredPages;
  readonly #data: ScatteredPages;
  /** Data memory behind a case, in the guest's order. */
  readonly #after = new Uint8Array(DATA_SIZE);
  readonly #before = pristineData();
  readonly #pristine = pristineData();
  readonly #details = new Map<number, string>();
  #nextTable = ROOT + 1;

  constructor(name: string, { memory, engine }: Machine, drive: Drive) {
    this.name = name;
    this.#memory = memory;
    this.#drive = drive;
    this.#cpu = memory.vcpuBase(0);
    this.#code = new ScatteredPages(memory, CODE_FRAME, CODE_PAGES);
    this.#code.fill(INT3, 0, CODE_SIZE);
    this.#data = new ScatteredPages(memory, DATA_FRAME, DATA_PAGES);
    this.#data.write(0, this.#pristine);
    for (const base of [LOW_BASE, HIGH_BASE]) {
      for (let page = 0; page < CODE_PAGES; page++)
        this.#map(base + CODE_OFFSET + page * PAGE_SIZE, this.#code.frame(page), 0, 0);
      for (let page = 0; page < DATA_PAGES; page++) {
        const at = page * PAGE_SIZE;
        const write = at < WRITABLE_SIZE ? PTE.write : 0;
        this.#map(base + DATA_OFFSET + at, this.#data.frame(page), write, PTE.noExecute);
      }
    }
    this.#resetState();
    this.#engine = engine;
    this.#engine.modeChanged();
    this.#engine.flushTlb();
  }

  detail(i: number): string | undefined {
    return this.#details.get(i);
  }

  translated(i: number): boolean {
    return this.#translated.has(i);
  }

  close(): void {}

  run(cases: Uint8Array, count: number): Uint8Array {
    const outcomes = new Uint8Array(count * OUTCOME.size);
    const caseView = new DataView(cases.buffer, cases.byteOffset);
    const outcomeView = new DataView(outcomes.buffer);
    this.#details.clear();
    this.#translated.clear();
    for (let i = 0; i < count; i++) {
      const to = i * OUTCOME.size;
      const before = this.#engine.statistics?.regionInstructions ?? 0;
      try {
        this.#runCase(cases, caseView, i * CASE.size, outcomes, outcomeView, to);
      } catch (error) {
        outcomeView.setUint32(to + OUTCOME.vector, UNSUPPORTED, true);
        this.#details.set(i, error instanceof Error ? (error.stack ?? error.message) : String(error));
      }
      if ((this.#engine.statistics?.regionInstructions ?? 0) > before) this.#translated.add(i);
      this.#restore(caseView, i * CASE.size);
    }
    return outcomes;
  }

  #runCase(
    cases: Uint8Array,
    caseView: DataView,
    at: number,
    outcomes: Uint8Array,
    outcomeView: DataView,
    to: number,
  ): void {
    const { view, u8 } = this.#memory;
    const cpu = this.#cpu;
    const codeAt = (caseView.getUint32(at + CASE.rip, true) - CODE_OFFSET) & 0xffff;
    const length = Math.min(caseView.getUint32(at + CASE.codeLength, true), CODE_SIZE - codeAt);
    this.#code.write(codeAt, cases.subarray(at + CASE.code, at + CASE.code + length));
    this.#codeChanged(codeAt, length);
    for (let p = 0; p < CASE.patches; p++) {
      const patch = at + CASE.patch + p * CASE.patchSize;
      const bytes = cases.subarray(patch + 8, patch + 8 + caseView.getUint32(patch + 4, true));
      this.#data.write(caseView.getUint32(patch, true), bytes);
      this.#before.set(bytes, caseView.getUint32(patch, true));
    }
    this.#loadState(cases, caseView, at);

    const start = caseView.getBigUint64(at + CASE.rip, true);
    const end = start + BigInt(length);
    let exit: Exit = Exit.Stepped;
    if (this.#drive === 'run') {
      exit = this.#engine.run();
      if (exit === Exit.Slice) this.#engine.betweenSlices();
    } else {
      let steps = 0;
      while (exit === Exit.Stepped && steps++ < STEPS) {
        exit = this.#engine.step();
        const rip = view.getBigUint64(cpu + STATE.rip, true);
        if (rip < start || rip >= end) break;
      }
      if (steps >= STEPS) exit = Exit.Slice;
    }

    let rip = view.getBigUint64(cpu + STATE.rip, true);
    let vector: number = COMPLETED;
    let errorCode = 0;
    if (exit === Exit.Exception) {
      vector = view.getUint32(cpu + STATE.exitVector, true);
      errorCode = view.getUint32(cpu + STATE.exitErrorCode, true);
      // The same two readings as in the oracle: our own INT3 behind the code, or a branch to where there is nothing.
      if (vector === VECTOR.breakpoint && (rip <= start || rip > end)) {
        vector = COMPLETED;
        rip--;
      } else if (vector === VECTOR.pageFault && (errorCode & FETCH) !== 0 && rip !== start) vector = COMPLETED;
    } else if (exit === Exit.Syscall) vector = SYSCALL;
    else if (exit === Exit.Slice) vector = ENDLESS;
    else if (exit === Exit.Instruction) {
      const op = view.getUint32(cpu + STATE.exitOp, true);
      if (PRIVILEGED[op] === 'ud2') vector = VECTOR.invalidOpcode;
      else if (FORBIDDEN.includes(PRIVILEGED[op]!)) vector = VECTOR.generalProtection;
      else throw new Error(`left to the hypervisor: ${PRIVILEGED[op] ?? op}`);
    } else if (exit !== Exit.Stepped) throw new Error(`the engine returned exit ${exit}`);

    outcomes.set(u8.subarray(cpu + STATE.gpr, cpu + STATE.gpr + 128), to + OUTCOME.gpr);
    outcomeView.setBigUint64(to + OUTCOME.rip, rip, true);
    outcomeView.setBigUint64(to + OUTCOME.rflags, BigInt(readFlags(view, cpu) >>> 0), true);
    outcomeView.setUint32(to + OUTCOME.vector, vector, true);
    outcomeView.setUint32(to + OUTCOME.errorCode, vector < 32 ? errorCode : 0, true);
    outcomeView.setBigUint64(
      to + OUTCOME.cr2,
      vector === VECTOR.pageFault ? view.getBigUint64(cpu + STATE.cr2, true) : 0n,
      true,
    );
    this.#saveVectors(outcomes, outcomeView, to + OUTCOME.fx);
    if (this.#data.strayed()) throw new Error('bytes of a frame that is not mapped have changed');
    this.#data.read(this.#after);
    recordChanges(outcomes, outcomeView, to, this.#before, this.#after);
  }

  #restore(caseView: DataView, at: number): void {
    const codeAt = (caseView.getUint32(at + CASE.rip, true) - CODE_OFFSET) & 0xffff;
    const length = Math.min(caseView.getUint32(at + CASE.codeLength, true), CODE_SIZE - codeAt);
    this.#code.fill(INT3, codeAt, length);
    this.#codeChanged(codeAt, length);
    this.#data.write(0, this.#pristine);
    for (let p = 0; p < CASE.patches; p++) {
      const patch = at + CASE.patch + p * CASE.patchSize;
      const from = caseView.getUint32(patch, true);
      this.#before.set(this.#pristine.subarray(from, from + caseView.getUint32(patch + 4, true)), from);
    }
  }

  #codeChanged(codeAt: number, length: number): void {
    for (let page = codeAt >> 12; page <= (codeAt + length - 1) >> 12; page++)
      this.#engine.frameWritten(this.#code.frame(page));
  }

  /** Everything that no case sets. */
  #resetState(): void {
    const { view, u8 } = this.#memory;
    const cpu = this.#cpu;
    u8.fill(0, cpu, cpu + STATE.end);
    view.setUint32(cpu + STATE.kernelRoot, ROOT, true);
    view.setUint32(cpu + STATE.userRoot, ROOT, true);
    view.setUint32(cpu + STATE.writableFrame, NO_FRAME, true);
    view.setUint16(cpu + STATE.fcw, 0x37f, true);
    view.setUint16(cpu + STATE.ftw, 0xffff, true);
    view.setUint32(cpu + STATE.mxcsr, 0x1f80, true);
    // A 64-bit Linux process has these: MOV and PUSH can read them.
    view.setUint32(cpu + STATE.selector + 4 * SEG.cs, 0x33, true);
    view.setUint32(cpu + STATE.selector + 4 * SEG.ss, 0x2b, true);
  }

  #loadState(cases: Uint8Array, caseView: DataView, at: number): void {
    const { view, u8 } = this.#memory;
    const cpu = this.#cpu;
    const fx = at + CASE.fx;
    u8.set(cases.subarray(at + CASE.gpr, at + CASE.gpr + 128), cpu + STATE.gpr);
    u8.set(cases.subarray(at + CASE.rip, at + CASE.rip + 8), cpu + STATE.rip);
    u8.set(cases.subarray(at + CASE.fsBase, at + CASE.fsBase + 16), cpu + STATE.fsBase);
    writeFlags(view, cpu, caseView.getUint32(at + CASE.rflags, true));
    u8.set(cases.subarray(fx + FX.xmm, fx + FX.xmm + 256), cpu + STATE.xmm);
    view.setUint32(cpu + STATE.mxcsr, caseView.getUint32(fx + FX.mxcsr, true), true);
    view.setUint16(cpu + STATE.fcw, caseView.getUint16(fx + FX.fcw, true), true);
    const fsw = caseView.getUint16(fx + FX.fsw, true);
    view.setUint16(cpu + STATE.fsw, fsw, true);
    const used = caseView.getUint8(fx + FX.ftw);
    const top = (fsw >> 11) & 7;
    let tags = 0;
    for (let st = 0; st < 8; st++) {
      const physical = (top + st) & 7;
      const from = fx + FX.st + 16 * st;
      const to = cpu + STATE.x87 + 16 * physical;
      u8.set(cases.subarray(from, from + 10), to);
      tags |= (used & (1 << physical) ? fullTag(view, to) : 3) << (2 * physical);
    }
    view.setUint16(cpu + STATE.ftw, tags, true);
    view.setInt32(cpu + STATE.budget, BRANCHES, true);
    view.setUint32(cpu + STATE.kick, 0, true);
    // Left by another case at the same address, it would keep this one from being translated.
    view.setBigUint64(cpu + REGION_STOPPED, 0n, true);
  }

  #saveVectors(outcomes: Uint8Array, outcomeView: DataView, fx: number): void {
    const { view, u8 } = this.#memory;
    const cpu = this.#cpu;
    outcomes.set(u8.subarray(cpu + STATE.xmm, cpu + STATE.xmm + 256), fx + FX.xmm);
    outcomeView.setUint32(fx + FX.mxcsr, view.getUint32(cpu + STATE.mxcsr, true), true);
    outcomeView.setUint16(fx + FX.fcw, view.getUint16(cpu + STATE.fcw, true), true);
    const fsw = view.getUint16(cpu + STATE.fsw, true);
    outcomeView.setUint16(fx + FX.fsw, fsw, true);
    const tags = view.getUint16(cpu + STATE.ftw, true);
    let used = 0;
    for (let st = 0; st < 8; st++) {
      const physical = ((fsw >> 11) + st) & 7;
      const from = cpu + STATE.x87 + 16 * physical;
      outcomes.set(u8.subarray(from, from + 10), fx + FX.st + 16 * st);
      if (((tags >> (2 * physical)) & 3) !== 3) used |= 1 << physical;
    }
    outcomeView.setUint8(fx + FX.ftw, used);
  }

  /** Map one page, for user and kernel mode alike. Addresses are below 2^47, so doubles are exact. */
  #map(address: number, frame: number, low: number, high: number): void {
    const { view } = this.#memory;
    let table = ROOT;
    for (let level = 3; level > 0; level--) {
      const entry = this.#memory.at(table) + 8 * this.#indexOf(address, level);
      let next = view.getUint32(entry, true) >>> 12;
      if (next === 0) {
        next = this.#nextTable++;
        if (next >= CODE_FRAME) throw new Error('too few frames for the page tables');
        view.setUint32(entry, (next << 12) | PTE.present | PTE.write | PTE.user, true);
      }
      table = next;
    }
    const entry = this.#memory.at(table) + 8 * this.#indexOf(address, 0);
    view.setUint32(entry, (frame << 12) | PTE.present | PTE.user | low, true);
    view.setUint32(entry + 4, high, true);
  }

  #indexOf(address: number, level: number): number {
    return Math.floor(address / 2 ** (12 + 9 * level)) % 512;
  }
}

/** The tag of a register that is not empty: 0 valid, 1 zero, 2 special. */
function fullTag(view: DataView, at: number): number {
  const exponent = view.getUint16(at + 8, true) & 0x7fff;
  const high = view.getUint32(at + 4, true);
  if (exponent === 0 && high === 0 && view.getUint32(at, true) === 0) return 1;
  return exponent === 0 || exponent === 0x7fff || high < 0x8000_0000 ? 2 : 0;
}

/** The memory that a subject's machine needs. */
export const LAYOUT = planLayout(PAGES, 1);
