/**
 * The store against a second, plain one: flat maps that are copied whole, changes replayed one by one, watches found by
 * comparing strings. Random clients must not be able to tell the two apart.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { latin1 } from './bytes.ts';
import { readJournal } from './journal.ts';
import { formatPermission } from './permissions.ts';
import { DEFAULT_QUOTA } from './quota.ts';
import { Store } from './store.ts';
import { chance, DOM0, guest, TestClient } from './testing.ts';
import { NO_CHILDREN, NO_VALUE, type TreeNode, walk } from './tree.ts';

const QUOTA = { ...DEFAULT_QUOTA, nodes: 9 };

interface PlainNode {
  value: string;
  perms: string[];
  version: number;
}
type Tree = Map<string, PlainNode>;
type Op = { name: string; path: string; rest: string };

const parent = (path: string) => path.replace(/\/[^/]*$/, '') || '/';
const below = (path: string, top: string) => path !== top && path.startsWith(top === '/' ? '/' : `${top}/`);

class PlainStore {
  tree: Tree = new Map([['/', { value: '', perms: ['n0'], version: 0 }]]);
  watches: { domid: number; client: number; path: string; token: string }[] = [];
  version = 0;

  may(domid: number, node: PlainNode, letters: string): boolean {
    if (domid === 0 || node.perms[0]!.slice(1) === `${domid}`) return true;
    const entry = node.perms.slice(1).find((each) => each.slice(1) === `${domid}`) ?? node.perms[0]!;
    return letters.includes(entry[0]!);
  }

  nearest(tree: Tree, path: string): string {
    let at = path;
    while (!tree.has(at)) at = parent(at);
    return at;
  }

  children(tree: Tree, path: string): string[] {
    return [...tree.keys()]
      .filter((each) => each !== '/' && parent(each) === path)
      .map((each) => each.slice(each.lastIndexOf('/') + 1));
  }

  owned(tree: Tree, domid: number): number {
    return [...tree.values()].filter((node) => node.perms[0]!.slice(1) === `${domid}`).length;
  }

  /** Performs one request on a tree; events are the changes, as [path, removed]. */
  perform(tree: Tree, domid: number, { name, path, rest }: Op, events: [string, boolean, boolean][]): string {
    const node = tree.get(path);
    const letters = { READ: 'rb', DIRECTORY: 'rb', GET_PERMS: 'rb', SET_PERMS: '' }[name] ?? 'wb';
    if (name === 'RM' && path === '/') return '!EINVAL';
    if (!this.may(domid, tree.get(this.nearest(tree, path))!, letters)) return '!EACCES';
    if (name === 'READ') return node ? node.value : '!ENOENT';
    if (name === 'DIRECTORY')
      return node
        ? this.children(tree, path)
            .sort()
            .map((each) => `${each}|`)
            .join('')
        : '!ENOENT';
    if (name === 'GET_PERMS') return node ? node.perms.map((each) => `${each}|`).join('') : '!ENOENT';
    if (name === 'SET_PERMS') {
      if (!node) return '!ENOENT';
      const perms = rest.split('|').slice(0, -1);
      if (domid !== 0 && perms[0]!.slice(1) !== node.perms[0]!.slice(1)) return '!EPERM';
      tree.set(path, { ...node, perms, version: ++this.version });
      events.push([path, false, false]);
      return 'OK|';
    }
    if (name === 'RM') {
      if (!node) return tree.has(parent(path)) ? 'OK|' : '!ENOENT';
      for (const each of [...tree.keys()]) if (each === path || below(each, path)) tree.delete(each);
      tree.set(parent(path), { ...tree.get(parent(path))!, version: ++this.version });
      events.push([path, true, false]);
      return 'OK|';
    }
    if (node) {
      if (name === 'MKDIR') return 'OK|';
      tree.set(path, { ...node, value: rest, version: ++this.version });
      events.push([path, false, false]);
      return 'OK|';
    }
    const from = this.nearest(tree, path);
    const missing: string[] = [];
    for (let at = path; at !== from; at = parent(at)) missing.unshift(at);
    if (domid !== 0 && this.owned(tree, domid) + missing.length > QUOTA.nodes) return '!ENOSPC';
    const top = tree.get(from)!;
    const perms = domid === 0 ? top.perms : [top.perms[0]![0] + `${domid}`, ...top.perms.slice(1)];
    tree.set(from, { ...top, version: ++this.version });
    for (const each of missing) {
      tree.set(each, { value: each === path && name === 'WRITE' ? rest : '', perms, version: ++this.version });
      events.push([each, false, each !== path]);
    }
    return 'OK|';
  }

  /** Events per client of changes that led from one tree to another. */
  tell(before: Tree, after: Tree, changes: [string, boolean, boolean][]): Set<string>[] {
    const told: Set<string>[] = [new Set(), new Set(), new Set()];
    for (const [path, removed, implied] of changes) {
      for (const watch of this.watches) {
        const about = removed && below(watch.path, path) ? watch.path : path;
        const hit = about === watch.path || (!implied && below(about, watch.path));
        const seen = [after.get(about), before.get(about), after.get(parent(about))];
        const knows = watch.domid === 0 || seen.some((node) => node && this.may(watch.domid, node, 'rb'));
        if (hit && knows) told[watch.client]!.add(`${about}|${watch.token}`);
      }
    }
    return told;
  }
}

