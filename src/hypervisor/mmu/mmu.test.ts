import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errno } from '../../abi/errno.ts';
import { MMU, MMUEXT, PTE } from '../../abi/numbers.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR, STATE } from '../../x86/state.ts';
import { HypercallArgs } from '../hypercall-args.ts';
import { perform } from '../hypercalls.ts';
import { SPECIAL } from '../memory.ts';
import { handle } from '../run.ts';
import type { Vcpu } from '../vcpu.ts';
import {
  enterUser,
  entry,
  exception,
  FRAME,
  handlerOf,
  installHandlers,
  KERNEL,
  leaf,
  link,
  PAGES,
  pokeWords,
  setEntry,
  testDomain,
  va,
  words,
} from '../vcpu-for-tests.ts';
import { setKernelRoot } from './roots.ts';

const SELF = 0x7ff0n;
const NEW = { l1: 100, l2: 101, l3: 102, l4: 103 } as const;

function call(vcpu: Vcpu, number: number, ...values: (bigint | number)[]): number | bigint {
  const args = new HypercallArgs();
  values.forEach((value, i) => {
    args.set(i, BigInt.asUintN(64, BigInt(value)));
  });
  return perform(vcpu, number, args);
}

/** mmu_update with requests of [ptr, val]. */
function mmuUpdate(vcpu: Vcpu, requests: readonly (readonly [bigint, bigint])[], done = 0n): number | bigint {
  pokeWords(vcpu, va(FRAME.scratch), requests.flat());
  return call(vcpu, 1, va(FRAME.scratch), requests.length, done, SELF);
}
const slotOf = (frame: number, index: number) => BigInt(frame) * 4096n + BigInt(index) * 8n;

/** mmuext_op with one operation. */
function mmuext(vcpu: Vcpu, command: number, arg1: bigint | number = 0, arg2: bigint | number = 0): number | bigint {
  pokeWords(vcpu, va(FRAME.scratch), [command, arg1, arg2]);
  return call(vcpu, 26, va(FRAME.scratch), 1, 0, SELF);
}

/** A second tree, not typed yet, that maps frame 200 at 0x1000. */
function newTree(vcpu: Vcpu): void {
  setEntry(vcpu.memory, NEW.l1, 1, leaf(200));
  setEntry(vcpu.memory, NEW.l2, 0, link(NEW.l1));
  setEntry(vcpu.memory, NEW.l3, 0, link(NEW.l2));
  setEntry(vcpu.memory, NEW.l4, 0, link(NEW.l3));
}
const levels = (vcpu: Vcpu) => [NEW.l1, NEW.l2, NEW.l3, NEW.l4].map((frame) => vcpu.domain.types.level(frame));

test('pinning an L4 types the whole tree, unpinning releases it', () => {
  const { vcpu } = testDomain();
  newTree(vcpu);
  assert.equal(mmuext(vcpu, MMUEXT.pin_l4_table, NEW.l4), 0);
  assert.deepEqual(levels(vcpu), [1, 2, 3, 4]);
  assert.equal(vcpu.domain.types.level(200), 0, 'what an L1 maps is data');
  assert.equal(mmuext(vcpu, MMUEXT.pin_l4_table, NEW.l4), -Errno.EINVAL, 'pinned already');
  assert.equal(mmuext(vcpu, MMUEXT.unpin_table, NEW.l4), 0);
  assert.deepEqual(levels(vcpu), [0, 0, 0, 0]);
  assert.equal(mmuext(vcpu, MMUEXT.unpin_table, NEW.l4), -Errno.EINVAL);
});

test('a table that is pinned itself outlives the tree that it is in', () => {
  const { vcpu } = testDomain();
  newTree(vcpu);
  mmuext(vcpu, MMUEXT.pin_l1_table, NEW.l1);
  mmuext(vcpu, MMUEXT.pin_l4_table, NEW.l4);
  mmuext(vcpu, MMUEXT.unpin_table, NEW.l4);
  assert.deepEqual(levels(vcpu), [1, 0, 0, 0]);
});

