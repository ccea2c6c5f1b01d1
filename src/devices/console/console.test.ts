import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConsoleRing } from '../../abi/rings.ts';
import { ConsoleBackend } from './console.ts';

const FRAME = 3;

/** A guest's side of the ring, and a sink that takes `room` bytes. */
function setUp(prepare: (view: DataView) => void = () => {}) {
  const buffer = new SharedArrayBuffer(8 * 4096);
  const base = FRAME * 4096;
  const view = new DataView(buffer, base, 4096);
  const ring = new Uint8Array(buffer, base, 4096);
  prepare(view);
  const all = { room: Number.POSITIVE_INFINITY, output: [] as number[], events: 0, ready: 0, log: [] as string[] };
  const backend = new ConsoleBackend({
    memory: { buffer, at: (frame) => frame * 4096 },
    frame: FRAME,
    notify: () => all.events++,
    output(bytes) {
      const taken = Math.min(bytes.length, all.room);
      all.room -= taken;
      all.output.push(...bytes.subarray(0, taken));
      return taken;
    },
    inputReady: () => all.ready++,
    log: (_, text) => all.log.push(text),
  });
  /** Write as much as there is room for, as Linux does, and send the event. */
  const print = (bytes: Uint8Array): number => {
    let prod = ConsoleRing.out_prod.get(view, 0);
    const free = 2048 - ((prod - ConsoleRing.out_cons.get(view, 0)) >>> 0);
    for (const byte of bytes.subarray(0, free)) {
      ring[0x400 + (prod & 2047)] = byte;
      prod = (prod + 1) >>> 0;
    }
    ConsoleRing.out_prod.set(view, 0, prod);
    backend.onEvent();
    return Math.min(free, bytes.length);
  };
  /** Read what has been typed, and send the event. */
  const read = (most = 1024): number[] => {
    const typed: number[] = [];
    let cons = ConsoleRing.in_cons.get(view, 0);
    for (; cons !== ConsoleRing.in_prod.get(view, 0) && typed.length < most; cons = (cons + 1) >>> 0) {
      typed.push(ring[cons & 1023]!);
    }
    ConsoleRing.in_cons.set(view, 0, cons);
    backend.onEvent();
    return typed;
  };
  return Object.assign(all, { backend, view, ring, print, read });
}

const counting = (length: number, from = 0) => Uint8Array.from({ length }, (_, i) => from + i);

test('output goes to the sink and room to the guest, which is told when it may be waiting for it', () => {
  const console = setUp();
  console.print(counting(100));
  assert.deepEqual(console.output, [...counting(100)]);
  assert.equal(ConsoleRing.out_cons.get(console.view, 0), 100);
  assert.equal(console.events, 0);
  assert.equal(console.print(counting(3000)), 2048);
  assert.equal(console.events, 1);
});

test('a guest that found the ring full with an index that has moved since is told as well', () => {
  const console = setUp();
  console.print(counting(2000));
  assert.equal(console.events, 0);
  // It looked before those were taken: it had room for 48 bytes, wrote them and has more.
  ConsoleRing.out_prod.set(console.view, 0, 2048);
  console.backend.onEvent();
  assert.equal(console.events, 1);
  console.print(counting(100));
  console.print(counting(100));
  assert.equal(console.events, 1);
});

test('what a guest goes on to write while its output is taken is taken in the same turn, but not for ever', () => {
  const console = setUp();
  let more = 10_000;
  const output = console.output;
  // A guest that fills its ring again whenever there is room.
  const refill = Object.assign([] as number[], {
    push: (...bytes: number[]) => {
      if (more-- > 0)
        ConsoleRing.out_prod.set(console.view, 0, (ConsoleRing.out_prod.get(console.view, 0) + 512) >>> 0);
      return output.push(...bytes.slice(0, 1));
    },
  });
  console.output = refill;
  console.print(counting(512));
  const taken = 10_000 - more;
  assert.ok(taken > 100 && taken <= (128 << 10) / 512 + 1, `${taken} pieces`);
  console.backend.onEvent();
  assert.ok(10_000 - more > taken);
});

test('an event without news is not answered with one', () => {
  const console = setUp();
  console.backend.onEvent();
  console.backend.drain();
  assert.equal(console.events, 0);
});

