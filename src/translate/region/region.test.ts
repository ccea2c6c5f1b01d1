import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Regions } from '../../host/regions/index.ts';
import { type E, I32, i32, load64 } from '../../wasm/expr.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR, STATE } from '../../x86/state.ts';
import type { BuildExitPaths } from '../exit-paths.ts';
import type { CodeCache } from '../interpreter/code-cache.ts';
import { RECORD } from '../layout.ts';
import { CODE, DATA, MISSING, STACK_TOP, TestMachine } from './machine-for-tests.ts';
import { CALLERS_BEGIN, callers, type Program, randomProgram, randomRounds } from './program-for-tests.ts';

const interpreter = new TestMachine(0);
const translator = new TestMachine(1);
const many = (): number => 1_000_000;
/** Deterministic, small and uneven. */
const few = (): (() => number) => {
  let k = 0;
  return () => 1 + ((k += 7) % 5);
};

function bothTiers(program: Program, budget: () => () => number, other = translator): void {
  const outcomes = [interpreter, other].map((machine) => {
    machine.load(program.code, program.registers, program.flags);
    const exit = machine.run(budget());
    return { exit, ...machine.state };
  });
  assert.deepEqual(outcomes[1], outcomes[0], program.name);
}
const plain = (bytes: number[], registers: Partial<Record<keyof typeof GPR, bigint>> = {}): Program => {
  const values = new Array<bigint>(16).fill(0n);
  for (const [name, value] of Object.entries(registers)) values[GPR[name as keyof typeof GPR]] = value;
  return { name: 'by hand', code: Uint8Array.from(bytes), registers: values, flags: 2 };
};
const SYSCALL = [0x0f, 0x05];

test('both tiers agree on random control flow, with its irreducible loops', () => {
  for (let seed = 1; seed <= 120; seed++) bothTiers(randomProgram(seed), () => many);
});

test('both tiers agree when they are interrupted all the time', () => {
  for (let seed = 1001; seed <= 1060; seed++) bothTiers(randomProgram(seed), few);
});

test('programs get on when each slice ends at the first loop or way out that it comes to', () => {
  const machine = new TestMachine(1, true);
  for (let seed = 71; seed <= 79; seed++) bothTiers(randomProgram(seed), () => () => 2, machine);
});

test('both tiers agree on programs that fault somewhere in a loop', () => {
  for (let seed = 2001; seed <= 2060; seed++) bothTiers(randomProgram(seed, { faults: true }), () => many);
});

test('both tiers agree on loops of one block, interrupted or not, and on what they did to the flags when they fault', () => {
  for (let seed = 1; seed <= 60; seed++) {
    bothTiers(randomRounds(seed), () => many);
    bothTiers(randomRounds(seed), few);
    bothTiers(randomRounds(seed, { faults: true }), () => many);
  }
});

test('a loop of one block notices a denormal in a later round, and what it leaves behind', () => {
  // mov [rdi+64],r9; L: movsd xmm0,[rdi+rcx*8]; addsd xmm1,xmm0; mulsd xmm2,xmm1; addpd xmm3,xmm2; dec ecx; jnz L; syscall
  const body = [0xf2, 0x0f, 0x10, 0x04, 0xcf, 0xf2, 0x0f, 0x58, 0xc8, 0xf2, 0x0f, 0x59, 0xd1, 0x66, 0x0f, 0x58, 0xda];
  const loop = [...body, 0xff, 0xc9, 0x75, 256 - body.length - 4];
  for (const budget of [() => many, few]) {
    bothTiers(
      plain([0x4c, 0x89, 0x4f, 0x40, ...loop, ...SYSCALL], { rcx: 40n, rdi: BigInt(DATA), r9: 0x1234n }),
      budget,
    );
    assert.notEqual(Number.parseInt(translator.state.mxcsr!, 16) & 2, 0);
  }
});

test('a loop is left at its back edge when somebody kicks, and goes on where it was', () => {
  // L: inc rax; jmp L
  translator.load(Uint8Array.of(0x48, 0xff, 0xc0, 0xeb, 0xfb), new Array<bigint>(16).fill(0n), 2);
  const { view } = translator.memory;
  view.setInt32(translator.cpu + 0x10c, 1_000_000, true);
  assert.equal(translator.engine.run(), Exit.Slice);
  assert.ok(translator.gpr(GPR.rax) > 100_000n);
  view.setInt32(translator.cpu + 0x10c, 1_000_000, true);
  view.setUint32(translator.cpu + 0xe4, 1, true);
  assert.equal(translator.engine.run(), Exit.Kick);
  view.setUint32(translator.cpu + 0xe4, 0, true);
  assert.equal(translator.rip, CODE);
});

test('code is translated once, whichever loop of it is hot first', () => {
  // mov edx,200; O: mov ecx,30; A: dec ecx; jnz A; mov ecx,30; B: add rax,1; dec ecx; jnz B; dec edx; jnz O; syscall
  // biome-ignore format: a loop a line
  const code = [
    0xba, 200, 0, 0, 0,
    0xb9, 30, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc,
    0xb9, 30, 0, 0, 0, 0x48, 0x83, 0xc0, 1, 0xff, 0xc9, 0x75, 0xf8,
    0xff, 0xca, 0x75, 0xe6, ...SYSCALL,
  ];
  const machine = new TestMachine(200);
  machine.load(Uint8Array.from(code), new Array<bigint>(16).fill(0n), 2);
  let slices = 0;
  machine.run(() => (slices++ === 0 ? 2000 : many()));
  assert.equal(machine.gpr(GPR.rax), 200n * 30n);
  const { regionInstructions } = machine.engine.statistics;
  assert.ok(regionInstructions >= 8 && regionInstructions <= 10, String(regionInstructions));
});

