/**
 * A small domain for tests: real memory, page tables, event channels and grants, and an engine that plays a script instead
 * of running code. Frames and addresses are fixed so that tests can name them.
 */
import { PTE } from '../abi/numbers.ts';
import type { Engine } from '../x86/engine.ts';
import { Exit, PRIVILEGED, type Privileged } from '../x86/exits.ts';
import { GPR, RFLAGS, SEG, STATE } from '../x86/state.ts';
import { allocateInitial } from './allocation.ts';
import { startBootVcpu } from './boot.ts';
import { Domain } from './domain.ts';
import { EventChannels } from './event-channels.ts';
import { GrantTable } from './grant-table.ts';
import { GuestMemory, planLayout } from './memory.ts';
import { NO_ROOT } from './mmu/walk.ts';
import { Vcpu } from './vcpu.ts';

export const PAGES = 512;
/** Kernel addresses: frame n is at KERNEL + n * 4096. */
export const KERNEL = 0xffffffff80000000n;
export const va = (frame: number, offset = 0) => KERNEL + BigInt(frame * 4096 + offset);
/** User code (frame 40) and stack (frame 41). */
export const USER_CODE = 0x400000n;
export const USER_STACK = 0x401000n;
export const FRAME = {
  l4: 1,
  l3: 2,
  l2: 3,
  l1: 4,
  userL4: 5,
  userL3: 6,
  userL2: 7,
  userL1: 8,
  stack: 16,
  text: 20,
  data: 24,
  scratch: 25,
  userCode: 40,
  userStack: 41,
  free: 64,
} as const;
export const HANDLER = KERNEL + 0x15000n;

/** One step of a script: what the guest does until it needs the hypervisor. */
export type Step = (vcpu: Vcpu) => Exit;

export class ScriptedEngine implements Engine {
  vcpu!: Vcpu;
  readonly script: Step[] = [];
  /** What `step()` does with the frame it may write. */
  onStep: (frame: number | undefined) => Exit = () => Exit.Stepped;
  readonly calls: string[] = [];
  sliceMost = 40_000;

  run(): Exit {
    const next = this.script.shift();
    if (next) return next(this.vcpu);
    // The script is over: end the domain.
    this.vcpu.domain.shutdown ??= { reason: 0 };
    return Exit.Slice;
  }
  betweenSlices(): void {
    this.calls.push('betweenSlices');
  }
  step(writableFrame?: number): Exit {
    return this.onStep(writableFrame);
  }
  flushTlb(): void {
    this.calls.push('flushTlb');
  }
  flushPage(lo: number, hi: number): void {
    this.calls.push(`flushPage ${((BigInt(hi) << 32n) | BigInt(lo)).toString(16)}`);
  }
  modeChanged(): void {
    this.calls.push('modeChanged');
  }
  entryChanged(frame: number, index: number): void {
    this.calls.push(`entryChanged ${frame} ${index}`);
  }
  tableDetached(frame: number): void {
    this.calls.push(`tableDetached ${frame}`);
  }
  tableReleased(frame: number, level: number): void {
    this.calls.push(`tableReleased ${frame} ${level}`);
  }
  frameWritten(mfn: number): void {
    this.calls.push(`frameWritten ${mfn}`);
  }
  translate(): number {
    return 0;
  }
}

export interface TestDomain {
  readonly vcpu: Vcpu;
  readonly domain: Domain;
  readonly memory: GuestMemory;
  readonly engine: ScriptedEngine;
  readonly log: string[];
  /** The time that the domain's clock shows. */
  readonly time: { now: number };
}

/** A page-table entry as its two halves' owner. */
export function setEntry(memory: GuestMemory, table: number, index: number, value: bigint): void {
  memory.u64[memory.at(table) / 8 + index] = value;
}
export function entry(memory: GuestMemory, table: number, index: number): bigint {
  return memory.u64[memory.at(table) / 8 + index]!;
}
export const link = (frame: number) => (BigInt(frame) << 12n) | 0x67n;
export const leaf = (frame: number, flags: number = PTE.P | PTE.RW | PTE.A) => (BigInt(frame) << 12n) | BigInt(flags);

