/**
 * What a region was made from, as far as its function depends on it: the bytes of its instructions, where they lie in its pages, and
 * its entries. Where the same bytes lie in the same way again, in another domain too, the same function is right.
 */
import { entryHint } from '../interpreter/entry-hint.ts';
import type { RegionPlan } from './plan.ts';

export interface RegionOrigin {
  /** As in RegionPlan. */
  readonly entries: readonly number[];
  readonly pages: readonly number[];
  readonly instructions: number;
  /** For each page the bytes of it that are code: from, to, from, to … in ascending order. */
  readonly runs: readonly (readonly number[])[];
  /** The bytes of all runs. */
  readonly bytes: Uint8Array;
  /** For each entry the entryKey and the entryHint of it. */
  readonly keys: readonly number[];
  readonly hints: readonly number[];
}

/**
 * 32 bits that are most probably another's for another origin: what profilers tell functions of regions by, in whichever domain they were
 * made. `keys` and `hints`, which follow from the rest, take no part.
 */
export function originId({ entries, pages, runs, bytes }: RegionOrigin): number {
  let id = 0x811c9dc5;
  const add = (value: number): void => {
    id = Math.imul(id ^ value, 0x01000193);
    id ^= id >>> 15;
  };
  for (const list of [entries, pages, ...runs]) list.forEach(add);
  bytes.forEach(add);
  return id >>> 0;
}

/** Of a page that a region has code from. */
export interface PageCode {
  /** Bit per 512-byte piece that code is from. */
  readonly pieces: number;
  /** Bit per byte of its instructions. */
  readonly code: Uint8Array;
}

/** Bytes that an entry is found by. */
const KEY_BYTES = 8;

/**
 * What code at `offset` of the page that begins at `base` of `u8` is looked for by: alike for alike code at this offset, and most probably
 * another for other code. Never 0.
 */
export function entryKey(u8: Uint8Array, base: number, offset: number): number {
  const end = base + Math.min(offset + KEY_BYTES, 4096);
  let key = offset;
  for (let at = base + offset; at < end; at++) key = Math.imul(key ^ u8[at]!, 0x01000193) + 0x7ed55d16;
  return (key ^ (key >>> 15)) >>> 0 || 1;
}

/** The origin of `plan`. `content` has the bytes of a page of its, which nobody may have changed since they were decoded. */
export function originOf(plan: RegionPlan, content: (page: number) => Uint8Array): RegionOrigin {
  const runs = plan.pages.map((page) => runsOf(plan, page));
  const bytes = runs.flatMap((list, k) => {
    const page = content(plan.pages[k]!);
    const parts: Uint8Array[] = [];
    for (let at = 0; at < list.length; at += 2) parts.push(page.subarray(list[at]!, list[at + 1]!));
    return parts;
  });
  return {
    entries: plan.entries,
    pages: plan.pages,
    instructions: plan.instructions,
    runs,
    bytes: joined(bytes),
    keys: plan.entries.map((offset) => entryKey(content(offset >> 12), 0, offset & 4095)),
    hints: plan.entries.map((offset) => entryHint(content(offset >> 12), 0, offset & 4095)),
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function runsOf({ blocks }: RegionPlan, page: number): number[] {
  const spans: [from: number, to: number][] = [];
  for (const { start, end } of blocks.values()) {
    const from = Math.max(start - page * 4096, 0);
    const to = Math.min(end - page * 4096, 4096);
    if (from < to) spans.push([from, to]);
  }
  spans.sort(([a], [b]) => a - b);
  const runs: number[] = [];
  for (const [from, to] of spans) {
    const last = runs.length - 1;
    if (last > 0 && from <= runs[last]!) runs[last] = Math.max(runs[last]!, to);
    else runs.push(from, to);
  }
  return runs;
}

/** For each page what code is in it. */
export function pageCodes({ runs }: RegionOrigin): PageCode[] {
  return runs.map((list) => {
    const code = new Uint8Array(512);
    let pieces = 0;
    for (let k = 0; k < list.length; k += 2) {
      for (let at = list[k]!; at < list[k + 1]!; at++) code[at >> 3]! |= 1 << (at & 7);
      for (let piece = list[k]! >> 9; piece <= (list[k + 1]! - 1) >> 9; piece++) pieces |= 1 << piece;
    }
    return { pieces, code };
  });
}

/** Are the bytes of `origin` in the pages that begin at `bases` of `u8`? */
export function isThere({ runs, bytes }: RegionOrigin, u8: Uint8Array, bases: readonly number[]): boolean {
  let k = 0;
  for (const [page, list] of runs.entries()) {
    for (let run = 0; run < list.length; run += 2) {
      const end = bases[page]! + list[run + 1]!;
      for (let at = bases[page]! + list[run]!; at < end; at++) if (u8[at] !== bytes[k++]) return false;
    }
  }
  return true;
}
