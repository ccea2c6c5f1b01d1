import assert from 'node:assert/strict';
import test from 'node:test';
import { findKernelSymbols, symbolAt } from './kallsyms.ts';

const BASE = 0xffffffff81000000n;
const COUNT = 700;
const aligned = (parts: Buffer[]): Buffer =>
  Buffer.concat(parts.flatMap((part) => [part, Buffer.alloc(-part.length & 7)]));

/** Code, then data. */
const kindOf = (k: number): string => (k < 600 ? 'T' : 'd');

/** Tables as scripts/kallsyms.c of Linux writes them, each token a letter of its own; one long name as of Rust. */
function tables(order: 'before 6.4' | 'since 6.4'): { memory: Buffer; names: string[]; addresses: bigint[] } {
  const names = Array.from({ length: COUNT }, (_, k) => (k === 500 ? `long_${'x'.repeat(200)}` : `function_${k}`));
  const addresses = names.map((_, k) => (k === 0 ? 0n : BASE + BigInt(k * 64)));
  const table = Buffer.concat(Array.from({ length: 256 }, (_, k) => Buffer.from([k || 1, 0])));
  const index = Buffer.alloc(512);
  for (let k = 0; k < 256; k++) index.writeUInt16LE(2 * k, 2 * k);
  const markers: number[] = [];
  const packed: Buffer[] = [];
  let length = 0;
  names.forEach((name, k) => {
    if (k % 256 === 0) markers.push(length);
    const text = Buffer.from(`${kindOf(k)}${name}`, 'latin1');
    const head = text.length < 128 ? [text.length] : [0x80 | (text.length & 0x7f), text.length >> 7];
    packed.push(Buffer.from(head), text);
    length += head.length + text.length;
  });
  const marks = Buffer.alloc(4 * markers.length);
  markers.forEach((mark, k) => void marks.writeUInt32LE(mark, 4 * k));
  const offsets = Buffer.alloc(4 * COUNT);
  // Below zero: behind the base, less one. The first symbol is absolute, as those of per-CPU variables are.
  addresses.forEach((address, k) => void offsets.writeInt32LE(k === 0 ? 0 : Number(BASE - 1n - address), 4 * k));
  const base = Buffer.alloc(8);
  base.writeBigUInt64LE(BASE);
  const count = Buffer.alloc(8);
  count.writeUInt32LE(COUNT);
  const middle = [count, Buffer.concat(packed), marks, table, index];
  const parts = order === 'before 6.4' ? [offsets, base, ...middle] : [...middle, offsets, base];
  return { memory: aligned([Buffer.alloc(4096, 0x90), ...parts, Buffer.alloc(64)]), names, addresses };
}

for (const order of ['before 6.4', 'since 6.4'] as const) {
  test(`the kernel's symbols are found in its memory, tables ordered as ${order}`, () => {
    const { memory, names, addresses } = tables(order);
    const symbols = findKernelSymbols(memory);
    assert.deepEqual(symbols?.names, names);
    assert.deepEqual([...symbols!.addresses], addresses);
    assert.deepEqual(
      symbols!.kinds,
      names.map((_, k) => kindOf(k)),
    );
    assert.deepEqual(symbolAt(symbols!, BASE + 64n * 500n + 7n), { name: names[500], offset: 7 });
  });
}

test('tables that do not fit together, or are cut off, are none', () => {
  const { memory } = tables('before 6.4');
  for (const keep of [memory.length - 128, memory.length >> 1, 4096, 0]) {
    assert.equal(findKernelSymbols(memory.subarray(0, keep)), undefined);
  }
  const torn = Buffer.from(memory);
  torn.fill(0xff, 4096 + 4 * COUNT + 64, 4096 + 4 * COUNT + 128); // In the names.
  assert.equal(findKernelSymbols(torn), undefined);
});
