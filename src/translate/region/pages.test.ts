/** Regions that keep the page of an operand from one round of a loop to the next: it must never stand for another page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exit } from '../../x86/exits.ts';
import { GPR, STATE } from '../../x86/state.ts';
import { CODE, DATA, MISSING, TestMachine } from './machine-for-tests.ts';

const interpreter = new TestMachine(0);
const translator = new TestMachine(1);
const many = (): number => 1_000_000;
const SYSCALL = [0x0f, 0x05];
type Registers = Partial<Record<keyof typeof GPR, bigint>>;

function bothTiers(code: readonly number[], registers: Registers): Exit {
  const values = new Array<bigint>(16).fill(0n);
  for (const [name, value] of Object.entries(registers)) values[GPR[name as keyof typeof GPR]] = value;
  const outcomes = [interpreter, translator].map((machine) => {
    machine.load(Uint8Array.from(code), values, 2);
    const exit = machine.run(many);
    return { exit, ...machine.state };
  });
  assert.deepEqual(outcomes[1], outcomes[0]);
  return outcomes[1]!.exit;
}
/** `body` rcx times, rdi growing by `step` each time. */
const loop = (body: readonly number[], step: number): number[] => {
  const round = [...body, 0x48, 0x83, 0xc7, step & 0xff, 0xff, 0xc9];
  return [...round, 0x75, -(round.length + 2) & 0xff, ...SYSCALL];
};
/** The two pages of data are not neighbours in memory; this loop comes from the one into the other, or back. */
const across = (step: number, misaligned: number): Registers => ({
  rdi: BigInt(DATA + 0x1000 - step * 6 + misaligned),
  rcx: 12n,
});

// biome-ignore format: a table
const LOADS: readonly (readonly [what: string, size: number, body: readonly number[]])[] = [
  ['a byte',        1,  [0x0f, 0xb6, 0x07, 0x48, 0x01, 0xc3]],       // movzx eax, byte [rdi]; add rbx, rax
  ['a word',        2,  [0x66, 0x03, 0x1f]],                         // add bx, [rdi]
  ['a doubleword',  4,  [0x33, 0x1f]],                               // xor ebx, [rdi]
  ['a quadword',    8,  [0x48, 0x33, 0x1f]],                         // xor rbx, [rdi]
  ['an XMM word',  16,  [0xf3, 0x0f, 0x6f, 0x07, 0x66, 0x0f, 0xef, 0xc8]], // movdqu xmm0, [rdi]; pxor xmm1, xmm0
];
// biome-ignore format: a table
const STORES: readonly (readonly [what: string, size: number, body: readonly number[]])[] = [
  ['a byte',        1,  [0x88, 0x0f]],                               // mov [rdi], cl
  ['a word',        2,  [0x66, 0x89, 0x0f]],
  ['a doubleword',  4,  [0x89, 0x0f]],
  ['a quadword',    8,  [0x48, 0x89, 0x0f]],
  ['a sum',         8,  [0x48, 0x01, 0x0f]],                         // add [rdi], rcx
  ['an XMM word',  16,  [0x66, 0x0f, 0xfe, 0xc0, 0xf3, 0x0f, 0x7f, 0x07]], // paddd xmm0, xmm0; movdqu [rdi], xmm0
];

for (const [kind, rows] of [
  ['load', LOADS],
  ['store', STORES],
] as const) {
  for (const [what, size, body] of rows) {
    test(`a loop that ${kind}s ${what} goes from page to page, aligned or not, forwards and backwards`, () => {
      for (const misaligned of size === 1 ? [0] : [0, 1, size - 1]) {
        for (const step of [size, -size, 1, -1]) {
          assert.equal(bothTiers(loop(body, step), across(step, misaligned)), Exit.Syscall);
        }
      }
    });
  }
}

test('two operands near one another keep one page while the end of the page passes between them', () => {
  // mov rax, [rdi]; add [rdi + 24], rax
  bothTiers(loop([0x48, 0x8b, 0x07, 0x48, 0x01, 0x47, 24], 8), across(8, 4));
});

