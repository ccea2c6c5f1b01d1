/**
 * Hypercalls of page tables in WebAssembly against their twins in TypeScript: batches of chance, by a kernel like Linux and by a hostile one, alone
 * and in multicalls, one after the other, so that tables are pinned, linked and released in all orders. Either the fast path performs all, or it leaves
 * a rest to the twins; what comes of it is the same in the end.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { type GuestMemory, SPECIAL } from '../hypervisor/memory.ts';
import { handle } from '../hypervisor/run.ts';
import type { Vcpu } from '../hypervisor/vcpu.ts';
import { FRAME, leaf, link, setEntry, va } from '../hypervisor/vcpu-for-tests.ts';
import { Exit } from '../x86/exits.ts';
import { GPR, STATE } from '../x86/state.ts';
import { Chance, domainWithFastExits } from './fast-exits-for-tests.ts';
import type { WasmEngine } from './wasm-engine.ts';

const SEED = 20041105;
const CASES = 3000;
/** Branches that the guest may make before the hypervisor looks at the clock. */
const SLICE = 40_000;
/** Those that the test domain has a use for. */
const FRAMES = 48;
const chances = new Chance(SEED);
const { random, chance, pick, random64 } = chances;

/** Frames that become tables of each level, and pages that are mapped and unmapped. */
const TABLES = { 1: [28, 29, 34, 35], 2: [30, 36], 3: [31, 37], 4: [32, 33] } as const;
const ALL_TABLES = Object.values(TABLES).flat();
const PAGES = [42, 43, 44, 45, 46, 47];
/** Where the multicall is, and what its calls refer to. */
const LIST = FRAME.scratch;
const REQUESTS = FRAME.scratch + 1;
const ENTRY = 64;

let vcpu: Vcpu;
let memory: GuestMemory;
let engine: WasmEngine;

before(() => {
  ({ vcpu, memory, engine } = domainWithFastExits());
});

const frameNumber = (): number =>
  chance(6) ? pick([memory.layout.pages - 1, memory.layout.pages, 2 ** 20 + 28, 2 ** 32 + 28]) : pick(ALL_TABLES);

/** An entry of level 1: a lawful one, or one that names a frame of ours, one that does not exist, or nothing. */
function leafEntry(): bigint {
  const { pages, frames } = memory.layout;
  const target = chance(6)
    ? pick([pages, pages + SPECIAL.m2p - 1, pages + SPECIAL.m2p, frames - 1, frames, 2 ** 20 + 3, 2 ** 36])
    : pick([...PAGES, ...ALL_TABLES]);
  return (
    (BigInt(chance(8)) << 63n) | (BigInt(target) << 12n) | BigInt(pick([0x67, 0x67, 0x61, 0x61, 0x25, 3, 1, 2, 0]))
  );
}

/** An entry of a table of `level`. */
function entryOf(level: number): bigint {
  if (level === 1) return leafEntry();
  if (chance(5)) return 0n;
  const below = TABLES[(level - 1) as 1 | 2 | 3];
  const target = chance(8) ? frameNumber() : pick(below);
  return (BigInt(target) << 12n) | BigInt(chance(10) ? pick([0xe7, 0x66, random(4096)]) : 0x67);
}

const levelOf = (frame: number): number =>
  Number(Object.entries(TABLES).find(([, frames]) => (frames as readonly number[]).includes(frame))?.[0] ?? 0);

/** A request of mmu_update. */
function request(): [bigint, bigint] {
  const table = chance(12)
    ? pick([FRAME.l1, FRAME.l2, FRAME.data, memory.layout.pages, 2 ** 20 + 28])
    : pick(ALL_TABLES);
  const level = levelOf(table);
  const index = level === 0 ? pick(PAGES) : chance(level === 4 ? 2 : 10) ? pick([255, 256, 271, 272, 511]) : random(6);
  const where = (BigInt(table) << 12n) | BigInt(8 * index) | BigInt(chance(20) ? random(8) : 0);
  return [where, entryOf(level === 0 ? 1 : level)];
}

