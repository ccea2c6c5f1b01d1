/**
 * How regions lead to one another: a link (layout.ts, LINK_ENTRY_SHIFT) says in one word which region is entered, and where. What a jump
 * needs of its target is in one line of the cache then: looked up by way of the TLB, the hash of addresses and the record it is in three,
 * and half of the time of leaving a region was spent waiting for them.
 *
 * Where a jump led last is in JUMPS, by its target, with the address of the region's first page. That is good as long as the array in use has the
 * same stamp, so that all pages of the region are where they were, and until a region is dropped, which empties JUMPS.
 */
import { type E, I32, I64, i32, i64, load8u, load16u, load32, load64, select } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import {
  CODE_HASH,
  CODE_HASH_ENTRIES,
  CODE_HASH_OTHER,
  JUMP_BYTES,
  JUMP_ENTRIES,
  JUMPS,
  JUMPS_FILLED,
  LINK_ENTRY_SHIFT,
  RECORD,
  REGION_SLOTS,
  STEP,
  TLB_STAMP,
  TRAIL,
  TRAIL_LEFT,
  TRAIL_STEP_BYTES,
} from '../layout.ts';
import { otherPlace, tlbEntry } from './tlb.ts';

/** Instead of the address of a region's first page. */
export const NO_REGION = -1;

/** Slot of the table of a link's region. */
export const linkSlot = (link: E): E => link.and((1 << LINK_ENTRY_SHIFT) - 1);
/** RECORD.entry of where a link leads. */
export const linkEntry = (link: E): E => link.shrU(LINK_ENTRY_SHIFT);
/** The link that leads to `record`, whose handler is a region. */
export const linkTo = (record: E): E =>
  load16u(record, RECORD.handler).or(load8u(record, RECORD.entry).shl(LINK_ENTRY_SHIFT));

/** Fields of an entry of JUMPS. */
const JUMP = { target: 0, stamp: 8, page: 16, link: 24 } as const;

/** Offset from the state block of the entry of JUMPS for `target`, without JUMPS itself. */
const jumpOffset = (target: E): E =>
  target
    .wrap()
    .mul(0x9e3779b1 | 0)
    .shrU(32 - Math.log2(JUMP_ENTRIES * JUMP_BYTES))
    .and(-JUMP_BYTES);

/** Locals for how a region is entered: its link, or 0 when there is none, and the address of its first page. */
export interface FoundRegion {
  readonly link: E;
  readonly page: E;
}

/** Fills `found` for `target`, an i64 local. `find` is buildRegionLinks'. */
export function lookUpLink(f: Fn, cpu: E, tlb: E, target: E, found: FoundRegion, find: (cpu: E, target: E) => E): void {
  f.scope(() => {
    const at = f.let(jumpOffset(target).add(cpu));
    const otherTarget = load64(at, JUMPS + JUMP.target).sub(target);
    // Differences: V8 would load twice what it compares, as a load may trap.
    const otherStamp = load64(at, JUMPS + JUMP.stamp).sub(load64(tlb, TLB_STAMP));
    f.if(
      otherTarget.or(otherStamp).eqz(),
      () => f.set(found.link, load32(at, JUMPS + JUMP.link)),
      () => {
        f.cold();
        f.set(found.link, find(cpu, target));
      },
    );
    f.set(found.page, load64(at, JUMPS + JUMP.page));
  });
}

/** In the trail, of which `left` steps are wanted: control goes to `target` by `link`. */
export function noteStep(f: Fn, cpu: E, left: E, target: E, link: E, how: number): void {
  const step = f.let(cpu.add(left.sub(1).mul(TRAIL_STEP_BYTES)));
  f.store64(step, target, TRAIL + STEP.target);
  f.store32(step, link, TRAIL + STEP.link);
  f.store32(step, i32(how), TRAIL + STEP.how);
  f.store32(cpu, left.sub(1), TRAIL_LEFT);
}

/** No array has it: what is noted in JUMPS under it is not found another time. */
const NO_STAMP = -1;

/**
 * (cpu, target) → link, noted in JUMPS, or 0: what the interpreter does, short. `enter` is buildRegionPlaces'. What was displaced to its other place in the TLB
 * or in the hash stays there: exchanged with what displaced it, the two would go on displacing one another.
 */
export function buildRegionLinks(m: ModuleBuilder, enter: FnRef): FnRef {
  return m.function(
    [I32, I64],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const target = f.param(1);
      const tlb = f.let(load32(cpu, STATE.tlb));
      const entry = f.local(I32);
      f.set(entry, tlbEntry(tlb, target));
      const isElsewhere = (): E => load64(entry, 16).ne(target.and(-4096));
      f.if(isElsewhere(), () => {
        f.set(entry, otherPlace(tlb, entry));
        f.if(isElsewhere(), () => f.ret(i32(0)));
      });
      const at = f.let(target.wrap().add(load32(entry, 24)));
      const hash = at.xor(at.shrU(14)).and(CODE_HASH_ENTRIES - 1);
      const slot = f.local(I32);
      f.set(slot, cpu.add(hash.shl(3)));
      const isAnother = (): E => load32(slot, CODE_HASH).ne(at);
      f.if(isAnother(), () => {
        f.set(slot, slot.xor(CODE_HASH_OTHER));
        f.if(isAnother(), () => f.ret(i32(0)));
      });
      const record = f.let(load32(slot, CODE_HASH + 4));
      f.if(load16u(record, RECORD.handler).ltU(REGION_SLOTS), () => f.ret(i32(0)));
      const link = f.let(linkTo(record));
      // What `enter` says is good under this one, and not if it fetches pages that others have to leave for.
      const stamp = f.let(load64(tlb, TLB_STAMP));
      const page = f.let(call(enter, cpu, target.and(-4096), link));
      f.if(page.eq(NO_REGION), () => f.ret(i32(0)));
      const left = f.let(load32(cpu, TRAIL_LEFT));
      f.if(left, () => noteStep(f, cpu, left, target, link, STEP.byJump));
      const jump = f.let(jumpOffset(target).add(cpu));
      f.store64(jump, target, JUMPS + JUMP.target);
      f.store64(jump, select(left, i64(NO_STAMP), stamp), JUMPS + JUMP.stamp);
      f.store64(jump, page, JUMPS + JUMP.page);
      f.store32(jump, link, JUMPS + JUMP.link);
      f.store32(cpu, i32(1), JUMPS_FILLED);
      f.ret(link);
      f.unreachable();
    },
    'regionLink',
  );
}