test('operands near one another in blocks that follow each other are where they are, also when a page ends between them', () => {
  // mov rax, [rdi]; add rbx, [rdi + 24] if ecx is odd, else add [rdi - 24], rax
  const body = [0x48, 0x8b, 0x07, 0xf6, 0xc1, 1, 0x74, 6, 0x48, 0x03, 0x5f, 24, 0xeb, 4, 0x48, 0x01, 0x47, -24 & 0xff];
  const round = loop(body, 8);
  // A region that begins there has its registers in the state block: five times ldmxcsr [rip + …], which is no region's, to the number behind.
  const ldmxcsr = (k: number): number[] => [0x0f, 0xae, 0x15, 7 * (4 - k) + round.length, 0, 0, 0];
  const brief = [...[0, 1, 2, 3, 4].flatMap(ldmxcsr), ...round, 0x80, 0x1f, 0, 0];
  for (const code of [round, brief]) assert.equal(bothTiers(code, across(8, 4)), Exit.Syscall);
  assert.equal(bothTiers(brief, { rdi: BigInt(MISSING - 64), rcx: 20n }), Exit.Exception);
  assert.equal(translator.state.cr2, MISSING.toString(16));
});

test('a page that was kept for reading is not written through: the write faults in its round', () => {
  // mov rax, [rdi]; test ecx, 1; jz next; mov [rdi], rax: the page is read-only
  const { view } = translator.memory;
  const body = [0x48, 0x8b, 0x07, 0xf7, 0xc1, 1, 0, 0, 0, 0x74, 3, 0x48, 0x89, 0x07];
  const entries = [interpreter, translator].map((machine) => machine.memory.at(4) + 8 * 3);
  const old = view.getBigUint64(entries[1]!, true);
  for (const [k, machine] of [interpreter, translator].entries()) {
    machine.memory.view.setBigUint64(entries[k]!, old & ~2n, true);
    machine.engine.flushTlb();
  }
  assert.equal(bothTiers(loop(body, 8), { rdi: BigInt(DATA), rcx: 20n }), Exit.Exception);
  assert.equal(translator.rip, CODE + 11);
  for (const [k, machine] of [interpreter, translator].entries()) {
    machine.memory.view.setBigUint64(entries[k]!, old, true);
    machine.engine.flushTlb();
  }
});

test('a loop that runs off its page faults at the instruction, with the registers of that round', () => {
  assert.equal(bothTiers(loop([0x48, 0x8b, 0x07], 8), { rdi: BigInt(MISSING - 64), rcx: 20n }), Exit.Exception);
  assert.equal(translator.state.cr2, MISSING.toString(16));
  // The last bytes of the page and the first of the missing one.
  assert.equal(bothTiers(loop([0x48, 0x8b, 0x07], 8), { rdi: BigInt(MISSING - 68), rcx: 20n }), Exit.Exception);
});

test('an address that is not canonical raises #GP in a loop that has kept no page yet', () => {
  const nowhere = translator.memory.view.getBigUint64(translator.cpu + 0x490, true);
  assert.equal((nowhere >> 62n) | (nowhere & 0xffff_ffffn), 1n, 'what stands for no page is not canonical');
  assert.equal(bothTiers(loop([0x48, 0x8b, 0x07], 8), { rdi: 1n << 62n, rcx: 20n }), Exit.Exception);
  assert.equal(translator.state.vector, '13');
});

test('a mapping that changed between two slices is seen by the loop that goes on', () => {
  // mov rax, [rdi]; add rbx, rax; dec ecx; jnz
  const code = Uint8Array.of(0x48, 0x8b, 0x07, 0x48, 0x01, 0xc3, 0xff, 0xc9, 0x75, 0xf6, ...SYSCALL);
  const { memory, cpu, engine } = translator;
  const { view } = memory;
  const registers = new Array<bigint>(16).fill(0n);
  registers[GPR.rdi] = BigInt(DATA);
  registers[GPR.rcx] = 1000n;
  translator.load(code, registers, 2);
  view.setBigUint64(translator.at(DATA), 1n, true);
  view.setBigUint64(translator.at(DATA + 0x1000), 1_000_000n, true);
  view.setInt32(cpu + STATE.budget, 500, true);
  assert.equal(engine.run(), Exit.Slice);
  const done = translator.gpr(GPR.rbx);
  assert.ok(done > 100n && done < 1000n);
  const entry = memory.at(4) + 8 * 3;
  const old = view.getBigUint64(entry, true);
  view.setBigUint64(entry, view.getBigUint64(entry + 8, true), true);
  engine.flushTlb();
  assert.equal(translator.run(many), Exit.Syscall);
  assert.equal(translator.gpr(GPR.rbx), done + (1000n - done) * 1_000_000n);
  view.setBigUint64(entry, old, true);
  engine.flushTlb();
});
