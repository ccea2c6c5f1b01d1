/**
 * Who watches what, and which events a committed change makes. Delivery and its bounds are the connection's. pv-abi 7.3.
 */
import { isBelow, parentOf, withAncestors } from './path.ts';
import { allows, type Identity } from './permissions.ts';
import type { Change } from './transaction.ts';
import { lookup, type TreeNode } from './tree.ts';

export const SPECIAL_WATCHES = ['@introduceDomain', '@releaseDomain'] as const;
export type SpecialWatch = (typeof SPECIAL_WATCHES)[number];

export interface Watch {
  readonly who: Identity;
  /** Absolute, or one of the special names. */
  readonly path: string;
  /** As the client wrote it: events name paths in the same form. */
  readonly written: string;
  readonly token: string;
  /** How many levels below `path` count; Infinity when the client did not say. */
  readonly depth: number;
  /** `path` is what the event tells: in the form of `written`. */
  readonly deliver: (path: string, token: string) => void;
}

export class Watches {
  readonly #byPath = new Map<string, Set<Watch>>();

  add(watch: Watch): void {
    const here = this.#byPath.get(watch.path);
    if (here) here.add(watch);
    else this.#byPath.set(watch.path, new Set([watch]));
  }

  delete(watch: Watch): void {
    const here = this.#byPath.get(watch.path);
    here?.delete(watch);
    if (here?.size === 0) this.#byPath.delete(watch.path);
  }

  fireSpecial(name: SpecialWatch): void {
    for (const watch of this.#byPath.get(name) ?? []) deliver(watch, name);
  }

  /** `before` and `after`: the roots on either side of the change. */
  fire(change: Change, before: TreeNode, after: TreeNode): void {
    for (const at of change.kind === 'implied' ? [change.path] : withAncestors(change.path)) {
      for (const watch of this.#byPath.get(at) ?? []) {
        if (levels(at, change.path) <= watch.depth) tell(watch, change.path, before, after);
      }
    }
    if (change.kind !== 'removed') return;
    for (const [path, watches] of this.#byPath) {
      if (isBelow(path, change.path)) for (const watch of watches) tell(watch, path, before, after);
    }
  }
}

function levels(ancestor: string, path: string): number {
  let count = 0;
  for (let at = path; at !== ancestor; at = parentOf(at)) count++;
  return count;
}

/** An event says that a node exists: only those may have it who could have found out by reading. */
function tell(watch: Watch, path: string, before: TreeNode, after: TreeNode): void {
  const may = (node: TreeNode | undefined) => node !== undefined && allows(node.permissions, watch.who, 'read');
  if (
    watch.who.privileged ||
    may(lookup(after, path)) ||
    may(lookup(before, path)) ||
    may(lookup(after, parentOf(path)))
  ) {
    deliver(watch, path);
  }
}

function deliver(watch: Watch, path: string): void {
  watch.deliver(watch.written + path.slice(watch.path.length), watch.token);
}
