/** MMX and SSE as a guest notices them. Results are compared with a real CPU by test/cpu; here is what that cannot set up or hits rarely. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { WasmEngine } from '../../host/wasm-engine.ts';
import { GuestMemory, planLayout } from '../../hypervisor/memory.ts';
import { Exit } from '../../x86/exits.ts';
import { ROWS } from '../../x86/opcodes/index.ts';
import { sampleBytes, seeded } from '../../x86/sample.ts';
import { GPR, STATE } from '../../x86/state.ts';

const CODE = 0x400000n;
const DATA = 0x410000n;
const CODE_FRAME = 16;
const DATA_FRAME = CODE_FRAME + 16;
const FX_BYTES = 512;

const layout = planLayout(512, 1);
const pages = layout.bytes / 65536;
const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
const memory = new GuestMemory(wasm.buffer as SharedArrayBuffer, layout);
const cpu = memory.vcpuBase(0);
const { view } = memory;
view.setUint32(cpu + STATE.kernelRoot, 1, true);
view.setUint32(cpu + STATE.kernelMode, 1, true);
const engine = new WasmEngine(memory, wasm, 0, () => 0);
const entry = (frame: number, index: number, value: number): void =>
  view.setBigUint64(memory.at(frame) + 8 * index, BigInt(value), true);
entry(1, 0, 0x2067);
entry(2, 0, 0x3067);
entry(3, 2, 0x4067);
for (let i = 0; i < 64; i++) entry(4, i, ((CODE_FRAME + i) << 12) | 3);

interface Before {
  mxcsr?: number;
  taskSwitched?: number;
  fsw?: number;
  ftw?: number;
  rdi?: bigint;
}
/** Performs one instruction: the exception vector, or undefined. */
function step(bytes: readonly number[], before: Before = {}): number | undefined {
  view.setUint32(cpu + STATE.mxcsr, before.mxcsr ?? 0x1f80, true);
  view.setUint32(cpu + STATE.taskSwitched, before.taskSwitched ?? 0, true);
  view.setUint16(cpu + STATE.fsw, before.fsw ?? 0, true);
  view.setUint16(cpu + STATE.ftw, before.ftw ?? 0xffff, true);
  view.setBigUint64(cpu + STATE.gpr + 8 * GPR.rdi, before.rdi ?? DATA, true);
  view.setBigUint64(cpu + STATE.rip, CODE, true);
  memory.u8.set(bytes, memory.at(CODE_FRAME));
  engine.frameWritten(CODE_FRAME);
  const exit = engine.step();
  if (exit === Exit.Stepped) return undefined;
  assert.equal(exit, Exit.Exception);
  return view.getUint32(cpu + STATE.exitVector, true);
}
const xmm = (n: number): bigint => view.getBigUint64(cpu + STATE.xmm + 16 * n, true);
const setXmm = (n: number, value: bigint): void => view.setBigUint64(cpu + STATE.xmm + 16 * n, value, true);
const mxcsr = (): number => view.getUint32(cpu + STATE.mxcsr, true);

const NM = 7;
const GP = 13;
const MF = 16;
const XM = 19;

const FEATURES = ['mmx', 'sse', 'sse2', 'sse3', 'ssse3', 'sse4_1', 'sse4_2'];
/** Of these features, but on general registers alone or without effect. */
const GENERAL = /^(crc32|movnti|prefetch.*|[slm]fence|nop|pause|clflush)$/;

describe('while CR0.TS is set', () => {
  test('every MMX and SSE instruction raises #NM', () => {
    const rows = ROWS.filter(
      ({ flags, mnemonic }) => flags.some((flag) => FEATURES.includes(flag)) && !GENERAL.test(mnemonic),
    );
    assert.ok(rows.length > 350);
    const choose = seeded(1);
    for (const row of rows) assert.equal(step([...sampleBytes(row, choose)], { taskSwitched: 1 }), NM, row.mnemonic);
  });
  test('crc32 and movnti run', () => {
    assert.equal(step([0xf2, 0x0f, 0x38, 0xf1, 0xc2], { taskSwitched: 1 }), undefined);
    assert.equal(step([0x0f, 0xc3, 0x07], { taskSwitched: 1 }), undefined);
  });
});

describe('MMX and the x87 registers', () => {
  test('an instruction with an MMX operand sets TOP to 0, all tags to valid and the exponent to ones', () => {
    assert.equal(step([0x0f, 0xef, 0xc9], { fsw: 0x3800 }), undefined); // pxor mm1, mm1
    assert.equal(view.getUint16(cpu + STATE.fsw, true), 0);
    assert.equal(view.getUint16(cpu + STATE.ftw, true), 0);
    assert.equal(view.getUint16(cpu + STATE.x87 + 16 + 8, true), 0xffff);
  });
  test('emms marks all registers empty', () => {
    assert.equal(step([0x0f, 0x77], { ftw: 0 }), undefined);
    assert.equal(view.getUint16(cpu + STATE.ftw, true), 0xffff);
  });
  test('a pending x87 exception is raised by MMX instructions, not by SSE ones', () => {
    assert.equal(step([0x0f, 0xef, 0xc9], { fsw: 0x80 }), MF);
    assert.equal(step([0x0f, 0x2d, 0xca], { fsw: 0x80 }), MF); // cvtps2pi mm1, xmm2
    assert.equal(step([0x66, 0x0f, 0xef, 0xc9], { fsw: 0x80 }), undefined);
  });
});

