/** x87 instructions as a guest runs them: stack, words, exceptions and memory images. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { WasmEngine } from '../../../host/wasm-engine.ts';
import { GuestMemory, planLayout } from '../../../hypervisor/memory.ts';
import { Exit } from '../../../x86/exits.ts';
import { readFlags } from '../../../x86/flags.ts';
import { GPR, RFLAGS, STATE } from '../../../x86/state.ts';

const CODE = 0x400000n;
const CODE_FRAME = 16;
/** Page 1 is data, page 2 is read-only, page 3 is not there. */
const DATA = 0x401000n;
const READ_ONLY = 0x402000n;
const NM = 7;
const PF = 14;
const MF = 16;
const SYSCALL = [0x0f, 0x05];

let memory: GuestMemory;
let engine: WasmEngine;
let cpu: number;
let data: number;

beforeEach(() => {
  const layout = planLayout(512, 1);
  const pages = layout.bytes / 65536;
  const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  memory = new GuestMemory(wasm.buffer as SharedArrayBuffer, layout);
  cpu = memory.vcpuBase(0);
  data = memory.at(CODE_FRAME + 1);
  memory.view.setUint32(cpu + STATE.kernelRoot, 1, true);
  memory.view.setUint32(cpu + STATE.kernelMode, 1, true);
  memory.view.setUint32(cpu + STATE.flagsRest, 0x202, true);
  engine = new WasmEngine(memory, wasm, 0, () => 0);
  // L4, L3, L2 in frames 1–3, L1 in frame 4.
  const entry = (frame: number, index: number, value: number): void =>
    memory.view.setBigUint64(memory.at(frame) + 8 * index, BigInt(value), true);
  entry(1, 0, 0x2067);
  entry(2, 0, 0x3067);
  entry(3, 2, 0x4067);
  for (const [index, flags] of [3, 3, 1].entries()) entry(4, index, ((CODE_FRAME + index) << 12) | flags);
  memory.view.setBigUint64(cpu + STATE.gpr + 8 * GPR.rdi, DATA, true);
  execute('db e3'); // fninit
});

/** Runs code up to a SYSCALL behind it; the exit otherwise. */
function execute(hex: string): Exit {
  const code = hex.split(' ').map((byte) => Number.parseInt(byte, 16));
  memory.u8.set([...code, ...SYSCALL], memory.at(CODE_FRAME));
  engine.frameWritten(CODE_FRAME);
  memory.view.setBigUint64(cpu + STATE.rip, CODE, true);
  memory.view.setInt32(cpu + STATE.budget, 10_000, true);
  return engine.run();
}
function run(hex: string): void {
  assert.equal(execute(hex), Exit.Syscall);
}
function faults(hex: string, vector: number): void {
  assert.equal(execute(hex), Exit.Exception);
  assert.equal(memory.view.getUint32(cpu + STATE.exitVector, true), vector);
}
const u16 = (offset: number): number => memory.view.getUint16(cpu + offset, true);
const top = (): number => (u16(STATE.fsw) >> 11) & 7;
const conditions = (): number => u16(STATE.fsw) & 0x4700;
/** ST(i) as sign and exponent, and significand. */
function st(i: number): string {
  const at = cpu + STATE.x87 + 16 * ((top() + i) & 7);
  return `${memory.view.getUint16(at + 8, true).toString(16)} ${memory.view.getBigUint64(at, true).toString(16)}`;
}
const FLD1 = 'd9 e8';
const FLDZ = 'd9 ee';
const INDEFINITE = 'ffff c000000000000000';

test('values pushed appear from the top of the stack down, with their tags', () => {
  run(`${FLDZ} ${FLD1}`);
  assert.equal(top(), 6);
  assert.equal(st(0), '3fff 8000000000000000');
  assert.equal(st(1), '0 0');
  assert.equal(u16(STATE.ftw), 0x4fff);
});

test('a double goes through the stack into every integer format', () => {
  memory.view.setFloat64(data, -2.5, true);
  // fld qword [rdi]; fist word [rdi+8]; fist dword [rdi+12]; fistp qword [rdi+16]; fld qword [rdi]; fisttp word [rdi+10]
  run('dd 07 df 57 08 db 57 0c df 7f 10 dd 07 df 4f 0a');
  assert.equal(memory.view.getInt16(data + 8, true), -2);
  assert.equal(memory.view.getInt16(data + 10, true), -2);
  assert.equal(memory.view.getInt32(data + 12, true), -2);
  assert.equal(memory.view.getBigInt64(data + 16, true), -2n);
  assert.equal(top(), 0);
  assert.equal(u16(STATE.ftw), 0xffff);
});

test('subtraction and division to ST(i) and their reversed forms take their operands the right way round', () => {
  for (const [code, expected] of [
    ['dc e9', 7], // fsub st(1),st
    ['dc e1', -7], // fsubr st(1),st
    ['de f9', 4.5], // fdivp st(1),st
    ['de f1', 1 / 4.5], // fdivrp st(1),st
  ] as const) {
    memory.view.setFloat64(data, 9, true);
    memory.view.setFloat64(data + 8, 2, true);
    // fninit; fld 9; fld 2; code; fincstp for the forms that do not pop; fstp qword [rdi+16]
    const pop = code.startsWith('dc') ? 'd9 f7' : '';
    run(`db e3 dd 07 dd 47 08 ${code} ${pop} dd 5f 10`.replace('  ', ' '));
    assert.equal(memory.view.getFloat64(data + 16, true), expected);
  }
});

test('the ninth value overflows the stack: the indefinite, SF and C1', () => {
  run(Array(9).fill(FLD1).join(' '));
  assert.equal(st(0), INDEFINITE);
  assert.equal(u16(STATE.fsw) & 0x2ff, 0x241);
});

