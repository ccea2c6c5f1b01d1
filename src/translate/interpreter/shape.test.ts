/** The two names of a shape agree. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '../../x86/decode.ts';
import { shapeKey, shapeNumber } from './shape.ts';

test('instructions of one row with one shape number have one shape', () => {
  const shapes = new Map<string, string>();
  const bytes = new Uint8Array(16);
  let state = 20041105;
  let decoded = 0;
  for (let round = 0; round < 400_000; round++) {
    for (let i = 0; i < bytes.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      bytes[i] = state >>> 24;
    }
    // Half of them with two opcode bytes, and prefixes more often than chance has them.
    const prefixes = [0x66, 0xf2, 0xf3, 0x67, 0x48, 0xf0, 0x0f];
    if (round & 1) bytes[0] = prefixes[round % 7]!;
    if (round & 2) bytes[1] = prefixes[(round >>> 3) % 7]!;
    const insn = decode(bytes, 0, bytes.length);
    if (typeof insn === 'string') continue;
    decoded++;
    const n = shapeNumber(insn);
    assert.ok(n < 1 << 28);
    if (n < 0) continue;
    const name = `${insn.row.index} ${n}`;
    const key = shapeKey(insn);
    assert.equal(shapes.get(name) ?? key, key, `${insn.row.encoding} ${Buffer.from(bytes).toString('hex')}`);
    shapes.set(name, key);
  }
  assert.ok(decoded > 100_000 && shapes.size > 2000, `${decoded} decoded, ${shapes.size} shapes`);
});