describe('operands in memory', () => {
  test('16 bytes that are not aligned raise #GP, except for the instructions that allow it', () => {
    assert.equal(step([0x0f, 0x28, 0x0f], { rdi: DATA + 8n }), GP); // movaps xmm1, [rdi]
    assert.equal(step([0x0f, 0x29, 0x0f], { rdi: DATA + 8n }), GP); // movaps [rdi], xmm1
    assert.equal(step([0x66, 0x0f, 0xfe, 0x0f], { rdi: DATA + 4n }), GP); // paddd xmm1, [rdi]
    assert.equal(step([0x0f, 0x58, 0x0f], { rdi: DATA + 4n }), GP); // addps xmm1, [rdi]
    assert.equal(step([0x0f, 0x10, 0x0f], { rdi: DATA + 1n }), undefined); // movups xmm1, [rdi]
  });
  test('an unaligned store across two pages reaches both', () => {
    setXmm(1, 0x1122_3344_5566_7788n);
    assert.equal(step([0x0f, 0x11, 0x0f], { rdi: DATA + 0xffcn }), undefined); // movups [rdi], xmm1
    assert.equal(view.getUint32(memory.at(DATA_FRAME) + 0xffc, true), 0x5566_7788);
    assert.equal(view.getUint32(memory.at(DATA_FRAME + 1), true), 0x1122_3344);
  });
});

const ADDSD = [0xf2, 0x0f, 0x58, 0xca];
const MULSD = [0xf2, 0x0f, 0x59, 0xca];
const DIVSD = [0xf2, 0x0f, 0x5e, 0xca];
const SQRTSD = [0xf2, 0x0f, 0x51, 0xca];
const CVTSD2SI = [0xf2, 0x48, 0x0f, 0x2d, 0xc2];
const MIN_NORMAL = 0x0010_0000_0000_0000n;
const BELOW_ONE = 0x3fef_ffff_ffff_ffffn;
const bits = (value: number): bigint => {
  const scratch = new DataView(new ArrayBuffer(8));
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0);
};

// biome-ignore format: a table
const ROUNDING: [story: string, code: number[], a: bigint, b: bigint, mxcsr: number, result: bigint, after: number][] = [
  ['an exact sum leaves PE clear',                  ADDSD,  bits(1.5), bits(0.25),      0x1f80, bits(1.75),             0x1f80],
  ['a sum with minus zero is exact',                ADDSD,  bits(5),   bits(-0),        0x1f80, bits(5),                0x1f80],
  ['a product of 26 and 26 digits is exact',        MULSD,  bits(2 ** 26 - 1), bits(2 ** 26 - 1), 0x1f80, bits((2 ** 26 - 1) ** 2), 0x1f80],
  ['so is one of 27 and 27 that has 53',            MULSD,  bits(2 ** 26 + 1), bits(2 ** 26 + 1), 0x1f80, bits((2 ** 26 + 1) ** 2), 0x1f80],
  ['one of 27 and 27 that has 54 sets PE',          MULSD,  bits(2 ** 27 - 1), bits(2 ** 27 - 1), 0x1f80, bits((2 ** 27 - 1) ** 2), 0x1fa0],
  ['an exact quotient leaves PE clear',             DIVSD,  bits(1.5), bits(0.5),       0x1f80, bits(3),                0x1f80],
  ['so does one of 27 digits by 27',                DIVSD,  bits((2 ** 26 + 1) ** 2), bits(2 ** 26 + 1), 0x1f80, bits(2 ** 26 + 1), 0x1f80],
  ['an exact root leaves PE clear',                 SQRTSD, 0n,        bits(49),        0x1f80, bits(7),                0x1f80],
  ['a rounded root sets PE',                        SQRTSD, 0n,        bits(2),         0x1f80, bits(Math.SQRT2),       0x1fa0],
  ['a rounded sum sets PE',                         ADDSD,  bits(1),   bits(1e-30),     0x1f80, bits(1),                0x1fa0],
  ['a rounded quotient sets PE',                    DIVSD,  bits(1),   bits(3),         0x1f80, bits(1 / 3),            0x1fa0],
  ['a quotient is rounded up when MXCSR says so',   DIVSD,  bits(1),   bits(3),         0x5fa0, bits(1 / 3) + 1n,       0x5fa0],
  ['dividing by zero sets ZE',                      DIVSD,  bits(1),   bits(0),         0x1fa0, bits(Infinity),         0x1fa4],
  ['infinity minus infinity is the default NaN',    ADDSD,  bits(Infinity), bits(-Infinity), 0x1fa0, 0xfff8_0000_0000_0000n, 0x1fa1],
  ['of two NaNs the first one is kept, made quiet', ADDSD,  0x7ff0_0000_0000_0001n, 0x7ff8_0000_0000_0002n, 0x1fa0, 0x7ff8_0000_0000_0001n, 0x1fa1],
  ['a quiet NaN raises nothing',                    MULSD,  0x7ff8_0000_0000_0001n, bits(1), 0x1fa0, 0x7ff8_0000_0000_0001n, 0x1fa0],
  ['a result too large overflows',                  MULSD,  bits(1e300), bits(1e300),   0x1fa0, bits(Infinity),         0x1fa8],
  ['a tiny result that is rounded up to the least normal number still underflows',
                                                    MULSD,  MIN_NORMAL, BELOW_ONE,      0x1fa0, MIN_NORMAL,             0x1fb0],
  ['FTZ makes that result zero',                    MULSD,  MIN_NORMAL, BELOW_ONE,      0x9fa0, 0n,                     0x9fb0],
  ['a denormal operand sets DE',                    ADDSD,  bits(1),   1n,              0x1fa0, bits(1),                0x1fa2],
  ['DAZ takes a denormal operand for zero',         ADDSD,  bits(1),   1n,              0x1fc0, bits(1),                0x1fc0],
  ['an exact denormal sum raises nothing',          ADDSD,  MIN_NORMAL + 1n, MIN_NORMAL | (1n << 63n), 0x1fa0, 1n,      0x1fa0],
  ['the root of a negative number is invalid',      SQRTSD, 0n,        bits(-4),        0x1fa0, 0xfff8_0000_0000_0000n, 0x1fa1],
];

