/**
 * mmu_update of one level 1 entry, as Linux makes it in each page fault. Twins: mmu/mmu-update.ts, mmu/entries.ts, the types
 * mmu/frame-types.ts. Follows pv-abi 2.2. Whatever is refused, and every table of a higher level, is left to them.
 */
import { DOMID, MMU, PTE } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, i64, load8u, load32, load64 } from '../../wasm/expr.ts';
import type { Fn } from '../../wasm/module.ts';
import { GPR } from '../../x86/state.ts';
import { LEVEL } from '../mmu/frame-types.ts';
import { gpr, leafAllowed } from './parts.ts';

const REQUEST = 16;
/** The body of hypercall 1; `requests` and `count` are its first two arguments. */
export function mmuUpdate(f: Fn, cpu: E, tools: ExitTools, requests: E, count: E, unusual: () => void): void {
  const { layout } = tools;
  const alone = count.wrap().eq(1).and(gpr(cpu, GPR.rdx).eqz());
  f.if(alone.and(gpr(cpu, GPR.r10).wrap().eq(DOMID.self)).eqz(), unusual);
  const request = f.let(tools.kernelAddress(f, cpu, requests, REQUEST, false));
  f.if(request.eqz(), unusual);
  // Each word once: what is checked is what is used.
  const where = f.let(load64(request));
  const entry = f.let(load64(request, 8));
  f.if(where.shrU(12).geU(i64(layout.pages)), unusual);
  f.if(where.wrap().and(7).ne(MMU.normal_pt_update), unusual);
  const frame = f.let(where.shrU(12).wrap());
  const level = load32(frame.shl(2).add(layout.frameTypes)).and(LEVEL);
  // Decoded code in a page table: the engine's own business.
  f.if(level.ne(1).or(load8u(frame.add(layout.frameFlags))), unusual);
  f.if(entry.wrap().and(PTE.P).and(leafAllowed(layout, entry).eqz()), unusual);

  const index = f.let(where.shrU(3).wrap().and(511));
  const slot = f.let(frame.shl(12).add(layout.ramBase).add(index.shl(3)));
  const before = f.let(load32(slot));
  // Aligned, so that whoever walks the table sees the old entry or the new one.
  f.store64(slot, entry);
  f.if(before.and(PTE.P), () => f.callVoid(tools.entryChanged, cpu, frame, index));
}
