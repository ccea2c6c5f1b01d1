/**
 * The exits that are performed in WebAssembly against their twins in TypeScript: one vCPU in states of chance, common ones and
 * ones that only a hostile guest would make. Either both leave the same state behind, or the fast path declines and has
 * changed nothing.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { GATES } from '../hypervisor/gates.ts';
import { type GuestMemory, SPECIAL } from '../hypervisor/memory.ts';
import { NO_ROOT } from '../hypervisor/mmu/walk.ts';
import { handle } from '../hypervisor/run.ts';
import type { Vcpu } from '../hypervisor/vcpu.ts';
import {
  enterUser,
  FRAME,
  HANDLER,
  installGdt,
  installHandlers,
  leaf,
  link,
  poke,
  setEntry,
  va,
} from '../hypervisor/vcpu-for-tests.ts';
import { Exit } from '../x86/exits.ts';
import { GPR, RFLAGS, SEG, STATE } from '../x86/state.ts';
import { Chance, domainWithFastExits } from './fast-exits-for-tests.ts';
import type { WasmEngine } from './wasm-engine.ts';

const SEED = 20041105;
const CASES = 6000;
/** Those that the test domain has a use for. */
const FRAMES = 48;
const chances = new Chance(SEED);
const { random, chance, pick, random64 } = chances;

/** Further level 4 tables, of the kernel and of a user. */
const ROOTS = { kernel: [FRAME.l4, 44, 45], user: [FRAME.userL4, 46, 47] } as const;

/** The kernel root that shows the user's pages as well. */
const WITH_USER = ROOTS.kernel[2];

let vcpu: Vcpu;
let memory: GuestMemory;
let engine: WasmEngine;

before(() => {
  ({ vcpu, memory, engine } = domainWithFastExits());
  installGdt(vcpu);
  enterUser(vcpu);
  vcpu.setKernelMode(true);
  for (const [first, ...more] of [ROOTS.kernel, ROOTS.user]) {
    for (const root of more) memory.u8.copyWithin(memory.at(root), memory.at(first), memory.at(first) + 4096);
  }
  setEntry(memory, WITH_USER, 0, link(FRAME.userL3));
});

/** Stacks: good ones, badly aligned, at the ends of pages, not mapped, read-only, in the hypervisor's range, the user's. */
const STACK = (): bigint =>
  pick([
    va(FRAME.stack, 0x800),
    va(FRAME.stack, 0x800 - random(16)),
    va(FRAME.stack + 1, random(80)),
    va(FRAME.stack + 2),
    va(FRAME.l1, 0x800),
    0xffff_8000_0000_0800n,
    0x1800n,
    0x401800n,
    random64(),
  ]);
const CS = [0xe033, 0xe033, 0xe030, 0x33, 0x33, 0x30, 0x10, 0x23, 0xe023, 0, 3, 0x37, 0x7f, 0xfff3, 0x2b];
const SS = [0xe02b, 0xe02b, 0x2b, 0x2b, 0x28, 0x18, 0, 3, 0x33, 0x2f, 0x83];
const RIP = (): bigint => pick([0x400000n, va(FRAME.text), 0x0000_8000_0000_0000n, 0xffff_7fff_ffff_ffffn, random64()]);

function randomFrame(): void {
  const at = vcpu.reg64(GPR.rsp);
  const words = [
    random64(),
    random64(),
    random64(),
    BigInt(pick([0, 0, 0, 0x100])),
    chance(4) ? RIP() : 0x400000n,
    BigInt(pick(CS)) | (chance(4) ? random64() << 16n : 0n),
    BigInt((random(0x400000) & ~(chance(8) ? 0 : RFLAGS.TF)) >>> 0),
    random64(),
    BigInt(pick(SS)) | (chance(4) ? random64() << 16n : 0n),
  ];
  words.forEach((word, i) => {
    vcpu.writeU64(BigInt.asUintN(64, at + BigInt(8 * i)), BigInt.asUintN(64, word));
  });
}

