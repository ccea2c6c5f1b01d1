import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XenstoreRing } from '../abi/rings.ts';
import { GuestMemory, type MemoryLayout } from '../hypervisor/memory.ts';
import { chance } from '../store/testing.ts';
import { XenstoreRingStream } from './xenstore-ring.ts';

/** Four frames; the ring is in the second one. The guest's half of the ring, as a driver would write it. */
class FakeGuest {
  readonly memory: GuestMemory;
  events = 0;
  restarts = 0;
  readonly ring: XenstoreRingStream;
  /** What arrived on the store's side. */
  got: number[] = [];
  drains = 0;
  closed = false;

  constructor(startAt = 0) {
    const layout: MemoryLayout = {
      pages: 4,
      vcpus: 0,
      frameFlags: 0,
      tableSpans: 0,
      frameTypes: 0,
      ramBase: 4096,
      frames: 4,
      bytes: 65536,
    };
    this.memory = new GuestMemory(new SharedArrayBuffer(65536), layout);
    for (const field of ['req_cons', 'req_prod', 'rsp_cons', 'rsp_prod'] as const) this.set(field, startAt);
    this.ring = new XenstoreRingStream({
      memory: this.memory,
      frame: 1,
      notify: () => this.events++,
      restarted: () => this.restarts++,
    });
  }

  listen(): void {
    this.ring.attach({
      bytes: (chunk) => this.got.push(...chunk),
      drained: () => this.drains++,
      closed: () => {
        this.closed = true;
      },
    });
  }

  get(field: 'req_cons' | 'req_prod' | 'rsp_cons' | 'rsp_prod' | 'error' | 'connection' | 'server_features'): number {
    return XenstoreRing[field].get(this.memory.view, this.memory.at(1));
  }

  set(field: 'req_cons' | 'req_prod' | 'rsp_cons' | 'rsp_prod' | 'error' | 'connection', value: number): void {
    XenstoreRing[field].set(this.memory.view, this.memory.at(1), value);
  }

  /** As many of the bytes as there is room for; returns how many. */
  send(bytes: readonly number[]): number {
    const [prod, cons] = [this.get('req_prod'), this.get('req_cons')];
    const count = Math.min(bytes.length, 1024 - ((prod - cons) >>> 0));
    for (let i = 0; i < count; i++) this.memory.u8[this.memory.at(1) + ((prod + i) & 1023)] = bytes[i]!;
    this.set('req_prod', (prod + count) >>> 0);
    if (count > 0) this.ring.onEvent();
    return count;
  }

  receive(max = 1024): number[] {
    const [prod, cons] = [this.get('rsp_prod'), this.get('rsp_cons')];
    const count = Math.min((prod - cons) >>> 0, max);
    assert.ok((prod - cons) >>> 0 <= 1024);
    const bytes = Array.from(
      { length: count },
      (_, i) => this.memory.u8[this.memory.at(1) + 1024 + ((cons + i) & 1023)]!,
    );
    this.set('rsp_cons', (cons + count) >>> 0);
    if (count > 0) this.ring.onEvent();
    return bytes;
  }
}

test('bytes cross in both directions in order, over the end of the ring and of its 32-bit indices', () => {
  const random = chance(7);
  const guest = new FakeGuest(0xffffff00);
  guest.listen();
  const bytes = (count: number) => Array.from({ length: count }, () => random.next(256));
  const [sent, given, taken]: number[][] = [[], [], []];
  for (let i = 0; i < 400; i++) {
    const out = bytes(random.next(1500));
    sent!.push(...out.slice(0, guest.send(out)));
    const back = bytes(random.next(1500));
    given!.push(...back);
    guest.ring.write(Uint8Array.from(back));
    taken!.push(...guest.receive(random.next(2000)));
  }
  for (let more = guest.receive(); more.length > 0; more = guest.receive()) taken!.push(...more);
  assert.deepEqual(guest.got, sent);
  assert.deepEqual(taken, given);
});

test('the guest gets an event after its bytes were taken and after bytes came, and none for nothing', () => {
  const guest = new FakeGuest();
  guest.listen();
  assert.equal(guest.events, 0);
  guest.send([1, 2, 3]);
  assert.equal(guest.events, 1);
  assert.equal(guest.ring.write(Uint8Array.of(1)), true);
  assert.equal(guest.events, 2);
  guest.ring.onEvent();
  guest.ring.write(new Uint8Array(0));
  assert.equal(guest.events, 2);
});

test('write says when the ring is full, and drained when all that waited is in it', () => {
  const guest = new FakeGuest();
  guest.listen();
  assert.equal(guest.ring.write(new Uint8Array(1024)), true);
  assert.equal(guest.ring.write(new Uint8Array(1500)), false);
  guest.receive(1000);
  assert.equal(guest.drains, 0);
  guest.receive(500);
  assert.equal(guest.drains, 1);
});

test('what did not fit follows though the guest, which read while the ring was filled, sends no event', () => {
  const guest = new FakeGuest();
  guest.listen();
  guest.ring.write(new Uint8Array(512).fill(1));
  const { u8 } = guest.memory;
  u8.set = (...args: Parameters<Uint8Array['set']>) => {
    delete (u8 as { set?: unknown }).set;
    u8.set(...args);
    guest.set('rsp_cons', 512); // It takes the first half; the second is not published yet, so nothing looks full to it.
  };
  guest.ring.write(new Uint8Array(1000).fill(2));
  guest.set('rsp_cons', 1024); // It takes the second half, again without an event: half of the ring was free meanwhile.
  assert.equal(guest.get('rsp_prod'), 1512);
});