test('a loop that is entered in its middle is hot, too', () => {
  // jmp M; L: add eax,ecx; M: dec ecx; jnz L; syscall
  const program = plain([0xeb, 2, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xfa, ...SYSCALL], { rcx: 2000n });
  const machine = new TestMachine(200);
  machine.load(program.code, program.registers, program.flags);
  machine.run(() => 500);
  assert.equal(machine.gpr(GPR.rax), (1999n * 2000n) / 2n);
  assert.equal(machine.engine.statistics.regions, 1);
});

test('a way that is hardly ever gone is not translated with the loop that it is in', () => {
  /** L: test ecx,mask; jnz S; 12 x inc rax; S: dec ecx; jnz L; syscall */
  const translated = (mask: number): number => {
    const rest = Array.from({ length: 12 }, () => [0x48, 0xff, 0xc0]).flat();
    const head = [0xf7, 0xc1, mask, 0, 0, 0, 0x75, rest.length];
    const tail = [0xff, 0xc9, 0x75, 0x100 - head.length - rest.length - 4];
    const machine = new TestMachine(1024);
    const { code, registers, flags } = plain([...head, ...rest, ...tail, ...SYSCALL], { rcx: 2000n });
    machine.load(code, registers, flags);
    // What is hot is translated at a slice's end.
    machine.run(() => 20);
    assert.equal(machine.gpr(GPR.rax), 12n * BigInt(Math.floor(2000 / (mask + 1))));
    return machine.engine.statistics.regionInstructions;
  };
  assert.ok(translated(0x7f) < 6, 'one time in 128');
  assert.ok(translated(1) > 12, 'each second time');
});

for (const evicted of [false, true]) {
  const also = evicted ? ', even if the TLB forgot it before it went away' : '';
  test(`a small function far away is part of the region that calls it, as long as it stays there${also}`, () =>
    farAway(evicted));
}

function farAway(evicted: boolean): void {
  const far = CODE + 0x7000;
  const elsewhere = 40;
  // L: call F; dec ecx; jnz L; syscall; at 0x40: inc rdx; ret
  const code = new Uint8Array(0x44).fill(0xcc);
  code.set([0xe8, 0xfb, 0x6f, 0, 0, 0xff, 0xc9, 0x75, 0xf7, ...SYSCALL]);
  code.set([0x48, 0xff, 0xc2, 0xc3], 0x40);
  // F: add rbx,N; call r12; lea rax,[rip]; add r8,rax; ret
  const callee = (n: number): number[] => [
    ...[0x48, 0x83, 0xc3, n, 0x41, 0xff, 0xd4, 0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x49, 0x01, 0xc0, 0xc3],
  ];
  const machine = new TestMachine(50);
  const { view, u8 } = machine.memory;
  u8.set(callee(1), machine.at(far));
  u8.set(callee(2), machine.memory.at(elsewhere));
  const registers = new Array<bigint>(16).fill(0n);
  registers[GPR.rcx] = 2000n;
  registers[GPR.r12] = BigInt(CODE + 0x40);
  machine.load(code, registers, 2);
  let slices = 0;
  machine.run(() => (slices++ === 0 ? 500 : many()));
  machine.goto(CODE);
  view.setBigUint64(machine.cpu + 8 * GPR.rcx, 500n, true);
  machine.run(few());
  assert.equal(machine.gpr(GPR.rbx), 2500n);
  assert.equal(machine.gpr(GPR.rdx), 2500n);
  assert.equal(machine.gpr(GPR.r8), 2500n * BigInt(far + 14));
  const { regions, regionsMoved } = machine.engine.statistics;
  assert.deepEqual({ regions, regionsMoved }, { regions: 1, regionsMoved: 0 });

  if (evicted) {
    // Its first place in the TLB is that of two other pages, too.
    for (const rival of [0x1407000, 0x2407000]) {
      view.setBigUint64(machine.memory.at(3) + 8 * (rival >> 21), 0x6067n, true);
      view.setBigUint64(machine.memory.at(6) + 8 * ((rival >> 12) & 511), BigInt((41 << 12) | 0x67), true);
      assert.equal(machine.engine.translate(BigInt(rival), false), machine.memory.at(41));
    }
  }
  view.setBigUint64(machine.memory.at(4) + 8 * 7, BigInt((elsewhere << 12) | 0x67), true);
  machine.engine.flushPage(far, 0);
  machine.goto(CODE);
  view.setBigUint64(machine.cpu + 8 * GPR.rcx, 100n, true);
  machine.run(many);
  assert.equal(machine.gpr(GPR.rbx), 2700n);
  assert.equal(machine.engine.statistics.regionsMoved, 1);
}