/** An operation of mmuext_op. */
function operation(): [bigint, bigint, bigint] {
  const frame = frameNumber();
  const level = levelOf(frame) || 1 + random(4);
  const command = pick([level - 1, level - 1, 4, 4, 6, 7, chance(3) ? random(21) : 8, chance(4) ? random(4) : 9]);
  // Roots, the LDT and copies are others' to compare.
  const plain = [5, 13, 15, 16, 17].includes(command) ? 10 : command;
  const address = chance(3) ? va(pick(PAGES)) : random64();
  return [BigInt(plain) | (random64() << 32n), plain >= 6 ? address : BigInt(frame), random64()];
}

/** Addresses beside those of the pages: what leads to the same entries but for one thing that is wrong. */
const wrong = (page: bigint): bigint =>
  pick([
    page ^ (1n << 60n),
    (page & 0x7f_ffff_ffffn) | 0xffff_8000_0000_0000n,
    page + BigInt((1 + random(3)) << 21),
    0x400000n,
    random64(),
  ]);
/** Upper entries for them: the hypervisor's slot, a large page, a frame number that is too great, a frame that is ours. */
function leadAstray(): void {
  setEntry(memory, FRAME.l4, 256, link(FRAME.l3));
  setEntry(memory, FRAME.l2, 1, link(FRAME.l1) | 0x80n);
  setEntry(memory, FRAME.l2, 2, link(FRAME.l1) | (1n << 40n));
  setEntry(memory, FRAME.l2, 3, link(memory.layout.pages));
}

const address = (): bigint => {
  if (chance(20)) return va(pick([LIST, REQUESTS]));
  const page = va(pick(PAGES));
  return chance(5) ? wrong(page) : page + BigInt(chance(4) ? random(4096) : 0);
};

let requests = 0;
/** Where in its page the multicall begins. */
let listStart = 0;
/** One hypercall: its number and four arguments. */
function call(): [bigint, bigint, bigint, bigint, bigint] {
  const kind = random(5);
  if (kind < 2) {
    const at = address();
    const isOurs = at === va(LIST) || at === va(REQUESTS);
    const entry = isOurs ? leaf(pick([LIST, FRAME.data, ...PAGES]), pick([0, 1, 3, 0x63])) : leafEntry();
    return [14n, at, entry, BigInt(random(4)), random64()];
  }
  if (chance(20)) return [pick([3n, 18n, 13n, 99n, 29n | (1n << 32n)]), 0n, 0n, 0n, 0n];
  const count = chance(3) ? 1 + random(3) : 1;
  const words = Array.from({ length: count }, () => (kind === 2 ? request() : operation())).flat();
  const size = 8 * words.length;
  if (requests + size > 3900) requests = 0;
  const at = requests;
  requests += size;
  words.forEach((word, k) => {
    memory.u64[(memory.at(REQUESTS) + at) / 8 + k] = BigInt.asUintN(64, word);
  });
  const self = chance(30) ? pick([0n, 0x7ff1n, (1n << 31n) | 0x7ff0n]) : 0x7ff0n;
  const from = chance(30) ? random64() : va(REQUESTS, at);
  const n = chance(20) ? BigInt(pick([0, 9, 2 ** 31 + 1])) : BigInt(count) | (BigInt(random(2)) << 32n);
  return [kind === 2 ? 1n : 26n, from, n, chance(30) ? va(FRAME.data) : 0n, self];
}

/** Registers and memory for a hypercall, or for several. */
function prepareCall(): string {
  leadAstray();
  for (const frame of [LIST, REQUESTS]) setEntry(memory, FRAME.l1, frame, leaf(frame, 0x63));
  requests = 0;
  for (let i = 0; i < 16; i++) vcpu.setReg64(i, random64());
  vcpu.rip = va(FRAME.text, 0x102);
  if (chance(3)) {
    const [number, ...args] = call();
    vcpu.setReg64(GPR.rax, number);
    [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10].forEach((register, k) => {
      vcpu.setReg64(register, BigInt.asUintN(64, args[k]!));
    });
    return `hypercall ${number}`;
  }
  const count = 1 + random(chance(10) ? 40 : chance(2) ? 10 : 2);
  listStart = chance(20) ? 4096 - ENTRY * (1 + random(4)) - 8 * random(3) : 0;
  const words = (memory.at(LIST) + listStart) / 8;
  for (let n = 0; n < count; n++) {
    const [number, ...args] = call();
    [number, random64(), ...args].forEach((word, k) => {
      memory.u64[words + (n * ENTRY) / 8 + k] = BigInt.asUintN(64, word);
    });
  }
  vcpu.setReg64(GPR.rax, 13n);
  vcpu.setReg64(GPR.rdi, va(LIST, listStart));
  vcpu.setReg64(GPR.rsi, BigInt(count) | (BigInt(random(2)) << 32n));
  return 'multicall';
}

