/**
 * A region as it is ordered from another thread: what discover found, in the few numbers and bytes that messages between threads carry
 * well. The instructions are decoded again where it is made, from the same bytes.
 */
import { decode, type Insn } from '../../x86/decode.ts';
import type { Block, RegionPlan } from './plan.ts';

export interface RegionOrder {
  /** For profilers. */
  readonly name: string;
  /** For each block: start, end, taken, next (discover.ts). */
  readonly blocks: Int32Array;
  /** The bytes of all blocks, in order. */
  readonly bytes: Uint8Array;
  readonly entries: readonly number[];
  readonly returns: readonly number[];
  readonly instructions: number;
  readonly isBrief: boolean;
  readonly isExact: boolean;
  readonly pages: readonly number[];
}

const BLOCK_NUMBERS = 4;

/** `content` has the bytes of a page of the plan's, which nobody may have changed since they were decoded. */
export function orderOf(name: string, plan: RegionPlan, content: (page: number) => Uint8Array): RegionOrder {
  const { entries, returns, instructions, isBrief, isExact, pages } = plan;
  const list = [...plan.blocks.values()];
  const blocks = Int32Array.from(list.flatMap(({ start, end, taken, next }) => [start, end, taken, next]));
  const bytes = new Uint8Array(list.reduce((sum, { start, end }) => sum + end - start, 0));
  let at = 0;
  for (const { start, end } of list) {
    for (let from = start; from < end; ) {
      const to = Math.min(end, (from | 4095) + 1);
      bytes.set(content(from >> 12).subarray(from & 4095, (from & 4095) + to - from), at);
      at += to - from;
      from = to;
    }
  }
  return { name, blocks, bytes, entries, returns, instructions, isBrief, isExact, pages };
}

export function planOf({ blocks: numbers, bytes, ...rest }: RegionOrder): RegionPlan {
  const blocks = new Map<number, Block>();
  let at = 0;
  for (let k = 0; k < numbers.length; k += BLOCK_NUMBERS) {
    const [start, end, taken, next] = numbers.subarray(k, k + BLOCK_NUMBERS) as unknown as [
      number,
      number,
      number,
      number,
    ];
    const insns: Insn[] = [];
    for (const behind = at + end - start; at < behind; ) {
      const insn = decode(bytes, at, behind);
      if (typeof insn === 'string') throw new Error(`${rest.name}: no instruction at ${start}`);
      insns.push(insn);
      at += insn.length;
    }
    blocks.set(start, { start, insns, end, taken, next });
  }
  return { ...rest, blocks };
}