/** An entry of level 1: a lawful one, or one that names a frame of ours, one that does not exist, or nothing. */
function randomEntry(): bigint {
  const { pages, frames } = memory.layout;
  const target = chance(3)
    ? pick([pages, pages + SPECIAL.m2p - 1, pages + SPECIAL.m2p, frames - 1, frames, 2 ** 20 + 3, 2 ** 36])
    : FRAME.free + random(8);
  const high = chance(6) ? random64() & 0xfff0_0000_0000_0000n : 0n;
  return high | (BigInt(target) << 12n) | BigInt(pick([0x67, 0x67, 0x25, 0x27, 3, 1, 2, 0, random(4096)]));
}

/** An entry of the user's level 1 table, and for each of those that changes are about, what the engine knows of it. */
function randomEntries(): void {
  for (let i = 0; i < 8; i++) {
    const present = leaf(FRAME.free + random(8), pick([0x67, 0x65, 0x27, 0x25])) | (chance(3) ? 1n << 63n : 0n);
    setEntry(memory, FRAME.userL1, CHANGED + i, chance(4) ? 0n : present);
  }
}
/** Translate by the user's table, so that there is something to forget. */
function remember(written: number): void {
  vcpu.setKernelMode(false);
  for (let i = 0; i < 8; i++) engine.translate(changedVa(i), ((written >> i) & 1) !== 0);
  vcpu.setKernelMode(true);
}
/** Gives the engine the translations that a case begins with, where they matter. */
let prepare: () => void = () => {};
/** The entries of the user's level 1 table that updates are about, from index CHANGED on. */
const CHANGED = 16;
const changedVa = (i: number): bigint => 0x400000n + BigInt((CHANGED + i) * 4096);

/**
 * A store of the kernel to a page table that its mapping does not allow: by XCHG, MOV or AND with any way to say where, by
 * other instructions, to tables of other levels, with an operand across two entries.
 */
function randomTableWrite(): void {
  const table = chance(12) ? pick([FRAME.l1, FRAME.l2, FRAME.userL2, FRAME.userL4]) : FRAME.userL1;
  const byte = chance(3);
  const shift = byte ? random(8) : chance(20) ? random(8) : 0;
  const target = va(table, 8 * (chance(20) ? 0 : CHANGED + random(8)) + shift);
  const lock = chance(3) ? [0xf0] : [];
  const wide = chance(20) ? 0 : 8;
  const [source, base] = [random(16), pick([0, 3, 6, 7, 9, 11, 14, 15])];
  const rex = 0x40 | wide | ((source >> 3) << 2) | (base >> 3);
  const ip = va(FRAME.text, chance(20) ? 4080 + random(8) : random(4000));
  vcpu.rip = ip;
  vcpu.setU64(STATE.codePage, ip & ~0xfffn);
  vcpu.setReg64(source, chance(3) ? randomEntry() & 0xffn : randomEntry());
  const digit = byte ? (chance(8) ? random(8) : 4) : source & 7;
  const opcode = byte
    ? [chance(12) ? 0x83 : 0x80]
    : pick([[0x87], [0x87], [0x89], [0x89], [0x0f, 0xb1], [0x0f, 0xc1], [0x01]]);
  const immediate = byte ? [pick([0xfd, 0xff, 0, 0xfe, random(256)])] : [];
  const prefixes = byte && chance(2) && base < 8 ? lock : [...lock, rex];
  const head = [...prefixes, ...opcode];
  const modrm = (mod: number, rm: number): number => (mod << 6) | (digit << 3) | rm;
  const [near, far] = [random(256) - 128, random(2 ** 31)];
  const le32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >> 24) & 255];
  const operand = pick([
    () => ({ bytes: [modrm(0, base & 7)], add: 0 }),
    () => ({ bytes: [modrm(1, base & 7), near & 255], add: near }),
    () => ({ bytes: [modrm(2, base & 7), ...le32(far)], add: far }),
    () => ({ bytes: [modrm(0, 4), 0x20 | (base & 7)], add: 0 }),
    () => ({ bytes: [modrm(1, 4), 0x20 | (base & 7), near & 255], add: near }),
    () => ({ bytes: [modrm(2, 4), 0x20 | (base & 7), ...le32(far)], add: far }),
    () => {
      const end = ip + BigInt(head.length + 5 + immediate.length);
      return { bytes: [modrm(0, 5), ...le32(Number(BigInt.asIntN(32, target - end)))], add: 0 };
    },
  ])();
  vcpu.setReg64(base, BigInt.asUintN(64, target - BigInt(operand.add)));
  poke(vcpu, ip, [...head, ...operand.bytes, ...immediate]);
  randomEntries();
  memory.frameFlags[FRAME.userL1] = chance(12) ? 1 : 0;
  const [known, codeKnown] = [!chance(12), !chance(12)];
  const written = random(256);
  prepare = () => {
    engine.flushTlb();
    if (known) engine.translate(target, false);
    if (codeKnown) engine.translate(ip, false);
    remember(written);
    vcpu.setU32(STATE.exitVector, 14);
    vcpu.setU32(STATE.exitErrorCode, 3);
    vcpu.setU64(STATE.cr2, target);
  };
  prepare();
}

