/**
 * A view of the tree that can be read and changed without anybody seeing it, and the list of what it looked at and changed.
 * Every request runs in one: a request outside a transaction in one of its own that is committed at once. Committing, with its
 * conflict rule, is the store's (`store.ts`). A client's mistake is an error name as the result. pv-abi 7.3.
 */

import { parentOf, partsOf } from './path.ts';
import { allows, type Identity, type Need, type Permissions } from './permissions.ts';
import type { Quota } from './quota.ts';
import { lookup, NO_CHILDREN, NO_VALUE, nearest, remove, replace, type TreeNode, walk } from './tree.ts';
import type { ErrorName } from './wire.ts';

/**
 * `set`: created, value or permissions written. `implied`: created as a missing parent. `removed`: with all below.
 */
export type ChangeKind = 'set' | 'implied' | 'removed';
export interface Change {
  readonly kind: ChangeKind;
  readonly path: string;
}

/** What a transaction needs of its store. */
export interface TransactionHome {
  readonly root: TreeNode;
  readonly quota: Quota;
  owned(domid: number): number;
  nextGeneration(): number;
}

export type Outcome = 'ok' | ErrorName;

export class Transaction {
  readonly who: Identity;
  readonly base: TreeNode;
  root: TreeNode;
  /** Paths that were read or changed: the node alone, or (removal) with all below it. */
  readonly touched = new Map<string, 'node' | 'subtree'>();
  /** How many nodes more (or fewer) each domain owns. */
  readonly ownedDelta = new Map<number, number>();
  readonly #home: TransactionHome;
  readonly #changes = new Map<string, Change>();

  constructor(home: TransactionHome, who: Identity) {
    this.#home = home;
    this.who = who;
    this.base = home.root;
    this.root = home.root;
  }

  /** In order; of equal ones the first only. */
  get changes(): Change[] {
    return [...this.#changes.values()];
  }

  read(path: string): TreeNode | ErrorName {
    return this.#find(path, 'read');
  }

  write(path: string, value: Uint8Array): Outcome {
    if (!this.who.privileged && value.length > this.#home.quota.valueBytes) return 'ENOSPC';
    const node = this.#find(path, 'write');
    if (node === 'ENOENT') return this.#create(path, value);
    if (typeof node === 'string') return node;
    this.#put(path, { ...node, value });
    return 'ok';
  }

  /** An existing node is left as it is. */
  mkdir(path: string): Outcome {
    const node = this.#find(path, 'write');
    if (node === 'ENOENT') return this.#create(path, NO_VALUE);
    return typeof node === 'string' ? node : 'ok';
  }

  remove(path: string): Outcome {
    if (path === '/') return 'EINVAL';
    const node = this.#find(path, 'write');
    if (node === 'ENOENT') return lookup(this.root, parentOf(path)) ? 'ok' : 'ENOENT';
    if (typeof node === 'string') return node;
    if (!this.#touch(path, 'subtree') || !this.#touch(parentOf(path), 'node')) return 'ENOSPC';
    walk(path, node, (_, { permissions }) => this.#count(permissions[0]!.domid, -1));
    this.root = remove(this.root, path, this.#home.nextGeneration());
    this.#changed('removed', path);
    return 'ok';
  }

  setPermissions(path: string, permissions: Permissions): Outcome {
    const { who } = this;
    const node = this.#find(path, 'own');
    if (typeof node === 'string') return node;
    const owner = permissions[0]!.domid;
    const former = node.permissions[0]!.domid;
    // Otherwise a domain could fill another one's quota.
    if (!who.privileged && owner !== former) return 'EPERM';
    if (!who.privileged && permissions.length > this.#home.quota.permissionsPerNode) return 'ENOSPC';
    this.#count(former, -1);
    this.#count(owner, 1);
    this.#put(path, { ...node, permissions });
    return 'ok';
  }

  #find(path: string, need: Need): TreeNode | ErrorName {
    if (!this.#touch(path, 'node')) return 'ENOSPC';
    const node = lookup(this.root, path);
    if (node) return allows(node.permissions, this.who, need) ? node : 'EACCES';
    // Whether a node exists is the business of those only who may do this to its parent.
    return allows(nearest(this.root, path).node.permissions, this.who, need) ? 'ENOENT' : 'EACCES';
  }

  #create(path: string, value: Uint8Array): Outcome {
    const { who } = this;
    const { node: parent, depth } = nearest(this.root, path);
    const parts = partsOf(path);
    const missing = parts.length - depth;
    const [first, ...others] = parent.permissions;
    const owner = who.privileged ? first!.domid : who.domid;
    if (!who.privileged) {
      const { quota } = this.#home;
      const nodes = this.touched.size + missing;
      if (this.owned(owner) + missing > quota.nodes || nodes > quota.transactionNodes) return 'ENOSPC';
      if (parts.length > quota.depth) return 'ENOSPC';
    }
    const pathOf = (length: number) => `/${parts.slice(0, length).join('/')}`;
    // The parent's set of children changes.
    if (!this.#touch(pathOf(depth), 'node')) return 'ENOSPC';
    const permissions = [{ ...first!, domid: owner }, ...others];
    for (let length = depth + 1; length <= parts.length; length++) {
      const last = length === parts.length;
      const each = pathOf(length);
      this.#touch(each, 'node');
      const node = { value: last ? value : NO_VALUE, permissions, children: NO_CHILDREN, generation: 0 };
      this.#put(each, node, last ? 'set' : 'implied');
    }
    this.#count(owner, missing);
    return 'ok';
  }

  owned(domid: number): number {
    return this.#home.owned(domid) + (this.ownedDelta.get(domid) ?? 0);
  }

  #count(domid: number, delta: number): void {
    this.ownedDelta.set(domid, (this.ownedDelta.get(domid) ?? 0) + delta);
  }

  #put(path: string, node: TreeNode, kind: ChangeKind = 'set'): void {
    const generation = this.#home.nextGeneration();
    this.root = replace(this.root, path, { ...node, generation }, generation);
    this.#changed(kind, path);
  }

  #changed(kind: ChangeKind, path: string): void {
    this.#changes.set(`${kind} ${path}`, { kind, path });
  }

  #touch(path: string, how: 'node' | 'subtree'): boolean {
    const known = this.touched.get(path);
    if (!known && !this.who.privileged && this.touched.size >= this.#home.quota.transactionNodes) return false;
    if (known !== 'subtree') this.touched.set(path, how);
    return true;
  }
}