describe('arithmetic', () => {
  for (const [story, code, a, b, before, result, after] of ROUNDING) {
    test(story, () => {
      setXmm(1, a);
      setXmm(2, b);
      assert.equal(step(code, { mxcsr: before }), undefined);
      assert.deepEqual([xmm(1).toString(16), mxcsr().toString(16)], [result.toString(16), after.toString(16)]);
    });
  }
  test('an exception that is not masked is #XM, sets its flag and leaves the destination', () => {
    setXmm(1, bits(1));
    setXmm(2, bits(0));
    assert.equal(step(DIVSD, { mxcsr: 0x1fa0 & ~0x200 }), XM);
    assert.equal(xmm(1), bits(1));
    assert.equal(mxcsr(), (0x1fa0 & ~0x200) | 4);
  });
  test('a number beyond 64 bits converts to 8000000000000000 and sets IE', () => {
    setXmm(2, bits(2 ** 63));
    assert.equal(step(CVTSD2SI, { mxcsr: 0x1fa0 }), undefined);
    assert.equal(view.getBigUint64(cpu + STATE.gpr, true), 1n << 63n);
    assert.equal(mxcsr(), 0x1fa1);
  });
});

describe('saved state', () => {
  test('ldmxcsr refuses reserved bits', () => {
    view.setUint32(memory.at(DATA_FRAME), 0x11f80, true);
    assert.equal(step([0x0f, 0xae, 0x17]), GP);
    assert.equal(mxcsr(), 0x1f80);
  });
  test('fxrstor brings back what fxsave wrote, x87 registers in stack order', () => {
    const at = memory.at(DATA_FRAME);
    for (let n = 0; n < 8; n++) {
      view.setBigUint64(cpu + STATE.x87 + 16 * n, (1n << 63n) | BigInt(n), true);
      view.setUint16(cpu + STATE.x87 + 16 * n + 8, 0x3fff + n, true);
    }
    for (let n = 0; n < 16; n++) setXmm(n, BigInt(n) * 0x0101_0101n);
    // TOP is 3; R2 is empty.
    assert.equal(step([0x0f, 0xae, 0x07], { fsw: 0x1800, ftw: 0x0030 }), undefined);
    assert.equal(view.getBigUint64(at + 32, true), (1n << 63n) | 3n);
    assert.equal(view.getUint8(at + 4), 0xfb);
    memory.u8.fill(0, cpu + STATE.x87, cpu + STATE.x87 + 128);
    memory.u8.fill(0, cpu + STATE.xmm, cpu + STATE.xmm + 256);
    assert.equal(step([0x0f, 0xae, 0x0f]), undefined);
    assert.equal(view.getUint16(cpu + STATE.fsw, true), 0x1800);
    assert.equal(view.getUint16(cpu + STATE.ftw, true), 0x0030);
    for (let n = 0; n < 8; n++) {
      assert.equal(view.getBigUint64(cpu + STATE.x87 + 16 * n, true), (1n << 63n) | BigInt(n));
    }
    for (let n = 0; n < 16; n++) assert.equal(xmm(n), BigInt(n) * 0x0101_0101n);
  });
  test('an image that is not aligned raises #GP', () => {
    assert.equal(step([0x0f, 0xae, 0x07], { rdi: DATA + 8n }), GP);
    memory.u8.fill(0, memory.at(DATA_FRAME), memory.at(DATA_FRAME) + FX_BYTES);
  });
});
