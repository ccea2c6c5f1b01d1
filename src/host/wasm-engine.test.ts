/** The engine as a guest notices it: code that changes, pages that forbid, instructions across pages, interrupts. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { GuestMemory, planLayout } from '../hypervisor/memory.ts';
import { KERNEL_TLB, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_OTHER } from '../translate/layout.ts';
import { Exit } from '../x86/exits.ts';
import { GPR, SEG, STATE } from '../x86/state.ts';
import { HOT, WasmEngine } from './wasm-engine.ts';

const CODE = 0x400000n;
const CODE_FRAME = 16;
const PRESENT = 1;
const WRITABLE = 2;
const NO_EXECUTE = 1n << 63n;

let memory: GuestMemory;
let engine: WasmEngine;
let cpu: number;

beforeEach(() => {
  const layout = planLayout(512, 1);
  const pages = layout.bytes / 65536;
  const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  memory = new GuestMemory(wasm.buffer as SharedArrayBuffer, layout);
  cpu = memory.vcpuBase(0);
  memory.view.setUint32(cpu + STATE.kernelRoot, 1, true);
  memory.view.setUint32(cpu + STATE.userRoot, 0xffffffff, true);
  memory.view.setUint32(cpu + STATE.kernelMode, 1, true);
  memory.view.setUint32(cpu + STATE.flagsRest, 0x202, true);
  engine = new WasmEngine(memory, wasm, 0, () => 0);
  // L4, L3, L2 in frames 1–3, L1 in frame 4: 0x400000 on.
  entry(1, 0, 0x2067n);
  entry(2, 0, 0x3067n);
  entry(3, 2, 0x4067n);
  for (let i = 0; i < 64; i++) map(i, CODE_FRAME + i, PRESENT | WRITABLE);
});

function entry(frame: number, index: number, value: bigint): void {
  memory.view.setBigUint64(memory.at(frame) + 8 * index, value, true);
}
/** Page `index` from 0x400000 on. */
function map(index: number, frame: number, flags: number, high = 0n): void {
  entry(4, index, (BigInt(frame) << 12n) | BigInt(flags) | high);
}
function put(offset: number, ...bytes: number[]): void {
  memory.u8.set(bytes, memory.at(CODE_FRAME) + offset);
}
function reg(index: number): bigint {
  return memory.view.getBigUint64(cpu + STATE.gpr + 8 * index, true);
}
function setReg(index: number, value: bigint): void {
  memory.view.setBigUint64(cpu + STATE.gpr + 8 * index, value, true);
}
function field(offset: number): number {
  return memory.view.getUint32(cpu + offset, true);
}
function rip(): bigint {
  return memory.view.getBigUint64(cpu + STATE.rip, true);
}
function run(at: bigint, budget = 10_000): Exit {
  memory.view.setBigUint64(cpu + STATE.rip, at, true);
  memory.view.setInt32(cpu + STATE.budget, budget, true);
  const exit = engine.run();
  if (exit === Exit.Slice) engine.betweenSlices();
  return exit;
}

const SYSCALL = [0x0f, 0x05];

test('a null selector is loaded on the spot and takes the base with it; others are left to the hypervisor', () => {
  const selector = (slot: number): number => STATE.selector + 4 * slot;
  // mov fs, eax; mov ecx, fs; mov ds, edx; syscall
  put(0, 0x8e, 0xe0, 0x8c, 0xe1, 0x8e, 0xda, ...SYSCALL);
  const start = (fs: bigint, ds: bigint): Exit => {
    memory.view.setUint32(cpu + selector(SEG.fs), 0x63, true);
    memory.view.setBigUint64(cpu + STATE.fsBase, 0x1234n, true);
    memory.view.setBigUint64(cpu + STATE.gsBase, 0x5678n, true);
    setReg(GPR.rax, fs);
    setReg(GPR.rdx, ds);
    return run(CODE);
  };
  assert.equal(start(0xffff_0002n, 0n), Exit.Syscall);
  assert.equal(field(selector(SEG.fs)), 2);
  assert.equal(field(STATE.fsBase), 0);
  assert.equal(field(STATE.gsBase), 0x5678);
  assert.equal(reg(GPR.rcx), 2n);
  assert.equal(start(0n, 0x2bn), Exit.Instruction);
  assert.equal(rip(), CODE + 4n);
  assert.equal(start(0x2bn, 0n), Exit.Instruction);
  assert.equal(rip(), CODE);
  assert.equal(field(STATE.fsBase), 0x1234);
  // mov ss, eax
  put(0x40, 0x8e, 0xd0);
  setReg(GPR.rax, 0n);
  assert.equal(run(CODE + 0x40n), Exit.Instruction);
});