test('a call through a table of pointers is followed into the region, until the table has another pointer', () => {
  // L: call P; dec ecx; jnz L; syscall; P: jmp [DATA]
  const code = new Uint8Array(0x1100).fill(0xcc);
  code.set([0xe8, 0x06, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf7, ...SYSCALL, 0xff, 0x25, 0xef, 0x2f, 0, 0]);
  // Two functions that are too large to be copied: 40 x inc rax; ret, and the same with rdx
  const body = (modrm: number): number[] => [...Array.from({ length: 40 }, () => [0x48, 0xff, modrm]).flat(), 0xc3];
  const [f, g] = [CODE + 0x800, CODE + 0x1000];
  code.set(body(0xc0), 0x800);
  code.set(body(0xc2), 0x1000);
  const machine = new TestMachine(50);
  const { view } = machine.memory;
  const registers = new Array<bigint>(16).fill(0n);
  machine.load(code, registers, 2);
  const run = (rounds: bigint, target: number): void => {
    view.setBigUint64(machine.at(DATA), BigInt(target), true);
    view.setBigUint64(machine.cpu + 8 * GPR.rcx, rounds, true);
    machine.goto(CODE);
    machine.run(() => 20);
  };
  run(500n, f);
  assert.equal(machine.gpr(GPR.rax), 40n * 500n);
  const { regions, regionInstructions } = machine.engine.statistics;
  assert.deepEqual({ regions, regionInstructions }, { regions: 1, regionInstructions: 3 + 1 + 41 });
  run(10n, g);
  run(10n, f);
  assert.equal(machine.gpr(GPR.rax), 40n * 510n);
  assert.equal(machine.gpr(GPR.rdx), 40n * 10n);
});

test('a region is made anew when its computed calls lead to what it did not know', () => {
  // mov ecx,300; K: dec ecx; jnz K; mov ecx,2000; L: cmp ecx,1000; mov r10,r12; cmovl r10,r13; call r10; dec ecx; jnz L; syscall
  // A: inc rax; ret; B: inc rdx; ret
  // biome-ignore format: a loop a line
  const code = [
    0xb9, 0x2c, 0x01, 0, 0, 0xff, 0xc9, 0x75, 0xfc,
    0xb9, 0xd0, 0x07, 0, 0, 0x81, 0xf9, 0xe8, 0x03, 0, 0, 0x4d, 0x89, 0xe2, 0x4d, 0x0f, 0x4c, 0xd5, 0x41, 0xff, 0xd2,
    0xff, 0xc9, 0x75, 0xec,
    ...SYSCALL,
    0x48, 0xff, 0xc0, 0xc3, 0x48, 0xff, 0xc2, 0xc3,
  ];
  const machine = new TestMachine(50);
  const registers = new Array<bigint>(16).fill(0n);
  registers[GPR.r12] = BigInt(CODE + 36);
  registers[GPR.r13] = BigInt(CODE + 40);
  machine.load(Uint8Array.from(code), registers, 2);
  // So that each is translated as soon as it is hot.
  machine.run(() => 20);
  assert.equal(machine.gpr(GPR.rax), 1001n);
  assert.equal(machine.gpr(GPR.rdx), 999n);
  const { regions, regionsLive } = machine.engine.statistics;
  assert.ok(regions > regionsLive && regionsLive <= 3, `${regionsLive} of ${regions}`);
});

test('code that is mapped twice and jumps from one place to the other knows where it is', () => {
  // L: lea rax,[rip]; add rbx,rax; xor r12,0x5000; dec ecx; jz E; jmp r12; E: syscall
  // biome-ignore format: an instruction a line
  const code = [
    0x48, 0x8d, 0x05, 0, 0, 0, 0,
    0x48, 0x01, 0xc3,
    0x49, 0x81, 0xf4, 0x00, 0x50, 0, 0,
    0xff, 0xc9,
    0x74, 0x03,
    0x41, 0xff, 0xe4,
    ...SYSCALL,
  ];
  for (const { memory } of [interpreter, translator]) {
    const [first, sixth] = [memory.at(4), memory.at(4) + 8 * 5];
    memory.view.setBigUint64(sixth, memory.view.getBigUint64(first, true), true);
  }
  for (const { engine } of [interpreter, translator]) engine.flushPage(CODE + 0x5000, 0);
  bothTiers(plain(code, { rcx: 101n, r12: BigInt(CODE) }), () => many);
  assert.equal(translator.gpr(GPR.rbx), 101n * BigInt(CODE + 7) + 50n * 0x5000n);
});

test('a jump table leads on within a region, whatever is changed behind it', () => {
  // L: lea r12,[A]; lea r13,[B]; test cl,1; cmovnz r12,r13; jmp r12; A: inc rax; jmp E; B: mov dl,3; add rbx,rdx; inc byte [rdi];
  // E: dec ecx; jnz L; syscall. RDI points at the immediate of mov.
  // biome-ignore format: an instruction a line
  const code = [
    0x4c, 0x8d, 0x25, 0x11, 0, 0, 0,
    0x4c, 0x8d, 0x2d, 0x0f, 0, 0, 0,
    0xf6, 0xc1, 0x01,
    0x4d, 0x0f, 0x45, 0xe5,
    0x41, 0xff, 0xe4,
    0x48, 0xff, 0xc0,
    0xeb, 0x07,
    0xb2, 0x03,
    0x48, 0x01, 0xd3,
    0xfe, 0x07,
    0xff, 0xc9,
    0x75, 0xd8,
    ...SYSCALL,
  ];
  bothTiers(plain(code, { rcx: 60n, rdi: BigInt(CODE + 30) }), () => many);
  assert.equal(translator.gpr(GPR.rax), 30n);
  assert.equal(translator.gpr(GPR.rbx), 30n * 3n + (29n * 30n) / 2n);
});

