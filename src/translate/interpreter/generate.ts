/**
 * Generates the interpreter: one WebAssembly function with a br_table over the handlers of common shapes, and functions of
 * their own for the rest, made when a shape is first met.
 *
 * The loop reads the record's handler number, runs that arm, and goes on with the next record in memory; records of
 * instructions that follow one another in a page do so in memory too. Branches inside the page jump to a linked record;
 * all others put the address into STATE.rip and go through `resolve`: TLB, then a hash of physical addresses, then a call
 * to TypeScript that decodes.
 */
import type { MemoryLayout } from '../../hypervisor/memory.ts';
import {
  type E,
  F64,
  I32,
  I64,
  i32,
  load8u,
  load16u,
  load32,
  load32s64,
  load64,
  localGet,
  select,
} from '../../wasm/expr.ts';
import { call, callIndirect, type Fn, type FnRef, type Label, ModuleBuilder } from '../../wasm/module.ts';
import type { Insn } from '../../x86/decode.ts';
import { Exit } from '../../x86/exits.ts';
import { STATE } from '../../x86/state.ts';
import type { BuildExitPaths } from '../exit-paths.ts';
import {
  ACCESS,
  CODE_HASH,
  CODE_HASH_ENTRIES,
  CODE_HASH_OTHER,
  COUNTER,
  COUNTER_BYTES,
  COUNTERS,
  RECORD,
  RECORD_BYTES,
  REGION_SLOTS,
  STACK_PAGE,
  STEP,
  Status,
  TRAIL_LEFT,
} from '../layout.ts';
import { exitTools } from '../runtime/exit-tools.ts';
import { buildFlags, settleFlags } from '../runtime/flags.ts';
import { buildMmu } from '../runtime/mmu.ts';
import { buildRegionExits, EXIT_BUDGET } from '../runtime/region-exits.ts';
import { buildRegionLinks, linkTo, NO_REGION, noteStep } from '../runtime/region-links.ts';
import { buildRegionPlaces } from '../runtime/region-places.ts';
import { buildTlb, forgetPage, tlbEntry } from '../runtime/tlb.ts';
import { SEMANTICS } from '../semantics/index.ts';
import { buildDecoder } from './decode-block.ts';
import { type Flow, InterpreterLift, type Runtime } from './lift.ts';

/** Arms that are not instructions. */
export const Arm = {
  /** Continue at page + position by looking it up: the end of a page, or code that was overwritten. */
  Resolve: 0,
  /** Continue at the linked record. */
  Goto: 1,
  /** The end of a single step. */
  Stop: 2,
  /** An instruction that reaches into the next page: which record it has depends on where that is (CodeCache.crossing). */
  Crossing: 3,
  first: 4,
} as const;

/** Slot of the code hash for the instruction at linear address `at`. */
export const codeHashSlot = (at: number): number => (at ^ (at >>> 14)) & (CODE_HASH_ENTRIES - 1);

/** What the module imports from "e", beside memory "m" and table "t". */
export interface InterpreterImports {
  /** The record of the instruction at STATE.rip, decoding it if need be; 0 when fetching it faulted. */
  lookup(cpu: number): number;
  /** Remember in branch record `from` that its target is `to`. */
  link(from: number, to: number): void;
  /** The record to run for the page-crossing instruction at STATE.rip; 0 after a fault. */
  crossing(cpu: number): number;
  /** A store is about to change code that was decoded from these 512-byte pieces of `frame`. */
  codeWrite(frame: number, pieces: number, offset: number, bytes: number): void;
  /** The domain's clock, ns. */
  now(): number;
  /** Perform the instruction of `record` in TypeScript; a Status. */
  helper(cpu: number, record: number): number;
  /** Control has come to `record` as often as to be hot, or warm. Only with a threshold. */
  hot(record: number): void;
  /** A region is entered at `record`, and one of its pages is somewhere else: 1 when it has been dropped. */
  regionMoved(cpu: number, record: number): number;
}

function runBody(insn: Insn, lift: InterpreterLift): void {
  const semantics = SEMANTICS[insn.mnemonic];
  if (semantics === undefined) lift.helper();
  else semantics(lift);
}

/** Branch to another page, or one whose target is not known yet: by address. */
function storeTarget(f: Fn, cpu: E, record: E, page: E): void {
  const next = load16u(record, RECORD.position).add(load8u(record, RECORD.length)).extendU();
  f.store64(cpu, page.add(next).add(load32s64(record, RECORD.immLo)), STATE.rip);
}

/**
 * The interpreter's main module. `arms` are instructions whose shapes get an arm of the loop.
 * `threshold`: how often control comes to a record before it is called hot; 0 for never. `warm`: before it is called warm.
 * `buildExitPaths`: exits that need not leave the module.
 */