test('RDRAND and RDSEED give as many bits as their register has, and say so in CF', () => {
  // rdrand rax; setc bl; rdseed ecx; setc bh; rdrand dx; syscall
  const code = [0x48, 0x0f, 0xc7, 0xf0, 0x0f, 0x92, 0xc3, 0x0f, 0xc7, 0xf9, 0x0f, 0x92, 0xc7, 0x66, 0x0f, 0xc7, 0xf2];
  put(0, ...code, ...SYSCALL);
  let [wide, narrow, word] = [0n, 0n, 0n];
  for (let i = 0; i < 40; i++) {
    for (const index of [GPR.rax, GPR.rcx, GPR.rbx]) setReg(index, -1n & 0xffff_ffff_ffff_ffffn);
    setReg(GPR.rdx, 0x1111_2222_3333_0000n);
    assert.equal(run(CODE), Exit.Syscall);
    assert.equal(reg(GPR.rbx) & 0xffffn, 0x0101n);
    assert.equal(reg(GPR.rdx) >> 16n, 0x1111_2222_3333n);
    wide |= reg(GPR.rax);
    narrow |= reg(GPR.rcx);
    word |= reg(GPR.rdx) & 0xffffn;
  }
  // Each bit is 0 forty times in a row once in 10^12.
  assert.deepEqual([wide, narrow, word], [0xffff_ffff_ffff_ffffn, 0xffff_ffffn, 0xffffn]);
});

test('code that stores to the instruction behind its SERIALIZE runs what it stored', () => {
  // mov byte [rip + 3], 0xbb; serialize; mov eax (now ebx), 1; syscall
  put(0, 0xc6, 0x05, 3, 0, 0, 0, 0xbb, 0x0f, 0x01, 0xe8, 0xb8, 1, 0, 0, 0, ...SYSCALL);
  assert.equal(run(CODE), Exit.Syscall);
  assert.deepEqual([reg(GPR.rax), reg(GPR.rbx)], [0n, 1n]);
});

for (const offset of [0x010, 0x2f0, 0x812, 0xe00]) {
  test(`code at page offset ${offset.toString(16)} that is overwritten through another mapping runs as it now is`, () => {
    put(offset, 0x66, 0x90, 0xb8, 1, 0, 0, 0, ...SYSCALL);
    // mov [rdi], sil
    memory.u8.set([0x40, 0x88, 0x37, ...SYSCALL], memory.at(CODE_FRAME + 1));
    map(40, CODE_FRAME, PRESENT | WRITABLE);
    const alias = CODE + 40n * 4096n + BigInt(offset);
    const write = (byte: bigint): void => {
      setReg(GPR.rdi, alias);
      setReg(GPR.rsi, byte);
      assert.equal(run(CODE + 4096n), Exit.Syscall);
    };
    assert.equal(run(CODE + BigInt(offset)), Exit.Syscall);
    write(0xccn);
    assert.equal(run(CODE + BigInt(offset)), Exit.Exception);
    assert.equal(field(STATE.exitVector), 3);
    write(0x66n);
    assert.equal(run(CODE + BigInt(offset)), Exit.Syscall);
    assert.equal(reg(GPR.rax), 1n);
  });
}

test('an instruction that overwrites the next one runs the new one', () => {
  // mov byte [rip+0], 0x42 overwrites the immediate of mov eax, imm.
  put(0x100, 0xc6, 0x05, 1, 0, 0, 0, 0x42, 0xb8, 1, 0, 0, 0, ...SYSCALL);
  assert.equal(run(CODE + 0x100n), Exit.Syscall);
  assert.equal(reg(GPR.rax), 0x42n);
});