/** Another engine than the script's, which needs a memory of its own making. */
export interface OtherEngine {
  memory(bytes: number): SharedArrayBuffer;
  engine(memory: GuestMemory): Engine;
}

export function testDomain(other?: OtherEngine): TestDomain {
  const layout = planLayout(PAGES, 1);
  const memory = new GuestMemory(other?.memory(layout.bytes) ?? new SharedArrayBuffer(layout.bytes), layout);
  allocateInitial(memory, PAGES);
  const time = { now: 0 };
  const log: string[] = [];
  const domain = new Domain(
    {
      domid: 7,
      uuid: new Uint8Array(16),
      memory,
      maxPages: PAGES,
      events: new EventChannels(memory, 7),
      grants: new GrantTable(memory, 7),
    },
    { clock: { now: () => time.now, wallclockNs: () => 0n }, log: (level, text) => log.push(`${level}: ${text}`) },
  );
  const engine = new ScriptedEngine();
  const vcpu = new Vcpu(domain, 0, other?.engine(memory) ?? engine);
  engine.vcpu = vcpu;

  setEntry(memory, FRAME.l4, 511, link(FRAME.l3));
  setEntry(memory, FRAME.l3, 510, link(FRAME.l2));
  setEntry(memory, FRAME.l2, 0, link(FRAME.l1));
  for (let i = 0; i < 512; i++) {
    const table = i >= FRAME.l4 && i <= FRAME.userL1;
    if (i !== 0) setEntry(memory, FRAME.l1, i, leaf(i, table ? PTE.P | PTE.A : PTE.P | PTE.RW | PTE.A));
  }
  setEntry(memory, FRAME.userL4, 0, link(FRAME.userL3));
  setEntry(memory, FRAME.userL3, 0, link(FRAME.userL2));
  setEntry(memory, FRAME.userL2, 2, link(FRAME.userL1));
  setEntry(memory, FRAME.userL1, 0, leaf(FRAME.userCode, PTE.P | PTE.A));
  setEntry(memory, FRAME.userL1, 1, leaf(FRAME.userStack));

  vcpu.setU32(STATE.kernelMode, 1);
  vcpu.setU32(STATE.kernelRoot, FRAME.l4);
  vcpu.setU32(STATE.userRoot, NO_ROOT);
  vcpu.setSelector(SEG.cs, 0xe033);
  vcpu.setSelector(SEG.ss, 0xe02b);
  vcpu.flags = RFLAGS.IF;
  vcpu.rip = va(FRAME.text);
  vcpu.setReg64(GPR.rsp, va(FRAME.stack + 1));
  vcpu.upcallMask = 1;
  startBootVcpu(vcpu, { stackPointer: va(FRAME.stack + 1), pinned: { mfn: FRAME.l4, level: 4 } });
  vcpu.timers.stopPeriodic();
  engine.calls.length = 0;
  return { vcpu, domain, memory, engine, log, time };
}

/** Put the vCPU into user mode at USER_CODE, on its own page tables. */
export function enterUser(vcpu: Vcpu): void {
  if (!vcpu.hasUserRoot) {
    if (!vcpu.domain.types.acquire(FRAME.userL4, 4)) throw new Error('user page tables');
    vcpu.setU32(STATE.userRoot, FRAME.userL4);
  }
  vcpu.setKernelMode(false);
  vcpu.setSelector(SEG.cs, 0x33);
  vcpu.setSelector(SEG.ss, 0x2b);
  vcpu.rip = USER_CODE;
  vcpu.setReg64(GPR.rsp, USER_STACK + 0x800n);
}