/** A mmuext_op: mostly of the two roots, which are tables with few or many references, or something else. */
function randomRoots(): void {
  const { pages } = memory.layout;
  const { u32 } = memory;
  const words = memory.layout.frameTypes / 4;
  for (const root of [...ROOTS.kernel, ...ROOTS.user]) {
    const count = chance(40) ? 0xffff_ff0 : pick([1, 2, 2, 2, 2, 2, 3]);
    u32[words + root] = (chance(40) ? pick([0, 3]) : 4) | (random(2) * 8) | (count * 16);
  }
  vcpu.setU32(STATE.kernelRoot, pick(ROOTS.kernel));
  vcpu.setU32(STATE.userRoot, chance(6) ? NO_ROOT : chance(6) ? vcpu.kernelRoot : pick(ROOTS.user));
  engine.modeChanged();
  const other = (): number =>
    pick([0, 0, FRAME.l4, FRAME.userL4, FRAME.l3, FRAME.data, pages - 1, pages, 2 ** 32 + FRAME.l4]);
  const at = va(FRAME.scratch, chance(8) ? 4096 - random(48) : 8 * random(16));
  const operations = [
    [chance(20) ? random(17) : 5, chance(10) ? other() : pick(chance(6) ? ROOTS.user : ROOTS.kernel)],
    [chance(20) ? random(17) : 15, chance(6) ? other() : pick(chance(6) ? ROOTS.kernel : ROOTS.user)],
  ] as const;
  operations.forEach(([command, mfn], i) => {
    vcpu.writeU64(at + BigInt(24 * i), BigInt(command) | (chance(2) ? random64() << 32n : 0n));
    vcpu.writeU64(at + BigInt(24 * i + 8), BigInt(mfn));
    vcpu.writeU64(at + BigInt(24 * i + 16), BigInt(random(4)));
  });
  vcpu.setReg64(GPR.rax, 26n);
  vcpu.setReg64(GPR.rdi, chance(20) ? STACK() : at);
  vcpu.setReg64(GPR.rsi, BigInt(chance(16) ? pick([0, 1, 3, 2 ** 31 + 2]) : 2));
  vcpu.setReg64(GPR.rdx, chance(16) ? va(FRAME.scratch + 1) : 0n);
  vcpu.setReg64(GPR.r10, BigInt(chance(20) ? pick([0, 1, 0x7ff1]) : 0x7ff0));
  prepare = () => {
    engine.modeChanged();
    engine.flushTlb();
    engine.translate(at, false);
    engine.translate(at + 47n, false);
    engine.translate(0x400000n, false);
  };
  prepare();
}

/** Is the state that of a store to a page table? */
let tableWrite = false;