test('an instruction across two pages follows the mapping of the second', () => {
  // mov eax, imm32 with two bytes of the immediate in the next page.
  put(0xffd, 0xb8, 0x11, 0x22);
  memory.u8.set([0x33, 0x44, ...SYSCALL], memory.at(CODE_FRAME + 1));
  memory.u8.set([0x55, 0x66, ...SYSCALL], memory.at(CODE_FRAME + 30));
  assert.equal(run(CODE + 0xffdn), Exit.Syscall);
  assert.equal(reg(GPR.rax), 0x44332211n);
  map(1, CODE_FRAME + 30, PRESENT | WRITABLE);
  engine.flushTlb();
  assert.equal(run(CODE + 0xffdn), Exit.Syscall);
  assert.equal(reg(GPR.rax), 0x66552211n);
});

/** A hot loop that calls a function in the next page, which adds `step` to rax; the page's frame is as mapped. */
function runCaller(frames: { readonly first: number; readonly second: number; readonly step: number }): bigint {
  // L: call 0x401000; dec ecx; jnz L; syscall
  const caller = [0xe8, 0xfb, 0x0f, 0, 0, 0xff, 0xc9, 0x75, 0xf7, ...SYSCALL];
  for (const [frame, bytes] of [
    [frames.first, caller],
    [frames.second, [0x48, 0x83, 0xc0, frames.step, 0xc3]],
  ] as const) {
    memory.u8.set(bytes, memory.at(frame));
    engine.frameWritten(frame);
  }
  map(0, frames.first, PRESENT | WRITABLE);
  map(1, frames.second, PRESENT | WRITABLE);
  engine.flushTlb();
  setReg(GPR.rsp, CODE + 0x3000n);
  setReg(GPR.rax, 0n);
  setReg(GPR.rcx, 5000n);
  assert.equal(run(CODE, 100_000), Exit.Syscall);
  return reg(GPR.rax);
}

test('a region of two pages follows the mapping of the second', () => {
  const [first, second] = [CODE_FRAME, CODE_FRAME + 1];
  assert.equal(runCaller({ first, second, step: 1 }), 5000n);
  assert.equal(runCaller({ first, second, step: 1 }), 5000n);
  assert.equal(engine.statistics.regionsMoved, 0);
  assert.equal(runCaller({ first, second: CODE_FRAME + 30, step: 3 }), 15_000n);
  // Pages that came apart once are translated one by one.
  assert.equal(runCaller({ first, second, step: 1 }), 5000n);
  assert.ok(engine.statistics.regionsMoved <= 1);
});

test('a region of two pages is dropped when code in the second changes', () => {
  const [first, second] = [CODE_FRAME, CODE_FRAME + 1];
  assert.equal(runCaller({ first, second, step: 1 }), 5000n);
  assert.equal(runCaller({ first, second, step: 2 }), 10_000n);
  // The same by a store of the guest: mov [rdi], sil
  memory.u8.set([0x40, 0x88, 0x37, ...SYSCALL], memory.at(CODE_FRAME + 5));
  setReg(GPR.rdi, CODE + 0x1003n);
  setReg(GPR.rsi, 7n);
  assert.equal(run(CODE + 0x5000n), Exit.Syscall);
  setReg(GPR.rsp, CODE + 0x3000n);
  setReg(GPR.rax, 0n);
  setReg(GPR.rcx, 5000n);
  assert.equal(run(CODE, 100_000), Exit.Syscall);
  assert.equal(reg(GPR.rax), 35_000n);
});

test('an instruction across two pages is decoded anew when its second page changes, also after other code there did', () => {
  put(0xffd, 0xb8, 0x11, 0x22);
  const second = memory.at(CODE_FRAME + 1);
  memory.u8.set([0x33, 0x44, ...SYSCALL], second);
  memory.u8.set(SYSCALL, second + 0x800);
  // mov [rdi], sil
  memory.u8.set([0x40, 0x88, 0x37, ...SYSCALL], memory.at(CODE_FRAME + 2));
  const write = (address: bigint, byte: bigint): void => {
    setReg(GPR.rdi, address);
    setReg(GPR.rsi, byte);
    assert.equal(run(CODE + 0x2000n), Exit.Syscall);
  };
  assert.equal(run(CODE + 0xffdn), Exit.Syscall);
  assert.equal(run(CODE + 0x1800n), Exit.Syscall);
  write(CODE + 0x1800n, 0x0fn);
  write(CODE + 0x1003n, 0x05n);
  write(CODE + 0x1001n, 0x77n);
  assert.equal(run(CODE + 0xffdn), Exit.Syscall);
  assert.equal(reg(GPR.rax), 0x77332211n);
});

