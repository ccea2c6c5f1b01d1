/**
 * How much of a region runs from its being entered until it is left, as the interpreter's counts of branches let one
 * guess. This is about speed alone.
 */
import { type Block, isComputed, isDispatch, NOWHERE } from './plan.ts';

/**
 * Instructions from entering to leaving, on average. `flow` says how often the interpreter came to an offset by a branch,
 * taken or not; `returns` are the region's blocks behind calls that go on inside of it. Where there are several `entries`, jumps
 * and calls by registers are taken to lead to them.
 */
export function visitLength(
  blocks: ReadonlyMap<number, Block>,
  returns: readonly number[],
  entries: number,
  flow: (offset: number) => number,
): number {
  const times = new Map<number, number>();
  const ordered = [...blocks.values()].sort((a, b) => a.start - b.start);
  for (const block of ordered) times.set(block.start, Math.max(flow(block.start), times.get(block.start) ?? 0));
  // What is only run into, without a branch, is not counted itself.
  for (const { start, next } of ordered) {
    if (next !== NOWHERE && times.get(next) === 0) times.set(next, times.get(start)!);
  }
  let instructions = 0;
  let left = 0;
  let returned = 0;
  for (const { start, insns, taken, next } of ordered) {
    const n = times.get(start)!;
    instructions += n * insns.length;
    const last = insns.at(-1)!;
    if (last.mnemonic === 'ret') returned += n;
    else if (isDispatch(last) && entries > 1) continue;
    else if (taken === NOWHERE && (next === NOWHERE || isComputed(last))) left += n;
  }
  for (const at of returns) returned -= times.get(at) ?? 0;
  return instructions / Math.max(left + Math.max(returned, 0), 1);
}
