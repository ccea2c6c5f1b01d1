/**
 * Address translation in WebAssembly: the page walk, the TLB refill and page-crossing accesses. pv-abi 3.2 is the rule book:
 * four levels of 4 KiB pages, U and G ignored, P, RW and NX honoured, A and D set.
 *
 * All functions take the base of the vCPU's state block. A linear address of 0 means that a fault is recorded in the block
 * (exitVector, exitErrorCode, cr2). Frame numbers are checked against the domain's memory before use, whatever the tables say.
 */
import { MACH2PHYS_SECOND } from '../../abi/numbers.ts';
import type { MemoryLayout } from '../../hypervisor/memory.ts';
import {
  atomic,
  type E,
  I32,
  I64,
  i32,
  i64,
  i64pair,
  load8u,
  load32,
  load32u64,
  load64,
  select,
} from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { ACCESS, CODE_DROPPED, STACK_ADDEND, STACK_PAGE } from '../layout.ts';
import { bringBack, displace, forgetPage, noteLoss, noteSpan, tlbEntry } from './tlb.ts';

const PAGE_FAULT = 14;
const GENERAL_PROTECTION = 13;
const STACK_FAULT = 12;

/** Page-table entry bits. */
const PRESENT = 1;
const WRITABLE = 2;
const ACCESSED = 0x20;
const DIRTY = 0x40;

export interface MmuRuntime {
  /** (cpu, va, access) → linear address of the byte(s), the crossing buffer, or 0. */
  readonly miss: FnRef;
  /** (cpu, va, size): after a store into the crossing buffer, carry its bytes to both pages. */
  readonly scatter: FnRef;
  /** Like `miss` with the TLB looked at first: (cpu, va, access) → linear address. */
  readonly translate: FnRef;
  /** `miss` for regions: 1 when a store is about to drop code, so that the interpreter has to perform it. */
  readonly regionMiss: FnRef;
  readonly regionAgain: FnRef;
  /**
   * `translate` for regions' accesses relative to RSP. Leaves in STACK_PAGE and STACK_ADDEND what the region may translate the
   * accesses that follow by: a page that can be written, or NO_PAGE.
   */
  readonly regionStack: FnRef;
  /** (cpu, va) → linear address of the page of code at the page address `va`, or 0: for regions, which look where theirs are. */
  readonly codePage: FnRef;
}

/**
 * The inline TLB look-up: the tag compare folds in the test that the access ends in its first page. That is sound as a page
 * and the next one never have the same place.
 */
export function probe(
  f: Fn,
  cpu: E,
  va: E,
  size: number,
  tag: 0 | 8 | 16,
  hit: (linear: E) => void,
  miss: () => void,
): void {
  f.scope(() => {
    const entry = f.let(tlbEntry(load32(cpu, STATE.tlb), va));
    const end = size === 1 ? va : va.add(size - 1);
    f.if(
      load64(entry, tag).eq(end.and(-4096)),
      () => hit(va.wrap().add(load32(entry, 24))),
      () => {
        f.cold();
        miss();
      },
    );
  });
}