test('a region begins with an instruction across two pages, and follows the second page', () => {
  // add rax, imm32, three bytes of the immediate in the next page; syscall
  const rest = (byte: number): number[] => [byte, 0, 0, ...SYSCALL];
  put(0xffd, 0x48, 0x05, 0x01);
  put(0x1000, ...rest(0));
  memory.u8.set(rest(1), memory.at(CODE_FRAME + 30));
  // mov [rdi], sil
  memory.u8.set([0x40, 0x88, 0x37, ...SYSCALL], memory.at(CODE_FRAME + 2));
  const added = (): bigint => {
    setReg(GPR.rax, 0n);
    assert.equal(run(CODE + 0xffdn), Exit.Syscall);
    return reg(GPR.rax);
  };
  for (let k = 0; k < HOT; k++) assert.equal(added(), 1n);
  assert.equal(run(CODE + 0xffdn, 1), Exit.Slice);
  // Of both instructions: not of the second alone.
  assert.equal(engine.statistics.regionInstructions, 2);
  assert.equal(added(), 1n);
  memory.view.setBigUint64(cpu + STATE.rip, CODE + 0xffdn, true);
  assert.equal(engine.step(), Exit.Stepped);
  assert.equal(rip(), CODE + 0x1003n);

  const second = (frame: number): void => {
    map(1, frame, PRESENT | WRITABLE);
    engine.flushTlb();
  };
  second(CODE_FRAME + 30);
  assert.equal(added(), 0x101n);
  assert.equal(added(), 0x101n);
  second(CODE_FRAME + 1);
  assert.equal(added(), 1n);
  assert.equal(added(), 1n);

  setReg(GPR.rdi, CODE + 0x1001n);
  setReg(GPR.rsi, 2n);
  assert.equal(run(CODE + 0x2000n), Exit.Syscall);
  assert.equal(added(), 0x20001n);
  assert.equal(added(), 0x20001n);
});

test('a region is called in a page that another one has displaced from its place in the TLB, and leaves both where they are', () => {
  const FAR = CODE + 0x1000n * BigInt(TLB_ENTRIES);
  entry(3, 2 + TLB_ENTRIES / 512, 0x5067n);
  entry(5, 1, BigInt((CODE_FRAME + 40) * 4096) | BigInt(PRESENT | WRITABLE));
  // L: mov rax, [rsi]; call rbx; dec ecx; jnz L; syscall. The function: add rdx, 1; ret
  put(0, 0x48, 0x8b, 0x06, 0xff, 0xd3, 0xff, 0xc9, 0x75, 0xf7, ...SYSCALL);
  put(0x1000, 0x48, 0x83, 0xc2, 0x01, 0xc3);
  setReg(GPR.rsi, FAR + 0x1000n);
  setReg(GPR.rbx, CODE + 0x1000n);
  setReg(GPR.rsp, CODE + 0x3000n);
  setReg(GPR.rdx, 0n);
  setReg(GPR.rcx, 10_000n);
  let exit = run(CODE, 4000);
  while (exit === Exit.Slice) exit = run(rip(), 4000);
  assert.equal(exit, Exit.Syscall);
  assert.equal(reg(GPR.rdx), 10_000n);
  const place = cpu + KERNEL_TLB + TLB_ENTRY_BYTES * (Number(CODE >> 12n) + 1);
  assert.equal(memory.view.getBigUint64(place, true), FAR + 0x1000n);
  assert.equal(
    memory.view.getBigUint64(cpu + KERNEL_TLB + ((place - cpu - KERNEL_TLB) ^ TLB_OTHER), true),
    CODE + 0x1000n,
  );
});