export function generateInterpreter(
  layout: MemoryLayout,
  arms: readonly Insn[],
  threshold: number,
  warm: number,
  buildExitPaths?: BuildExitPaths,
): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const pages = layout.bytes / 0x10000;
  m.importMemory(pages, pages);
  m.importTable();
  const lookup = m.importFunction('lookup', [I32], [I32]);
  const link = m.importFunction('link', [I32, I32], []);
  const crossing = m.importFunction('crossing', [I32], [I32]);
  const codeWrite = m.importFunction('codeWrite', [I32, I32, I32, I32], []);
  const _helper = m.importFunction('helper', [I32, I32], [I32]);
  const hot = m.importFunction('hot', [I32], []);
  const now = m.importFunction('now', [], [F64]);
  const moved = m.importFunction('regionMoved', [I32, I32], [I32]);
  const mmu = buildMmu(m, layout, codeWrite);
  const runtime: Runtime = { ...mmu, now };
  const tlb = buildTlb(m, layout);
  const settle = buildFlags(m);
  const enter = buildRegionPlaces(m, mmu.codePage, moved);
  const findLink = buildRegionLinks(m, enter);
  const exitPaths = buildExitPaths?.(m, exitTools(m, layout, mmu, tlb));
  buildRegionExits(m, { exitPaths, findLink, settle });
  if (exitPaths !== undefined) {
    m.function([I32, I32], [I32], (f) => f.ret(call(exitPaths, f.param(0), f.param(1))), 'exitPaths');
  }

  buildDecoder(m);
  // Exported for the modules of out-of-line handlers.
  m.function([I32, I64, I32], [I32], (f) => f.ret(call(mmu.miss, f.param(0), f.param(1), f.param(2))), 'miss');
  m.function([I32, I64, I32], [], (f) => f.callVoid(mmu.scatter, f.param(0), f.param(1), f.param(2)), 'scatter');

  /** (cpu, record) → Exit. Starts at `record`, whose page is STATE.codePage, or at STATE.rip if it is 0. */
  m.function(
    [I32, I32],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const first = f.param(1);
      const record = f.local(I32);
      const budget = f.local(I32);
      const page = f.local(I64);
      const linkFrom = f.local(I32);
      const code = f.local(I32);
      const status = f.local(I32);
      f.set(budget, load32(cpu, STATE.budget));
      const stepping = f.let(first.ne(0));
      f.set(linkFrom, i32(0));

      f.loop((goOn) => {
        // Mappings may have changed, or which of them are in use.
        forgetPage(f, cpu, STACK_PAGE);
        f.block((leave) => {
          f.block((fault) => {
            f.loop((resolve) => {
              f.if(
                first.eqz(),
                () => f.scope(() => emitResolve(f, leave)),
                () => {
                  f.set(record, first);
                  f.set(localGet(I32, 1), i32(0));
                  f.set(page, load64(cpu, STATE.codePage));
                },
              );
              f.loop((next) => {
                const flowAt = (): Flow => ({
                  inline: true,
                  page,
                  fault: () => f.br(fault),
                  resolve: () => f.br(resolve),
                  link: () => emitLink(f, resolve, next, leave),
                  exit: (value) => {
                    f.set(code, value);
                    f.br(leave);
                  },
                  again: () => f.br(next),
                  helper: () => throwInline(),
                });
                const labels = f.openBlocks(Arm.first + arms.length + 1);
                const outside = labels.pop()!;
                f.brTable(load16u(record, RECORD.handler), labels, outside);
                f.closeBlock();
                // Arm.Resolve
                f.store64(cpu, page.add(load16u(record, RECORD.position).extendU()), STATE.rip);
                f.br(resolve);
                f.closeBlock();
                // Arm.Goto
                f.scope(() => {
                  // A loop that was entered in its middle goes back here, and by its branch to what was decoded later.
                  const target = f.let(load32(record, RECORD.immHi));
                  const back = f.let(target.leU(record));
                  f.set(record, target);
                  emitFlow(f);
                  if (threshold !== 0) f.if(back, () => emitCount(f));
                });
                f.br(next);
                f.closeBlock();
                // Arm.Stop
                f.store64(cpu, page.add(load16u(record, RECORD.position).extendU()), STATE.rip);
                f.set(code, i32(Exit.Stepped));
                f.br(leave);
                f.closeBlock();
                // Arm.Crossing
                f.scope(() => {
                  const known = f.let(load32(record, RECORD.immHi));
                  const second = f.let(page.add(4096));
                  const entry = f.let(tlbEntry(load32(cpu, STATE.tlb), second));
                  const at = second.wrap().add(load32(entry, 24));
                  const isHere = load64(entry, 16)
                    .eq(second)
                    .and(at.eq(load32(record, RECORD.immLo)));
                  f.if(known.ne(0).and(isHere), () => {
                    f.set(record, known);
                    f.br(next);
                  });
                });
                f.store64(cpu, page.add(load16u(record, RECORD.position).extendU()), STATE.rip);
                f.set(record, call(crossing, cpu));
                f.if(record.eqz(), () => {
                  f.set(code, i32(Exit.Exception));
                  f.br(leave);
                });
                f.br(next);
                f.closeBlock();
                for (const insn of arms) {
                  f.scope(() => {
                    const lift = new InterpreterLift(f, insn, cpu, record, flowAt(), runtime);
                    runBody(insn, lift);
                    f.set(record, record.add(RECORD_BYTES));
                    if (lift.isConditional) emitFlow(f);
                    f.br(next);
                  });
                  f.closeBlock();
                }
                f.store32(cpu, budget, STATE.budget);
                const handler = f.let(load16u(record, RECORD.handler));
                f.if(
                  handler.ltU(REGION_SLOTS),
                  () => f.set(status, callIndirect(m, [I32, I32], I32, handler, cpu, record)),
                  () => {
                    const link = f.let(linkTo(record));
                    const start = f.let(call(enter, cpu, page, link));
                    f.brIf(resolve, start.eq(NO_REGION));
                    const left = f.let(load32(cpu, TRAIL_LEFT));
                    f.if(left, () => {
                      f.cold();
                      const target = page.add(load16u(record, RECORD.position).extendU());
                      noteStep(f, cpu, left, target, link, STEP.byOthers);
                    });
                    f.set(status, callIndirect(m, [I64, I32], I32, handler, start, link));
                    settleFlags(f, cpu, settle);
                  },
                );
                f.set(budget, load32(cpu, STATE.budget));
                f.if(status.eqz(), () => {
                  f.set(record, record.add(RECORD_BYTES));
                  f.br(next);
                });
                f.brIf(fault, status.eq(Status.Fault));
                f.brIf(resolve, status.eq(Status.Jump));
                f.set(code, status.sub(Status.Exit));
                f.br(leave);
              });
              f.unreachable();
            });
            f.unreachable();
          });
          // fault
          f.store64(cpu, page.add(load16u(record, RECORD.position).extendU()), STATE.rip);
          f.set(code, i32(Exit.Exception));
        });
        if (exitPaths !== undefined) {
          f.if(stepping.eqz().and(code.gtU(Exit.Kick)), () => {
            f.store32(cpu, budget, STATE.budget);
            const isDone = f.let(call(exitPaths, cpu, code));
            // Those that do much have taken of it.
            f.set(budget, load32(cpu, STATE.budget));
            f.if(isDone, () => {
              f.set(budget, budget.sub(EXIT_BUDGET));
              f.set(linkFrom, i32(0));
              f.br(goOn);
            });
          });
        }
        f.store32(cpu, budget, STATE.budget);
        f.ret(code);
      });
      f.unreachable();

      function throwInline(): never {
        throw new Error('an arm of the loop cannot be a helper');
      }

      /** STATE.rip → record and page. */
      function emitResolve(fn: Fn, leave: Label): void {
        countDown(fn, leave);
        const rip = fn.let(load64(cpu, STATE.rip));
        const entry = fn.let(tlbEntry(load32(cpu, STATE.tlb), rip));
        const at = fn.local(I32);
        fn.if(
          load64(entry, 16).eq(rip.and(-4096)),
          () => fn.set(at, rip.wrap().add(load32(entry, 24))),
          () => {
            // After a flush all code comes this way once: the walk is made here, without leaving WebAssembly.
            fn.cold();
            fn.set(at, call(mmu.miss, cpu, rip, i32(ACCESS.execute | 1)));
            fn.if(at.eqz(), () => {
              fn.set(code, i32(Exit.Exception));
              fn.br(leave);
            });
          },
        );
        const slot = fn.let(
          cpu.add(
            at
              .xor(at.shrU(14))
              .and(CODE_HASH_ENTRIES - 1)
              .shl(3),
          ),
        );
        fn.set(record, select(load32(slot, CODE_HASH).eq(at), load32(slot, CODE_HASH + 4), i32(0)));
        fn.if(record.eqz(), () => {
          fn.cold();
          const other = fn.let(slot.xor(CODE_HASH_OTHER));
          fn.if(
            load32(other, CODE_HASH).eq(at),
            () => {
              fn.set(record, load32(other, CODE_HASH + 4));
              fn.store64(other, load64(slot, CODE_HASH), CODE_HASH);
              fn.store32(slot, at, CODE_HASH);
              fn.store32(slot, record, CODE_HASH + 4);
            },
            () => fn.set(record, call(lookup, cpu)),
          );
          fn.if(record.eqz(), () => {
            fn.set(code, i32(Exit.Exception));
            fn.br(leave);
          });
        });
        fn.if(linkFrom, () => {
          fn.cold();
          fn.callVoid(link, linkFrom, record);
          fn.set(linkFrom, i32(0));
        });
        fn.set(page, rip.and(-4096));
        fn.store64(cpu, page, STATE.codePage);
        emitFlow(fn);
        emitCount(fn);
      }

      /** Control came to `record` by a branch, or because one was not taken: what the translator takes for how often code runs. */
      function emitFlow(fn: Fn): void {
        if (threshold <= 1) return;
        fn.scope(() => {
          const counters = countersOf(fn);
          fn.store32(counters, load32(counters, COUNTERS + COUNTER.flow).add(1), COUNTERS + COUNTER.flow);
        });
      }

      /** Where the counters of `record` are, less COUNTERS. */
      function countersOf(fn: Fn): E {
        return fn.let(cpu.add(record.sub(cpu).shrU(Math.log2(RECORD_BYTES / COUNTER_BYTES))));
      }

      /** Another time control came to `record` by a branch. */
      function emitCount(fn: Fn): void {
        if (threshold === 0) return;
        fn.scope(() => {
          const counters = countersOf(fn);
          const count = fn.let(load16u(counters, COUNTERS + COUNTER.arrivals).add(1));
          fn.store16(counters, count, COUNTERS + COUNTER.arrivals);
          // At 1, for tests, each time.
          const isOften = warm === 0 ? count.eq(threshold) : count.eq(threshold).or(count.eq(warm));
          fn.if(threshold === 1 ? i32(1) : isOften, () => {
            if (threshold !== 1) fn.cold();
            fn.callVoid(hot, record);
          });
        });
      }

      /** One branch of the budget; leaves when it is spent or somebody kicked. STATE.rip must be right. */
      function countDown(fn: Fn, leave: Label): void {
        fn.set(budget, budget.sub(1));
        fn.if(budget.leS(0), () => {
          fn.cold();
          fn.set(code, i32(Exit.Slice));
          fn.br(leave);
        });
        fn.if(load32(cpu, STATE.kick), () => {
          fn.cold();
          fn.set(code, i32(Exit.Kick));
          fn.br(leave);
        });
      }

      function emitLink(fn: Fn, resolve: Label, next: Label, leave: Label): void {
        const target = fn.let(load32(record, RECORD.immHi));
        fn.if(target, () => {
          fn.set(budget, budget.sub(1));
          fn.if(budget.leS(0).or(load32(cpu, STATE.kick)), () => {
            fn.cold();
            storeTarget(fn, cpu, record, page);
            fn.set(budget, budget.add(1));
            countDown(fn, leave);
          });
          // Loops are what goes back; records of one block follow one another.
          const back = fn.let(target.leU(record));
          fn.set(record, target);
          emitFlow(fn);
          if (threshold !== 0) fn.if(back, () => emitCount(fn));
          fn.br(next);
        });
        storeTarget(fn, cpu, record, page);
        // A target in another page is never linked: its translation may change.
        fn.set(linkFrom, select(load32(record, RECORD.displacement), i32(0), record));
        fn.br(resolve);
      }
    },
    'run',
  );
  return m.finish();
}

