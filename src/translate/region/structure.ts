/**
 * Control flow for structured code: from blocks and edges to loops and forward jumps that nest.
 *
 * A loop with more than one entry cannot be written with WebAssembly's loops. Where little of it runs from an entry to another one, that is
 * copied for those who come from outside, and the loop keeps that other entry alone. Else it gets a dispatch node: all edges to its
 * entries go there, with a number that says which entry is meant, but for those of a loop within the loop that comes back to its own entry. After that the graph is reducible, and dominators say what
 * nests in what (Norman Ramsey, "Beyond Relooper", ICFP 2022).
 */

export interface Edge {
  /** The block meant. */
  target: number;
  /** The node to go to: the target, or a dispatch node in front of it. */
  via: number;
}

export interface Graph {
  /** Outgoing edges of each node; node 0 is where everything begins. */
  readonly edges: Edge[][];
  /** Dispatch node → its targets; their place in the list is the number to pass. */
  readonly dispatch: Map<number, readonly number[]>;
  /** Node that was added → the one that it is a copy of, which is none itself. */
  readonly copies: Map<number, number>;
  /** What copies may cost together, and what one of a node costs: more than 0. */
  room: number;
  cost(node: number): number;
}

export interface Structure {
  readonly graph: Graph;
  /** Position in reverse postorder; -1 for what cannot be reached. */
  readonly order: Int32Array;
  /** Nodes in reverse postorder. */
  readonly sequence: readonly number[];
  /** Children in the dominator tree that more than one forward edge reaches, the last in order first. */
  readonly merges: readonly (readonly number[])[];
  readonly isMerge: readonly boolean[];
  readonly isLoop: readonly boolean[];
  isBack(from: number, to: number): boolean;
}

/** Strongly connected components of `nodes` with at least one edge inside, by Tarjan's algorithm. */
function cycles(graph: Graph, nodes: ReadonlySet<number>): number[][] {
  const count = graph.edges.length;
  const index = new Int32Array(count);
  const low = new Int32Array(count);
  const onStack = new Uint8Array(count);
  const stack: number[] = [];
  const found: number[][] = [];
  let visited = 0;
  const visit = (node: number): void => {
    index[node] = low[node] = ++visited;
    stack.push(node);
    onStack[node] = 1;
    let self = false;
    for (const { via } of graph.edges[node]!) {
      if (!nodes.has(via)) continue;
      if (via === node) self = true;
      if (index[via] === 0) {
        visit(via);
        if (low[via]! < low[node]!) low[node] = low[via]!;
      } else if (onStack[via] === 1 && index[via]! < low[node]!) low[node] = index[via]!;
    }
    if (low[node] !== index[node]) return;
    const component: number[] = [];
    for (;;) {
      const member = stack.pop()!;
      onStack[member] = 0;
      component.push(member);
      if (member === node) break;
    }
    if (component.length > 1 || self) found.push(component);
  };
  for (const node of nodes) if (index[node] === 0) visit(node);
  return found;
}

/** What of a cycle's `members` runs from `entries` before it comes to `head`. */
function until(graph: Graph, members: ReadonlySet<number>, entries: ReadonlySet<number>, head: number): Set<number> {
  const found = new Set(entries);
  found.delete(head);
  // A set's walk comes to what is added meanwhile.
  for (const node of found) {
    for (const { via } of graph.edges[node]!) if (via !== head && members.has(via)) found.add(via);
  }
  return found;
}

/** The entry that a cycle can be left with at the least cost, and what is to be copied then; undefined if there is no room for it. */
function cheapest(graph: Graph, members: ReadonlySet<number>, entries: ReadonlySet<number>) {
  let best: { readonly head: number; readonly nodes: ReadonlySet<number>; readonly cost: number } | undefined;
  for (const head of entries) {
    const nodes = until(graph, members, entries, head);
    const cost = [...nodes].reduce((sum, node) => sum + graph.cost(node), 0);
    if (cost <= graph.room && cost < (best?.cost ?? Number.POSITIVE_INFINITY)) best = { head, nodes, cost };
  }
  return best;
}

/** Copies `nodes`: edges from outside of `members` lead to the copies. Returns these. */
function copyNodes(graph: Graph, members: ReadonlySet<number>, nodes: ReadonlySet<number>): Set<number> {
  const { edges, copies } = graph;
  const copyOf = new Map<number, number>();
  const count = edges.length;
  // What goes by way of a dispatch node leads elsewhere.
  const inCopy = (edge: Edge): Edge => {
    const copy = copyOf.get(edge.via);
    return copy === undefined ? { ...edge } : { target: copy, via: copy };
  };
  for (const node of nodes) {
    copyOf.set(node, count + copyOf.size);
    copies.set(count + copyOf.size - 1, copies.get(node) ?? node);
  }
  for (let from = 0; from < count; from++) {
    if (members.has(from)) continue;
    edges[from] = edges[from]!.map(inCopy);
  }
  for (const node of nodes) edges.push(edges[node]!.map(inCopy));
  return new Set(copyOf.values());
}

