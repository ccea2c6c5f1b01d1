/**
 * Changing one page-table entry by hypercall. Twins: mmu/entries.ts, mmu/update-va-mapping.ts. Follows pv-abi 2.2 and 2.8. Whatever is refused,
 * and an entry of a higher level that is taken away or replaced, is left to them.
 */
import { MMU, PTE, UVMF } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, I32, I64, i32, i64, load8u, load32, load64 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { LEVEL } from '../mmu/frame-types.ts';
import { HOLE_END, HOLE_FIRST } from '../mmu/walk.ts';
import type { FrameTypeFunctions } from './frame-types.ts';
import { frameOf, isCanonical, leafAllowed, linkAllowed } from './parts.ts';

export interface EntryFunctions {
  /** (cpu, where, entry) → 1 when the request of an mmu_update was performed. */
  readonly update: FnRef;
  /** (cpu, va, entry, flags) → 1 when the update_va_mapping was. */
  readonly updateVa: FnRef;
}

export function buildTableEntries(m: ModuleBuilder, tools: ExitTools, { acquire }: FrameTypeFunctions): EntryFunctions {
  const { layout } = tools;
  /** Store `entry` at number `index` of a table that is of level 1, or no table at all. */
  const storeLeaf = (f: Fn, cpu: E, frame: E, index: E, entry: E): void => {
    const slot = f.let(frame.shl(12).add(layout.ramBase).add(index.shl(3)));
    const before = f.let(load32(slot));
    // Aligned, so that whoever walks the table sees the old entry or the new one.
    f.store64(slot, entry);
    f.if(before.and(PTE.P), () => f.callVoid(tools.entryChanged, cpu, frame, index));
  };
  /** Decoded code in a page table: the engine's own business. */
  const hasCode = (frame: E): E => load8u(frame.add(layout.frameFlags));

  const update = m.function([I32, I64, I64], [I32], (f) => {
    const [cpu, where, entry] = [f.param(0), f.param(1), f.param(2)];
    const unusual = (): void => f.ret(i32(0));
    f.if(where.shrU(12).geU(i64(layout.pages)), unusual);
    f.if(where.wrap().and(7).ne(MMU.normal_pt_update), unusual);
    const frame = f.let(where.shrU(12).wrap());
    const index = f.let(where.shrU(3).wrap().and(511));
    f.if(hasCode(frame), unusual);
    const level = f.let(load32(frame.shl(2).add(layout.frameTypes)).and(LEVEL));
    const isPresent = f.let(entry.wrap().and(PTE.P));
    f.if(level.leU(1), () => {
      f.if(level.and(isPresent).and(leafAllowed(layout, entry).eqz()), unusual);
      storeLeaf(f, cpu, frame, index, entry);
      f.ret(i32(1));
    });
    f.if(level.eq(4).and(index.sub(HOLE_FIRST).ltU(HOLE_END - HOLE_FIRST)), unusual);
    const slot = f.let(frame.shl(12).add(layout.ramBase).add(index.shl(3)));
    f.if(load32(slot).and(PTE.P), unusual);
    f.if(isPresent, () => {
      f.if(linkAllowed(entry).eqz(), unusual);
      f.if(call(acquire, cpu, frameOf(entry).wrap(), level.sub(1)).eqz(), unusual);
    });
    f.store64(slot, entry);
    f.ret(i32(1));
    f.unreachable();
  });

  const updateVa = m.function([I32, I64, I64, I32], [I32], (f) => {
    const [cpu, va, entry, flags] = [f.param(0), f.param(1), f.param(2), f.param(3)];
    const unusual = (): void => f.ret(i32(0));
    const inHole = va
      .shrU(39)
      .wrap()
      .and(511)
      .sub(HOLE_FIRST)
      .ltU(HOLE_END - HOLE_FIRST);
    f.if(isCanonical(va).eqz().or(inHole), unusual);
    const table = f.local(I32);
    const above = f.local(I64);
    // Read through memory each time: an earlier entry of the same multicall may have changed the tables (XSA-286).
    f.set(table, load32(cpu, STATE.kernelRoot));
    for (const shift of [39, 30, 21]) {
      f.if(table.geU(layout.frames), unusual);
      f.set(above, load64(table.shl(12).add(layout.ramBase).add(va.shrU(shift).wrap().and(511).shl(3))));
      f.if(above.wrap().and(PTE.P).eqz().or(linkAllowed(above).eqz()), unusual);
      f.set(table, frameOf(above).wrap());
    }
    f.if(table.geU(layout.pages), unusual);
    f.if(hasCode(table), unusual);
    f.if(entry.wrap().and(PTE.P).and(leafAllowed(layout, entry).eqz()), unusual);
    storeLeaf(f, cpu, table, f.let(va.shrU(12).wrap().and(511)), entry);
    f.if(flags.and(UVMF.flush_type_mask).eq(UVMF.invlpg), () => {
      f.callVoid(tools.flushPage, cpu, va.wrap(), va.shrU(32).wrap());
    });
    f.ret(i32(1));
    f.unreachable();
  });
  return { update, updateVa };
}
