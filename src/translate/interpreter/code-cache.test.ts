import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory, planLayout } from '../../hypervisor/memory.ts';
import { CODE_HASH } from '../layout.ts';
import { CodeCache, type CodeCachePorts } from './code-cache.ts';
import { Arm, codeHashSlot } from './generate.ts';

const ports = (): CodeCachePorts => ({
  decodeBlock: () => 0,
  handler: () => Arm.first,
  invalid: () => Arm.first,
  remember() {},
  forgetAll() {},
  withholdWrites() {},
  dropped() {},
  overwritten: () => false,
  expected: () => false,
});

test('an address that was displaced twice is forgotten, and those that are in use stay', () => {
  const layout = planLayout(64, 1);
  const memory = new GuestMemory(new SharedArrayBuffer(layout.bytes), layout);
  const cpu = memory.vcpuBase(0);
  const cache = new CodeCache(memory, cpu, ports());
  const [ramStart, ramEnd] = [memory.at(0), memory.at(64)];
  const found = (at: number): boolean => memory.u32[(cpu + CODE_HASH + codeHashSlot(at) * 8) >>> 2] === at;
  const first = ramStart + 0x123;
  const inSlot = (slot: number): number[] =>
    Array.from({ length: ramEnd - ramStart }, (_, k) => ramStart + k).filter((at) => codeHashSlot(at) === slot);
  const [same, beside] = [inSlot(codeHashSlot(first)).find((at) => at !== first)!, inSlot(codeHashSlot(first) ^ 1)[0]!];
  // `same` displaces `first` to the slot beside it, which is where `beside` belongs.
  for (const at of [first, same, beside]) cache.lookup(at);
  assert.deepEqual([found(same), found(beside)], [true, true]);
});

test('what is counted is told again and again in the same memory', () => {
  const layout = planLayout(64, 1);
  const memory = new GuestMemory(new SharedArrayBuffer(layout.bytes), layout);
  const cache = new CodeCache(memory, memory.vcpuBase(0), ports());
  const record = cache.lookup(memory.at(0));
  const first = cache.counts();
  cache.count(record, 7);
  assert.equal(cache.arrivals(record, first), 7);
  const second = cache.counts();
  assert.equal(cache.arrivals(record, second), 0);
  assert.equal(second.words.buffer, first.words.buffer);
});