/** The user's translations agree with the user's table. */
function assertNothingStale(where: string): void {
  if (!vcpu.hasUserRoot) return;
  vcpu.setKernelMode(false);
  for (let i = 0; i < 8; i++) {
    const entry = memory.u64[memory.at(FRAME.userL1) / 8 + CHANGED + i]!;
    const frame = Number((entry >> 12n) & 0xff_ffff_ffffn);
    const linear = (entry & 1n) !== 0n && frame < memory.layout.frames ? memory.at(frame) : 0;
    assert.equal(engine.translate(changedVa(i), false), linear, `${where}, entry ${i}`);
    assert.equal(
      engine.translate(changedVa(i), true),
      (entry & 2n) !== 0n ? linear : 0,
      `${where}, entry ${i} written`,
    );
  }
}

/** A vCPU in some state, and why it exits. */
function randomState(): Exit {
  vcpu.setKernelMode(true);
  tableWrite = false;
  prepare = () => {};
  if (chance(50)) engine.flushTlb();
  for (let i = 0; i < 16; i++) vcpu.setReg64(i, random64());
  vcpu.rip = chance(4) ? RIP() : 0x400102n;
  vcpu.setU64(STATE.flagResult, pick([0n, random64(), BigInt(random(256))]));
  vcpu.setU32(STATE.flagAux, random(2 ** 32));
  const rest = RFLAGS.DF | RFLAGS.IOPL | RFLAGS.NT | RFLAGS.AC | RFLAGS.ID | RFLAGS.RF | RFLAGS.TF;
  vcpu.setU32(STATE.flagsRest, (random(2 ** 22) & rest) | RFLAGS.IF | RFLAGS.fixed);
  vcpu.setSelector(SEG.cs, pick(CS) | 3);
  vcpu.setSelector(SEG.ss, pick(SS) | 3);
  for (const field of [STATE.fsBase, STATE.gsBase, STATE.gsBaseKernel, STATE.gsBaseUser]) {
    vcpu.setU64(field, random64());
  }
  vcpu.setReg64(GPR.rsp, chance(3) ? STACK() : va(FRAME.stack, 0x400));
  const sp = chance(4) ? STACK() : va(FRAME.stack + 1);
  vcpu.setKernelSp(Number(sp & 0xffff_ffffn), Number(sp >> 32n));
  vcpu.callbacks.syscall.set(chance(10) ? 0n : HANDLER + 0x800n, chance(2));
  if (chance(10)) vcpu.traps.clear();
  else installHandlers(vcpu, chance(2) ? 4 : 0);
  vcpu.upcallMask = random(2);
  memory.u8[vcpu.infoAddress] = chance(4) ? 1 : 0;
  vcpu.nmiBlocked = chance(20);
  vcpu.setU32(STATE.userRoot, chance(10) ? NO_ROOT : FRAME.userL4);
  vcpu.setGdt([FRAME.data], pick([16, 16, 16, 5, 0]));
  engine.modeChanged();
  randomFrame();
  // What a running kernel has at hand.
  for (const at of [sp - 64n, vcpu.reg64(GPR.rsp) - 64n, vcpu.reg64(GPR.rsp)]) {
    if (!chance(8)) engine.translate(BigInt.asUintN(64, at), !chance(4));
  }
  // Codes of the right kind, so that most states are ones that occur.
  if (chance(2) && vcpu.hasUserRoot) vcpu.setKernelMode(false);
  if (vcpu.kernelMode && chance(5)) {
    tableWrite = true;
    randomTableWrite();
    return Exit.Exception;
  }
  if (chance(3)) {
    vcpu.setU32(STATE.exitVector, chance(20) ? 13 : 14);
    vcpu.setU32(STATE.exitErrorCode, random(32) & ~4);
    vcpu.setU64(STATE.cr2, random64());
    return Exit.Exception;
  }
  if (vcpu.kernelMode) {
    if (chance(3)) {
      randomRoots();
      return Exit.Syscall;
    }
    vcpu.setReg64(GPR.rax, chance(20) ? random64() : BigInt(pick([23, 23, 3, 5, 25])));
    vcpu.setReg64(GPR.rdi, chance(8) ? random64() : BigInt(random(4)));
    vcpu.setReg64(GPR.rsi, chance(4) ? random64() : BigInt(random(chance(4) ? 6 : 0x8000_0000)));
  }
  return Exit.Syscall;
}