test('output keeps its order round the ring and past index 2^32', () => {
  const console = setUp((view) => {
    for (const field of [ConsoleRing.out_prod, ConsoleRing.out_cons]) field.set(view, 0, 0xffff_fc00);
  });
  const sent: number[] = [];
  for (let i = 0; i < 50; i++) {
    const bytes = counting(777, i);
    assert.equal(console.print(bytes), 777);
    sent.push(...bytes);
  }
  assert.deepEqual(console.output, sent);
  assert.deepEqual(console.log, []);
});

test('output stays in the ring while the sink is full, and nothing is lost', () => {
  const console = setUp();
  console.room = 1000;
  assert.equal(console.print(counting(3000)), 2048);
  assert.equal(console.output.length, 1000);
  assert.equal(ConsoleRing.out_cons.get(console.view, 0), 1000);
  assert.equal(console.print(counting(3000).subarray(2048)), 952);
  assert.equal(console.events, 1);
  console.room = Number.POSITIVE_INFINITY;
  console.backend.drain();
  assert.deepEqual(console.output, [...counting(3000)]);
  assert.equal(console.events, 2);
});

test('input goes into the ring with an event, the rest when the guest has read', () => {
  const console = setUp();
  const typed = counting(1500);
  assert.equal(console.backend.input(typed), 1500);
  assert.equal(console.events, 1);
  assert.equal(ConsoleRing.in_prod.get(console.view, 0), 1024);
  const got = [...console.read(600), ...console.read(), ...console.read()];
  assert.deepEqual(got, [...typed]);
});

test('input beyond the queue is refused, and asked for again when the guest has read', () => {
  const console = setUp();
  const typed = counting(6000);
  const taken = console.backend.input(typed);
  assert.equal(taken, 4096);
  const more = console.backend.input(typed.subarray(taken));
  assert.equal(more, 1024); // The ring had taken that much of the queue.
  assert.equal(console.backend.input(typed.subarray(taken + more)), 0);
  assert.equal(console.ready, 0);
  const got: number[] = [];
  for (let turns = 0; turns < 10; turns++) got.push(...console.read());
  assert.deepEqual(got, [...typed.subarray(0, taken + more)]);
  assert.equal(console.ready, 1);
});

test('output indices that make no sense are logged once and cost no more than that output', () => {
  const console = setUp();
  for (const prod of [2049, 0x8000_0000, 0xffff_ffff]) {
    ConsoleRing.out_prod.set(console.view, 0, prod);
    console.backend.onEvent();
  }
  assert.deepEqual(console.output, []);
  assert.deepEqual(console.log, ["the guest's console ring claims 2049 bytes of output in 2048"]);
  console.print(counting(5, 65));
  assert.deepEqual(console.output, [65, 66, 67, 68, 69]);
});

test('input indices that make no sense drop the input and nothing else', () => {
  const console = setUp();
  ConsoleRing.in_cons.set(console.view, 0, 1);
  console.backend.input(counting(10));
  assert.equal(ConsoleRing.in_prod.get(console.view, 0), 0);
  assert.equal(console.log.length, 1);
  ConsoleRing.in_cons.set(console.view, 0, 0);
  console.backend.input(counting(3, 7));
  assert.deepEqual(console.read(), [7, 8, 9]);
});

test('a guest that overwrites the indices of ours does not move them', () => {
  const console = setUp();
  console.print(counting(10));
  ConsoleRing.out_cons.set(console.view, 0, 3);
  console.backend.onEvent();
  assert.equal(console.output.length, 10);
  ConsoleRing.in_prod.set(console.view, 0, 999);
  console.backend.input(counting(2));
  assert.equal(ConsoleRing.in_prod.get(console.view, 0), 2);
});

test('a restored ring goes on where it was', () => {
  const console = setUp((view) => {
    ConsoleRing.out_cons.set(view, 0, 5000);
    ConsoleRing.out_prod.set(view, 0, 5003);
    ConsoleRing.in_cons.set(view, 0, 70);
    ConsoleRing.in_prod.set(view, 0, 70);
  });
  console.backend.onEvent();
  assert.equal(console.output.length, 3);
  console.backend.input(counting(2, 50));
  assert.deepEqual(console.read(), [50, 51]);
});
