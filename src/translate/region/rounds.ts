/**
 * Loops of one short block: their first round stands apart from the others, and those are written out two by two.
 *
 * Where the later rounds begin, only a round of the same block has been before: which operation set the flags is known there, and what it
 * found out about registers. At the head of a loop that is entered from elsewhere too neither is, and V8 carries the flags' operands from
 * round to round through memory, as they are used only where the loop is left. Written out twice, two rounds share one look at the budget.
 *
 * This is about speed alone.
 */
import type { ProbedBlock } from './probe.ts';
import type { Edge } from './structure.ts';

/** Instructions of a block whose first round stands apart, and of one that is written out twice besides. */
const SHORT = { apart: 16, twice: 10 } as const;

export interface Rounds {
  /** Node of a first round → node of the next ones. */
  readonly first: ReadonlyMap<number, number>;
  /** Nodes of the next ones, which are loops: they follow a first round or themselves. */
  readonly later: ReadonlySet<number>;
}

/** Adds nodes to `blocks` and `edges`, which have the same length. */
export function writeOutRounds(blocks: (ProbedBlock | undefined)[], edges: Edge[][]): Rounds {
  const first = new Map<number, number>();
  const later = new Set<number>();
  const copyOf = (node: number, again: number): number => {
    edges.push(edges[node]!.map((edge) => (edge.via === node ? { target: again, via: again } : { ...edge })));
    return blocks.push({ ...blocks[node]! }) - 1;
  };
  for (const [node, block] of [...blocks.entries()]) {
    const toItself = edges[node]!.find(({ via }) => via === node);
    if (block === undefined || toItself === undefined || block.insns.length > SHORT.apart) continue;
    const before = copyOf(node, node);
    edges.forEach((list, from) => {
      if (from === node || from === before) return;
      for (const edge of list) if (edge.via === node) edge.target = edge.via = before;
    });
    // A loop in registers alone waits for its own results.
    if (block.insns.length <= SHORT.twice && block.insns.some(({ hasMem }) => hasMem)) {
      const second = copyOf(node, node);
      toItself.target = toItself.via = second;
    }
    first.set(before, node);
    later.add(node);
  }
  return { first, later };
}