/** The loop within a cycle that has `entry`, one of its `entries`, as its only one: its nodes, none if there is no such loop. */
function around(
  graph: Graph,
  members: ReadonlySet<number>,
  entries: ReadonlySet<number>,
  entry: number,
): ReadonlySet<number> {
  const others = new Set([...members].filter((node) => node === entry || !entries.has(node)));
  const loop = new Set(cycles(graph, others).find((cycle) => cycle.includes(entry)));
  for (const from of members) {
    if (loop.has(from)) continue;
    if (graph.edges[from]!.some(({ via }) => via !== entry && loop.has(via))) return new Set();
  }
  return loop;
}

/** Give every cycle within `nodes` one entry. */
function makeReducible(graph: Graph, nodes: ReadonlySet<number>): void {
  for (const cycle of cycles(graph, nodes)) {
    const members = new Set(cycle);
    const entries = new Set<number>();
    graph.edges.forEach((edges, from) => {
      if (members.has(from)) return;
      for (const { via } of edges) if (members.has(via)) entries.add(via);
    });
    // Nothing leads there: a region's entries in too many pages are left out.
    if (entries.size === 0) continue;
    const split = entries.size > 1 ? cheapest(graph, members, entries) : undefined;
    if (split !== undefined) {
      graph.room -= split.cost;
      makeReducible(graph, copyNodes(graph, members, split.nodes));
      members.delete(split.head);
    } else if (entries.size > 1) {
      const targets = [...entries].sort((a, b) => a - b);
      const node = graph.edges.length;
      const inner = new Map(targets.map((entry) => [entry, around(graph, members, entries, entry)]));
      for (const [from, edges] of graph.edges.entries()) {
        for (const edge of edges) if (entries.has(edge.via) && !inner.get(edge.via)!.has(from)) edge.via = node;
      }
      graph.edges.push(targets.map((target) => ({ target, via: target })));
      graph.dispatch.set(node, targets);
    } else for (const entry of entries) members.delete(entry);
    makeReducible(graph, members);
  }
}

function reversePostorder(graph: Graph): number[] {
  const seen = new Uint8Array(graph.edges.length);
  const post: number[] = [];
  const visit = (node: number): void => {
    seen[node] = 1;
    for (const { via } of graph.edges[node]!) if (!seen[via]) visit(via);
    post.push(node);
  };
  visit(0);
  return post.reverse();
}

/** Immediate dominators (Cooper, Harvey, Kennedy). */
function dominators(sequence: readonly number[], order: Int32Array, predecessors: readonly number[][]): Int32Array {
  const parent = new Int32Array(order.length).fill(-1);
  parent[0] = 0;
  const meet = (a: number, b: number): number => {
    let [x, y] = [a, b];
    while (x !== y) {
      while (order[x]! > order[y]!) x = parent[x]!;
      while (order[y]! > order[x]!) y = parent[y]!;
    }
    return x;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of sequence) {
      if (node === 0) continue;
      let best = -1;
      for (const from of predecessors[node]!) if (parent[from]! >= 0) best = best < 0 ? from : meet(best, from);
      if (parent[node] !== best) {
        parent[node] = best;
        changed = true;
      }
    }
  }
  return parent;
}

/** Analyses `graph`, after changing it so that every loop has one entry. */
export function structure(graph: Graph): Structure {
  const all = new Set(graph.edges.keys());
  all.delete(0);
  makeReducible(graph, all);
  const sequence = reversePostorder(graph);
  const count = graph.edges.length;
  const order = new Int32Array(count).fill(-1);
  sequence.forEach((node, at) => {
    order[node] = at;
  });
  const predecessors: number[][] = Array.from({ length: count }, () => []);
  const isLoop = new Array<boolean>(count).fill(false);
  const forward = new Int32Array(count);
  const isBack = (from: number, to: number): boolean => order[to]! <= order[from]!;
  for (const from of sequence) {
    for (const { via } of graph.edges[from]!) {
      predecessors[via]!.push(from);
      if (isBack(from, via)) isLoop[via] = true;
      else forward[via]!++;
    }
  }
  const parent = dominators(sequence, order, predecessors);
  const isMerge = Array.from(forward, (edges) => edges > 1);
  const merges: number[][] = Array.from({ length: count }, () => []);
  for (let at = sequence.length - 1; at > 0; at--) {
    const node = sequence[at]!;
    if (isMerge[node]) merges[parent[node]!]!.push(node);
  }
  return { graph, order, sequence, merges, isMerge, isLoop, isBack };
}