test('nested loops count right', () => {
  // mov edx,100; O: mov ecx,50; I: add rax,1; dec ecx; jnz I; dec edx; jnz O; syscall
  const code = [0xba, 100, 0, 0, 0, 0xb9, 50, 0, 0, 0, 0x48, 0x83, 0xc0, 1, 0xff, 0xc9, 0x75, 0xf8, 0xff, 0xca, 0x75];
  bothTiers(plain([...code, 0xef, ...SYSCALL]), few);
  assert.equal(translator.gpr(GPR.rax), 5000n);
});

test('a loop that changes its own code sees every change', () => {
  // L: mov al,0 (the immediate is what the loop counts up); add rbx,rax; inc byte [rdi]; dec ecx; jnz L; syscall
  const code = [0xb0, 0x00, 0x48, 0x01, 0xc3, 0xfe, 0x07, 0xff, 0xc9, 0x75, 0xf5, ...SYSCALL];
  bothTiers(plain(code, { rcx: 20n, rdi: BigInt(CODE + 1) }), () => many);
  assert.equal(translator.gpr(GPR.rbx), 190n);
});

test('a store to another part of the code page keeps the region', () => {
  // L: add [rdi],rcx; dec ecx; jnz L; syscall
  const code = [0x48, 0x01, 0x0f, 0xff, 0xc9, 0x75, 0xf9, ...SYSCALL];
  bothTiers(plain(code, { rcx: 1000n, rdi: BigInt(CODE + 0xc00) }), () => many);
  const { pagesDropped } = translator.engine.statistics;
  translator.goto(CODE);
  translator.memory.view.setBigUint64(translator.cpu + 8 * GPR.rcx, 1000n, true);
  translator.run(many);
  assert.equal(translator.engine.statistics.pagesDropped, pagesDropped);
});

test('a store beside the instructions of a region keeps it, one into an instruction of it does not', () => {
  // L: and byte [rdi],0xff; dec ecx; jnz L; syscall
  const code = [0x80, 0x27, 0xff, 0xff, 0xc9, 0x75, 0xf9, ...SYSCALL];
  /** How many regions are made when the loop stores to `at` so often. */
  const regions = (at: number, rounds: bigint): number => {
    const machine = new TestMachine(1);
    const { code: bytes, registers, flags } = plain(code, { rcx: rounds, rdi: BigInt(at) });
    machine.load(bytes, registers, flags);
    machine.run(many);
    assert.equal(machine.gpr(GPR.rcx), 0n);
    return machine.engine.statistics.regions;
  };
  const undisturbed = regions(DATA, 100n);
  assert.equal(regions(CODE + code.length, 100n), undisturbed);
  assert.ok(regions(CODE + 4, 100n) > undisturbed);
  // Hundreds of stores are not looked at one by one: the piece of the page is dropped, with its region.
  assert.ok(regions(CODE + code.length, 1000n) > undisturbed);
});

test('a fault in a region has the address, the registers and the flags of its instruction', () => {
  // sub rax,rbx; L: mov rdx,[rdi]; add rdi,8; jmp L: walks through the data page to its end
  const code = [0x48, 0x29, 0xd8, 0x48, 0x8b, 0x17, 0x48, 0x83, 0xc7, 0x08, 0xeb, 0xf7];
  bothTiers(plain(code, { rax: 1n, rbx: 2n, rdi: BigInt(MISSING - 64) }), () => many);
  assert.equal(translator.rip, CODE + 3);
  assert.equal(translator.state.cr2, MISSING.toString(16));
});

test('a single step in the middle of a region does one instruction', () => {
  const code = [0x48, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf9, ...SYSCALL];
  bothTiers(plain(code, { rcx: 50n }), () => many);
  translator.goto(CODE);
  assert.equal(translator.engine.step(), Exit.Stepped);
  assert.equal(translator.rip, CODE + 3);
});

