/**
 * A number for the instruction at some place of a page, by its first two bytes: where regions may be entered is looked up by it (HINTS) before anything
 * that costs more. Many instructions have the same.
 */
import { type E, load8u } from '../../wasm/expr.ts';

/** The numbers are below this. */
export const ENTRY_HINTS = 1 << 16;

/** Of the instruction at `offset` of the page at `base`. */
export function entryHint(u8: Uint8Array, base: number, offset: number): number {
  return (offset << 4) ^ (u8[base + offset]! << 8) ^ u8[base + Math.min(offset + 1, 4095)]!;
}

/** The same in WebAssembly, at linear address `at`; not of the last byte of a page. */
export const entryHintOf = (at: E, offset: E): E => offset.shl(4).xor(load8u(at).shl(8)).xor(load8u(at, 1));