test('tables that cannot be are refused and leave no trace', () => {
  const m2p = PAGES + SPECIAL.m2p;
  const rows: { name: string; spoil: (vcpu: Vcpu) => void }[] = [
    { name: 'a frame beyond memory', spoil: (v) => setEntry(v.memory, NEW.l1, 5, leaf(1 << 19)) },
    { name: 'a frame number of more than 32 bits', spoil: (v) => setEntry(v.memory, NEW.l1, 5, (1n << 45n) | 0x21n) },
    { name: 'a superpage', spoil: (v) => setEntry(v.memory, NEW.l2, 5, leaf(0) | BigInt(PTE.PS)) },
    { name: 'an L2 that refers to itself', spoil: (v) => setEntry(v.memory, NEW.l2, 5, link(NEW.l2)) },
    { name: 'an L4 that refers to itself', spoil: (v) => setEntry(v.memory, NEW.l4, 5, link(NEW.l4)) },
    { name: 'an L3 that refers to an L1', spoil: (v) => setEntry(v.memory, NEW.l3, 5, link(NEW.l1)) },
    { name: 'a table above RAM', spoil: (v) => setEntry(v.memory, NEW.l3, 5, link(PAGES)) },
    { name: 'a writable mapping of the M2P', spoil: (v) => setEntry(v.memory, NEW.l1, 5, leaf(m2p)) },
  ];
  for (const { name, spoil } of rows) {
    const { vcpu } = testDomain();
    newTree(vcpu);
    spoil(vcpu);
    assert.equal(mmuext(vcpu, MMUEXT.pin_l4_table, NEW.l4), -Errno.EINVAL, name);
    assert.deepEqual(levels(vcpu), [0, 0, 0, 0], name);
    assert.equal(vcpu.domain.types.count(NEW.l1), 0, name);
  }
});

test('the L4 slots of the hypervisor are not looked at when pinning, and cannot be written', () => {
  const { vcpu } = testDomain();
  newTree(vcpu);
  setEntry(vcpu.memory, NEW.l4, 256, 0xffff_ffff_ffff_ffffn);
  assert.equal(mmuext(vcpu, MMUEXT.pin_l4_table, NEW.l4), 0);
  assert.equal(mmuUpdate(vcpu, [[slotOf(NEW.l4, 271), 0n]]), -Errno.EINVAL);
});

test('pinning with a silly frame number is -EINVAL', () => {
  const { vcpu } = testDomain();
  for (const mfn of [PAGES, PAGES + SPECIAL.m2p, 0xffff_ffffn, 0xffff_ffff_ffff_ffffn, 1n << 32n]) {
    assert.equal(mmuext(vcpu, MMUEXT.pin_l1_table, mfn), -Errno.EINVAL, String(mfn));
    assert.equal(mmuext(vcpu, MMUEXT.unpin_table, mfn), -Errno.EINVAL, String(mfn));
    assert.equal(mmuext(vcpu, MMUEXT.clear_page, mfn), -Errno.EINVAL, String(mfn));
    assert.equal(mmuext(vcpu, MMUEXT.new_baseptr, mfn), -Errno.EINVAL, String(mfn));
  }
  assert.equal(mmuext(vcpu, MMUEXT.clear_page, FRAME.l1), -Errno.EINVAL, 'a page table cannot be cleared');
});

test('Linux’s start: the boot L4 is unpinned while it is the base pointer, and is released by the next one', () => {
  const { vcpu, engine } = testDomain();
  newTree(vcpu);
  setEntry(vcpu.memory, NEW.l4, 511, link(FRAME.l3)); // The kernel stays mapped.
  assert.equal(mmuext(vcpu, MMUEXT.pin_l4_table, NEW.l4), 0);
  assert.equal(mmuext(vcpu, MMUEXT.unpin_table, FRAME.l4), 0);
  assert.equal(vcpu.domain.types.level(FRAME.l4), 4);
  engine.calls.length = 0;
  assert.equal(mmuext(vcpu, MMUEXT.new_baseptr, NEW.l4), 0);
  // Before the old root is released.
  assert.deepEqual(engine.calls, ['modeChanged', `tableReleased ${FRAME.l4} 4`]);
  assert.equal(vcpu.kernelRoot, NEW.l4);
  assert.equal(vcpu.domain.types.level(FRAME.l4), 0);
  assert.equal(vcpu.domain.types.level(FRAME.l3), 3);
});

