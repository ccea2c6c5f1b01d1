/**
 * The hypercalls of which Linux has several at a time: mmu_update, update_va_mapping and mmuext_op's pins and flushes, alone or in a multicall: some twenty
 * in a fork. Twins: mmu/mmu-update.ts, mmu/mmuext-op.ts, multicall.ts. Follows pv-abi 2.2, 2.7, 2.8 and 2.11.
 *
 * What is done stays done: when something unusual comes the rest is left to the twins, as if the call had been interrupted there
 * (continuation.ts).
 */
import { Errno } from '../../abi/errno.ts';
import { DOMID, MMUEXT } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, I32, I64, i32, i64, i64pair, load32, load64, select } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { GPR, STATE } from '../../x86/state.ts';
import { TraceKind } from '../trace.ts';
import { buildFrameTypes } from './frame-types.ts';
import { gpr, isCanonical, setGpr, trace } from './parts.ts';
import { buildTableEntries } from './table-entries.ts';

export const NUMBER = { mmuUpdate: 1, multicall: 13, updateVaMapping: 14, mmuextOp: 26 } as const;
/** Bytes of a request of mmu_update, of an operation of mmuext_op, and of an entry of a multicall. */
const REQUEST = 16;
const OPERATION = 24;
const ENTRY = 64;
/** Requests, operations and entries that are looked at here: of calls with more the twins keep account. */
const BATCH_MAX = 8;
const ENTRIES_MAX = 32;
/** Of the budget of branches, which tables that are looked at take of as well (frame-types.ts). */
const ENTRY_BUDGET = 100;
/** It is used up: what is left of a call is for the twins, which count on, and let time and events have their turn. */
const isSpent = (cpu: E): E => load32(cpu, STATE.budget).leS(0);

/** The `count` (i32) after `done` of it, in the lower half of an argument. */
const restOf = (argument: E, done: E): E => argument.and(i64pair(0, -1)).or(argument.wrap().sub(done).extendU());

/** Of a hypercall with this number: how far its first argument moves on for each that is done. */
const stride = (number: E): E => select(number.eq(NUMBER.mmuUpdate), i64(REQUEST), i64(OPERATION));

interface BatchFunctions {
  /** (cpu) → 1 when the multicall in the registers was performed. */
  readonly multicall: FnRef;
  /** (cpu, number) → 1 when the hypercall in the registers, one of the other three, was. */
  readonly batch: FnRef;
}