test('what is known of a number on one way is not taken for known on the other: a denormal operand sets DE', () => {
  // biome-ignore format: an instruction a line
  const code = [
    0xbe, 3, 0, 0, 0, // mov esi,3
    0xf2, 0x0f, 0x2a, 0xe6, // cvtsi2sd xmm4,esi
    0xbe, 1, 0, 0, 0, // mov esi,1
    0xf2, 0x0f, 0x2a, 0xd6, // cvtsi2sd xmm2,esi
    0x66, 0x0f, 0x28, 0xda, // L: movapd xmm3,xmm2
    0xf2, 0x0f, 0x5e, 0xdc, // divsd xmm3,xmm4: PE is set from the first round on
    0x31, 0xc0, // xor eax,eax
    0x83, 0xf9, 1, // cmp ecx,1
    0x0f, 0x94, 0xc0, // sete al
    0x66, 0x48, 0x0f, 0x6e, 0xc8, // movq xmm1,rax: a denormal in the last round
    0xf6, 0xc1, 1, // test cl,1
    0x74, 6, // jz T
    0xf2, 0x0f, 0x58, 0xd1, // addsd xmm2,xmm1
    0xeb, 8, // jmp E
    0x66, 0x0f, 0xef, 0xc9, // T: pxor xmm1,xmm1
    0xf2, 0x0f, 0x58, 0xd1, // addsd xmm2,xmm1
    0xff, 0xc9, // E: dec ecx
    0x75, 0xd4, // jnz L
    ...SYSCALL,
  ];
  // Both ways have been gone when the region is made.
  const machine = new TestMachine(8);
  const { code: bytes, registers, flags } = plain(code, { rcx: 99n });
  machine.load(bytes, registers, flags);
  assert.equal(
    machine.run(() => 20),
    Exit.Syscall,
  );
  assert.equal(machine.state.mxcsr, (0x1f80 | 0x20 | 0x02).toString(16));
});

test('a loop that changes the rounding mode and saves and restores all registers has each in effect at once', () => {
  // biome-ignore format: an instruction a line
  const body = [
    0x0f, 0xae, 0x17, // L: ldmxcsr [rdi]
    0xf2, 0x48, 0x0f, 0x2a, 0xc1, // cvtsi2sd xmm0,rcx
    0xf2, 0x48, 0x0f, 0x2a, 0xcb, // cvtsi2sd xmm1,rbx
    0xf2, 0x0f, 0x5e, 0xc1, // divsd xmm0,xmm1
    0x0f, 0xae, 0x87, 0, 4, 0, 0, // fxsave [rdi+0x400]
    0x0f, 0xae, 0x57, 0x08, // ldmxcsr [rdi+8]
    0xf2, 0x48, 0x0f, 0x2a, 0xd1, // cvtsi2sd xmm2,rcx
    0xf2, 0x0f, 0x5e, 0xd1, // divsd xmm2,xmm1
    0xf2, 0x0f, 0x58, 0xe2, // addsd xmm4,xmm2
    0x66, 0x0f, 0xd6, 0xa7, 0, 2, 0, 0, // movq [rdi+0x200],xmm4
    0x0f, 0xae, 0x8f, 0, 4, 0, 0, // fxrstor [rdi+0x400]
    0xf2, 0x0f, 0x58, 0xa7, 0, 2, 0, 0, // addsd xmm4,[rdi+0x200]
    0xff, 0xc9, // dec ecx
  ];
  // mov dword [rdi],0x1f80; mov dword [rdi+8],0x5f80: to nearest, and up
  const modes = [0xc7, 0x07, 0x80, 0x1f, 0, 0, 0xc7, 0x47, 0x08, 0x80, 0x5f, 0, 0];
  const code = [...modes, ...body, 0x75, 256 - body.length - 2, ...SYSCALL];
  bothTiers(plain(code, { rcx: 60n, rbx: 7n, rdi: BigInt(DATA) }), () => many);
});

test('a region that begins with a store across two pages goes on', () => {
  // L: mov [rdi],rcx; push rcx; pop rdx; add rax,rdx; dec ecx; jnz L; syscall
  const code = [0x48, 0x89, 0x0f, 0x51, 0x5a, 0x48, 0x01, 0xd0, 0xff, 0xc9, 0x75, 0xf4, ...SYSCALL];
  bothTiers(plain(code, { rcx: 100n, rdi: BigInt(DATA + 0xffd) }), () => many);
  assert.equal(translator.gpr(GPR.rax), 5050n);
});

test('an operand that ends in a page that was just used begins in the page before it', () => {
  // L: mov rax,[rdi+8]; add rax,[rdi]; mov [rdi+8],rax; mov [rdi+1],rax; add rbx,rax; dec ecx; jnz L; syscall
  // biome-ignore format: an instruction each
  const near = [
    0x48, 0x8b, 0x47, 0x08, 0x48, 0x03, 0x07, 0x48, 0x89, 0x47, 0x08, 0x48, 0x89, 0x47, 0x01, 0x48, 0x01, 0xc3, 0xff, 0xc9,
    0x75, 0xea, ...SYSCALL,
  ];
  bothTiers(plain(near, { rcx: 50n, rdi: BigInt(DATA + 0xffb) }), () => many);
  // The same with the page of the stack: lea rsp,[rdi]; L: mov rax,[rsp+8]; add rax,[rsp]; mov [rsp+1],rax; dec ecx; jnz L; syscall
  // biome-ignore format: an instruction each
  const stack = [
    0x48, 0x8d, 0x27, 0x48, 0x8b, 0x44, 0x24, 0x08, 0x48, 0x03, 0x04, 0x24, 0x48, 0x89, 0x44, 0x24, 0x01, 0xff, 0xc9, 0x75,
    0xee, ...SYSCALL,
  ];
  bothTiers(plain(stack, { rcx: 50n, rdi: BigInt(DATA + 0xffb) }), () => many);
});

