/**
 * Whether the pages of a region are mapped where they were when it was made: looked at when the region is entered for the
 * first time after anything changed that code may be reached by, and in between one compare of a stamp (TLB_STAMP) says so. Regions
 * do not look themselves: whoever enters one does, and tells it where its first page is.
 *
 * A region's place, REGION_PLACE_BYTES at its number from REGION_PLACES on (PLACE): the stamp and the address of its first
 * entry's page that were good last, how many pages it has, and of each its distance from that page and where it is in memory.
 */
import { type E, I32, I64, i64, load32, load32s64, load64 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { ENTRY_PAGE_SHIFT, PLACE, REGION_PLACE_BYTES, REGION_PLACES, REGION_SLOTS, TLB_STAMP } from '../layout.ts';
import { linkEntry, linkSlot, NO_REGION } from './region-links.ts';

/** Linear address of the place of the region with this slot of the table. */
const placeOf = (cpu: E, slot: E): E =>
  cpu.add(slot.shl(Math.log2(REGION_PLACE_BYTES))).add(REGION_PLACES - REGION_SLOTS * REGION_PLACE_BYTES);

/** Distance in bytes of the page with number `page` of the region with this place from that of its first entry. */
const pageAt = (place: E, page: E): E => load32s64(place.add(page.shl(3)), PLACE.pages).shl(12);

/**
 * (cpu, page, link) → the address of the first page of the region that is entered by `link`, at an instruction of `page`; or NO_REGION when it
 * has been dropped. `codePage` is runtime/mmu.ts'; `moved` is told when a page is somewhere else, which STATE.codePage is `page` for.
 */
export function buildRegionPlaces(m: ModuleBuilder, codePage: FnRef, moved: FnRef): FnRef {
  return m.function(
    [I32, I64, I32],
    [I64],
    (f: Fn) => {
      const cpu = f.param(0);
      const page = f.param(1);
      const link = f.param(2);
      const place = f.let(placeOf(cpu, linkSlot(link)));
      const first = f.let(page.sub(pageAt(place, linkEntry(link).shrU(ENTRY_PAGE_SHIFT))));
      const stamp = f.let(load64(f.let(load32(cpu, STATE.tlb)), TLB_STAMP));
      f.if(load64(place, PLACE.stamp).eq(stamp).and(load64(place, PLACE.first).eq(first)), () => f.ret(first));
      const pages = f.let(place.add(PLACE.pages));
      const end = f.let(pages.add(load32(place, PLACE.count).shl(3)));
      f.block((allThere) => {
        f.loop((again) => {
          const va = first.add(load32s64(pages, 0).shl(12));
          f.if(call(codePage, cpu, va).ne(load32(pages, 4)), () => {
            f.store64(cpu, page, STATE.codePage);
            f.if(call(moved, cpu, link), () => f.ret(i64(NO_REGION)));
            f.br(allThere);
          });
          f.set(pages, pages.add(8));
          f.brIf(again, pages.ltU(end));
        });
      });
      // Unless one of them had to leave for another, all are in the TLB, which has a new stamp as soon as one is there no more.
      f.store64(place, first, PLACE.first);
      f.store64(place, stamp, PLACE.stamp);
      f.ret(first);
      f.unreachable();
    },
    'regionEnter',
  );
}
