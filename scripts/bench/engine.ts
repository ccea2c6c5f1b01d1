/**
 * Instructions a second of the engine alone: a vCPU over a tiny address space, without a hypervisor. Hot loops show what an
 * instruction costs once everything is decoded; the long program shows the same when no loop is hot; cold is decoding.
 * Each with both tiers, as domains have them, and beside it with the interpreter alone, in turns.
 */
import { WasmEngine } from '../../src/host/wasm-engine.ts';
import { GuestMemory, PAGE_SIZE, planLayout } from '../../src/hypervisor/memory.ts';
import { Exit } from '../../src/x86/exits.ts';
import { GPR, STATE } from '../../src/x86/state.ts';
import { median, type Row } from './report.ts';

const CODE_VA = 0x400000;
const DATA_VA = 0x4e0000;
const STACK_TOP_VA = 0x4ff000;
const MAPPED_PAGES = 256;
const FIRST_FRAME = 16;
const WASM_PAGE = 0x10000;
const CALLEE_OFFSET = 0x100;
/** Taken branches until the engine comes back, as the hypervisor has it. */
const SLICE = 100_000;
const RUN_MS = 700;
const RUNS = 3;
const SYSCALL = [0x0f, 0x05];

const bytes = (hex: string): number[] => hex.split(/\s+/).map((byte) => Number.parseInt(byte, 16));

interface Loop {
  readonly id: string;
  readonly what: string;
  readonly body: readonly number[];
  /** Instructions of one round, with the dec and jnz that close it. */
  readonly count: number;
  /** Reached by calls from the body, at CODE_VA + CALLEE_OFFSET. */
  readonly callee?: readonly number[];
}

// biome-ignore format: instructions, with what they are beside them
const LOOPS: readonly Loop[] = [
  { id: 'engine.alu', what: 'hot loop, registers only', count: 7, body: bytes(
    '48 01 c8 '           + // add rax, rcx
    '48 31 c2 '           + // xor rdx, rax
    '48 8d 5c 4b 04 '     + // lea rbx, [rbx+rcx*2+4]
    '48 c1 ea 03 '        + // shr rdx, 3
    '48 09 d6') },          // or rsi, rdx
  { id: 'engine.memory', what: 'hot loop, loads and stores over two pages', count: 8, body: bytes(
    '89 cb '              + // mov ebx, ecx
    '81 e3 ff 03 00 00 '  + // and ebx, 0x3ff
    '48 8b 04 df '        + // mov rax, [rdi+rbx*8]
    '48 01 d0 '           + // add rax, rdx
    '48 89 04 df '        + // mov [rdi+rbx*8], rax
    '48 03 17') },          // add rdx, [rdi]
  { id: 'engine.mixed', what: 'hot loop, calls, stack, branches, bytes', count: 11, body: bytes(
    '50 '                 + // push rax
    'e8 f5 00 00 00 '     + // call CODE_VA + 0x100
    '5a '                 + // pop rdx
    '48 39 ca '           + // cmp rdx, rcx
    '72 00 '              + // jb to the next instruction
    '0f b6 1f '           + // movzx ebx, byte [rdi]
    '01 d8'),               // add eax, ebx
    callee: bytes(
    '83 c0 07 '           + // add eax, 7
    'c3') },                // ret
];

/** An engine whose code is at CODE_VA, with rdi at the data and rsp at the stack. */
/** The interpreter alone. */
const TIER_0 = { tier1: false } as const;
type Tiers = typeof TIER_0 | undefined;

function machine(tiers: Tiers): { memory: GuestMemory; engine: WasmEngine; start(): void } {
  const layout = planLayout(1024, 1);
  const size = layout.bytes / WASM_PAGE;
  const wasmMemory = new WebAssembly.Memory({ initial: size, maximum: size, shared: true });
  const memory = new GuestMemory(wasmMemory.buffer as SharedArrayBuffer, layout);
  const engine = new WasmEngine(memory, wasmMemory, 0, () => performance.now() * 1e6, tiers);
  const { view } = memory;
  const entry = (frame: number, index: number, value: number) =>
    view.setBigUint64(memory.at(frame) + 8 * index, BigInt(value), true);
  // Page tables in frames 1 to 4: present, writable, user, accessed, dirty.
  entry(1, 0, 0x2067);
  entry(2, 0, 0x3067);
  entry(3, CODE_VA >>> 21, 0x4067);
  for (let i = 0; i < MAPPED_PAGES; i++) entry(4, i, (FIRST_FRAME + i) * PAGE_SIZE + 0x67);
  const cpu = memory.vcpuBase(0);
  view.setUint32(cpu + STATE.kernelRoot, 1, true);
  view.setUint32(cpu + STATE.kernelMode, 1, true);
  engine.modeChanged();
  const start = () => {
    view.setBigUint64(cpu + STATE.rip, BigInt(CODE_VA), true);
    view.setBigUint64(cpu + STATE.gpr + 8 * GPR.rdi, BigInt(DATA_VA), true);
    view.setBigUint64(cpu + STATE.gpr + 8 * GPR.rsp, BigInt(STACK_TOP_VA), true);
  };
  return { memory, engine, start };
}

