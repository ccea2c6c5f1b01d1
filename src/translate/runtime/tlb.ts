/**
 * The translation lookaside buffers of one vCPU, and what keeps them true: which array is in use, and what leaves them when
 * roots, entries and tables change. Filling them is the page walk's (mmu.ts), looking into them is inlined everywhere.
 *
 * There is one array for guest kernel mode and one for each of the last few user roots (layout.ts). A page is in one of two
 * places of an array, never in both.
 *   - A change of the kernel root leaves the upper half of the kernel's array alone when both tables have the same entries
 *     there, as Linux' have: a PV guest has no global pages, but it has shared tables. The lower half goes.
 *   - A change of the user root takes the array that was filled under it, if there is one still.
 * So nothing may go stale while its root is not loaded. That holds because a page table in use changes only under the
 * hypervisor's hands (pv-abi 3.3): it reports each entry of level 1 that was present (`entryChanged`) and each of level 2
 * (`tableDetached`), flushes when an entry of a higher level was, and says when a root is no table any more (`forgetRoot`). Which addresses an entry of level 1 is
 * good for is written down when it is walked: `MemoryLayout.tableSpans` has for each frame the 2 MiB that were reached
 * through it as a level 1 table. A guest that finds a way round the reports confuses its own addresses only: every frame
 * number in an array was checked when it was put there.
 */
import type { MemoryLayout } from '../../hypervisor/memory.ts';
import { type E, I32, I64, i32, i64, load32, load64, load128, select } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import {
  KERNEL_TLB,
  KERNEL_TLB_ROOT,
  LOW_FILL_LIST,
  LOW_FILL_LIST_ENTRIES,
  LOW_FILLS,
  NO_PAGE,
  SPACE_CLOCK,
  SPACE_FREE,
  SPACE_ROOTS,
  SPACE_STAMPS,
  SPAN_MANY,
  SPAN_VALID,
  STACK_PAGE,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TLB_FILL_LIST,
  TLB_FILL_LIST_ENTRIES,
  TLB_FILLS,
  TLB_OTHER,
  TLB_STAMP,
  TLB_STAMPS,
  TLB_STRIDE,
  USER_SPACES,
  USER_TLB,
  USER_TLBS,
} from '../layout.ts';

/** L4 slots that the guest's kernel shares between its tables: the upper half without the hypervisor's range. */
const SHARED_FIRST = 272;
const SHARED_END = 512;
/** An entry's accessed bit, which says nothing about where it leads. */
const NOT_ACCESSED = ~0x20;

/** Names of the exported functions are the fields'. */
export interface TlbRuntime {
  /** (cpu): drop everything. */
  readonly flushTlb: FnRef;
  /** (cpu, lo, hi): drop the page of the address, in every array. */
  readonly flushPage: FnRef;
  /** (cpu): the mode or a root in the state block has changed. */
  readonly modeChanged: FnRef;
  /** (cpu, frame, index): an entry of this level 1 table, present until now, was changed. */
  readonly entryChanged: FnRef;
  /** (cpu, frame): an entry that led to this level 1 table was changed. */
  readonly tableDetached: FnRef;
  /** (cpu, frame): no array may hold the frame for writing any more: code was decoded from it. */
  readonly withholdWrites: FnRef;
  /** (cpu, root): the frame is no level 4 table any more. */
  readonly forgetRoot: FnRef;
}

/** Byte offset in an array of the entry for `va`: its number is the page's, modulo TLB_ENTRIES. */
export const entryOffset = (va: E): E =>
  va
    .wrap()
    .shrU(12 - Math.log2(TLB_ENTRY_BYTES))
    .and((TLB_ENTRIES - 1) * TLB_ENTRY_BYTES);

/** Address of the entry for `va` in the array `tlb`. */
export const tlbEntry = (tlb: E, va: E): E => tlb.add(entryOffset(va));

/** Keep no page any more at this offset of the state block: STACK_PAGE or one of KEPT_PAGES. */
export function forgetPage(f: Fn, cpu: E, offset: number): void {
  f.store128(cpu, load128(cpu, NO_PAGE), offset);
}

/** Address of the other place of `entry`, one of the array `tlb`. */
export const otherPlace = (tlb: E, entry: E): E => entry.sub(tlb).xor(TLB_OTHER).add(tlb);

/** The addresses that `array` lets code be fetched from are about to change. */
function renewStamp(f: Fn, cpu: E, array: E): void {
  f.store64(cpu, load64(cpu, TLB_STAMPS).add(i64(1)), TLB_STAMPS);
  f.store64(array, load64(cpu, TLB_STAMPS), TLB_STAMP);
}