test('a request that Linux adds while those before it are taken is taken too, though it sends no event', () => {
  const guest = new FakeGuest();
  const added = { done: false };
  guest.ring.attach({
    bytes: (chunk) => guest.got.push(...chunk),
    drained: () => {},
    closed: () => {},
  });
  const store = Atomics.store;
  // The moment between the look at the guest's index and the move of our own.
  Atomics.store = ((array: Uint32Array, index: number, value: number) => {
    if (!added.done && index === (guest.memory.at(1) + XenstoreRing.req_cons.offset) >>> 2) {
      added.done = true;
      guest.memory.u8[guest.memory.at(1) + 2] = 3;
      guest.set('req_prod', 3);
    }
    return store(array, index, value);
  }) as typeof Atomics.store;
  try {
    guest.send([1, 2]);
  } finally {
    Atomics.store = store;
  }
  assert.ok(added.done);
  assert.deepEqual(guest.got, [1, 2, 3]);
});

test('who waits for room is told of it also when the next write finds it, without an event', () => {
  const guest = new FakeGuest();
  guest.listen();
  assert.equal(guest.ring.write(new Uint8Array(1500)), false);
  guest.set('rsp_cons', 1024);
  guest.ring.write(new Uint8Array(10));
  assert.equal(guest.drains, 1);
  guest.ring.onEvent();
  assert.equal(guest.drains, 1);
});

test('a paused ring takes nothing, and everything once resumed', () => {
  const guest = new FakeGuest();
  guest.listen();
  guest.ring.pause();
  guest.send([1, 2]);
  guest.send([3]);
  assert.deepEqual(guest.got, []);
  assert.equal(guest.events, 0);
  guest.ring.resume();
  assert.deepEqual(guest.got, [1, 2, 3]);
  assert.equal(guest.events, 1);
});

test('what the guest wrote before anybody listened is not lost', () => {
  const guest = new FakeGuest();
  guest.send([9]);
  guest.listen();
  assert.deepEqual(guest.got, [9]);
});

test('indices more than a ring apart end the connection with error 2, in either direction', () => {
  for (const [field, value] of [
    ['req_prod', 1025],
    ['req_prod', 0xffffffff],
    ['rsp_cons', 1],
    ['rsp_cons', 0x80000000],
  ] as const) {
    const guest = new FakeGuest();
    guest.listen();
    guest.set(field, value);
    guest.ring.onEvent();
    guest.ring.write(Uint8Array.of(1));
    assert.equal(guest.closed, true, `${field} ${value}`);
    assert.equal(guest.get('error'), 2);
    assert.deepEqual(guest.got, []);
    guest.set('req_prod', 1);
    guest.set('rsp_cons', 0);
    guest.ring.onEvent();
    assert.deepEqual(guest.got, [], 'nothing more is taken');
  }
});

test('a guest that overwrites the store’s own indices does not move them', () => {
  const guest = new FakeGuest();
  guest.listen();
  guest.send([1, 2, 3]);
  guest.set('req_cons', 77);
  guest.set('rsp_prod', 99);
  guest.set('req_prod', 4);
  guest.ring.onEvent();
  assert.equal(guest.get('req_cons'), 4);
  assert.equal(guest.got.length, 4);
  guest.ring.write(Uint8Array.of(5));
  assert.equal(guest.get('rsp_prod'), 1);
});

test('no write leaves the ring’s two byte areas and the indices', () => {
  const random = chance(3);
  const guest = new FakeGuest();
  guest.listen();
  for (let i = 0; i < 2000; i++) {
    const field = random.pick(['req_prod', 'req_cons', 'rsp_prod', 'rsp_cons'] as const);
    guest.set(field, (guest.get(field) + random.next(1100) - 20) >>> 0);
    guest.ring.write(new Uint8Array(random.next(300)).fill(0xee));
    guest.ring.onEvent();
    if (guest.closed) {
      guest.set('connection', 1);
      guest.ring.onEvent();
      guest.closed = false;
    }
  }
  const base = guest.memory.at(1);
  const outside = [...guest.memory.u8.subarray(0, base), ...guest.memory.u8.subarray(base + 0x820)];
  assert.ok(outside.every((byte) => byte === 0));
  assert.ok(guest.restarts > 10);
});

test('a guest that asks for a new connection gets an empty ring without an error', () => {
  const guest = new FakeGuest();
  guest.listen();
  assert.equal(guest.get('server_features') & 1, 1);
  guest.send([1]);
  guest.ring.write(new Uint8Array(2000));
  guest.ring.close();
  assert.equal(guest.get('error'), 3);
  guest.set('connection', 1);
  guest.ring.onEvent();
  assert.equal(guest.restarts, 1);
  for (const field of ['connection', 'error', 'req_cons', 'req_prod', 'rsp_cons', 'rsp_prod'] as const) {
    assert.equal(guest.get(field), 0, field);
  }
  guest.send([2]);
  assert.deepEqual(guest.got, [1, 2]);
});
