/**
 * One CPU for one program: the engine over memory that holds nothing else, and the loop that runs the program between its exits as
 * the hypervisor does a guest's user mode (src/hypervisor/run.ts), with system calls performed here.
 */
import { type EngineOptions, WasmEngine } from '../../src/host/wasm-engine.ts';
import { cpuidLeaf } from '../../src/hypervisor/emulate/cpuid.ts';
import { GuestMemory, PAGE_SIZE, planLayout } from '../../src/hypervisor/memory.ts';
import { Exit, PRIVILEGED } from '../../src/x86/exits.ts';
import { readFlags } from '../../src/x86/flags.ts';
import { GPR, RFLAGS, STATE } from '../../src/x86/state.ts';
import { AddressSpace, ROOT_FRAME } from './address-space.ts';
import { SIGNAL } from './linux.ts';
import { load } from './load.ts';
import type { OpenFile } from './open-files.ts';
import { Process, type SegmentBases } from './process.ts';
import { nameOfCall, perform } from './system-calls/index.ts';
import type { Tree } from './tree.ts';

const MEMORY_MIB = 512;
const WASM_PAGE = 0x10000;
const PAGE_FAULT = 14;
/** MXCSR and the x87 control word as Linux starts a program: all exceptions masked. SDM volume 1, 8.1.5 and 10.2.3. */
const MXCSR = 0x1f80;
const FCW = 0x37f;
/** What ends a program that does not handle it, by the exception's vector; SIGSEGV for those not named. */
// biome-ignore format: a table
const SIGNALS: Readonly<Record<number, number>> = {
  0: SIGNAL.SIGFPE, 1: SIGNAL.SIGTRAP, 3: SIGNAL.SIGTRAP, 6: SIGNAL.SIGILL, 16: SIGNAL.SIGFPE, 17: SIGNAL.SIGBUS, 19: SIGNAL.SIGFPE,
};

/** System calls' arguments are in them, in this order. */
const ARGUMENTS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9] as const;

export interface MachineOptions {
  readonly engine: EngineOptions;
  /** How many taken branches come before the engine returns to make what is hot, each time anew. */
  readonly slice: () => number;
}

export class Machine {
  readonly memory: GuestMemory;
  readonly engine: WasmEngine;
  /** How often the engine came back, by what for. */
  readonly exits = new Map<string, number>();
  readonly #cpu: number;
  readonly #slice: () => number;
  readonly #space: AddressSpace;

  constructor({ engine, slice }: MachineOptions) {
    const layout = planLayout((MEMORY_MIB << 20) / PAGE_SIZE, 1);
    const pages = layout.bytes / WASM_PAGE;
    const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.memory = new GuestMemory(wasm.buffer as SharedArrayBuffer, layout);
    this.#cpu = this.memory.vcpuBase(0);
    this.engine = new WasmEngine(this.memory, wasm, 0, () => Math.round(performance.now() * 1e6), engine);
    this.#slice = slice;
    this.#space = new AddressSpace(this.memory, this.engine);
  }

