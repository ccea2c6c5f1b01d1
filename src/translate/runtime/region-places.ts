/**
 * Whether the pages of a region are mapped where they were when it was made: looked at when the region is entered for the
 * first time after anything changed that code may be reached by, and in between one compare of a stamp (TLB_STAMP) says so.
 *
 * A region's place, REGION_PLACE_BYTES at its number from REGION_PLACES on (PLACE): the stamp and the address of its first
 * entry's page that were good last, how many pages it has, and of each its distance from that page and where it is in memory.
 */
import { type E, I32, i32, load32, load32s64, load64 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { ENTRY_PAGE_SHIFT, PLACE, REGION_PLACE_BYTES, REGION_PLACES, REGION_SLOTS, TLB_STAMP } from '../layout.ts';
import { linkEntry, linkSlot } from './region-links.ts';

/** Linear address of the place of the region with this slot of the table. */
export const placeOf = (cpu: E, slot: E): E =>
  cpu.add(slot.shl(Math.log2(REGION_PLACE_BYTES))).add(REGION_PLACES - REGION_SLOTS * REGION_PLACE_BYTES);

/** Distance in bytes of the page with number `page` of the region with this place from that of its first entry. */
export const pageAt = (place: E, page: E): E => load32s64(place.add(page.shl(3)), PLACE.pages).shl(12);

/**
 * (cpu, link) → 0 when the region that is entered by `link` may run, 1 when it has been dropped. `codePage` is
 * runtime/mmu.ts'; `moved` is told, with the same arguments and results, when a page is somewhere else.
 */
export function buildRegionPlaces(m: ModuleBuilder, codePage: FnRef, moved: FnRef): FnRef {
  return m.function(
    [I32, I32],
    [I32],
    (f: Fn) => {
      const cpu = f.param(0);
      const link = f.param(1);
      const place = f.let(placeOf(cpu, linkSlot(link)));
      const tlb = f.let(load32(cpu, STATE.tlb));
      const pages = f.let(place.add(PLACE.pages));
      const first = f.let(load64(cpu, STATE.codePage).sub(pageAt(place, linkEntry(link).shrU(ENTRY_PAGE_SHIFT))));
      const end = f.let(pages.add(load32(place, PLACE.count).shl(3)));
      const stamp = f.let(load64(tlb, TLB_STAMP));
      f.loop((again) => {
        const va = first.add(load32s64(pages, 0).shl(12));
        f.if(call(codePage, cpu, va).ne(load32(pages, 4)), () => f.ret(call(moved, cpu, link)));
        f.set(pages, pages.add(8));
        f.brIf(again, pages.ltU(end));
      });
      // Unless one of them had to leave for another, all are in the TLB, which has a new stamp as soon as one is there no more.
      f.store64(place, first, PLACE.first);
      f.store64(place, stamp, PLACE.stamp);
      f.ret(i32(0));
      f.unreachable();
    },
    'regionEnter',
  );
}