test('an empty stack underflows: the integer indefinite is stored and SF set without C1', () => {
  run('db 1f');
  assert.equal(memory.view.getUint32(data, true), 0x8000_0000);
  assert.equal(u16(STATE.fsw) & 0x2ff, 0x041);
});

test('an unmasked exception leaves the operands, and faults at the next instruction that waits', () => {
  memory.view.setUint16(data, 0x37b, true); // #Z is unmasked.
  // fldcw [rdi]; fldz; fld1; fdiv st,st(1); fnstsw ax
  run(`d9 2f ${FLDZ} ${FLD1} d8 f1 df e0`);
  assert.equal(st(0), '3fff 8000000000000000');
  assert.equal(u16(STATE.gpr + 8 * GPR.rax), 0xb084);
  assert.equal(u16(STATE.fop), 0x0f1);
  assert.equal(memory.view.getBigUint64(cpu + STATE.fip, true), CODE + 6n);
  faults('9b', MF);
  faults(FLD1, MF);
  assert.equal(memory.view.getBigUint64(cpu + STATE.rip, true), CODE);
  run('db e2 9b'); // fnclex; fwait
  assert.equal(u16(STATE.fsw) & 0x80ff, 0);
});

test('unmasking a flag that is already set makes it pending', () => {
  memory.view.setUint16(data, 0x37b, true);
  run(`${FLDZ} ${FLD1} d8 f1 d9 2f`);
  faults('9b', MF);
});

test('with the task switched, instructions raise #NM before anything else', () => {
  memory.view.setUint32(cpu + STATE.taskSwitched, 1, true);
  for (const code of [FLD1, '9b', 'db e3', 'd9 3f', 'db 2c 25 00 30 40 00']) faults(code, NM);
});

test('a store that faults leaves the stack and the flags as they were', () => {
  run(FLD1);
  memory.view.setBigUint64(cpu + STATE.gpr + 8 * GPR.rdi, READ_ONLY, true);
  const before = memory.u8.slice(cpu + STATE.fcw, cpu + STATE.x87 + 128);
  for (const code of ['dd 1f', 'db 3f', 'df 37', 'dd 37']) {
    faults(code, PF);
    assert.deepEqual(memory.u8.slice(cpu + STATE.fcw, cpu + STATE.x87 + 128), before, code);
  }
});

test('a store that crosses into a page that is missing writes nothing', () => {
  run(FLD1);
  const last = data + 0xffc;
  memory.view.setUint32(last, 0x11223344, true);
  memory.view.setBigUint64(cpu + STATE.gpr + 8 * GPR.rdi, DATA + 0xffcn, true);
  faults('db 3f', PF);
  assert.equal(memory.view.getUint32(last, true), 0x11223344);
});

test('comparisons set C3 C2 C0, or ZF PF CF', () => {
  for (const [first, second, codes, flags] of [
    [1, 2, 0x0000, 0],
    [2, 1, 0x0100, RFLAGS.CF],
    [2, 2, 0x4000, RFLAGS.ZF],
    [Number.NaN, 1, 0x4500, RFLAGS.ZF | RFLAGS.PF | RFLAGS.CF],
  ] as const) {
    memory.view.setFloat64(data, first, true);
    memory.view.setFloat64(data + 8, second, true);
    run('db e3 dd 07 dd 47 08 dd e1 db e9'); // fucom st(1); fucomi st,st(1)
    assert.equal(conditions(), codes);
    assert.equal(readFlags(memory.view, cpu) & 0x8d5, flags);
    assert.equal(u16(STATE.fsw) & 0x3f, 0);
  }
});

test('fxam tells empty, zero, normal, NaN and the sign', () => {
  for (const [code, expected] of [
    ['d9 e5', 0x4100],
    [`${FLDZ} d9 e5`, 0x4000],
    [`${FLD1} d9 e0 d9 e5`, 0x0600],
    [`${FLDZ} ${FLDZ} d8 f1 d9 e5`, 0x0300], // 0 / 0: the indefinite is negative.
  ] as const) {
    run(`db e3 ${code}`);
    assert.equal(conditions(), expected);
  }
});

test('saving and restoring brings back words, tags and registers; saving initializes', () => {
  run(`${FLD1} d9 eb ${FLDZ}`); // 1, pi, 0
  const before = memory.u8.slice(cpu + STATE.fcw, cpu + STATE.fop);
  run('dd 37'); // fnsave [rdi]
  assert.equal(u16(STATE.ftw), 0xffff);
  assert.equal(u16(STATE.fcw), 0x37f);
  // Registers 7, 6 and 5: valid, valid, zero.
  assert.equal(memory.view.getUint16(data + 8, true), 0x07ff);
  run('dd 27'); // frstor [rdi]
  assert.deepEqual(memory.u8.slice(cpu + STATE.fcw, cpu + STATE.fop), before);
  assert.deepEqual([st(0), st(1), st(2)], ['0 0', '4000 c90fdaa22168c235', '3fff 8000000000000000']);
});

test('storing the environment masks all exceptions', () => {
  memory.view.setUint16(data, 0x340, true);
  run('d9 2f d9 77 10'); // fldcw [rdi]; fnstenv [rdi+16]
  assert.equal(u16(STATE.fcw), 0x37f);
  assert.equal(memory.view.getUint16(data + 16, true), 0x340);
});

test('ST(i) moves by the flags of integer instructions', () => {
  run(`${FLDZ} ${FLD1} 31 c0 da c9`); // xor eax,eax; fcmove st,st(1)
  assert.equal(st(0), '0 0');
});