test('a page of the stack that code is run from is kept no longer', () => {
  // L: mov eax,ecx; shl eax,8; or eax,0xc300b0 (mov al,CL; ret); push rax; call rsp; movzx eax,al; add rbx,rax; pop rdx; dec ecx; jnz L
  // biome-ignore format: a few instructions a line
  const code = [
    0x89, 0xc8, 0xc1, 0xe0, 0x08, 0x0d, 0xb0, 0x00, 0xc3, 0x00, 0x50, 0xff, 0xd4, 0x0f, 0xb6, 0xc0, 0x48, 0x01, 0xc3, 0x5a,
    0xff, 0xc9, 0x75, 0xe8, ...SYSCALL,
  ];
  for (const budget of [() => many, few]) {
    bothTiers(plain(code, { rcx: 100n }), budget);
    assert.equal(translator.gpr(GPR.rbx), 5050n);
  }
});

test('a stack that is somewhere else by the next run is found there', () => {
  // L: push rcx; pop rdx; dec ecx; jnz L; push 7; syscall
  translator.load(Uint8Array.of(0x51, 0x5a, 0xff, 0xc9, 0x75, 0xfa, 0x6a, 0x07, ...SYSCALL), [0n, 50n], 2);
  const { view } = translator.memory;
  const [page, frame] = [(STACK_TOP >> 12) - (CODE >> 12) - 1, 40];
  const entry = translator.memory.at(4) + 8 * page;
  const mapped = view.getBigUint64(entry, true);
  translator.run(many);
  view.setBigUint64(entry, BigInt((frame << 12) | 0x67), true);
  translator.engine.flushPage(STACK_TOP - 0x1000, 0);
  translator.goto(CODE + 6);
  view.setBigUint64(translator.cpu + 8 * GPR.rsp, BigInt(STACK_TOP), true);
  translator.run(many);
  assert.equal(view.getBigUint64(translator.memory.at(frame) + 0xff8, true), 7n);
  view.setBigUint64(entry, mapped, true);
  translator.engine.flushPage(STACK_TOP - 0x1000, 0);
});

test('numbers are computed and compared as the interpreter does it, with NaN, denormals and the flags of MXCSR', () => {
  // biome-ignore format: an instruction a line
  const body = [
    0xf2, 0x0f, 0x10, 0x04, 0xcf, // L: movsd xmm0,[rdi+rcx*8]
    0xf2, 0x0f, 0x58, 0xc8, // addsd xmm1,xmm0
    0xf2, 0x0f, 0x59, 0x44, 0xcf, 0x08, // mulsd xmm0,[rdi+rcx*8+8]
    0x66, 0x0f, 0x2f, 0xc1, // comisd xmm0,xmm1
    0x72, 0x04, // jb M
    0xf2, 0x0f, 0x5e, 0xd0, // divsd xmm2,xmm0
    0x9c, 0x5a, 0x48, 0x01, 0xd3, // M: pushf; pop rdx; add rbx,rdx
    0x66, 0x0f, 0x58, 0xd9, // addpd xmm3,xmm1
    0x66, 0x0f, 0x59, 0x1c, 0x24, // mulpd xmm3,[rsp]
    0xf2, 0x48, 0x0f, 0x2c, 0xc0, // cvttsd2si rax,xmm0
    0x48, 0x01, 0xc3, // add rbx,rax
    0xf2, 0x48, 0x0f, 0x2a, 0xe1, // cvtsi2sd xmm4,rcx
    0x66, 0x0f, 0x57, 0xed, // xorpd xmm5,xmm5
    0xf2, 0x0f, 0x5c, 0xec, // subsd xmm5,xmm4
    0x66, 0x0f, 0x2e, 0xe9, // ucomisd xmm5,xmm1
    0x0f, 0x97, 0xc2, // seta dl
    0x48, 0x01, 0xd3, // add rbx,rdx
    0xff, 0xc9, // dec ecx
  ];
  for (const budget of [() => many, few]) {
    // mov [rdi+1920],r8; mov [rdi+64],r9
    const stores = [0x4c, 0x89, 0x87, 0x80, 0x07, 0, 0, 0x4c, 0x89, 0x4f, 0x40];
    const code = [...stores, ...body, 0x75, 256 - body.length - 2, ...SYSCALL];
    const [denormal, nan] = [0x0000_1234_5678_9abcn, 0x7ff4_0000_0000_0001n];
    bothTiers(plain(code, { rcx: 700n, rdi: BigInt(DATA), r8: denormal, r9: nan }), budget);
    assert.equal(translator.state.mxcsr, '1fbb');
  }
});

test('a repeated string instruction in a region stops where its memory ends', () => {
  // rep stosb; syscall
  bothTiers(plain([0xf3, 0xaa, ...SYSCALL], { rcx: 0x9000n, rdi: BigInt(DATA), rax: 7n }), () => many);
  assert.equal(translator.rip, CODE);
});

