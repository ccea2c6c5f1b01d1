/**
 * The store's tree as immutable nodes: a change makes new nodes from the changed one up to the root and shares all others,
 * so that a transaction's snapshot is one reference. Knows neither clients nor watches.
 *
 * `generation` changes with a node's own value, permissions or set of child names, not with what happens below it. Numbers
 * are never used twice: equal generations mean that nothing happened to the node, even if it was removed and made again.
 * A node that is the same object has an unchanged subtree.
 */
import { partsOf } from './path.ts';
import type { Permissions } from './permissions.ts';

export interface TreeNode {
  readonly value: Uint8Array;
  readonly permissions: Permissions;
  /** In order of creation. */
  readonly children: ReadonlyMap<string, TreeNode>;
  readonly generation: number;
}

export const NO_CHILDREN: ReadonlyMap<string, TreeNode> = new Map();
export const NO_VALUE = new Uint8Array(0);

export function lookup(root: TreeNode, path: string): TreeNode | undefined {
  let node: TreeNode | undefined = root;
  for (const part of partsOf(path)) {
    node = node.children.get(part);
    if (!node) return undefined;
  }
  return node;
}

/** The deepest node that exists on the way to `path`, and how many of the path's parts lead to it. */
export function nearest(root: TreeNode, path: string): { node: TreeNode; depth: number } {
  let node = root;
  let depth = 0;
  for (const part of partsOf(path)) {
    const next = node.children.get(part);
    if (!next) break;
    node = next;
    depth++;
  }
  return { node, depth };
}

/** The root of a tree that has `next` at `path`, whose parent exists. */
export function replace(root: TreeNode, path: string, next: TreeNode, generation: number): TreeNode {
  return rebuild(root, partsOf(path), 0, next, generation);
}

/** The root of a tree without the node at `path`, which exists and is not the root. */
export function remove(root: TreeNode, path: string, generation: number): TreeNode {
  return rebuild(root, partsOf(path), 0, undefined, generation);
}

function rebuild(
  node: TreeNode,
  parts: readonly string[],
  depth: number,
  next: TreeNode | undefined,
  generation: number,
): TreeNode {
  const name = parts[depth];
  if (name === undefined) return next!;
  const children = new Map(node.children);
  if (depth < parts.length - 1) {
    children.set(name, rebuild(node.children.get(name)!, parts, depth + 1, next, generation));
    return { ...node, children };
  }
  const known = next ? children.has(name) : !children.delete(name);
  if (next) children.set(name, next);
  return { ...node, children, generation: known ? node.generation : generation };
}

/**
 * Both changes of `base` in one tree. The caller has made sure that no node itself (see `generation`) was changed by both
 * and that neither removed what the other changed; this only weaves the two together.
 */
export function merge(base: TreeNode, mine: TreeNode, theirs: TreeNode): TreeNode {
  if (mine === base || mine === theirs) return theirs;
  if (theirs === base) return mine;
  const own = mine.generation === base.generation ? theirs : mine;
  const children = new Map<string, TreeNode>();
  for (const [name, child] of own.children) {
    const [b, m, t] = [base.children.get(name), mine.children.get(name), theirs.children.get(name)];
    children.set(name, b && m && t ? merge(b, m, t) : child);
  }
  return { ...own, children };
}

/** Visits the node and all below it, parents first. */
export function walk(path: string, node: TreeNode, visit: (path: string, node: TreeNode) => void): void {
  visit(path, node);
  for (const [name, child] of node.children) walk(path === '/' ? `/${name}` : `${path}/${name}`, child, visit);
}