test('an unpinned L4 may be a base pointer and is validated by that; user base pointer 0 is none', () => {
  const { vcpu } = testDomain();
  newTree(vcpu);
  assert.equal(mmuext(vcpu, MMUEXT.new_user_baseptr, NEW.l4), 0);
  assert.deepEqual(levels(vcpu), [1, 2, 3, 4]);
  assert.equal(mmuext(vcpu, MMUEXT.new_user_baseptr, 0), 0);
  assert.equal(vcpu.hasUserRoot, false);
  assert.deepEqual(levels(vcpu), [0, 0, 0, 0]);
});

test('an update of an upper level moves the reference and forgets translations only when something was taken away', () => {
  const { vcpu, engine } = testDomain();
  newTree(vcpu);
  setEntry(vcpu.memory, 110, 0, leaf(201));
  mmuext(vcpu, MMUEXT.pin_l4_table, NEW.l4);
  engine.calls.length = 0;
  assert.equal(mmuUpdate(vcpu, [[slotOf(NEW.l2, 7), link(110)]]), 0);
  assert.deepEqual(engine.calls, []);
  assert.equal(vcpu.domain.types.level(110), 1);
  assert.equal(mmuUpdate(vcpu, [[slotOf(NEW.l2, 7), 0n]]), 0);
  assert.deepEqual(engine.calls, ['tableDetached 110', 'tableReleased 110 1']);
  assert.equal(vcpu.domain.types.level(110), 0);
  engine.calls.length = 0;
  assert.equal(mmuUpdate(vcpu, [[slotOf(NEW.l3, 0), 0n]]), 0);
  assert.deepEqual(engine.calls, [`tableReleased ${NEW.l2} 2`, `tableReleased ${NEW.l1} 1`, 'flushTlb']);
});

test('mmu_update keeps A and D when asked to, and stores plainly otherwise', () => {
  const { vcpu, memory } = testDomain();
  setEntry(memory, FRAME.l1, 300, leaf(300, PTE.P | PTE.RW | PTE.A | PTE.D));
  mmuUpdate(vcpu, [[slotOf(FRAME.l1, 300) | BigInt(MMU.pt_update_preserve_ad), leaf(301, PTE.P | PTE.RW)]]);
  assert.equal(entry(memory, FRAME.l1, 300), leaf(301, PTE.P | PTE.RW | PTE.A | PTE.D));
  mmuUpdate(vcpu, [[slotOf(FRAME.l1, 300), (1n << 63n) | leaf(301, PTE.P)]]);
  assert.equal(entry(memory, FRAME.l1, 300), (1n << 63n) | leaf(301, PTE.P));
});

test('mmu_update stops at the first bad entry and says how far it came', () => {
  const rows = [
    { name: 'frame beyond memory', ptr: slotOf(FRAME.l1, 9), value: leaf(0xfffff), error: Errno.EINVAL },
    { name: 'target above RAM', ptr: slotOf(PAGES, 0), value: 0n, error: Errno.EINVAL },
    { name: 'target far away', ptr: 0xffff_ffff_ffff_f000n, value: 0n, error: Errno.EINVAL },
    { name: 'unknown command', ptr: slotOf(FRAME.l1, 9) | 5n, value: 0n, error: Errno.ENOSYS },
    {
      name: 'L2 entry to a data page that is no L1',
      ptr: slotOf(FRAME.l2, 9),
      value: link(FRAME.l3),
      error: Errno.EINVAL,
    },
    { name: 'M2P update beyond RAM', ptr: slotOf(PAGES, 0) | 1n, value: 0n, error: Errno.EINVAL },
  ];
  for (const { name, ptr, value, error } of rows) {
    const { vcpu, memory } = testDomain();
    const good: readonly [bigint, bigint] = [slotOf(FRAME.l1, 400), leaf(401)];
    assert.equal(mmuUpdate(vcpu, [good, [ptr, value], good], va(FRAME.data)), -error, name);
    assert.equal(vcpu.readU32(va(FRAME.data)), 1, name);
    assert.equal(entry(memory, FRAME.l1, 400), leaf(401), name);
  }
});