test('a slice has so many bytes of string instructions at most, in a region and in the interpreter', () => {
  // 120 pages of source, and as many of target: of one frame each.
  const SOURCE = 0x500000n;
  const TARGET = 0x580000n;
  const BYTES = 0x78000;
  const page = (at: bigint): number => Number(at - 0x400000n) >> 12;
  // L: mov esi, SOURCE; mov edi, TARGET; mov ecx, BYTES / size; rep …; inc edx; jmp L
  const loop = (count: number, ...rep: number[]): number[] => {
    const load = (opcode: number, value: number): number[] => [opcode, ...new Uint8Array(Uint32Array.of(value).buffer)];
    const body = [...load(0xbe, Number(SOURCE)), ...load(0xbf, Number(TARGET)), ...load(0xb9, count), ...rep];
    return [...body, 0xff, 0xc2, 0xeb, -(body.length + 4) & 0xff];
  };
  const BRANCHES = 40_000;
  // biome-ignore format: a table
  const cases: readonly [string, number[], rounds: number][] = [
    ['rep movsb',  loop(BYTES,     0xf3, 0xa4),       BRANCHES / (120 * 16)],
    ['rep movsq',  loop(BYTES / 8, 0xf3, 0x48, 0xa5), BRANCHES / (120 * 16)],
    ['rep stosb',  loop(BYTES,     0xf3, 0xaa),       BRANCHES / (120 * 16)],
    ['repe scasb', loop(16_000,    0xf3, 0xae),       BRANCHES / (16_000 / 4)],
    ['repe cmpsb', loop(16_000,    0xf3, 0xa6),       BRANCHES / (16_000 / 4)],
  ];
  for (const threshold of [0, 1]) {
    const { memory, engine, cpu } = new TestMachine(threshold);
    const { view } = memory;
    const entry = (at: bigint, frame: number): void =>
      view.setBigUint64(memory.at(4) + 8 * page(at), BigInt((frame << 12) | 0x67), true);
    for (let k = 0n; k < 120n; k++) {
      entry(SOURCE + k * 4096n, 40);
      entry(TARGET + k * 4096n, 41);
    }
    for (const [name, code, rounds] of cases) {
      memory.u8.set(code, memory.at(16));
      engine.frameWritten(16);
      const rdx = cpu + STATE.gpr + 8 * GPR.rdx;
      view.setBigUint64(cpu + STATE.rip, BigInt(CODE), true);
      for (const _ of ['until it is translated', 'measured']) {
        view.setBigUint64(rdx, 0n, true);
        view.setInt32(cpu + STATE.budget, BRANCHES, true);
        assert.equal(engine.run(), Exit.Slice);
        engine.betweenSlices();
      }
      const done = view.getUint32(rdx, true);
      assert.ok(done > 0 && done <= rounds + 4, `${name}, threshold ${threshold}: ${done} rounds`);
    }
    assert.equal(engine.statistics.regions > 0, threshold > 0);
  }
});

test('code that was translated before it was ever run is entered where a call returns to it, and not translated again', () => {
  const machine = new TestMachine(1, true);
  // lea rax,[rip+F]; call rax; mov ebx,2; syscall; int3; F: mov ecx,3; ret
  const code = [0x48, 0x8d, 0x05, 10, 0, 0, 0, 0xff, 0xd0, 0xbb, 2, 0, 0, 0, ...SYSCALL, 0xcc, 0xb9, 3, 0, 0, 0, 0xc3];
  machine.load(Uint8Array.from(code), new Array<bigint>(16).fill(0n), 2);
  assert.equal(
    machine.run(() => 20),
    Exit.Syscall,
  );
  assert.deepEqual([machine.gpr(GPR.rbx), machine.gpr(GPR.rcx)], [2n, 3n]);
  // What begins at the start, with what is behind the call, and F.
  assert.equal(machine.engine.statistics.regions, 2);
});

/** Exits as a hypervisor might perform them: SYSCALL adds 3 to rax, and goes where rdx says. Left to it is one with rbx = 0. */
const addsAndJumps: BuildExitPaths = (m) =>
  m.function([I32, I32], [I32], (f) => {
    const cpu = f.param(0);
    const register = (index: number): E => load64(cpu, STATE.gpr + 8 * index);
    f.if(f.param(1).ne(Exit.Syscall).or(register(GPR.rbx).eqz()), () => f.ret(i32(0)));
    f.store64(cpu, register(GPR.rax).add(3), STATE.gpr + 8 * GPR.rax);
    f.store64(cpu, register(GPR.rdx), STATE.rip);
    f.ret(i32(1));
    f.unreachable();
  });

test('a SYSCALL that can be performed on the spot leads from region to region, and what cannot is left to the hypervisor', () => {
  const code = new Uint8Array(0x200).fill(0x90);
  // L: dec rbx; add rax,1; syscall
  code.set([0x48, 0xff, 0xcb, 0x48, 0x83, 0xc0, 1, ...SYSCALL]);
  // At 0x100: imul rax,rax,5; jc C; C: adc rcx,0; jmp L
  code.set([0x48, 0x6b, 0xc0, 5, 0x72, 0, 0x48, 0x83, 0xd1, 0, 0xe9, 0xf1, 0xfe, 0xff, 0xff], 0x100);
  const registers = new Array<bigint>(16).fill(0n);
  registers[GPR.rbx] = 1000n;
  registers[GPR.rdx] = BigInt(CODE + 0x100);
  const outcomes = [0, 20].map((threshold) => {
    const machine = new TestMachine(threshold, false, { exitPaths: addsAndJumps });
    machine.load(code, registers, 2);
    const exit = machine.run(() => 500);
    return { ...machine.state, exit, regions: threshold === 0 ? 1 : machine.engine.statistics.regionsLive };
  });
  assert.equal(outcomes[0]!.exit, Exit.Syscall);
  assert.deepEqual({ ...outcomes[1], regions: 1 }, outcomes[0]);
  assert.ok(outcomes[1]!.regions >= 1);
});

