/**
 * The store: the committed tree, commits with their conflict rule, quotas, introduced domains, and the order in which a
 * change is journalled, becomes visible and is told to watchers. Requests and their bytes are the connection's. pv-abi 7.3.
 */
import { encodeRecord, type JournalEntry, type JournalPort, readJournal, snapshot } from './journal.ts';
import { partsOf } from './path.ts';
import { type Identity, ROOT_PERMISSIONS } from './permissions.ts';
import { DEFAULT_QUOTA, type Quota } from './quota.ts';
import { type Change, type Outcome, Transaction, type TransactionHome } from './transaction.ts';
import { lookup, merge, NO_CHILDREN, NO_VALUE, type TreeNode, walk } from './tree.ts';
import { type SpecialWatch, Watches } from './watches.ts';

export interface StoreOptions {
  readonly quota?: Quota;
  /** Where commits are kept. Without it the store lives as long as this object. */
  readonly journal?: JournalPort;
}

/** A journal is written anew when it is this long and several times as long as a snapshot. */
const COMPACT_BYTES = 1 << 20;
const COMPACT_FACTOR = 4;

/** What the store must be able to do to a connection. */
export interface DomainConnection {
  readonly who: Identity;
  drop(): void;
}

export class Store implements TransactionHome {
  readonly quota: Quota;
  readonly watches = new Watches();
  readonly connections = new Set<DomainConnection>();
  #root: TreeNode = { value: NO_VALUE, permissions: ROOT_PERMISSIONS, children: NO_CHILDREN, generation: 1 };
  #generation = 1;
  #owned = new Map<number, number>();
  #introduced = new Set<number>();
  /** Bytes at the end of the journal that were no whole record when it was read: at most one commit, cut off by a kill. */
  lostBytes = 0;
  readonly #journal: JournalPort | undefined;
  #journalBytes = 0;
  #snapshotBytes = 0;

  constructor(options: StoreOptions = {}) {
    this.quota = options.quota ?? DEFAULT_QUOTA;
    this.#journal = options.journal;
    if (this.#journal) this.#load(this.#journal);
    walk('/', this.#root, (_, node) => {
      const owner = node.permissions[0]!.domid;
      this.#owned.set(owner, this.owned(owner) + 1);
    });
  }

  get root(): TreeNode {
    return this.#root;
  }

  get introduced(): ReadonlySet<number> {
    return this.#introduced;
  }

  nextGeneration(): number {
    return ++this.#generation;
  }

  owned(domid: number): number {
    return this.#owned.get(domid) ?? 0;
  }

  begin(who: Identity): Transaction {
    return new Transaction(this, who);
  }

  /** EAGAIN when a node that the transaction read or changed has changed since it began; nothing has happened then. */
  commit(transaction: Transaction): Outcome {
    const { base, who, ownedDelta, changes } = transaction;
    const before = this.#root;
    if (before !== base) {
      for (const [path, how] of transaction.touched) {
        const [then, now] = [lookup(base, path), lookup(before, path)];
        if (how === 'subtree' ? then !== now : then?.generation !== now?.generation) return 'EAGAIN';
      }
    }
    if (changes.length === 0) return 'ok';
    // Others of the same domain's transactions may have used up the quota meanwhile.
    if (!who.privileged && (ownedDelta.get(who.domid) ?? 0) > 0 && transaction.owned(who.domid) > this.quota.nodes) {
      return 'ENOSPC';
    }
    const after = merge(base, transaction.root, before);
    if (!this.#append(entriesOf(changes, after))) return 'EIO';
    this.#root = after;
    for (const [domid, delta] of ownedDelta) {
      const count = this.owned(domid) + delta;
      if (count === 0) this.#owned.delete(domid);
      else this.#owned.set(domid, count);
    }
    this.#compactIfLong();
    for (const change of changes) this.watches.fire(change, before, after);
    return 'ok';
  }

  /** A domain exists from now on. */
  introduce(domid: number): Outcome {
    if (domid === 0 || this.#introduced.has(domid)) return 'ok';
    if (!this.#append([{ kind: 'introduce', domid }])) return 'EIO';
    this.#introduced.add(domid);
    this.watches.fireSpecial('@introduceDomain');
    return 'ok';
  }

  /** A domain is gone: its connections are closed; its nodes stay until somebody removes them. */
  release(domid: number): Outcome {
    if (domid === 0) return 'EINVAL';
    if (!this.#introduced.has(domid)) return 'ENOENT';
    if (!this.#append([{ kind: 'release', domid }])) return 'EIO';
    this.#introduced.delete(domid);
    for (const connection of [...this.connections]) {
      if (connection.who.domid === domid || connection.who.onlyFor === domid) connection.drop();
    }
    this.watches.fireSpecial('@releaseDomain');
    return 'ok';
  }

  /** Tell those who wait for domains to come and go, when a domain shut down but still exists. */
  announce(name: SpecialWatch): void {
    this.watches.fireSpecial(name);
  }

  #append(entries: readonly JournalEntry[]): boolean {
    if (!this.#journal || entries.length === 0) return true;
    const record = encodeRecord(entries);
    if (!this.#journal.append(record)) return false;
    this.#journalBytes += record.length;
    return true;
  }

  #compactIfLong(): void {
    if (!this.#journal || this.#journalBytes < Math.max(COMPACT_BYTES, COMPACT_FACTOR * this.#snapshotBytes)) return;
    this.#writeSnapshot(this.#journal);
  }

  #writeSnapshot(journal: JournalPort): boolean {
    const bytes = snapshot(this.#root, this.#introduced);
    // When it cannot be written, the long journal goes on; the next attempt comes after as many bytes again.
    const written = journal.replace(bytes);
    this.#snapshotBytes = bytes.length;
    this.#journalBytes = 0;
    return written;
  }

  #load(journal: JournalPort): void {
    const bytes = journal.read();
    const state = readJournal(bytes, this.#root);
    this.#root = state.root;
    this.#introduced = state.introduced;
    this.#generation = state.generation;
    this.lostBytes = bytes.length - state.goodBytes;
    this.#snapshotBytes = bytes.length;
    if (bytes.length > 0 && this.lostBytes === 0 && state.records === 1) return;
    // Also cuts off what a kill left half-written at the end, so that later records follow whole ones.
    if (!this.#writeSnapshot(journal)) throw new Error('the store journal cannot be written');
  }
}

/**
 * What a commit leaves behind, in an order that can be applied: removals first (whatever was made again below them is among
 * the changes too), then nodes, parents before children.
 */
function entriesOf(changes: readonly Change[], after: TreeNode): JournalEntry[] {
  const removed: JournalEntry[] = [];
  const made = new Map<string, JournalEntry>();
  for (const { kind, path } of changes) {
    if (kind === 'removed') removed.push({ kind: 'remove', path });
    else {
      const node = lookup(after, path);
      if (node) made.set(path, { kind: 'set', path, value: node.value, permissions: node.permissions });
    }
  }
  const levels = (path: string) => partsOf(path).length;
  return [...removed, ...[...made].sort(([a], [b]) => levels(a) - levels(b)).map(([, entry]) => entry)];
}