/** Runs to the SYSCALL at the end. */
function runToEnd(memory: GuestMemory, engine: WasmEngine): void {
  const budget = memory.vcpuBase(0) + STATE.budget;
  for (;;) {
    memory.view.setInt32(budget, SLICE, true);
    const exit = engine.run();
    if (exit === Exit.Syscall) return;
    if (exit !== Exit.Slice) throw new Error(`the program ended with exit ${exit}`);
    engine.betweenSlices();
  }
}

/** Millions of instructions a second of something that runs `instructions` at each call. */
function rate(instructions: number, once: () => void): number {
  const started = performance.now();
  let done = 0;
  let ms = 0;
  do {
    once();
    done += instructions;
    ms = performance.now() - started;
  } while (ms < RUN_MS);
  return done / ms / 1000;
}

/** The two engines in turns, so that what else the machine does meets both. */
function compare(id: string, what: string, measure: readonly [both: () => number, tier0: () => number]): Row {
  const runs = measure.map((): number[] => []);
  for (let i = 0; i < RUNS; i++) measure.forEach((once, which) => void runs[which]!.push(once()));
  const [both, tier0] = runs as [number[], number[]];
  const beside = { what: 'interpreter alone', value: median(tier0), runs: tier0 };
  return { id, what, unit: 'M/s', value: median(both), runs: both, beside };
}

/** A program in an engine of its own; each call of `run` is one run from its start to its end. */
function load(tiers: Tiers, program: readonly number[], callee: readonly number[] = []): { run(): void } {
  const { memory, engine, start } = machine(tiers);
  memory.u8.set(program, memory.at(FIRST_FRAME));
  if (callee.length > 0) memory.u8.set(callee, memory.at(FIRST_FRAME) + CALLEE_OFFSET);
  return {
    run() {
      start();
      runToEnd(memory, engine);
    },
  };
}

function loopRow({ id, what, body, count, callee }: Loop): Row {
  const rounds = 200_000;
  const ecx = [rounds & 0xff, (rounds >> 8) & 0xff, (rounds >> 16) & 0xff, rounds >>> 24];
  const close = [0xff, 0xc9, 0x75, (256 - (body.length + 4)) & 0xff]; // dec ecx; jnz to the body
  const program = [0xb9, ...ecx, ...body, ...close, ...SYSCALL];
  return compare(id, what, warm(rounds * count, program, callee));
}

function warm(
  instructions: number,
  program: readonly number[],
  callee?: readonly number[],
): [() => number, () => number] {
  const prepare = (tiers: Tiers) => {
    const { run } = load(tiers, program, callee);
    run(); // Decoding, and V8's own warming up.
    return () => rate(instructions, run);
  };
  return [prepare(undefined), prepare(TIER_0)];
}

/** Straight-line code: moves and arithmetic between random registers, a load or store in five, 3.6 bytes each. */
function longProgram(instructions: number, seed: number): number[] {
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const ALU = [0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39, 0x85, 0x89]; // add or adc sbb and sub xor cmp test mov
  const free = [0, 1, 2, 3, 6]; // rax rcx rdx rbx rsi: the others point somewhere
  const code: number[] = [];
  for (let i = 0; i < instructions; i++) {
    const [a, b] = [free[random(free.length)]!, free[random(free.length)]!];
    const wide = random(2) === 0 ? [0x48] : [];
    if (random(5) === 0)
      code.push(...wide, random(2) === 0 ? 0x8b : 0x89, 0x47 | (a << 3), random(16) * 8); // mov r, [rdi+d8] or back
    else code.push(...wide, ALU[random(ALU.length)]!, 0xc0 | (a << 3) | b);
  }
  return [...code, ...SYSCALL];
}

function longRows(): Row[] {
  const count = 40_000;
  const program = longProgram(count, 20041105);
  const cold = (tiers: Tiers) => () => {
    const { run } = load(tiers, program);
    const started = performance.now();
    run();
    return count / (performance.now() - started) / 1000;
  };
  return [
    compare('engine.long', 'long random program, again and again', warm(count, program)),
    compare('engine.cold', 'long random program, its first run (decoding)', [cold(undefined), cold(TIER_0)]),
  ];
}

export function engineRows(): Row[] {
  return [...LOOPS.map(loopRow), ...longRows()];
}