test('regions that lead to one another all the time become one', () => {
  const { code, registers, flags } = callers(120_000);
  const machine = new TestMachine(20);
  machine.load(code, registers, flags);
  machine.goto(CODE + CALLERS_BEGIN);
  /** For each the number of regions when it began. */
  const slices: number[] = [];
  const exit = machine.run(() => {
    slices.push(machine.engine.statistics.regions);
    // Short ones first: what is hot is ordered at their ends, one thing after the other. All rounds being alike, slices of one length
    // would end in the same place each time.
    return (slices.length < 20 ? 30 : 3000) + (slices.length % 3);
  });
  assert.equal(exit, Exit.Syscall);
  assert.equal(machine.gpr(GPR.rax), 40n * 120_060n);
  // M with F, LOOP, F, and LOOP once more with F in it: a round takes one branch of the budget instead of three.
  assert.equal(slices.at(-1), 4);
  assert.ok(slices.length < 20 + 120_000 / 1700, `${slices.length} slices`);
});

test('a loop that calls one of eight functions becomes one region with them, although each had its own before', () => {
  const code = new Uint8Array(0x2000).fill(0x90);
  // The functions: ten times add rbx,k; ret
  for (let k = 0; k < 8; k++) {
    for (let n = 0; n < 10; n++) code.set([0x48, 0x83, 0xc3, k], 0x1000 + 0x80 * k + 4 * n);
    code[0x1000 + 0x80 * k + 40] = 0xc3;
  }
  // Straight on, so that nothing else becomes hot: 25 times call [rdi+8*k] for each
  for (let n = 0; n < 200; n++) code.set([0xff, 0x57, 8 * (n & 7)], 3 * n);
  // LOOP: mov eax,ecx; and eax,7; call [rdi+8*rax]; dec ecx; jnz LOOP; syscall
  code.set([0x89, 0xc8, 0x83, 0xe0, 7, 0xff, 0x14, 0xc7, 0xff, 0xc9, 0x75, 0xf4, ...SYSCALL], 600);
  const registers = new Array<bigint>(16).fill(0n);
  registers[GPR.rcx] = 80_000n;
  registers[GPR.rdi] = BigInt(DATA);
  const machine = new TestMachine(20);
  machine.load(code, registers, 2);
  for (let k = 0; k < 8; k++)
    machine.memory.view.setBigUint64(machine.at(DATA + 8 * k), BigInt(CODE + 0x1000 + 0x80 * k), true);
  const slices: number[] = [];
  const exit = machine.run(() => {
    slices.push(machine.engine.statistics.regionsJoined);
    return (slices.length < 20 ? 60 : 3000) + (slices.length % 3);
  });
  assert.equal(exit, Exit.Syscall);
  assert.equal(machine.gpr(GPR.rbx), (25n + 10_000n) * 10n * 28n);
  assert.equal(slices.at(-1), 1);
});

test('programs of chance come to the same end, however their regions are joined', () => {
  const interpreter = new TestMachine(0);
  const machine = new TestMachine(20, false, { trail: { least: 1, most: 1, steps: 16 }, instructions: 12 });
  for (let seed = 9001; seed < 9041; seed++) {
    const { code, registers, flags } = randomProgram(seed, { faults: seed % 4 === 3 });
    interpreter.load(code, registers, flags);
    const exit = interpreter.run(() => 1000);
    const { state } = interpreter;
    machine.load(code, registers, flags);
    for (let round = 0; round < 150; round++) {
      machine.reset(registers, flags);
      let slices = seed + round;
      const budget = (): number => 20 + (slices++ % 31);
      assert.deepEqual(
        { exit: machine.run(budget), ...machine.state },
        { exit, ...state },
        `seed ${seed}, round ${round}`,
      );
    }
  }
  const { regionsJoined } = machine.engine.statistics;
  assert.ok(regionsJoined > 10, `${regionsJoined} joined`);
});

test('a region that was suspended is entered where it was before, although another one was there meanwhile', () => {
  const machine = new TestMachine(20);
  const registers = new Array<bigint>(16).fill(0n);
  registers[GPR.rcx] = 1000n;
  // dec ecx; jnz to it; syscall
  machine.load(Uint8Array.of(0xff, 0xc9, 0x75, 0xfc, ...SYSCALL), registers, 2);
  assert.equal(
    machine.run(() => 30),
    Exit.Syscall,
  );
  const { regions, cache } = machine.engine as unknown as { readonly regions: Regions; readonly cache: CodeCache };
  const { table } = regions;
  const record = cache.recordAt(machine.at(CODE));
  const region = table.enteredBy(record)!;
  const { u8 } = machine.memory;
  const entry = u8[record + RECORD.entry]!;
  table.suspend(new Set([region.slot]));
  assert.ok(table.isInterpreted(record));
  u8[record + RECORD.entry] = entry + 1;
  table.resume();
  assert.equal(table.enteredBy(record), region);
  assert.equal(u8[record + RECORD.entry], entry);
});