const ranges = (): [number, number][] => [
  [vcpu.base, STATE.end],
  [memory.layout.frameTypes, memory.layout.frames * 4],
  [memory.layout.tableSpans, memory.layout.frames * 4],
  [memory.layout.ramBase, FRAMES * 4096],
];
const save = (): Uint8Array[] => ranges().map(([at, size]) => memory.u8.slice(at, at + size));
const restore = (saved: readonly Uint8Array[]): void => {
  for (const [k, [at]] of ranges().entries()) memory.u8.set(saved[k]!, at);
};
/** Without what a call that is interrupted says in its own arguments. */
function comparable(saved: readonly Uint8Array[]): readonly Uint8Array[] {
  const [registers, ram] = [saved[0]!.slice(), saved.at(-1)!.slice()];
  for (const register of [GPR.rdi, GPR.rsi]) registers.fill(0, STATE.gpr + 8 * register, STATE.gpr + 8 * register + 8);
  registers.fill(0, STATE.budget, STATE.budget + 4);
  for (let at = LIST * 4096 + (listStart % ENTRY); at < REQUESTS * 4096; at += ENTRY) ram.fill(0, at + 0x10, at + 0x20);
  return [registers, ...saved.slice(1, -1), ram];
}
function difference(a: readonly Uint8Array[], b: readonly Uint8Array[]): string | undefined {
  const [one, other] = [comparable(a), comparable(b)];
  for (const [k, bytes] of one.entries()) {
    if (Buffer.compare(bytes, other[k]!) === 0) continue;
    const at = bytes.findIndex((byte, i) => byte !== other[k]![i]);
    return `range ${k}, offset 0x${at.toString(16)}: ${bytes[at]} and ${other[k]![at]}`;
  }
  return undefined;
}

/** The engine translates by the tables as they are. */
function assertNothingStale(where: string): void {
  for (const frame of PAGES) {
    for (const write of [false, true]) {
      const [lo, hi] = [Number(va(frame) & 0xffff_ffffn), Number(va(frame) >> 32n)];
      assert.equal(
        engine.translate(va(frame), write),
        vcpu.translate(lo, hi, write),
        `${where}: page ${frame}, ${write}`,
      );
    }
  }
}

/** What a guest does behind our back, numbers of references that only a test reaches, and tables that were translated through. */
function spoil(): void {
  const { u32, layout } = memory;
  if (chance(3)) setEntry(memory, pick(ALL_TABLES), random(6), entryOf(1 + random(4)));
  // The hypervisor's range, which no table decides.
  if (chance(4)) setEntry(memory, pick(TABLES[4]), pick([256, 271]), random64());
  const table = pick(ALL_TABLES);
  const type = layout.frameTypes / 4 + table;
  if (chance(8)) u32[type] = levelOf(table) | pick([0, 16, 0xffff_fef0, 0xffff_ff00]);
  u32[layout.tableSpans / 4 + table] = 0x8000_0000 + table;
}