test('mmu_update of an array that is not mapped is -EFAULT; of somebody else’s pages it is refused', () => {
  const { vcpu } = testDomain();
  assert.equal(call(vcpu, 1, 0x1000n, 1, 0, SELF), -Errno.EFAULT);
  assert.equal(call(vcpu, 1, 0xffff_ffff_ffff_fff8n, 3, 0, SELF), -Errno.EFAULT);
  assert.equal(call(vcpu, 1, va(FRAME.scratch), 1, 0, 0x7ff1n), -Errno.EPERM);
  assert.equal(call(vcpu, 1, va(FRAME.scratch), 1, 0, 3n), -Errno.ESRCH);
});

test('the M2P reads as identity in the hypervisor’s range and can be updated', () => {
  const { vcpu } = testDomain();
  assert.equal(vcpu.readU64(0xffff_8000_0000_0000n + 8n * 123n), 123n);
  assert.equal(vcpu.readU64(0xffff_8000_0000_0000n + 8n * BigInt(PAGES)), undefined);
  assert.equal(vcpu.writeU64(0xffff_8000_0000_0000n, 1n), false);
  assert.equal(vcpu.readU64(0xffff_8000_00c0_0000n + 8n * 123n), 123n);
  assert.equal(vcpu.readU64(0xffff_8000_00c0_0000n + 8n * BigInt(PAGES)), undefined);
  assert.equal(vcpu.writeU64(0xffff_8000_00c0_0000n, 1n), false);
  mmuUpdate(vcpu, [[slotOf(123, 0) | 1n, 77n]]);
  assert.equal(vcpu.readU64(0xffff_8000_0000_0000n + 8n * 123n), 77n);
});

test('update_va_mapping stores the entry that maps the address and flushes what it is told to', () => {
  const { vcpu, memory, engine } = testDomain();
  assert.equal(call(vcpu, 14, va(300), leaf(301), 2), 0);
  assert.equal(entry(memory, FRAME.l1, 300), leaf(301));
  assert.deepEqual(engine.calls, [`entryChanged ${FRAME.l1} 300`, `flushPage ${va(300).toString(16)}`]);
  // The change itself has dropped all that a flush of everything would find to drop.
  assert.equal(call(vcpu, 14, va(300), leaf(300), 1), 0);
  assert.equal(engine.calls.at(-1), `entryChanged ${FRAME.l1} 300`);
});

test('update_va_mapping refuses addresses without an L1, non-canonical ones and unlawful entries (XSA-279)', () => {
  const { vcpu, engine } = testDomain();
  for (const at of [0n, 1n << 63n, 0x0000_8000_0000_0000n, 0xffff_8000_0000_0000n, KERNEL + 0x200000n]) {
    assert.equal(call(vcpu, 14, at, leaf(1), 5), -Errno.EINVAL, at.toString(16));
  }
  assert.equal(call(vcpu, 14, va(300), leaf(PAGES + 5000), 5), -Errno.EINVAL);
  assert.deepEqual(engine.calls, []);
});