export function buildBatches(m: ModuleBuilder, tools: ExitTools): BatchFunctions {
  const types = buildFrameTypes(m, tools);
  const entries = buildTableEntries(m, tools, types);

  /** (cpu, command, argument) → 1 when the operation was performed. */
  const operation = m.function([I32, I32, I64], [I32], (f) => {
    const [cpu, command, argument] = [f.param(0), f.param(1), f.param(2)];
    const isFrame = f.let(argument.ltU(i64(tools.layout.pages)));
    f.if(command.leU(MMUEXT.pin_l4_table).and(isFrame), () => {
      f.ret(call(types.pin, cpu, argument.wrap(), command.sub(MMUEXT.pin_l1_table).add(1)));
    });
    f.if(command.eq(MMUEXT.unpin_table).and(isFrame), () => f.ret(call(types.unpin, cpu, argument.wrap())));
    // What an entry's change makes stale is dropped with the change.
    const flushes = [MMUEXT.tlb_flush_local, MMUEXT.tlb_flush_multi, MMUEXT.tlb_flush_all];
    f.if(
      flushes.map((flush) => command.eq(flush)).reduce((a, b) => a.or(b)),
      () => f.ret(i32(1)),
    );
    const pages = [MMUEXT.invlpg_local, MMUEXT.invlpg_multi, MMUEXT.invlpg_all];
    f.if(
      pages.map((page) => command.eq(page)).reduce((a, b) => a.or(b)),
      () => {
        f.if(isCanonical(argument), () => {
          f.callVoid(tools.flushPage, cpu, argument.wrap(), argument.shrU(32).wrap());
        });
        f.ret(i32(1));
      },
    );
    f.ret(i32(0));
    f.unreachable();
  });

  /** (cpu, number, four arguments) → of how many there are in the call, so many were performed. */
  const perform = m.function([I32, I32, I64, I64, I64, I64], [I32], (f) => {
    const [cpu, number] = [f.param(0), f.param(1)];
    const [first, second, third, fourth] = [f.param(2), f.param(3), f.param(4), f.param(5)];
    f.if(number.eq(NUMBER.updateVaMapping), () => {
      f.ret(call(entries.updateVa, cpu, first, second, third.wrap()));
    });
    const isUpdate = f.let(number.eq(NUMBER.mmuUpdate));
    f.if(isUpdate.or(number.eq(NUMBER.mmuextOp)).eqz(), () => f.ret(i32(0)));
    const count = f.let(second.wrap());
    const isPlain = third.eqz().and(fourth.wrap().eq(DOMID.self)).and(count.leU(BATCH_MAX));
    f.if(isPlain.eqz(), () => f.ret(i32(0)));
    const done = f.local(I32);
    const next = f.local(I64);
    f.set(done, i32(0));
    f.set(next, first);
    f.block((stop) => {
      f.loop((again) => {
        f.brIf(stop, done.geU(count).or(done.ne(0).and(isSpent(cpu))));
        f.if(
          isUpdate,
          () => {
            const at = f.let(tools.kernelAddress(f, cpu, next, REQUEST, false));
            f.brIf(stop, at.eqz());
            f.brIf(stop, call(entries.update, cpu, load64(at), load64(at, 8)).eqz());
          },
          () => {
            const at = f.let(tools.kernelAddress(f, cpu, next, OPERATION, false));
            f.brIf(stop, at.eqz());
            f.brIf(stop, call(operation, cpu, load32(at), load64(at, 8)).eqz());
          },
        );
        f.set(next, next.add(stride(number)));
        f.set(done, done.add(1));
        f.br(again);
      });
    });
    f.ret(done);
    f.unreachable();
  });

  const succeed = (f: Fn, cpu: E, result: E): void => {
    setGpr(f, cpu, GPR.rcx, load64(cpu, STATE.rip));
    setGpr(f, cpu, GPR.r11, call(tools.readFlags, cpu).extendU());
    setGpr(f, cpu, GPR.rax, result);
    f.ret(i32(1));
  };

  const batch = m.function([I32, I32], [I32], (f) => {
    const [cpu, number] = [f.param(0), f.param(1)];
    const first = f.let(gpr(cpu, GPR.rdi));
    const second = f.let(gpr(cpu, GPR.rsi));
    const done = f.let(call(perform, cpu, number, first, second, gpr(cpu, GPR.rdx), gpr(cpu, GPR.r10)));
    f.if(done.eqz(), () => f.ret(i32(0)));
    trace(f, cpu, TraceKind.hypercall, number, first);
    f.if(number.eq(NUMBER.updateVaMapping).or(done.eq(second.wrap())), () => succeed(f, cpu, i64(0)));
    setGpr(f, cpu, GPR.rdi, first.add(done.extendU().mul(stride(number))));
    setGpr(f, cpu, GPR.rsi, restOf(second, done));
    f.ret(i32(0));
    f.unreachable();
  });

  const multicall = m.function([I32], [I32], (f) => {
    const cpu = f.param(0);
    const list = f.local(I64);
    const count = f.let(gpr(cpu, GPR.rsi));
    const number = f.local(I32);
    const needed = f.local(I32);
    const done = f.local(I32);
    const calls = f.local(I32);
    const at = f.local(I32);
    const [first, second] = [f.local(I64), f.local(I64)];
    f.set(list, gpr(cpu, GPR.rdi));
    f.set(calls, i32(0));
    f.block((stop) => {
      f.brIf(stop, list.wrap().and(7).ne(0));
      f.loop((again) => {
        f.brIf(
          stop,
          calls
            .eq(ENTRIES_MAX)
            .or(calls.eq(count.wrap()))
            .or(calls.ne(0).and(isSpent(cpu))),
        );
        f.set(at, tools.kernelAddress(f, cpu, list, ENTRY, true));
        f.brIf(stop, at.eqz());
        // Each word once: what is checked is what is used.
        f.set(number, load32(at));
        f.set(first, load64(at, 0x10));
        f.set(second, load64(at, 0x18));
        f.set(done, call(perform, cpu, number, first, second, load64(at, 0x20), load64(at, 0x28)));
        f.brIf(stop, done.eqz());
        f.store32(cpu, load32(cpu, STATE.budget).sub(ENTRY_BUDGET), STATE.budget);
        trace(f, cpu, TraceKind.hypercall, number, first);
        // What was done may have changed what is mapped here.
        f.set(at, call(tools.kernelWrite, cpu, list, i32(ENTRY)));
        f.if(at.eqz(), () => succeed(f, cpu, i64(-Errno.EFAULT)));
        f.set(needed, select(number.eq(NUMBER.updateVaMapping), i32(1), second.wrap()));
        f.if(done.ne(needed), () => {
          f.store64(at, first.add(done.extendU().mul(stride(number))), 0x10);
          f.store64(at, restOf(second, done), 0x18);
          f.br(stop);
        });
        f.store64(at, i64(0), 8);
        f.set(list, list.add(ENTRY));
        f.set(calls, calls.add(1));
        f.br(again);
      });
    });
    f.if(calls.eqz(), () => f.ret(i32(0)));
    f.if(calls.eq(count.wrap()), () => succeed(f, cpu, i64(0)));
    setGpr(f, cpu, GPR.rdi, list);
    setGpr(f, cpu, GPR.rsi, restOf(count, calls));
    f.ret(i32(0));
    f.unreachable();
  });
  return { multicall, batch };
}