export function buildMmu(m: ModuleBuilder, layout: MemoryLayout, codeWrite: FnRef): MmuRuntime {
  const raiseAddress = (f: Fn, cpu: E, va: E, access: E): void => {
    f.store32(cpu, select(access.and(ACCESS.stack), i32(STACK_FAULT), i32(GENERAL_PROTECTION)), STATE.exitVector);
    f.store32(cpu, i32(0), STATE.exitErrorCode);
    f.drop(va);
  };

  /** (cpu, va, access) → linear address of the page, or 0; fills the TLB. `access` has the size of the part in this page. */
  const page = m.function([I32, I64, I32], [I32], (f) => {
    const cpu = f.param(0);
    const va = f.param(1);
    const access = f.param(2);
    const error = f.local(I32);
    const write = f.let(access.and(ACCESS.write).ne(0));
    const kernel = f.let(load32(cpu, STATE.kernelMode));
    const frame = f.local(I32);
    const entry = f.local(I64);
    const rights = f.local(I64);
    const at = f.local(I32);
    const top = f.let(va.shrU(39).wrap().and(511));
    const tlb = f.let(load32(cpu, STATE.tlb));
    const slot = f.let(tlbEntry(tlb, va));
    const tag = f.let(va.and(-4096));
    f.if(load64(slot).ne(tag), () => bringBack(f, cpu, tlb, slot, tag));
    const wanted = select(write, i32(8), select(access.and(ACCESS.execute), i32(16), i32(0)));
    f.if(load64(slot.add(wanted)).eq(tag), () => f.ret(tag.wrap().add(load32(slot, 24))));

    f.block((fault) => {
      f.set(error, i32(0));
      f.block((walked) => {
        // The hypervisor's own range: the machine-to-physical table for kernel mode, nothing else.
        f.if(top.sub(256).ltU(16), () => {
          const first = f.let(va.sub(i64pair(0, 0xffff8000 | 0)).shrU(12));
          const second = f.let(first.sub(MACH2PHYS_SECOND >>> 12));
          const index = f.let(select(second.geS(0), second, first));
          f.if(kernel.eqz().or(index.geU(load32u64(cpu, STATE.m2pPages).add(511).shrU(9))), () => f.br(fault));
          f.set(frame, load32(cpu, STATE.m2pFrame).add(index.wrap()));
          f.set(rights, i64pair(PRESENT, 0x80000000 | 0));
          f.br(walked);
        });
        f.set(frame, select(kernel, load32(cpu, STATE.kernelRoot), load32(cpu, STATE.userRoot)));
        f.set(rights, i64(WRITABLE));
        for (const shift of [39, 30, 21, 12]) {
          f.if(frame.geU(layout.frames), () => f.br(fault));
          f.set(at, frame.shl(12).add(layout.ramBase).add(va.shrU(shift).wrap().and(511).shl(3)));
          f.set(entry, load64(at));
          f.if(entry.wrap().and(PRESENT).eqz(), () => f.br(fault));
          // Bit 63 (NX) accumulates by or, RW by and.
          f.set(rights, rights.and(entry.and(WRITABLE)).or(rights.or(entry).and(i64pair(0, 0x80000000 | 0))));
          if (shift !== 12) {
            f.if(entry.wrap().and(ACCESSED).eqz(), () => f.drop(atomic.or64(at, i64(ACCESSED))));
            f.set(frame, entry.shrU(12).wrap().and(0xfffffff));
            // Frame numbers have 40 bits in the entry; one beyond 28 is beyond any domain's memory as well.
            f.if(entry.and(i64pair(0, 0x000fff00)).ne(0), () => f.br(fault));
          }
        }
        f.set(frame, entry.shrU(12).wrap().and(0xfffffff));
        f.if(frame.geU(layout.frames).or(entry.and(i64pair(0, 0x000fff00)).ne(0)), () => f.br(fault));
      });
      // The entry is present: now rights.
      f.set(error, i32(1));
      f.if(write.and(rights.wrap().and(WRITABLE).eqz()), () => {
        // One store to a page table under the hypervisor's supervision (Engine.step).
        f.if(frame.ne(load32(cpu, STATE.writableFrame)), () => f.br(fault));
        f.ret(frame.shl(12).add(layout.ramBase));
      });
      f.if(access.and(ACCESS.execute).ne(0).and(rights.ltS(0)), () => f.br(fault));
      f.if(top.sub(256).geU(16), () => {
        const want = f.let(select(write, i64(ACCESSED | DIRTY), i64(ACCESSED)));
        f.if(entry.and(want).ne(want), () => f.drop(atomic.or64(at, want)));
      });
      const linear = f.let(frame.shl(12).add(layout.ramBase));
      const code = f.local(I32);
      f.set(code, load8u(frame.add(layout.frameFlags)));
      f.if(write.and(code.ne(0)), () => {
        // Does the store touch a 512-byte piece that code was decoded from?
        const offset = f.let(va.wrap().and(4095));
        const size = f.let(access.and(ACCESS.size));
        const first = offset.shrU(9);
        const last = offset.add(size).sub(1).shrU(9);
        const bits = f.let(i32(2).shl(last).sub(i32(1).shl(first)));
        f.if(code.and(bits), () => {
          f.callVoid(codeWrite, frame, code.and(bits), offset, size);
          f.set(code, load8u(frame.add(layout.frameFlags)));
        });
      });
      // Refill.
      const addend = f.let(linear.sub(tag.wrap()));
      const here = f.let(load64(slot).eq(tag));
      f.if(here.eqz().or(load32(slot, 24).ne(addend)), () => {
        f.if(
          here,
          () => noteLoss(f, cpu, tlb, slot),
          () => displace(f, cpu, tlb, slot, tag),
        );
        f.store64(slot, tag, 0);
        f.store32(slot, addend, 24);
        f.store32(slot, frame, 28);
        // The hypervisor's own range has no table of the guest's.
        f.if(top.sub(256).geU(16), () => noteSpan(f, layout, at, va));
      });
      // All that the page may be used for without another look at the tables, not only what it is used for now: but for code,
      // of which regions learn that it is lost.
      const dirty = write.or(entry.wrap().and(DIRTY).ne(0));
      const writable = rights.wrap().and(WRITABLE).ne(0).and(dirty).and(code.eqz());
      f.store64(slot, select(writable, tag, i64(-1)), 8);
      const hasCode = access.and(ACCESS.execute).or(code).ne(0);
      f.store64(slot, select(rights.geS(0).and(hasCode), tag, i64(-1)), 16);
      f.ret(linear);
    });
    f.store32(cpu, i32(PAGE_FAULT), STATE.exitVector);
    f.store32(
      cpu,
      error.or(write.shl(1)).or(kernel.eqz().shl(2)).or(access.and(ACCESS.execute).ne(0).shl(4)),
      STATE.exitErrorCode,
    );
    f.store64(cpu, va, STATE.cr2);
    f.ret(i32(0));
    f.unreachable();
  });

  const miss = m.function([I32, I64, I32], [I32], (f) => {
    const cpu = f.param(0);
    const va = f.param(1);
    const access = f.param(2);
    const size = f.let(access.and(ACCESS.size));
    const last = f.let(va.add(size.extendU()).sub(1));
    f.if(va.shl(16).shrS(16).ne(va).or(last.shl(16).shrS(16).ne(last)), () => {
      raiseAddress(f, cpu, va, access);
      f.ret(i32(0));
    });
    const linear = f.local(I32);
    const offset = f.let(va.wrap().and(4095));
    f.if(offset.add(size).leU(4096), () => {
      f.set(linear, call(page, cpu, va, access));
      f.if(linear.eqz(), () => f.ret(i32(0)));
      f.ret(linear.add(offset));
    });
    // Both pages are looked at before anything is done: a fault in the second leaves no trace in the first.
    const head = f.let(i32(4096).sub(offset));
    const tail = f.let(size.sub(head));
    const flags = f.let(access.and(~ACCESS.size));
    f.set(linear, call(page, cpu, va, flags.or(head)));
    f.if(linear.eqz(), () => f.ret(i32(0)));
    const second = f.let(call(page, cpu, last.and(-4096), flags.or(tail)));
    f.if(second.eqz(), () => f.ret(i32(0)));
    f.memoryCopy(cpu.add(STATE.crossing), linear.add(offset), head);
    f.memoryCopy(cpu.add(STATE.crossing).add(head), second, tail);
    f.ret(cpu.add(STATE.crossing));
    f.unreachable();
  });

  const scatter = m.function([I32, I64, I32], [], (f) => {
    const cpu = f.param(0);
    const va = f.param(1);
    const size = f.param(2);
    const offset = f.let(va.wrap().and(4095));
    const head = f.let(i32(4096).sub(offset));
    const tail = f.let(size.sub(head));
    const linear = f.let(call(page, cpu, va, head.or(ACCESS.write)));
    f.if(linear, () => f.memoryCopy(linear.add(offset), cpu.add(STATE.crossing), head));
    const second = f.let(call(page, cpu, va.add(size.extendU()).sub(1).and(-4096), tail.or(ACCESS.write)));
    f.if(second, () => f.memoryCopy(second, cpu.add(STATE.crossing).add(head), tail));
  });

  const translate = m.function(
    [I32, I64, I32],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const va = f.param(1);
      const access = f.param(2);
      // The TLB's tags lie 8 bytes apart: read, write, execute.
      const tag = f.let(access.and(ACCESS.write).ne(0).shl(3).or(access.and(ACCESS.execute).ne(0).shl(4)));
      const entry = f.let(tlbEntry(load32(cpu, STATE.tlb), va));
      f.if(load64(entry.add(tag)).eq(va.add(access.and(ACCESS.size).extendU()).sub(1).and(-4096)), () =>
        f.ret(va.wrap().add(load32(entry, 24))),
      );
      f.ret(call(miss, cpu, va, access));
      f.unreachable();
    },
    'translate',
  );

  const regionMiss = m.function(
    [I32, I64, I32],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const access = f.param(2);
      const linear = f.let(call(miss, cpu, f.param(1), access));
      f.if(linear.ne(0).and(access.and(ACCESS.write).ne(0)), () => {
        f.if(load32(cpu, CODE_DROPPED), () => {
          f.store32(cpu, i32(0), CODE_DROPPED);
          f.ret(i32(1));
        });
      });
      f.ret(linear);
      f.unreachable();
    },
    'regionMiss',
  );

  /** Like `regionMiss` with the TLB looked at first. */
  const regionAgain = m.function(
    [I32, I64, I32],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const va = f.param(1);
      const access = f.param(2);
      const entry = f.let(tlbEntry(load32(cpu, STATE.tlb), va));
      const last = va.add(access.and(ACCESS.size).extendU()).sub(1).and(-4096);
      const tag = load64(entry.add(access.and(ACCESS.write).ne(0).shl(3)));
      f.if(tag.eq(last), () => f.ret(va.wrap().add(load32(entry, 24))));
      f.ret(call(regionMiss, cpu, va, access));
      f.unreachable();
    },
    'regionAgain',
  );

  const regionStack = m.function(
    [I32, I64, I32],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const va = f.param(1);
      const access = f.param(2);
      const linear = f.local(I32);
      const entry = f.let(tlbEntry(load32(cpu, STATE.tlb), va));
      const last = f.let(va.add(access.and(ACCESS.size).extendU()).sub(1).and(-4096));
      forgetPage(f, cpu, STACK_PAGE);
      f.if(load64(entry, 8).eq(last).eqz(), () => {
        f.set(linear, call(regionMiss, cpu, va, access));
        // What can only be read, or has code in it, is looked up each time.
        f.if(load64(entry, 8).ne(last).or(linear.leU(1)), () => f.ret(linear));
      });
      f.store64(cpu, last, STACK_PAGE);
      f.store32(cpu, load32(entry, 24), STACK_ADDEND);
      f.ret(va.wrap().add(load32(entry, 24)));
      f.unreachable();
    },
    'regionStack',
  );

  const codePage = m.function(
    [I32, I64],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const cr2 = f.let(load64(cpu, STATE.cr2));
      const linear = f.let(call(miss, cpu, f.param(1), i32(ACCESS.execute | 1)));
      f.if(linear.eqz(), () => f.store64(cpu, cr2, STATE.cr2));
      f.ret(linear);
      f.unreachable();
    },
    'codePage',
  );
  return { miss, scatter, translate, regionMiss, regionAgain, regionStack, codePage };
}