test('in a multicall, update_va_mapping after an L3 update hits the new L1 (XSA-286)', () => {
  const { vcpu, memory } = testDomain();
  const at = KERNEL + 0x4000_0000n; // The next L3 slot: 511.
  setEntry(memory, 110, 0, leaf(300));
  setEntry(memory, 111, 0, link(110));
  setEntry(memory, 112, 0, leaf(301));
  setEntry(memory, 113, 0, link(112));
  assert.equal(mmuUpdate(vcpu, [[slotOf(FRAME.l3, 511), link(111)]]), 0);
  pokeWords(vcpu, va(FRAME.data), [slotOf(FRAME.l3, 511), link(113)]);
  const entryWords = (op: number, ...args: (bigint | number)[]) => [
    op,
    0,
    ...args,
    ...new Array(6 - args.length).fill(0),
  ];
  pokeWords(vcpu, va(FRAME.scratch), [
    ...entryWords(14, at, 0n, 0),
    ...entryWords(1, va(FRAME.data), 1, 0, SELF),
    ...entryWords(14, at, leaf(302), 0),
  ]);
  assert.equal(call(vcpu, 13, va(FRAME.scratch), 3), 0);
  assert.equal(entry(memory, 110, 0), 0n, 'the old table keeps the first edit');
  assert.equal(entry(memory, 112, 0), leaf(302));
});

// Stores to page tables. -----------------------------------------------------------------------------------------------

const WRITE_FAULT = 3;

test('a kernel store to a read-only L1 is performed and is no fault', () => {
  const { vcpu, memory, engine } = testDomain();
  installHandlers(vcpu);
  engine.onStep = (frame) => {
    assert.equal(frame, FRAME.l1);
    setEntry(memory, FRAME.l1, 300, leaf(301));
    vcpu.skip(3);
    return Exit.Stepped;
  };
  const rip = vcpu.rip;
  handle(vcpu, exception(vcpu, 14, WRITE_FAULT, va(FRAME.l1, 300 * 8)));
  assert.equal(vcpu.rip, rip + 3n);
  assert.equal(entry(memory, FRAME.l1, 300), leaf(301));
});

test('a store that makes an unlawful entry is taken back with its registers, and the guest gets the page fault', () => {
  for (const bad of [leaf(PAGES + 4000), leaf(PAGES + SPECIAL.m2p)]) {
    const { vcpu, memory, engine } = testDomain();
    installHandlers(vcpu);
    vcpu.setReg64(GPR.rax, 55n);
    const before = entry(memory, FRAME.l1, 300);
    engine.onStep = () => {
      setEntry(memory, FRAME.l1, 300, bad);
      vcpu.setReg64(GPR.rax, before);
      vcpu.skip(3);
      return Exit.Stepped;
    };
    const rip = vcpu.rip;
    handle(vcpu, exception(vcpu, 14, WRITE_FAULT, va(FRAME.l1, 300 * 8)));
    assert.equal(entry(memory, FRAME.l1, 300), before);
    assert.equal(vcpu.reg64(GPR.rax), 55n);
    assert.equal(vcpu.rip, handlerOf(14));
    const frame = words(vcpu, vcpu.reg64(GPR.rsp), 4);
    assert.deepEqual([frame[2], frame[3]], [BigInt(WRITE_FAULT), rip]);
  }
});

test('an unaligned store that spoils the neighbouring entry is noticed as well', () => {
  const { vcpu, memory, engine } = testDomain();
  installHandlers(vcpu);
  const before = entry(memory, FRAME.l1, 301);
  engine.onStep = () => {
    setEntry(memory, FRAME.l1, 301, leaf(0xf0000));
    return Exit.Stepped;
  };
  handle(vcpu, exception(vcpu, 14, WRITE_FAULT, va(FRAME.l1, 300 * 8 + 4)));
  assert.equal(entry(memory, FRAME.l1, 301), before);
  assert.equal(vcpu.rip, handlerOf(14));
});

