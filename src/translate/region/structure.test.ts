import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Edge, type Graph, type Structure, structure } from './structure.ts';

const graphOf = (lists: readonly (readonly number[])[], room: number): Graph => ({
  edges: lists.map((list) => list.map((node): Edge => ({ target: node, via: node }))),
  dispatch: new Map(),
  copies: new Map(),
  room,
  cost: () => 1,
});

/** Can control come from node 0 to `to` past `without`? */
function reaches({ edges }: Graph, to: number, without: number): boolean {
  const seen = new Set(without === 0 ? [] : [0]);
  for (const node of seen) for (const { via } of edges[node]!) if (via !== without) seen.add(via);
  return seen.has(to);
}

function checkLoops({ graph, sequence, isBack }: Structure): void {
  for (const from of sequence) {
    for (const { via } of graph.edges[from]!) {
      if (isBack(from, via))
        assert.ok(!reaches(graph, from, via), `${from} → ${via} leads into a loop with another entry`);
    }
  }
}

/** The blocks that control comes to, if it leaves each node by the edge that `choices` names. */
function walk({ edges, dispatch, copies }: Graph, choices: readonly number[]): number[] {
  const met: number[] = [];
  let node = 0;
  for (const choice of choices) {
    const list = edges[node]!;
    if (list.length === 0) break;
    const { target, via } = list[choice % list.length]!;
    // A dispatch node leads on to the one that was meant, in as many steps as there are such nodes in the way.
    for (node = via; dispatch.has(node); ) node = edges[node]![dispatch.get(node)!.indexOf(target)]!.via;
    met.push(copies.get(node) ?? node);
  }
  return met;
}

test('of a loop with two entries what lies between them is copied, if there is room', () => {
  // 0 → 1 | 2; 1 → 2; 2 → 1 | 3
  const lists = [[1, 2], [2], [1, 3], []];
  const copied = structure(graphOf(lists, 1));
  assert.deepEqual([...copied.graph.copies.values()], [2]);
  assert.equal(copied.graph.dispatch.size, 0);
  checkLoops(copied);
  const dispatched = structure(graphOf(lists, 0));
  assert.equal(dispatched.graph.copies.size, 0);
  assert.equal(dispatched.graph.dispatch.size, 1);
  checkLoops(dispatched);
});

test('a loop within a loop with two entries, which is one of them, goes round without asking where it goes', () => {
  // 0 → 1 | 2; 1 → 4; 4 → 1 | 2; 2 → 1 | 3
  const { graph } = structure(graphOf([[1, 2], [4], [1, 3], [], [1, 2]], 0));
  const [[dispatch, targets] = [], ...more] = graph.dispatch;
  assert.deepEqual([targets, more], [[1, 2], []]);
  const vias = graph.edges.slice(0, 5).map((edges) => edges.map(({ via }) => (via === dispatch ? 'asked' : via)));
  assert.deepEqual(vias, [['asked', 'asked'], [4], ['asked', 3], [], [1, 'asked']]);
});

test('a loop that nothing leads to is left alone', () => {
  // 0 → 1; 1 → 1; 2 → 3 | 1; 3 → 2
  const { graph, sequence } = structure(graphOf([[1], [1], [3, 1], [2]], 8));
  assert.deepEqual(sequence, [0, 1]);
  assert.equal(graph.dispatch.size, 0);
});

test('every loop has one entry afterwards, and all ways lead where they led', () => {
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 0x41c6_4e6d) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 300; round++) {
    const count = 3 + random(9);
    const lists = Array.from({ length: count }, () =>
      Array.from({ length: 1 + random(2) }, () => 1 + random(count - 1)),
    );
    // All can be reached.
    for (let node = 1; node < count; node++) lists[random(node)]!.push(node);
    const made = structure(graphOf(lists, random(3) * 8));
    const { graph } = made;
    checkLoops(made);
    for (let k = 0; k < 5; k++) {
      const choices = Array.from({ length: 40 }, () => random(12));
      assert.deepEqual(walk(graph, choices), walk(graphOf(lists, 0), choices), `round ${round}`);
    }
  }
});