test('batches are performed as their twins perform them, or a rest is left to them', () => {
  const performed = { all: new Map<string, number>(), some: 0 };
  const fresh = save();
  for (let n = 0; n < CASES; n++) {
    if (n % 50 === 0) {
      restore(fresh);
      for (const table of ALL_TABLES) {
        for (let k = 0; k < 3; k++) setEntry(memory, table, random(6), chance(2) ? 0n : entryOf(levelOf(table)));
      }
    }
    spoil();
    const name = prepareCall();
    const coded = chance(12) ? pick([...ALL_TABLES, FRAME.l1]) : 0;
    const known = random(64);
    const touch = (): void => {
      engine.flushTlb();
      PAGES.forEach((frame, k) => {
        if ((known >> k) & 1) engine.translate(va(frame), chance(2));
      });
      // The kernel has just written what it asks for.
      if (!chance(12)) engine.translate(va(LIST), true);
      vcpu.setU32(STATE.budget, SLICE);
      memory.frameFlags[coded] = coded === 0 ? 0 : 1;
    };
    const start = save();
    const seed = chances.state;
    touch();
    handle(vcpu, Exit.Syscall);
    const slow = save();
    const forgotten = memory.frameFlags[coded];
    assert.equal(vcpu.domain.crashReport, undefined);
    restore(start);
    chances.state = seed;
    touch();
    const done = engine.performExit(Exit.Syscall);
    const where = `seed ${SEED}, case ${n}: ${name}`;
    if (done) performed.all.set(name, (performed.all.get(name) ?? 0) + 1);
    else {
      if (difference(start, save()) !== undefined) performed.some++;
      for (let more = 0; ; more++) {
        handle(vcpu, Exit.Syscall);
        if (vcpu.rip === va(FRAME.text, 0x102)) break;
        assert.ok(more < 10, where);
      }
    }
    assert.equal(difference(slow, save()), undefined, where);
    assert.equal(memory.frameFlags[coded], forgotten, where);
    memory.frameFlags[coded] = 0;
    assertNothingStale(where);
  }
  assert.ok(performed.some > 100, `${performed.some} left a rest`);
  for (const [name, least] of [
    ['multicall', 100],
    ['hypercall 1', 50],
    ['hypercall 14', 100],
    ['hypercall 26', 50],
  ] as const) {
    assert.ok((performed.all.get(name) ?? 0) > least, `${name}: ${JSON.stringify([...performed.all])}`);
  }
});

test('a batch whose tables are many goes on in the twins, which look at the clock', () => {
  // Three tables to validate are more than is left.
  for (const table of ALL_TABLES) {
    memory.u32[memory.layout.frameTypes / 4 + table] = 0;
    memory.u8.fill(0, memory.at(table), memory.at(table) + 4096);
  }
  leadAstray();
  for (const frame of [LIST, REQUESTS]) setEntry(memory, FRAME.l1, frame, leaf(frame, 0x63));
  const operations = TABLES[1].flatMap((table) => [0n, BigInt(table), 0n]);
  operations.forEach((word, k) => {
    memory.u64[memory.at(REQUESTS) / 8 + k] = word;
  });
  const call = [26n, 0n, va(REQUESTS), 4n, 0n, 0x7ff0n];
  for (let n = 0; n < 2; n++) {
    call.forEach((word, k) => {
      memory.u64[(memory.at(LIST) + n * ENTRY) / 8 + k] = word;
    });
  }
  engine.flushTlb();
  engine.translate(va(LIST), true);
  vcpu.setReg64(GPR.rax, 13n);
  vcpu.setReg64(GPR.rdi, va(LIST));
  vcpu.setReg64(GPR.rsi, 2n);
  vcpu.setU32(STATE.budget, 40);
  assert.equal(engine.performExit(Exit.Syscall), false);
  const types = TABLES[1].map((table) => vcpu.domain.types.pinned(table));
  assert.deepEqual(types, [true, true, false, false]);
  assert.equal(memory.u64[(memory.at(LIST) + 0x18) / 8], 2n, 'two operations are left');
  handle(vcpu, Exit.Syscall);
  assert.deepEqual(
    TABLES[1].map((table) => vcpu.domain.types.pinned(table)),
    [true, true, true, true],
  );
  // The same between the calls of a multicall.
  for (let n = 0; n < 2; n++) {
    memory.u64[(memory.at(LIST) + n * ENTRY + 0x10) / 8] = va(REQUESTS);
    memory.u64[(memory.at(LIST) + n * ENTRY + 0x18) / 8] = 1n;
  }
  memory.u64[memory.at(REQUESTS) / 8] = 6n;
  vcpu.setReg64(GPR.rax, 13n);
  vcpu.setReg64(GPR.rdi, va(LIST));
  vcpu.setReg64(GPR.rsi, 2n);
  vcpu.setU32(STATE.budget, 40);
  engine.translate(va(LIST), true);
  assert.equal(engine.performExit(Exit.Syscall), false);
  assert.equal(vcpu.reg64(GPR.rdi), va(LIST, ENTRY));
  assert.equal(vcpu.reg64(GPR.rsi), 1n);
});