/** Everything that a path may change: registers, gates but for the trace, and the frames that the addresses above lead to. */
const ranges = (): [number, number][] => [
  [vcpu.base, STATE.end],
  [vcpu.base + GATES.special, GATES.traceCount - GATES.special],
  [vcpu.base + GATES.kernelSs, GATES.trace - GATES.kernelSs],
  [memory.layout.frameTypes, memory.layout.frames * 4],
  [memory.layout.ramBase, FRAMES * 4096],
  [vcpu.infoAddress, 64],
];
const save = (): Uint8Array[] => ranges().map(([at, size]) => memory.u8.slice(at, at + size));
const restore = (saved: readonly Uint8Array[]): void => {
  for (const [k, [at]] of ranges().entries()) memory.u8.set(saved[k]!, at);
};
function difference(a: readonly Uint8Array[], b: readonly Uint8Array[]): string | undefined {
  for (const [k, one] of a.entries()) {
    const other = b[k]!;
    if (Buffer.compare(one, other) === 0) continue;
    const at = one.findIndex((byte, i) => byte !== other[i]);
    return `range ${k}, offset 0x${at.toString(16)}: ${one[at]} and ${other[at]}`;
  }
  return undefined;
}

test('each exit is performed as its twin performs it, or declined without a trace', () => {
  const performed = new Map<string, number>();
  for (let n = 0; n < CASES; n++) {
    const exit = randomState();
    const from = vcpu.kernelMode ? 'kernel' : 'user';
    const call = exit === Exit.Syscall && vcpu.kernelMode ? ` ${vcpu.reg64(GPR.rax)}` : '';
    const name = tableWrite ? 'table write' : `${from} ${exit === Exit.Syscall ? 'syscall' : 'exception'}${call}`;
    const start = save();
    const blocked = vcpu.nmiBlocked;
    handle(vcpu, exit);
    // What an exit costs is the caller's to count on the fast way.
    vcpu.setU32(STATE.budget, 0);
    const slow = save();
    const crashed = vcpu.domain.crashReport !== undefined;
    vcpu.domain.crashReport = undefined;
    vcpu.domain.shutdown = undefined;
    vcpu.nmiBlocked = blocked;
    restore(start);
    prepare();
    const done = engine.performExit(exit);
    // A batch of operations may have been begun: fast-batches.test.ts.
    const isBatch = !done && name === 'kernel syscall 26';
    if (isBatch) {
      handle(vcpu, exit);
      vcpu.setU32(STATE.budget, 0);
    }
    const fast = save();
    for (const register of isBatch ? [GPR.rdi, GPR.rsi] : []) {
      const at = STATE.gpr + 8 * register;
      fast[0]!.set(slow[0]!.subarray(at, at + 8), at);
    }
    const where = `seed ${SEED}, case ${n}: ${name}, ${done ? 'performed' : 'declined'}`;
    if (done) assert.equal(crashed, false, where);
    assert.equal(difference(done || isBatch ? slow : start, fast), undefined, where);
    if (done) performed.set(name, (performed.get(name) ?? 0) + 1);
    if (tableWrite) assertNothingStale(where);
    if (name === 'kernel syscall 26') {
      const code = [WITH_USER, ...ROOTS.user].some((root) => root === vcpu.kernelRoot) ? memory.at(FRAME.userCode) : 0;
      assert.equal(engine.translate(0x400000n, false), code, where);
    }
    restore(start);
    // Tables were put back behind the engine's back.
    if (tableWrite || name === 'kernel syscall 26') engine.flushTlb();
    memory.frameFlags[FRAME.userL1] = 0;
  }
  for (const name of ['user syscall', 'user exception', 'kernel exception', 'table write']) {
    assert.ok((performed.get(name) ?? 0) > 100, `${name}: ${performed.get(name)} of ${CASES}`);
  }
  for (const call of [3, 5, 23, 25, 26]) {
    assert.ok(
      (performed.get(`kernel syscall ${call}`) ?? 0) > 20,
      `hypercall ${call}: ${JSON.stringify([...performed])}`,
    );
  }
});