test('fetching from a page without execute right faults at the instruction with the fetch bit', () => {
  map(2, CODE_FRAME + 2, PRESENT, NO_EXECUTE);
  assert.equal(run(CODE + 0x2000n), Exit.Exception);
  assert.equal(field(STATE.exitVector), 14);
  assert.equal(field(STATE.exitErrorCode), 0x11);
  assert.equal(rip(), CODE + 0x2000n);
});

test('a store into a second page that is read-only leaves the first page as it was', () => {
  map(5, CODE_FRAME + 5, PRESENT);
  put(0x200, 0x48, 0x89, 0x07, ...SYSCALL); // mov [rdi], rax
  setReg(GPR.rdi, CODE + 0x4ffcn);
  setReg(GPR.rax, 0x1122334455667788n);
  assert.equal(run(CODE + 0x200n), Exit.Exception);
  assert.equal(field(STATE.exitErrorCode), 3);
  assert.equal(memory.view.getBigUint64(cpu + STATE.cr2, true), CODE + 0x5000n);
  assert.equal(memory.view.getUint32(memory.at(CODE_FRAME + 4) + 0xffc, true), 0);
  map(5, CODE_FRAME + 5, PRESENT | WRITABLE);
  engine.flushTlb();
  assert.equal(run(CODE + 0x200n), Exit.Syscall);
  assert.equal(memory.view.getUint32(memory.at(CODE_FRAME + 4) + 0xffc, true), 0x55667788);
  assert.equal(memory.view.getUint32(memory.at(CODE_FRAME + 5), true), 0x11223344);
});

test('accesses set the accessed bit, stores the dirty bit', () => {
  put(0x300, 0x8b, 0x07, ...SYSCALL); // mov eax, [rdi]
  put(0x310, 0x89, 0x07, ...SYSCALL); // mov [rdi], eax
  setReg(GPR.rdi, CODE + 0x3000n);
  const flags = (): number => Number(memory.view.getBigUint64(memory.at(4) + 24, true) & 0x60n);
  run(CODE + 0x300n);
  assert.equal(flags(), 0x20);
  run(CODE + 0x310n);
  assert.equal(flags(), 0x60);
});

test('a loop without end leaves when its budget is spent or somebody kicks, at an instruction boundary', () => {
  put(0x400, 0xff, 0xc0, 0xeb, 0xfc); // inc eax; jmp back
  setReg(GPR.rax, 0n);
  assert.equal(run(CODE + 0x400n, 1000), Exit.Slice);
  assert.equal(rip(), CODE + 0x400n);
  const turns = reg(GPR.rax);
  assert.ok(turns >= 900n && turns <= 1000n, `${turns} turns`);
  memory.view.setInt32(cpu + STATE.kick, 1, true);
  assert.equal(run(CODE + 0x400n, 1000), Exit.Kick);
  assert.ok(reg(GPR.rax) <= turns + 2n);
});

test('a frame that lies outside the domain is not present, whatever the tables say', () => {
  entry(4, 6, (0xffff_ffffn << 12n) | 3n);
  put(0x500, 0x8b, 0x07, ...SYSCALL);
  setReg(GPR.rdi, CODE + 0x6000n);
  assert.equal(run(CODE + 0x500n), Exit.Exception);
  assert.equal(field(STATE.exitVector), 14);
});

test('step performs one instruction and may write the frame it is told', () => {
  map(7, CODE_FRAME + 7, PRESENT);
  put(0x600, 0x48, 0x89, 0x07, 0xff, 0xc0); // mov [rdi], rax; inc eax
  setReg(GPR.rdi, CODE + 0x7000n);
  setReg(GPR.rax, 7n);
  memory.view.setBigUint64(cpu + STATE.rip, CODE + 0x600n, true);
  assert.equal(engine.step(), Exit.Exception);
  assert.equal(engine.step(CODE_FRAME + 7), Exit.Stepped);
  assert.equal(rip(), CODE + 0x603n);
  assert.equal(memory.view.getBigUint64(memory.at(CODE_FRAME + 7), true), 7n);
  assert.equal(engine.step(), Exit.Stepped);
  assert.equal(reg(GPR.rax), 8n);
});