/** A handler for every vector, events masked on entry. */
export function installHandlers(vcpu: Vcpu, flags = 4): void {
  for (let vector = 0; vector < 32; vector++) vcpu.traps.set(vector, flags, 0xe033, HANDLER + BigInt(vector * 16));
}
export const handlerOf = (vector: number) => HANDLER + BigInt(vector * 16);

/** GDT with the entries that Linux has: 0x10 kernel code … 0x2b user data, 0x33 user code, 0x23 32-bit code. */
export function installGdt(vcpu: Vcpu): void {
  const gdt: Record<number, bigint> = {
    2: 0x00af9b000000ffffn,
    3: 0x00cf93000000ffffn,
    4: 0x00cffb000000ffffn,
    5: 0x00cff3000000ffffn,
    6: 0x00affb000000ffffn,
  };
  for (const [index, value] of Object.entries(gdt)) setEntry(vcpu.memory, FRAME.data, Number(index), value);
  vcpu.setGdt([FRAME.data], 16);
}

// Exits, as the engine would report them. ------------------------------------------------------------------------------

export function syscall(vcpu: Vcpu): Exit {
  vcpu.skip(2);
  return Exit.Syscall;
}

/** A hypercall with its arguments; the script's next step sees the result in rax. */
export const hypercallStep =
  (number: number, ...args: (bigint | number)[]): Step =>
  (vcpu) => {
    setArguments(vcpu, number, args);
    return syscall(vcpu);
  };

export function setArguments(vcpu: Vcpu, number: number, args: readonly (bigint | number)[]): void {
  vcpu.setReg64(GPR.rax, BigInt(number));
  const order = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9];
  args.forEach((value, i) => {
    vcpu.setReg64(order[i]!, BigInt.asUintN(64, BigInt(value)));
  });
}

export function exception(vcpu: Vcpu, vector: number, errorCode = 0, cr2?: bigint): Exit {
  vcpu.setU32(STATE.exitVector, vector);
  vcpu.setU32(STATE.exitErrorCode, errorCode);
  if (cr2 !== undefined) vcpu.setU64(STATE.cr2, cr2);
  return Exit.Exception;
}

export interface InstructionExit {
  readonly length?: number;
  readonly reg?: number;
  readonly rm?: number;
  readonly size?: number;
  readonly address?: bigint;
  readonly rexW?: boolean;
}

export function instruction(vcpu: Vcpu, name: Privileged, detail: InstructionExit = {}): Exit {
  vcpu.setU32(STATE.exitOp, PRIVILEGED.indexOf(name));
  vcpu.setU32(STATE.exitLength, detail.length ?? 2);
  vcpu.setU32(STATE.exitReg, detail.reg ?? 0);
  vcpu.setU32(STATE.exitRm, detail.rm ?? 0);
  vcpu.setU32(STATE.exitSize, detail.size ?? 4);
  vcpu.setU64(STATE.exitAddress, detail.address ?? 0n);
  vcpu.setU32(STATE.exitFlags, (detail.address === undefined ? 0 : 1) | (detail.rexW ? 2 : 0));
  return Exit.Instruction;
}

/** Bytes at a kernel address, as if the guest had stored them. */
export function poke(vcpu: Vcpu, at: bigint, bytes: readonly number[]): void {
  if (!vcpu.writeGuest(at, Uint8Array.from(bytes))) throw new Error(`cannot write ${at.toString(16)}`);
}

export function pokeWords(vcpu: Vcpu, at: bigint, words: readonly (bigint | number)[]): void {
  words.forEach((word, i) => {
    if (!vcpu.writeU64(at + BigInt(8 * i), BigInt.asUintN(64, BigInt(word))))
      throw new Error(`cannot write ${at.toString(16)}`);
  });
}

/** `count` words from a kernel address. */
export function words(vcpu: Vcpu, at: bigint, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => vcpu.readU64(at + BigInt(8 * i))!);
}