interface PlainTransaction {
  base: Tree;
  tree: Tree;
  ops: Op[];
  touched: Set<string>;
}

/** What a request looks at or changes, given the tree that it meets. */
function touches(store: PlainStore, tree: Tree, { name, path }: Op, outcome: string): string[] {
  const list = outcome === '!EINVAL' ? [] : [path];
  if (outcome !== 'OK|' || name === 'SET_PERMS') return list;
  if (name === 'RM' && tree.has(path)) {
    list.push(parent(path), ...[...tree.keys()].filter((each) => below(each, path)));
  }
  if ((name === 'WRITE' || name === 'MKDIR') && !tree.has(path)) {
    const from = store.nearest(tree, path);
    for (let at = path; at !== from; at = parent(at)) list.push(at);
    list.push(from);
  }
  return list;
}

const flat = (root: TreeNode): string[] => {
  const lines: string[] = [];
  walk('/', root, (path, node) =>
    lines.push(`${path} = ${latin1(node.value)} (${node.permissions.map(formatPermission)})`),
  );
  return lines.sort();
};

for (const seed of process.env.SEED ? [Number(process.env.SEED)] : [1, 2, 3, 4, 5, 6]) {
  test(`random clients cannot tell the store from the plain one (seed ${seed})`, () => {
    const random = chance(seed);
    let journal: Uint8Array = new Uint8Array(0);
    const kept = {
      read: () => journal,
      append: (record: Uint8Array) => {
        journal = Uint8Array.from([...journal, ...record]);
        return true;
      },
      replace: (bytes: Uint8Array) => {
        journal = bytes;
        return true;
      },
    };
    const store = new Store({ quota: QUOTA, journal: kept });
    const plain = new PlainStore();
    const clients = [DOM0, guest(1), guest(2)].map((who, client) => {
      return { who, client, real: new TestClient(store, who), transactions: new Map<number, PlainTransaction>() };
    });
    const paths = ['/', '/a', '/a/b', '/a/b/c', '/a/b/c/d', '/a/e', '/a/e/f', '/g', '/g/h', '/g/h/i'];
    const lists = ['n0|', 'b0|', 'r0|', 'n1|', 'n1|b2|', 'r2|', 'n2|r1|', 'w1|r2|'];
    let conflicts = 0;
    for (let step = 0; step < 1500; step++) {
      const { who, client, real, transactions } = random.pick(clients);
      const path = random.pick(paths);
      const kind = random.next(20);
      let expected: Set<string>[] = [new Set(), new Set(), new Set()];
      let what: string;
      if (kind === 0) {
        if (transactions.size >= 3) continue;
        what = 'start';
        const tree = new Map(plain.tree);
        transactions.set(real.begin(), { base: new Map(tree), tree, ops: [], touched: new Set() });
      } else if (kind === 1 || kind === 2) {
        const id = random.pick([...transactions.keys(), 0]);
        const transaction = transactions.get(id);
        if (!transaction) continue;
        transactions.delete(id);
        const commit = random.next(5) > 0;
        what = `end ${commit}`;
        const { base, tree, ops, touched } = transaction;
        let answer = 'OK|';
        if (commit) {
          const changed = [...touched].some((each) => base.get(each)?.version !== plain.tree.get(each)?.version);
          const mine = plain.owned(tree, who.domid) - plain.owned(base, who.domid);
          if (changed) answer = '!EAGAIN';
          else if (who.domid !== 0 && mine > 0 && plain.owned(plain.tree, who.domid) + mine > QUOTA.nodes)
            answer = '!ENOSPC';
          else {
            const before = new Map(plain.tree);
            const events: [string, boolean, boolean][] = [];
            for (const op of ops) plain.perform(plain.tree, who.domid, op, events);
            expected = plain.tell(before, plain.tree, events);
          }
          if (changed) conflicts++;
        }
        assert.equal(real.ask('TRANSACTION_END', commit ? 'T|' : 'F|', id), answer, `step ${step}`);
      } else if (kind === 3) {
        const token = `${random.next(3)}`;
        const at = plain.watches.findIndex(
          (each) => each.client === client && each.path === path && each.token === token,
        );
        what = `watch ${path} ${token}`;
        if (at >= 0) {
          assert.equal(real.ask('UNWATCH', `${path}|${token}|`), 'OK|');
          plain.watches.splice(at, 1);
        } else {
          assert.equal(real.ask('WATCH', `${path}|${token}|`), 'OK|');
          plain.watches.push({ domid: who.domid, client, path, token });
          expected[client]!.add(`${path}|${token}`);
        }
      } else {
        const name = random.pick([
          'READ',
          'DIRECTORY',
          'GET_PERMS',
          'SET_PERMS',
          'WRITE',
          'WRITE',
          'WRITE',
          'MKDIR',
          'RM',
        ] as const);
        const rest = name === 'SET_PERMS' ? random.pick(lists) : name === 'WRITE' ? `${random.next(10)}` : '';
        const op = { name, path, rest };
        const id = random.next(2) > 0 ? random.pick([...transactions.keys(), 0]) : 0;
        const transaction = transactions.get(id);
        const tree = transaction?.tree ?? plain.tree;
        what = `${who.domid}: ${name} ${path} ${rest} in ${id}`;
        const before = new Map(tree);
        const events: [string, boolean, boolean][] = [];
        // In a transaction, whose nodes count in the quota is a matter of the live tree and what it changed.
        const extra = transaction ? plain.owned(plain.tree, who.domid) - plain.owned(transaction.base, who.domid) : 0;
        if (extra !== 0 && who.domid !== 0 && (name === 'WRITE' || name === 'MKDIR') && !tree.has(path)) {
          continue;
        }
        const answer = plain.perform(tree, who.domid, op, events);
        if (transaction) {
          if (answer === 'OK|') transaction.ops.push(op);
          for (const each of touches(plain, before, op, answer)) transaction.touched.add(each);
        } else expected = plain.tell(before, tree, events);
        let reply = real.ask(name, `${path}|${rest}`, id);
        if (name === 'DIRECTORY' && !reply.startsWith('!'))
          reply = reply
            .split('|')
            .slice(0, -1)
            .sort()
            .map((each) => `${each}|`)
            .join('');
        assert.equal(reply, answer, `step ${step}, ${what}`);
      }
      for (const each of clients) {
        const events = new Set(each.real.takeEvents());
        assert.deepEqual(
          [...events].sort(),
          [...expected[each.client]!].sort(),
          `events for client ${each.client}, step ${step}, ${what}`,
        );
      }
    }
    const lines = [...plain.tree].map(([path, node]) => `${path} = ${node.value} (${node.perms})`).sort();
    assert.deepEqual(flat(store.root), lines);
    for (const domid of [1, 2]) assert.equal(store.owned(domid), plain.owned(plain.tree, domid));
    const empty = { value: NO_VALUE, permissions: [], children: NO_CHILDREN, generation: 0 };
    assert.deepEqual(flat(readJournal(journal, empty).root), lines, 'the journal tells the same');
    assert.ok(conflicts > 5, 'the seed makes conflicts');
  });
}