/** What `entry` of `array` holds will not be known any more, or be something else. */
export const noteLoss = (f: Fn, cpu: E, array: E, entry: E): void =>
  f.if(load64(entry, 16).ne(-1), () => renewStamp(f, cpu, array));

const dropEntry = (f: Fn, cpu: E, array: E, entry: E): void => {
  noteLoss(f, cpu, array, entry);
  for (const tag of [0, 8, 16]) f.store64(entry, i64(-1), tag);
};

/** Count `index` from 0 to below `end`. */
function each(f: Fn, end: E | number, body: (index: E) => void): void {
  f.scope(() => {
    const index = f.local(I32);
    f.set(index, i32(0));
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, index.geU(end));
        body(index);
        f.set(index, index.add(1));
        f.br(again);
      });
    });
  });
}

export function buildTlb(m: ModuleBuilder, layout: MemoryLayout): TlbRuntime {
  /** (cpu, array): drop all of its entries. */
  const clearArray = m.function([I32, I32], [], (f) => {
    const cpu = f.param(0);
    const array = f.param(1);
    renewStamp(f, cpu, array);
    const fills = f.let(load32(array, TLB_FILLS));
    f.store32(array, i32(0), TLB_FILLS);
    f.if(fills.leU(TLB_FILL_LIST_ENTRIES), () => {
      each(f, fills, (k) => dropEntry(f, cpu, array, f.let(load32(array.add(k.shl(2)), TLB_FILL_LIST))));
      f.ret();
    });
    f.memoryFill(array, i32(0xff), i32(TLB_FILLS));
  });
  const clear = (f: Fn, cpu: E, array: E): void => f.callVoid(clearArray, cpu, array);

  /** Take the array of the user root in the state block, or the one longest unused for it. */
  const adoptSpace = m.function([I32], [], (f) => {
    const cpu = f.param(0);
    const root = f.let(load32(cpu, STATE.userRoot));
    const chosen = f.local(I32);
    const oldest = f.local(I32);
    f.set(chosen, i32(-1));
    f.set(oldest, i32(0));
    each(f, USER_SPACES, (k) => {
      f.if(load32(cpu.add(k.shl(2)), SPACE_ROOTS).eq(root), () => f.set(chosen, k));
      const older = load32(cpu.add(k.shl(2)), SPACE_STAMPS).ltU(load32(cpu.add(oldest.shl(2)), SPACE_STAMPS));
      f.set(oldest, select(older, k, oldest));
    });
    const known = f.let(chosen.ne(-1));
    f.set(chosen, select(known, chosen, oldest));
    const array = f.let(cpu.add(USER_TLBS).add(chosen.mul(TLB_STRIDE)));
    const word = f.let(cpu.add(chosen.shl(2)));
    f.if(known.eqz(), () => {
      f.store32(word, root, SPACE_ROOTS);
      clear(f, cpu, array);
    });
    const now = f.let(load32(cpu, SPACE_CLOCK).add(1));
    f.store32(cpu, now, SPACE_CLOCK);
    f.store32(word, now, SPACE_STAMPS);
    f.store32(cpu, array, USER_TLB);
  });

  /** STATE.tlb after a change of mode or of the user's array. */
  const selectArray = (f: Fn, cpu: E): void =>
    f.store32(cpu, select(load32(cpu, STATE.kernelMode), cpu.add(KERNEL_TLB), load32(cpu, USER_TLB)), STATE.tlb);

  const flushTlb = m.function(
    [I32],
    [],
    (f) => {
      const cpu = f.param(0);
      clear(f, cpu, cpu.add(KERNEL_TLB));
      f.store32(cpu, i32(0), LOW_FILLS);
      each(f, USER_SPACES, (k) => f.store32(cpu.add(k.shl(2)), i32(SPACE_FREE), SPACE_ROOTS));
      f.callVoid(adoptSpace, cpu);
      selectArray(f, cpu);
    },
    'flushTlb',
  );

  /** (cpu, page address) */
  const dropPage = m.function([I32, I64], [], (f) => {
    const cpu = f.param(0);
    const page = f.param(1);
    const first = f.let(entryOffset(page));
    const other = f.let(first.xor(TLB_OTHER));
    const dropFrom = (array: E): void => {
      for (const place of [first, other]) {
        const entry = f.let(place.add(array));
        f.if(load64(entry).eq(page), () => dropEntry(f, cpu, array, entry));
      }
    };
    dropFrom(f.let(cpu.add(KERNEL_TLB)));
    each(f, USER_SPACES, (k) => {
      // What nobody owns is emptied before it is used.
      const owned = load32(cpu.add(k.shl(2)), SPACE_ROOTS).ne(SPACE_FREE);
      f.if(owned, () => dropFrom(f.let(cpu.add(USER_TLBS).add(k.mul(TLB_STRIDE)))));
    });
  });

  const flushPage = m.function(
    [I32, I32, I32],
    [],
    (f) => {
      const page = f.param(2).extendU().shl(32).or(f.param(1).and(-4096).extendU());
      f.callVoid(dropPage, f.param(0), page);
    },
    'flushPage',
  );

  /** The first address that was translated through the level 1 table in `frame`; returns when there is none, or flushes when many. */
  const spanOf = (f: Fn, cpu: E, frame: E): E => {
    const span = f.let(load32(frame.shl(2).add(layout.tableSpans)));
    // Nothing was ever translated through this table.
    f.if(span.eqz(), () => f.ret());
    f.if(span.eq(SPAN_MANY), () => {
      f.callVoid(flushTlb, cpu);
      f.ret();
    });
    // Bits 47–21 of the address, to be extended to 64.
    return f.let(span.extendU().shl(37).shrS(16));
  };

  const entryChanged = m.function(
    [I32, I32, I32],
    [],
    (f) => {
      const cpu = f.param(0);
      const first = spanOf(f, cpu, f.param(1));
      f.callVoid(dropPage, cpu, first.add(f.param(2).extendU().shl(12)));
    },
    'entryChanged',
  );

  const tableDetached = m.function(
    [I32, I32],
    [],
    (f) => {
      const cpu = f.param(0);
      const first = spanOf(f, cpu, f.param(1));
      each(f, 512, (k) => f.callVoid(dropPage, cpu, first.add(k.extendU().shl(12))));
    },
    'tableDetached',
  );

  /** (array, frame): no entry of the array for this frame is good for writing. */
  const withhold = m.function([I32, I32], [], (f) => {
    each(f, TLB_ENTRIES, (k) => {
      const entry = f.let(f.param(0).add(k.shl(5)));
      f.if(load32(entry, 28).eq(f.param(1)), () => f.store64(entry, i64(-1), 8));
    });
  });

  const withholdWrites = m.function(
    [I32, I32],
    [],
    (f) => {
      const cpu = f.param(0);
      const user = f.let(load32(cpu, USER_TLB));
      forgetPage(f, cpu, STACK_PAGE);
      f.callVoid(withhold, cpu.add(KERNEL_TLB), f.param(1));
      f.callVoid(withhold, user, f.param(1));
      // The arrays of user roots that are not loaded begin anew when they are next.
      each(f, USER_SPACES, (k) => {
        const current = cpu.add(USER_TLBS).add(k.mul(TLB_STRIDE)).eq(user);
        f.if(current.eqz(), () => f.store32(cpu.add(k.shl(2)), i32(SPACE_FREE), SPACE_ROOTS));
      });
    },
    'withholdWrites',
  );

  const forgetRoot = m.function(
    [I32, I32],
    [],
    (f) => {
      const cpu = f.param(0);
      each(f, USER_SPACES, (k) => {
        const word = f.let(cpu.add(k.shl(2)));
        f.if(load32(word, SPACE_ROOTS).eq(f.param(1)), () => f.store32(word, i32(SPACE_FREE), SPACE_ROOTS));
      });
    },
    'forgetRoot',
  );

  /** (cpu): drop the lower half of the kernel's array. */
  const dropLowHalf = m.function([I32], [], (f) => {
    const cpu = f.param(0);
    const fills = f.let(load32(cpu, LOW_FILLS));
    const array = f.let(cpu.add(KERNEL_TLB));
    f.store32(cpu, i32(0), LOW_FILLS);
    f.if(fills.leU(LOW_FILL_LIST_ENTRIES), () => {
      each(f, fills, (k) => dropEntry(f, cpu, array, f.let(load32(cpu.add(k.shl(2)), LOW_FILL_LIST))));
      f.ret();
    });
    each(f, TLB_ENTRIES, (k) => {
      const entry = f.let(array.add(k.shl(5)));
      f.if(load64(entry).geS(0), () => dropEntry(f, cpu, array, entry));
    });
  });

  /** (root, root) → 1 when the tables lead to the same kernel. */
  const sameKernel = m.function([I32, I32], [I32], (f) => {
    const [a, b] = [f.param(0), f.param(1)];
    f.if(a.geU(layout.frames).or(b.geU(layout.frames)), () => f.ret(i32(0)));
    const at = (root: E): E => f.let(root.shl(12).add(layout.ramBase + SHARED_FIRST * 8));
    const [one, other] = [at(a), at(b)];
    const different = f.local(I64);
    f.set(different, i64(0));
    each(f, SHARED_END - SHARED_FIRST, (k) => {
      const offset = f.let(k.shl(3));
      f.set(different, different.or(load64(one.add(offset)).xor(load64(other.add(offset)))));
    });
    f.ret(different.and(NOT_ACCESSED).eqz());
    f.unreachable();
  });

  const modeChanged = m.function(
    [I32],
    [],
    (f) => {
      const cpu = f.param(0);
      const root = f.let(load32(cpu, STATE.kernelRoot));
      const before = f.let(load32(cpu, KERNEL_TLB_ROOT));
      f.if(root.ne(before), () => {
        f.callVoid(dropLowHalf, cpu);
        f.if(call(sameKernel, before, root).eqz(), () => clear(f, cpu, cpu.add(KERNEL_TLB)));
        f.store32(cpu, root, KERNEL_TLB_ROOT);
      });
      const space = f.let(load32(cpu, USER_TLB).sub(cpu).sub(USER_TLBS).divU(TLB_STRIDE));
      const held = load32(cpu.add(space.shl(2)), SPACE_ROOTS);
      f.if(held.ne(load32(cpu, STATE.userRoot)), () => f.callVoid(adoptSpace, cpu));
      selectArray(f, cpu);
    },
    'modeChanged',
  );

  return { flushTlb, flushPage, modeChanged, entryChanged, tableDetached, withholdWrites, forgetRoot };
}

