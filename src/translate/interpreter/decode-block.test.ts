/** WebAssembly's decoding writes the records that TypeScript's does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory, planLayout } from '../../hypervisor/memory.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import { decode } from '../../x86/decode.ts';
import { ROWS } from '../../x86/opcodes/index.ts';
import { ARENA, DECODER, HINTS, RECORD, RECORD_BYTES } from '../layout.ts';
import { buildDecoder } from './decode-block.ts';
import { decodeTables, exampleOf, TABLES } from './decode-tables.ts';
import { entryHint } from './entry-hint.ts';
import { RecordIndex } from './record-index.ts';
import { endsBlock, shapeKey, writeRecord } from './shape.ts';

interface Decoder {
  decodeBlock(cpu: number, at: number, page: number, unit: number, record: number, most: number): number;
}

/** A decoder for the page at `page`, with handlers numbered as they are asked for. Its records begin at `records`. */
function decoder() {
  const layout = planLayout(1, 1);
  const pages = layout.bytes / 0x10000;
  const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const m = new ModuleBuilder();
  m.importMemory(pages, pages);
  buildDecoder(m);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.finish()), { e: { m: wasmMemory } });
  const { decodeBlock } = exports as unknown as Decoder;
  const memory = new GuestMemory(wasmMemory.buffer as SharedArrayBuffer, layout);
  const { u8, view } = memory;
  const cpu = memory.vcpuBase(0);
  const page = memory.at(0);
  const records = cpu + ARENA;
  u8.set(decodeTables(), cpu + DECODER);
  const index = new RecordIndex(memory, cpu);
  const handlers = new Map<string, number>();
  const handler = (shape: string): number => {
    const known = handlers.get(shape) ?? handlers.size + 4;
    handlers.set(shape, known);
    return known;
  };
  const run = (offset: number, most: number): number => {
    for (;;) {
      const result = decodeBlock(cpu, page + offset, page, index.page(page), records, most);
      const wanted = view.getUint32(cpu + DECODER + TABLES.wanted, true);
      if (wanted === 0) return result;
      view.setUint16(cpu + DECODER + TABLES.handlers + 2 * wanted, handler(shapeKey(exampleOf(wanted))), true);
      // Once more from the beginning.
      for (let k = 0; k < result >> 1; k++) {
        index.delete(page + view.getUint16(records + k * RECORD_BYTES + RECORD.position, true));
      }
    }
  };
  return { u8, view, cpu, page, records, index, run, handler };
}

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
}

test('what it decodes of bytes of chance are the same records, with the handlers of their shapes', () => {
  const { u8, page, records, index, run, handler } = decoder();
  const next = random(20041105);
  const rows = new Set<number>();
  const expected = new Uint8Array(RECORD_BYTES);
  const view = new DataView(expected.buffer);
  const prefixes = [0x66, 0xf2, 0xf3, 0x67, 0x48, 0x41, 0xf0, 0x0f, 0x65, 0x0f];
  for (let round = 0; round < 300_000; round++) {
    const offset = next() % (4096 - 32);
    for (let k = 0; k < 32; k++) u8[page + offset + k] = next();
    // Prefixes and longer opcodes more often than chance has them.
    for (let k = 0; k < round % 4; k++) u8[page + offset + k] = prefixes[next() % prefixes.length]!;
    const result = run(offset, 1);
    if (result === 0) continue;
    const insn = decode(u8, page + offset, page + 4096);
    const bytes = Buffer.from(u8.subarray(page + offset, page + offset + 16)).toString('hex');
    assert.ok(typeof insn !== 'string', `${bytes}: ${String(insn)}`);
    expected.fill(0);
    writeRecord(view, 0, insn, offset);
    view.setUint16(0, handler(shapeKey(insn)), true);
    assert.deepEqual(
      u8.slice(records, records + RECORD_BYTES),
      expected,
      `${bytes} ${insn.row.encoding} ${insn.mnemonic}`,
    );
    assert.equal(result, endsBlock(insn.row) ? 3 : 2, bytes);
    assert.equal(index.get(page + offset), records, bytes);
    index.delete(page + offset);
    rows.add(insn.row.index);
  }
  assert.ok(rows.size > ROWS.length / 3, `${rows.size} rows of ${ROWS.length}`);
});

test('it ends behind a branch that does not come back, and stops before what it does not know and the end of the page', () => {
  const { u8, page, run, index } = decoder();
  u8.fill(0x90, page, page + 4096);
  assert.equal(run(0, 5), 10);
  index.clear();
  assert.equal(run(0, 4096) >> 1, 4096 - 31);
  index.clear();
  // ret, behind a conditional branch and before something else.
  u8.set([0x74, 0x02, 0xc3, 0x90], page + 1);
  assert.equal(run(0, 5), 7);
  index.clear();
  // rep stos, and an address of 32 bits.
  for (const bytes of [
    [0xf3, 0xaa],
    [0x67, 0x8b, 0x00],
    [0x0f, 0xff],
  ]) {
    u8.set(bytes, page + 1);
    assert.equal(run(0, 5), 2, String(bytes));
    index.clear();
  }
});

test('a page of prefixes is no instruction, and nothing behind the page is read for it', () => {
  const { u8, page, run } = decoder();
  u8.fill(0x66, page, page + 2 * 4096);
  assert.equal(run(0, 5), 0);
  assert.equal(run(4096 - 32, 5), 0);
  u8.fill(0x66, page, page + 14);
  u8[page + 14] = 0x90;
  assert.equal(run(0, 1), 2);
});

test('it enters what it decodes in the index, and stops before what is there and where a region is expected', () => {
  const { u8, cpu, page, records, index, run } = decoder();
  u8.fill(0x90, page, page + 4096);
  assert.equal(run(60, 8), 16);
  for (let k = 0; k < 8; k++) assert.equal(index.get(page + 60 + k), records + k * RECORD_BYTES);
  assert.equal(index.get(page + 68), 0);
  assert.equal(run(50, 20), 20);
  u8[cpu + HINTS + entryHint(u8, page, 105)] = 1;
  assert.equal(run(100, 20), 10);
  assert.equal(run(105, 20), 40, 'the first is decoded whatever is expected there');
});

test('a branch leads to the record of its target, if that is in its page and has one', () => {
  const { u8, view, page, records, index, run } = decoder();
  u8.fill(0x90, page, page + 4096);
  index.set(page + 0x800, 0x1234560);
  const branch = (at: number, to: number): readonly [number, number] => {
    u8.set([0x0f, 0x84], page + at);
    new DataView(u8.buffer).setInt32(page + at + 2, to - at - 6, true);
    assert.equal(run(at, 1), 2);
    return [view.getUint32(records + RECORD.immHi, true), view.getUint32(records + RECORD.displacement, true)];
  };
  assert.deepEqual(branch(0x100, 0x800), [0x1234560, 0]);
  assert.deepEqual(branch(0x900, 0x800), [0x1234560, 0]);
  assert.deepEqual(branch(0x200, 0x801), [0, 0]);
  assert.deepEqual(branch(0x300, 0x1800), [0, 1]);
  assert.deepEqual(branch(0x400, -1), [0, 1]);
});
