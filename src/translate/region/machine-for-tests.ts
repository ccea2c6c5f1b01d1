/** A vCPU with a few mapped pages, in a memory of its own, for tests that compare the tiers with each other. */
import type { KeptRegions } from '../../host/regions/kept.ts';
import type { TrailOptions } from '../../host/regions/trail.ts';
import type { RegionTranslator } from '../../host/regions/translator.ts';
import { WasmEngine } from '../../host/wasm-engine.ts';
import { GuestMemory, planLayout } from '../../hypervisor/memory.ts';
import { Exit } from '../../x86/exits.ts';
import { readFlags, writeFlags } from '../../x86/flags.ts';
import { GPR, STATE } from '../../x86/state.ts';
import type { BuildExitPaths } from '../exit-paths.ts';

/** Two pages of code, then one that is missing, then data. */
export const CODE = 0x400000;
export const MISSING = CODE + 0x2000;
export const DATA = CODE + 0x3000;
export const STACK_TOP = DATA + 0x2000;
const CODE_FRAME = 16;
const PAGES = 64;
/** The two pages of data are the other way round in memory: what goes past the end of one is not in the next by itself. */
const frameOf = (page: number): number => CODE_FRAME + (page === 3 ? 4 : page === 4 ? 3 : page);

interface MachineOptions {
  readonly kept?: KeptRegions;
  readonly translator?: RegionTranslator;
  readonly exitPaths?: BuildExitPaths;
  readonly frames?: number;
  readonly trail?: TrailOptions;
  /** Of a region. */
  readonly instructions?: number;
  readonly warm?: number;
}

export class TestMachine {
  readonly memory: GuestMemory;
  readonly engine: WasmEngine;
  readonly cpu: number;

  constructor(
    threshold: number,
    unseen = false,
    { kept, translator, exitPaths, frames = PAGES, trail, instructions, warm = 0 }: MachineOptions = {},
  ) {
    const layout = planLayout(frames, 1);
    const pages = layout.bytes / 65536;
    const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.memory = new GuestMemory(wasmMemory.buffer as SharedArrayBuffer, layout);
    this.engine = new WasmEngine(this.memory, wasmMemory, 0, () => 0, {
      tier1:
        threshold === 0
          ? false
          : { threshold, warm, unseen, ...(trail && { trail }), ...(instructions && { instructions }) },
      kept,
      translator,
      ...(exitPaths && { exitPaths }),
    });
    this.cpu = this.memory.vcpuBase(0);
    const { view } = this.memory;
    const entry = (frame: number, index: number, value: number): void =>
      view.setBigUint64(this.memory.at(frame) + 8 * index, BigInt(value), true);
    entry(1, 0, 0x2067);
    entry(2, 0, 0x3067);
    entry(3, 2, 0x4067);
    for (let page = 0; page < 8; page++) if (page !== 2) entry(4, page, (frameOf(page) << 12) | 0x67);
    view.setUint32(this.cpu + STATE.kernelRoot, 1, true);
    view.setUint32(this.cpu + STATE.kernelMode, 1, true);
    this.engine.modeChanged();
  }

  /** Linear-memory address of guest-virtual `va`. */
  at(va: number): number {
    return this.memory.at(frameOf((va - CODE) >> 12)) + (va & 4095);
  }

  /** A clean state with `code` at CODE. */
  load(code: Uint8Array, registers: readonly bigint[], flags: number): void {
    const { u8 } = this.memory;
    u8.fill(0xcc, this.at(CODE), this.at(CODE) + 0x2000);
    u8.set(code, this.at(CODE));
    for (let page = 0; page < 8; page++) this.engine.frameWritten(CODE_FRAME + page);
    this.reset(registers, flags);
  }
  /** A clean state, with the code that is there. */
  reset(registers: readonly bigint[], flags: number): void {
    const { view, u8 } = this.memory;
    for (let k = 0; k < 0x2000; k++) u8[this.at(DATA + k)] = (k * 37) & 0xff;
    registers.forEach((value, k) => {
      view.setBigUint64(this.cpu + STATE.gpr + 8 * k, value, true);
    });
    view.setBigUint64(this.cpu + STATE.gpr + 8 * GPR.rsp, BigInt(STACK_TOP), true);
    view.setBigUint64(this.cpu + STATE.cr2, 0n, true);
    view.setUint32(this.cpu + STATE.exitVector, 0, true);
    view.setUint32(this.cpu + STATE.mxcsr, 0x1f80, true);
    u8.fill(0, this.cpu + STATE.xmm, this.cpu + STATE.xmm + 256);
    writeFlags(view, this.cpu, flags);
    this.goto(CODE);
  }
  goto(va: number): void {
    this.memory.view.setBigUint64(this.cpu + STATE.rip, BigInt(va), true);
  }
  gpr(index: number): bigint {
    return this.memory.view.getBigUint64(this.cpu + STATE.gpr + 8 * index, true);
  }
  get rip(): number {
    return Number(this.memory.view.getBigUint64(this.cpu + STATE.rip, true));
  }

  /** Run, in slices as `budget` says, until something else ends it. */
  run(budget: () => number): Exit {
    for (let slices = 0; slices < 100_000; slices++) {
      this.memory.view.setInt32(this.cpu + STATE.budget, budget(), true);
      const exit = this.engine.run();
      if (exit !== Exit.Slice) return exit;
      this.engine.betweenSlices();
    }
    throw new Error('the program does not end');
  }

  /** All that a guest can see. */
  get state(): Record<string, string> {
    const { view, u8 } = this.memory;
    const seen: Record<string, string> = { rip: this.rip.toString(16) };
    for (let k = 0; k < 16; k++) seen[`r${k}`] = this.gpr(k).toString(16);
    seen.flags = readFlags(view, this.cpu).toString(16);
    seen.vector = String(view.getUint32(this.cpu + STATE.exitVector, true));
    seen.cr2 = view.getBigUint64(this.cpu + STATE.cr2, true).toString(16);
    seen.mxcsr = view.getUint32(this.cpu + STATE.mxcsr, true).toString(16);
    for (let k = 0; k < 32; k++) seen[`xmm${k}`] = view.getBigUint64(this.cpu + STATE.xmm + 8 * k, true).toString(16);
    let sum = 0;
    for (let va = DATA; va < STACK_TOP; va++) sum = (Math.imul(sum, 31) + u8[this.at(va)]!) | 0;
    seen.data = (sum >>> 0).toString(16);
    return seen;
  }
}
