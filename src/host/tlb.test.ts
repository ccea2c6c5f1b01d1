/** What the engine remembers of page tables, and when it forgets: across roots, after reported changes, against a plain walk. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { GuestMemory, planLayout, SPECIAL } from '../hypervisor/memory.ts';
import { announceM2p } from '../hypervisor/mmu/m2p.ts';
import { KERNEL_TLB, TLB_STAMP } from '../translate/layout.ts';
import { STATE } from '../x86/state.ts';
import { WasmEngine } from './wasm-engine.ts';

const PAGES = 512;
/** Frames of a root's tables are root, root + 1 (L3), root + 2 (L2), root + 3 and root + 4 (L1s of two spans). */
const KERNEL = { l3: 1, l2: 2, l1: 3 } as const;
const OTHER_KERNEL = { l3: 4, l2: 5, l1: 6 } as const;
const root = (k: number): number => 16 + 8 * k;
const ROOTS = 12;
const DATA = 256;
const LOW = 0x400000n;
const HIGH = 0xffff_ffff_8000_0000n;
/** To the second L1 of a root, and the entry of its L2: pages there and at HIGH share their places in the kernel's array. */
const SPAN = 0xc00000n;
const SECOND = 8;

let memory: GuestMemory;
let engine: WasmEngine;
let cpu: number;

beforeEach(() => {
  const layout = planLayout(PAGES, 1);
  const pages = layout.bytes / 65536;
  const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  memory = new GuestMemory(wasm.buffer as SharedArrayBuffer, layout);
  cpu = memory.vcpuBase(0);
  for (const { l3, l2, l1 } of [KERNEL, OTHER_KERNEL]) {
    link(l3, 510, l2);
    link(l2, 0, l1);
  }
  for (let k = 0; k < ROOTS; k++) {
    link(root(k), 0, root(k) + 1);
    link(root(k), 511, KERNEL.l3);
    link(root(k) + 1, 0, root(k) + 2);
    link(root(k) + 2, 2, root(k) + 3);
    link(root(k) + 2, SECOND, root(k) + 4);
  }
  engine = new WasmEngine(memory, wasm, 0, () => 0);
  load(root(0), 0xffffffff);
  setMode(true);
});

function put(frame: number, index: number, lo: number): void {
  memory.view.setUint32(memory.at(frame) + 8 * index, lo, true);
}
function link(frame: number, index: number, to: number): void {
  put(frame, index, (to << 12) | 0x67);
}
/** A level 1 entry to `frame`, or none; its change is reported as the hypervisor does. */
function map(table: number, index: number, frame: number): void {
  const present = memory.view.getUint32(memory.at(table) + 8 * index, true) & 1;
  put(table, index, frame === 0 ? 0 : (frame << 12) | 0x67);
  if (present) engine.entryChanged(table, index);
}
/** Load roots; with `roots` unchanged nothing happens. */
function load(kernel: number, user: number): void {
  memory.view.setUint32(cpu + STATE.kernelRoot, kernel, true);
  memory.view.setUint32(cpu + STATE.userRoot, user, true);
  engine.modeChanged();
}
function setMode(kernel: boolean): void {
  memory.view.setUint32(cpu + STATE.kernelMode, kernel ? 1 : 0, true);
  engine.modeChanged();
}
/** The frame that the engine finds at `va`, 0 for a fault. */
function seen(va: bigint, write = false): number {
  const at = engine.translate(va, write);
  return at === 0 ? 0 : (at - memory.layout.ramBase) >>> 12;
}
/** The frame that the tables say. */
function walk(va: bigint): number {
  const kernel = memory.view.getUint32(cpu + STATE.kernelMode, true) !== 0;
  let frame = memory.view.getUint32(cpu + (kernel ? STATE.kernelRoot : STATE.userRoot), true);
  for (const shift of [39n, 30n, 21n, 12n]) {
    const entry = memory.view.getUint32(memory.at(frame) + 8 * Number((va >> shift) & 511n), true);
    if ((entry & 1) === 0) return 0;
    frame = entry >>> 12;
  }
  return frame;
}

