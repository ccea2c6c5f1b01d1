/** WebAssembly's decoding writes the records that TypeScript's does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ModuleBuilder } from '../../wasm/module.ts';
import { decode } from '../../x86/decode.ts';
import { ROWS } from '../../x86/opcodes/index.ts';
import { DECODER, RECORD_BYTES } from '../layout.ts';
import { buildDecoder } from './decode-block.ts';
import { decodeTables, exampleOf, TABLES } from './decode-tables.ts';
import { endsBlock, shapeKey, writeRecord } from './shape.ts';

const PAGE = 0x110000;
const RECORDS = 0x120000;

interface Decoder {
  decodeBlock(cpu: number, at: number, page: number, record: number, most: number): number;
}

/** The decoder of a vCPU at address 0, with handlers numbered as they are asked for. */
function decoder() {
  const memory = new WebAssembly.Memory({ initial: 32, maximum: 32, shared: true });
  const m = new ModuleBuilder();
  m.importMemory(32, 32);
  buildDecoder(m);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.finish()), { e: { m: memory } });
  const { decodeBlock } = exports as unknown as Decoder;
  const u8 = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  u8.set(decodeTables(), DECODER);
  const handlers = new Map<string, number>();
  const handler = (shape: string): number => {
    const known = handlers.get(shape) ?? handlers.size + 4;
    handlers.set(shape, known);
    return known;
  };
  const run = (offset: number, most: number): number => {
    for (;;) {
      const result = decodeBlock(0, PAGE + offset, PAGE, RECORDS, most);
      const wanted = view.getUint32(DECODER + TABLES.wanted, true);
      if (wanted === 0) return result;
      view.setUint16(DECODER + TABLES.handlers + 2 * wanted, handler(shapeKey(exampleOf(wanted))), true);
    }
  };
  return { u8, view, run, handler };
}

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
}

test('what it decodes of bytes of chance are the same records, with the handlers of their shapes', () => {
  const { u8, run, handler } = decoder();
  const next = random(20041105);
  const rows = new Set<number>();
  const expected = new Uint8Array(RECORD_BYTES);
  const view = new DataView(expected.buffer);
  const prefixes = [0x66, 0xf2, 0xf3, 0x67, 0x48, 0x41, 0xf0, 0x0f, 0x65, 0x0f];
  for (let round = 0; round < 300_000; round++) {
    const offset = next() % (4096 - 32);
    for (let k = 0; k < 32; k++) u8[PAGE + offset + k] = next();
    // Prefixes and longer opcodes more often than chance has them.
    for (let k = 0; k < round % 4; k++) u8[PAGE + offset + k] = prefixes[next() % prefixes.length]!;
    const result = run(offset, 1);
    if (result === 0) continue;
    const insn = decode(u8, PAGE + offset, PAGE + 4096);
    const bytes = Buffer.from(u8.subarray(PAGE + offset, PAGE + offset + 16)).toString('hex');
    assert.ok(typeof insn !== 'string', `${bytes}: ${String(insn)}`);
    expected.fill(0);
    writeRecord(view, 0, insn, offset);
    view.setUint16(0, handler(shapeKey(insn)), true);
    assert.deepEqual(
      u8.slice(RECORDS, RECORDS + RECORD_BYTES),
      expected,
      `${bytes} ${insn.row.encoding} ${insn.mnemonic}`,
    );
    assert.equal(result, endsBlock(insn.row) ? 3 : 2, bytes);
    rows.add(insn.row.index);
  }
  assert.ok(rows.size > ROWS.length / 3, `${rows.size} rows of ${ROWS.length}`);
});

test('it ends behind a branch that does not come back, and stops before what it does not know and the end of the page', () => {
  const { u8, run } = decoder();
  u8.fill(0x90, PAGE, PAGE + 4096);
  assert.equal(run(0, 5), 10);
  assert.equal(run(0, 4096) >> 1, 4096 - 31);
  // ret, behind a conditional branch and before something else.
  u8.set([0x74, 0x02, 0xc3, 0x90], PAGE + 1);
  assert.equal(run(0, 5), 7);
  // rep stos, and an address of 32 bits.
  for (const bytes of [
    [0xf3, 0xaa],
    [0x67, 0x8b, 0x00],
    [0x0f, 0xff],
  ]) {
    u8.set(bytes, PAGE + 1);
    assert.equal(run(0, 5), 2, String(bytes));
  }
});

test('a page of prefixes is no instruction, and nothing behind the page is read for it', () => {
  const { u8, run } = decoder();
  u8.fill(0x66, PAGE, PAGE + 2 * 4096);
  assert.equal(run(0, 5), 0);
  assert.equal(run(4096 - 32, 5), 0);
  u8.fill(0x66, PAGE, PAGE + 14);
  u8[PAGE + 14] = 0x90;
  assert.equal(run(0, 1), 2);
});
