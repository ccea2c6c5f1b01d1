import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from './decode.ts';
import { disassemble } from './disassemble.ts';
import { encode, formOf, operandSizes } from './encode.ts';
import { ROWS } from './opcodes/index.ts';
import { Kind, memoryOperand, registerOperand } from './operand.ts';
import type { Row } from './rows.ts';
import { sample, seeded } from './sample.ts';

const hex = (code: Uint8Array) => [...code].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

/** Rows for all of an opcode, of which a more specific row takes a part: xchg rax,rax is nop, a hint is a prefetch. */
function overlaps(row: Row, found: Row): boolean {
  return ['90 +r', '0F 0D /r', '0F 18 /r'].includes(row.encoding) && found.encoding !== row.encoding;
}

test('decoding what was encoded gives the same row, sizes and operands, for every row', () => {
  const seed = 20040824;
  const choose = seeded(seed);
  for (const row of ROWS) {
    for (let k = 0; k < 60; k++) {
      const encoding = sample(row, choose);
      const code = encode(row, encoding);
      const what = `${row.encoding} ${row.mnemonic} ${row.operands} as ${hex(code)} (seed ${seed})`;
      const insn = decode(code, 0, code.length);
      if (typeof insn === 'string') assert.fail(`${what}: ${insn}`);
      if (overlaps(row, insn.row)) continue;
      assert.equal(insn.row, row, what);
      assert.equal(insn.length, code.length, what);
      assert.deepEqual(insn.operands, encoding.operands, what);
      assert.equal(insn.lock, encoding.lock, what);
      assert.equal(insn.rep, encoding.rep, what);
      assert.equal(insn.addrSize, encoding.addr32 ? 4 : 8, what);
      if (formOf(row).specs.some((spec) => spec.size < 0)) assert.equal(insn.opSize, encoding.opSize, what);
      assert.notEqual(disassemble(insn), '', what);
    }
  }
});

test('a row is encoded in each of its operand sizes', () => {
  const row = ROWS.find((r) => r.encoding === '03 /r')!;
  const texts = operandSizes(row).map((opSize) => {
    const operands = [registerOperand(Kind.Reg, 9, opSize), memoryOperand(opSize, { base: 13, disp: 0 })];
    const code = encode(row, { opSize, operands });
    const insn = decode(code, 0, code.length);
    return typeof insn === 'string' ? insn : `${hex(code)}: ${disassemble(insn)}`;
  });
  assert.deepEqual(texts, [
    '45 03 4d 00: add r9d,DWORD PTR [r13]',
    '4d 03 4d 00: add r9,QWORD PTR [r13]',
    '66 45 03 4d 00: add r9w,WORD PTR [r13]',
  ]);
});

test('what cannot be encoded is refused', () => {
  const mov = ROWS.find((r) => r.encoding === '88 /r')!;
  const operands = [registerOperand(Kind.Reg, 8, 1), registerOperand(Kind.Reg, 0, 1, true)];
  assert.throws(() => encode(mov, { operands }), /cannot be encoded with REX/);
  assert.throws(() => encode(mov, { operands: [] }), /takes 2 operands/);
});