test('write faults on upper levels, on ordinary read-only pages, from user mode and for other reasons are delivered', () => {
  const rows = [
    { name: 'L2', at: va(FRAME.l2), error: WRITE_FAULT, user: false },
    { name: 'read-only data', at: va(300), error: WRITE_FAULT, user: false },
    { name: 'user mode', at: va(FRAME.l1), error: WRITE_FAULT | 4, user: true },
    { name: 'not present', at: va(FRAME.l1), error: 2, user: false },
    { name: 'read', at: va(FRAME.l1), error: 1, user: false },
    { name: 'reserved bit', at: va(FRAME.l1), error: WRITE_FAULT | 8, user: false },
    { name: 'not mapped at all', at: 0x1234n, error: WRITE_FAULT, user: false },
  ];
  for (const { name, at, error, user } of rows) {
    const { vcpu, memory, engine } = testDomain();
    installHandlers(vcpu);
    setEntry(memory, FRAME.l1, 300, leaf(300, PTE.P));
    engine.onStep = () => assert.fail(name);
    if (user) enterUser(vcpu);
    handle(vcpu, exception(vcpu, 14, error, at));
    assert.equal(vcpu.rip, handlerOf(14), name);
    assert.equal(vcpu.u64(STATE.cr2), at, name);
  }
});

test('a store to a page table that faults elsewhere delivers that fault', () => {
  const { vcpu, engine } = testDomain();
  installHandlers(vcpu);
  engine.onStep = () => exception(vcpu, 14, 0, 0x5000n);
  handle(vcpu, exception(vcpu, 14, WRITE_FAULT, va(FRAME.l1)));
  assert.equal(vcpu.rip, handlerOf(14));
  assert.equal(vcpu.u64(STATE.cr2), 0x5000n);
});

test('hostile page tables: random entries under random commands never throw and never name foreign memory', () => {
  let seed = 12345;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 0x1_0000_0000) * n);
  };
  const { vcpu, memory, domain } = testDomain();
  const frames = [90, 91, 92, 93, 94, 95];
  for (let i = 0; i < 4000; i++) {
    const frame = frames[random(frames.length)]!;
    const target = [frames[random(6)]!, PAGES + random(200), 1 << random(31)][random(3)]!;
    const value =
      (BigInt(target) << 12n) | BigInt(random(512)) | (BigInt(random(4) === 0 ? random(1 << 20) : 0) << 32n);
    const kind = random(4);
    if (kind === 0) mmuUpdate(vcpu, [[slotOf(frame, random(512)) | BigInt(random(8)), value]]);
    else if (kind === 1) mmuext(vcpu, random(22), frame, target);
    else if (kind === 2)
      setEntry(memory, frame, random(512), value); // A plain store through a writable mapping.
    else call(vcpu, 14, BigInt(random(1 << 30)) << 12n, value, random(8));
    // A random root that happened to be lawful does not map the requests of the next round.
    assert.ok(setKernelRoot(vcpu, FRAME.l4));
  }
  for (const frame of frames) if (domain.types.pinned(frame)) assert.ok(domain.types.level(frame) > 0);
  assert.equal(domain.crashReport, undefined);
  const end = memory.layout.ramBase + memory.layout.frames * 4096;
  let reached = 0;
  // Tables as dense as they can be, half of whose entries lead to other tables.
  for (const frame of frames) {
    for (let i = 0; i < 512; i++) {
      const target = random(2)
        ? frames[random(6)]!
        : [PAGES + random(200), 1 << random(20), random(1 << 20)][random(3)]!;
      setEntry(memory, frame, i, (BigInt(target) << 12n) | BigInt(random(8) | PTE.P));
    }
  }
  for (let i = 0; i < 20_000; i++) {
    const root = frames[random(frames.length)]!;
    const at = vcpu.walker.translate(
      root,
      (random(1 << 20) << 12) >>> 0,
      random(2) ? random(0x8000) : 0xffff_8000 + random(0x8000),
      random(2) === 0,
    );
    assert.ok(at === 0 || (at >= memory.layout.ramBase && at < end));
    if (at !== 0) reached++;
  }
  assert.ok(reached > 0, 'the tables led somewhere: the check above was not idle');
});