/** A module with one function (cpu, record) → Status for each of `shapes`, exported as "0", "1", … */
export function generateHandlers(layout: MemoryLayout, shapes: readonly Insn[]): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const pages = layout.bytes / 0x10000;
  m.importMemory(pages, pages);
  const runtime: Runtime = {
    miss: m.importFunction('miss', [I32, I64, I32], [I32]),
    scatter: m.importFunction('scatter', [I32, I64, I32], []),
    now: m.importFunction('now', [], [F64]),
  };
  const helper: FnRef = m.importFunction('helper', [I32, I32], [I32]);
  shapes.forEach((insn, index) => {
    m.function(
      [I32, I32],
      [I32],
      (f) => {
        const cpu = f.param(0);
        const record = f.param(1);
        const page = load64(cpu, STATE.codePage);
        const flow: Flow = {
          inline: false,
          page,
          fault: () => f.ret(i32(Status.Fault)),
          resolve: () => f.ret(i32(Status.Jump)),
          link: () => {
            storeTarget(f, cpu, record, page);
            f.ret(i32(Status.Jump));
          },
          exit: (code) => f.ret(code.add(Status.Exit)),
          again: () => {
            f.store64(cpu, page.add(load16u(record, RECORD.position).extendU()), STATE.rip);
            f.ret(i32(Status.Jump));
          },
          helper: () => f.ret(call(helper, cpu, record)),
        };
        f.scope(() => runBody(insn, new InterpreterLift(f, insn, cpu, record, flow, runtime)));
        f.ret(i32(Status.Next));
      },
      String(index),
    );
  });
  return m.finish();
}