/** In the page walk: a translation of `page` by the level 1 entry at linear address `slot` goes into an array. */
export function noteSpan(f: Fn, layout: MemoryLayout, slot: E, va: E): void {
  f.scope(() => {
    const word = f.let(slot.sub(layout.ramBase).shrU(12).shl(2).add(layout.tableSpans));
    const span = f.let(va.shrU(21).wrap().and(0x7ffffff).or(SPAN_VALID));
    const before = f.let(load32(word));
    f.if(before.ne(span), () => {
      f.cold();
      f.store32(word, select(before, i32(SPAN_MANY), span));
    });
  });
}

/** The entry in this place was empty before (`before`: its page) or was not; now it is that of `page`. */
function noteFill(f: Fn, cpu: E, tlb: E, entry: E, before: E, page: E): void {
  f.if(before.eq(-1), () => {
    const all = f.let(load32(tlb, TLB_FILLS));
    f.if(all.ltU(TLB_FILL_LIST_ENTRIES), () => f.store32(tlb.add(all.shl(2)), entry, TLB_FILL_LIST));
    f.store32(tlb, all.add(1), TLB_FILLS);
  });
  // Those of the kernel's array for the lower half are in a list of their own too.
  f.if(page.geS(0).and(load32(cpu, STATE.kernelMode)), () => {
    const fills = f.let(load32(cpu, LOW_FILLS));
    f.if(fills.ltU(LOW_FILL_LIST_ENTRIES), () => f.store32(cpu.add(fills.shl(2)), entry, LOW_FILL_LIST));
    f.store32(cpu, fills.add(1), LOW_FILLS);
  });
}