test('a change of the kernel root keeps the upper half when the tables share it, and drops the lower half', () => {
  map(KERNEL.l1, 7, DATA);
  map(root(0) + 3, 7, DATA + 1);
  map(root(1) + 3, 7, DATA + 2);
  assert.deepEqual([seen(HIGH + 0x7000n), seen(LOW + 0x7000n)], [DATA, DATA + 1]);
  // Behind the engine's back, to see what it remembers.
  put(KERNEL.l1, 7, 0);
  load(root(1), 0xffffffff);
  assert.deepEqual([seen(HIGH + 0x7000n), seen(LOW + 0x7000n)], [DATA, DATA + 2]);
});

test('a change to a root with another kernel drops the upper half too', () => {
  map(KERNEL.l1, 7, DATA);
  map(OTHER_KERNEL.l1, 7, DATA + 1);
  link(root(2), 511, OTHER_KERNEL.l3);
  assert.equal(seen(HIGH + 0x7000n), DATA);
  load(root(2), 0xffffffff);
  assert.equal(seen(HIGH + 0x7000n), DATA + 1);
});

test('a user root that comes back finds what it left, unless it was released meanwhile', () => {
  map(root(1) + 3, 1, DATA);
  const away = (): void => load(root(0), root(2));
  load(root(0), root(1));
  setMode(false);
  assert.equal(seen(LOW + 0x1000n), DATA);
  put(root(1) + 3, 1, 0);
  away();
  assert.equal(seen(LOW + 0x1000n), 0);
  load(root(0), root(1));
  assert.equal(seen(LOW + 0x1000n), DATA);
  away();
  engine.tableReleased(root(1), 4);
  load(root(0), root(1));
  assert.equal(seen(LOW + 0x1000n), 0);
});

test('an entry that changes while its root is not loaded has changed when it is', () => {
  map(root(1) + 3, 1, DATA);
  load(root(0), root(1));
  setMode(false);
  assert.equal(seen(LOW + 0x1000n), DATA);
  load(root(0), root(2));
  map(root(1) + 3, 1, DATA + 1);
  load(root(0), root(1));
  assert.equal(seen(LOW + 0x1000n), DATA + 1);
});

test('a table that maps several ranges is changed in all of them', () => {
  link(root(0) + 2, SECOND, root(0) + 3);
  map(root(0) + 3, 5, DATA);
  assert.deepEqual([seen(LOW + 0x5000n), seen(LOW + SPAN + 0x5000n)], [DATA, DATA]);
  map(root(0) + 3, 5, DATA + 1);
  assert.deepEqual([seen(LOW + 0x5000n), seen(LOW + SPAN + 0x5000n)], [DATA + 1, DATA + 1]);
});

test('an entry of level 2 that changes takes along all that was translated through its table, and nothing else', () => {
  const pages = [0n, 7n, 300n, 511n];
  for (const page of pages) map(root(0) + 3, Number(page), DATA + Number(page % 8n));
  map(root(0) + 4, 7, DATA + 9);
  for (const page of pages) assert.equal(seen(LOW + page * 0x1000n), DATA + Number(page % 8n));
  assert.equal(seen(LOW + SPAN + 0x7000n), DATA + 9);
  link(root(0) + 2, 2, root(1) + 3);
  // Behind the engine's back, to see what it remembers.
  put(root(0) + 4, 7, 0);
  engine.tableDetached(root(0) + 3);
  for (const page of pages) assert.equal(seen(LOW + page * 0x1000n), 0);
  assert.equal(seen(LOW + SPAN + 0x7000n), DATA + 9);
});