  /** The process that runs `args`, at its first instruction. Throws an Error that says what is wrong with the program. */
  start(args: readonly string[], tree: Tree, streams: readonly OpenFile[]): Process {
    const { entry, stack, end } = load(this.#space, args, (name) => tree.readFile(name));
    const { view } = this.memory;
    const cpu = this.#cpu;
    view.setUint32(cpu + STATE.kernelRoot, ROOT_FRAME, true);
    view.setUint32(cpu + STATE.userRoot, ROOT_FRAME, true);
    view.setUint32(cpu + STATE.kernelMode, 0, true);
    view.setUint32(cpu + STATE.mxcsr, MXCSR, true);
    view.setUint16(cpu + STATE.fcw, FCW, true);
    view.setUint16(cpu + STATE.ftw, 0xffff, true);
    view.setUint32(cpu + STATE.flagsRest, RFLAGS.fixed | RFLAGS.IF, true);
    this.engine.modeChanged();
    this.#setRegister(GPR.rsp, BigInt(stack));
    view.setBigUint64(cpu + STATE.rip, BigInt(entry), true);
    return new Process(this.#space, tree, this.#bases(), end, streams);
  }

  /** Run `process` to its end. Returns what it was ended for when it did not end itself. */
  run(process: Process): string | undefined {
    const { view } = this.memory;
    while (process.exitCode === undefined) {
      view.setInt32(this.#cpu + STATE.budget, this.#slice(), true);
      const exit = this.engine.run();
      if (exit === Exit.Slice) this.#sliceEnded();
      else if (exit === Exit.Syscall) this.#systemCall(process);
      else if (exit === Exit.Exception && this.#pageFault(process)) this.#count('page fault');
      else if (exit === Exit.Instruction && this.#cpuid()) this.#count('cpuid');
      else return this.#end(process, exit);
    }
    return undefined;
  }

  #sliceEnded(): void {
    this.engine.betweenSlices();
    this.#count('slice');
  }

  #systemCall(process: Process): void {
    const number = Number(BigInt.asUintN(32, this.#register(GPR.rax)));
    this.#count(`system call ${nameOfCall(number)}`);
    const [a, b, c, d, e, f] = ARGUMENTS.map((index) => Number(BigInt.asIntN(64, this.#register(index))));
    this.#setRegister(GPR.rcx, this.#rip);
    this.#setRegister(GPR.r11, BigInt(readFlags(this.memory.view, this.#cpu)));
    this.#setRegister(GPR.rax, BigInt(perform(process, number, [a!, b!, c!, d!, e!, f!])));
  }

  #pageFault({ space }: Process): boolean {
    const { view } = this.memory;
    if (view.getUint32(this.#cpu + STATE.exitVector, true) !== PAGE_FAULT) return false;
    const address = Number(view.getBigUint64(this.#cpu + STATE.cr2, true));
    return space.faultIn(address, view.getUint32(this.#cpu + STATE.exitErrorCode, true));
  }

  /** The one instruction of the hypervisor's that programs have a use for. */
  #cpuid(): boolean {
    const { view } = this.memory;
    if (PRIVILEGED[view.getUint32(this.#cpu + STATE.exitOp, true)] !== 'cpuid') return false;
    const [leaf, subleaf] = [this.#register(GPR.rax), this.#register(GPR.rcx)].map((n) => Number(n & 0xffff_ffffn));
    const [eax, ebx, ecx, edx] = cpuidLeaf({ id: 0, cr4: 0 }, leaf!, subleaf!);
    this.#setRegister(GPR.rax, BigInt(eax));
    this.#setRegister(GPR.rbx, BigInt(ebx));
    this.#setRegister(GPR.rcx, BigInt(ecx));
    this.#setRegister(GPR.rdx, BigInt(edx));
    const length = BigInt(view.getUint32(this.#cpu + STATE.exitLength, true));
    view.setBigUint64(this.#cpu + STATE.rip, this.#rip + length, true);
    return true;
  }

  #end(process: Process, exit: Exit): string {
    const { view } = this.memory;
    const vector = view.getUint32(this.#cpu + STATE.exitVector, true);
    const op = PRIVILEGED[view.getUint32(this.#cpu + STATE.exitOp, true)];
    const at = `at ${this.#rip.toString(16)}`;
    const isException = exit === Exit.Exception;
    const signal = isException
      ? SIGNALS[vector]
      : op === 'ud2' && exit === Exit.Instruction
        ? SIGNAL.SIGILL
        : undefined;
    process.exitCode = 128 + (signal ?? SIGNAL.SIGSEGV);
    if (exit === Exit.Instruction) return `${op} ${at}`;
    if (!isException) return `int ${vector} ${at}`;
    const address = view.getBigUint64(this.#cpu + STATE.cr2, true).toString(16);
    return vector === PAGE_FAULT ? `access to ${address} ${at}` : `exception ${vector} ${at}`;
  }

  get #rip(): bigint {
    return this.memory.view.getBigUint64(this.#cpu + STATE.rip, true);
  }

  #register(index: number): bigint {
    return this.memory.view.getBigUint64(this.#cpu + STATE.gpr + 8 * index, true);
  }

  #setRegister(index: number, value: bigint): void {
    this.memory.view.setBigUint64(this.#cpu + STATE.gpr + 8 * index, value, true);
  }

  #count(exit: string): void {
    this.exits.set(exit, (this.exits.get(exit) ?? 0) + 1);
  }

  #bases(): SegmentBases {
    const { view } = this.memory;
    const cpu = this.#cpu;
    return {
      get fsBase() {
        return Number(view.getBigUint64(cpu + STATE.fsBase, true));
      },
      set fsBase(base) {
        view.setBigUint64(cpu + STATE.fsBase, BigInt(base), true);
      },
      get gsBase() {
        return Number(view.getBigUint64(cpu + STATE.gsBase, true));
      },
      set gsBase(base) {
        view.setBigUint64(cpu + STATE.gsBase, BigInt(base), true);
      },
    };
  }
}
