/**
 * Which flags are going to be seen: by an instruction of the region (read), or only by whoever takes over when the region is
 * left before they are overwritten (taken along).
 */
import type { ProbedBlock } from './probe.ts';

export const Need = { none: 0, read: 1, along: 2 } as const;

export interface FlagLiveness {
  /** Need of the flags when node n is entered. */
  readonly at: Uint8Array;
  /** Need of the flags behind each instruction of a block. */
  readonly behind: ReadonlyMap<ProbedBlock, Uint8Array>;
}

function before(block: ProbedBlock, needAtEnd: number, behind?: Uint8Array): number {
  let need = needAtEnd;
  for (let k = block.insns.length - 1; k >= 0; k--) {
    const use = block.uses[k]!;
    if (use.leavesAfter) need |= Need.along;
    if (behind !== undefined) behind[k] = need;
    // What is written on some paths only begins as what was there before.
    if (use.kills) need = Need.none;
    else if (use.writes && (need !== Need.none || use.leaves)) need |= Need.read;
    if (use.reads) need |= Need.read;
    if (use.leaves) need |= Need.along;
  }
  return need;
}

/** `blocks[n]` is the block of node n, undefined for others; `leaves[n]`: control can leave the region at its end. */
export function flagLiveness(
  blocks: readonly (ProbedBlock | undefined)[],
  successors: readonly (readonly number[])[],
  leaves: readonly boolean[],
  /** Nodes, most before their successors. */
  sequence: readonly number[],
): FlagLiveness {
  const count = blocks.length;
  const at = new Uint8Array(count);
  const end = (node: number): number => {
    let need: number = leaves[node] ? Need.along : Need.none;
    for (const to of successors[node]!) need |= at[to]!;
    return need;
  };
  // There are four needs, so a block's answers are soon known.
  const answers = new Int8Array(count * 4).fill(-1);
  const answer = (node: number, block: ProbedBlock, need: number): number => {
    const known = answers[node * 4 + need]!;
    return known >= 0 ? known : (answers[node * 4 + need] = before(block, need));
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let k = sequence.length - 1; k >= 0; k--) {
      const node = sequence[k]!;
      const block = blocks[node];
      const need = block === undefined ? end(node) : answer(node, block, end(node));
      if (need !== at[node]) {
        at[node] = need;
        changed = true;
      }
    }
  }
  const behind = new Map<ProbedBlock, Uint8Array>();
  blocks.forEach((block, node) => {
    if (block === undefined) return;
    const needs = new Uint8Array(block.insns.length);
    before(block, end(node), needs);
    behind.set(block, needs);
  });
  return { at, behind };
}