test('two pages that share their place are both remembered, and forgotten when they change', () => {
  // Pages at HIGH + n and at LOW + SPAN + n.
  map(KERNEL.l1, 3, DATA);
  map(root(0) + 4, 3, DATA + 1);
  const [high, low] = [HIGH + 0x3000n, LOW + SPAN + 0x3000n];
  const both = (): number[] => [seen(high), seen(low, true), seen(high, true), seen(low)];
  assert.deepEqual(both(), [DATA, DATA + 1, DATA, DATA + 1]);
  // Behind the engine's back, to see what it remembers.
  put(KERNEL.l1, 3, 0);
  put(root(0) + 4, 3, 0);
  assert.deepEqual(both(), [DATA, DATA + 1, DATA, DATA + 1]);
  engine.entryChanged(KERNEL.l1, 3);
  assert.deepEqual(both(), [0, DATA + 1, 0, DATA + 1]);
  load(root(1), 0xffffffff);
  assert.deepEqual(both(), [0, 0, 0, 0]);
});

test('a page of code stays when two of data use its places by turns', () => {
  link(root(0) + 2, 16, root(1) + 3);
  map(KERNEL.l1, 3, DATA);
  map(root(0) + 4, 3, DATA + 1);
  map(root(1) + 3, 3, DATA + 2);
  memory.frameFlags[DATA] = 1;
  assert.equal(seen(HIGH + 0x3000n), DATA);
  const stamp = (): bigint => memory.view.getBigUint64(cpu + KERNEL_TLB + TLB_STAMP, true);
  const before = stamp();
  for (let n = 0; n < 4; n++) {
    assert.deepEqual([seen(LOW + SPAN + 0x3000n), seen(0x2003000n)], [DATA + 1, DATA + 2]);
  }
  assert.equal(stamp(), before);
  map(KERNEL.l1, 3, DATA + 3);
  assert.notEqual(stamp(), before);
  assert.equal(seen(HIGH + 0x3000n), DATA + 3);
});

test('through any sequence of reported changes the engine finds what a plain walk finds', () => {
  let state = 20041105;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const tables = [KERNEL.l1, ...Array.from({ length: ROOTS }, (_, k) => [root(k) + 3, root(k) + 4]).flat()];
  const somewhere = (): bigint =>
    (random(3) === 0 ? HIGH : LOW + BigInt(random(2)) * SPAN) + BigInt(random(24)) * 0x1000n;
  const acts = [
    () => map(tables[random(tables.length)]!, random(24), random(3) && DATA + random(64)),
    () => load(root(random(ROOTS)), root(random(ROOTS))),
    () => setMode(random(2) === 0),
    () => {
      // Level 2, as mmu_update changes it.
      const [table, index] = [root(random(ROOTS)) + 2, random(2) ? SECOND : 2];
      const old = memory.view.getUint32(memory.at(table) + 8 * index, true) >>> 12;
      link(table, index, root(random(ROOTS)) + 3 + random(2));
      engine.tableDetached(old);
    },
    () => engine.flushPage(Number(LOW) + random(24) * 0x1000, 0),
  ];
  load(root(0), root(1));
  for (let n = 0; n < 60_000; n++) {
    // Upper levels change seldom, so that something is remembered.
    const act = random(200) === 0 ? 3 : [0, 1, 2, 4][random(4)]!;
    if (random(3) === 0) acts[act]!();
    const va = somewhere();
    assert.equal(seen(va, random(2) === 0), walk(va), `step ${n}, address ${va.toString(16)}`);
  }
});

test('the machine-to-physical table is at both of its places, for kernel mode and for reading', () => {
  announceM2p(memory, cpu);
  const table = memory.layout.pages + SPECIAL.m2p;
  for (const start of [0xffff_8000_0000_0000n, 0xffff_8000_00c0_0000n]) {
    setMode(true);
    assert.equal(seen(start + 8n * BigInt(PAGES - 1)), table);
    assert.equal(engine.translate(start, true), 0);
    assert.equal(seen(start + 0x1000n), 0);
    assert.equal(seen(start - 1n), 0);
    setMode(false);
    assert.equal(seen(start), 0);
  }
});