/**
 * In the page walk: make room in the first place `entry` for `page`, which is in neither of its places. Of the two pages that are there
 * one stays, in the other place: code rather than data, as its loss has every region look where its pages are; otherwise the one that
 * is here, if it is where it is looked for. One that had been displaced to here would displace a page that is in use.
 */
export function displace(f: Fn, cpu: E, tlb: E, entry: E, page: E): void {
  const before = f.let(load64(entry));
  const other = f.let(otherPlace(tlb, entry));
  const code = f.let(load64(entry, 16).ne(-1));
  const isHome = tlbEntry(tlb, before).eq(entry);
  const stays = select(load64(other, 16).ne(-1).eq(code), isHome, code);
  f.if(
    stays.and(before.ne(-1)),
    () => {
      noteLoss(f, cpu, tlb, other);
      noteFill(f, cpu, tlb, other, f.let(load64(other)), before);
      for (const half of [0, 16]) f.store128(other, load128(entry, half), half);
    },
    () => noteLoss(f, cpu, tlb, entry),
  );
  noteFill(f, cpu, tlb, entry, before, page);
}

/** After a miss in the first place `entry`: if `page` is in its other place, exchange the two. */
export function bringBack(f: Fn, cpu: E, tlb: E, entry: E, page: E): void {
  const other = f.let(otherPlace(tlb, entry));
  f.if(load64(other).eq(page), () => {
    const before = f.let(load64(entry));
    const halves = [0, 16].map((half) => ({
      half,
      first: f.let(load128(entry, half)),
      second: f.let(load128(other, half)),
    }));
    for (const { half, first, second } of halves) {
      f.store128(entry, second, half);
      f.store128(other, first, half);
    }
    noteFill(f, cpu, tlb, entry, before, page);
    noteFill(f, cpu, tlb, other, page, before);
  });
}
