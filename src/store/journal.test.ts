import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JournalPort } from './journal.ts';
import { Store } from './store.ts';
import { DOM0, TestClient } from './testing.ts';

/** A journal in memory that can refuse. */
class MemoryJournal implements JournalPort {
  bytes = new Uint8Array(0);
  /** Length after each append. */
  ends: number[] = [];
  full = false;
  replaced = 0;

  read(): Uint8Array {
    return this.bytes;
  }

  append(record: Uint8Array): boolean {
    if (this.full) return false;
    this.bytes = Uint8Array.from([...this.bytes, ...record]);
    this.ends.push(this.bytes.length);
    return true;
  }

  replace(bytes: Uint8Array): boolean {
    if (this.full) return false;
    this.bytes = Uint8Array.from(bytes);
    this.replaced++;
    return true;
  }
}

const at = (bytes: Uint8Array): MemoryJournal => Object.assign(new MemoryJournal(), { bytes });

test('a store from the same journal has the same nodes, permissions, values, quota counts and domains', () => {
  const journal = new MemoryJournal();
  const client = new TestClient(new Store({ journal }), DOM0);
  client.ask('WRITE', '/a/b/c|va|ue');
  client.ask('SET_PERMS', '/a/b|b7|r8|');
  client.ask('WRITE', '/gone/x|1');
  client.ask('RM', '/gone|');
  client.ask('INTRODUCE', '7|1|1|');
  client.ask('INTRODUCE', '8|1|1|');
  client.ask('RELEASE', '8|');
  const store = new Store({ journal });
  const again = new TestClient(store, DOM0);
  assert.equal(again.ask('READ', '/a/b/c|'), 'va|ue');
  assert.equal(again.ask('GET_PERMS', '/a/b|'), 'b7|r8|');
  assert.equal(again.ask('READ', '/gone|'), '!ENOENT');
  assert.equal(again.ask('DIRECTORY', '/|'), 'a|');
  assert.equal(store.owned(7), 1);
  assert.deepEqual([...store.introduced], [7]);
});

test('a kill at any byte leaves whole commits only: never half a transaction', () => {
  const journal = new MemoryJournal();
  const client = new TestClient(new Store({ journal }), DOM0);
  const fresh = journal.bytes.length;
  for (let i = 1; i <= 5; i++) {
    const id = client.begin();
    client.ask('WRITE', `/left|${i}`, id);
    client.ask('WRITE', `/deep/${i}/right|${i}`, id);
    if (i === 4) client.ask('RM', '/deep/1|', id);
    client.ask('TRANSACTION_END', 'T|', id);
  }
  for (let length = fresh; length <= journal.bytes.length; length++) {
    const commits = journal.ends.filter((end) => end <= length).length;
    const store = new Store({ journal: at(journal.bytes.slice(0, length)) });
    const again = new TestClient(store, DOM0);
    assert.equal(again.ask('READ', '/left|'), commits === 0 ? '!ENOENT' : `${commits}`);
    if (commits > 0) assert.equal(again.ask('READ', `/deep/${commits}/right|`), `${commits}`);
    assert.equal(again.ask('READ', `/deep/${commits + 1}/right|`), '!ENOENT');
    assert.equal(again.ask('READ', '/deep/1|'), commits > 0 && commits < 4 ? '' : '!ENOENT');
    assert.equal(store.lostBytes > 0, !journal.ends.includes(length) && length !== fresh);
  }
});

test('what is appended after a half-written record was found is not lost behind it', () => {
  const journal = new MemoryJournal();
  new TestClient(new Store({ journal }), DOM0).ask('WRITE', '/a|1');
  const cut = at(journal.bytes.slice(0, -1));
  new TestClient(new Store({ journal: cut }), DOM0).ask('WRITE', '/b|2');
  assert.equal(new TestClient(new Store({ journal: cut }), DOM0).ask('READ', '/b|'), '2');
});

test('a record whose bytes were changed ends the journal there', () => {
  const journal = new MemoryJournal();
  const client = new TestClient(new Store({ journal }), DOM0);
  client.ask('WRITE', '/a|1');
  client.ask('WRITE', '/b|2');
  const bytes = Uint8Array.from(journal.bytes);
  bytes[journal.ends[0]! - 1]! ^= 1;
  const again = new TestClient(new Store({ journal: at(bytes) }), DOM0);
  assert.equal(again.ask('DIRECTORY', '/|'), '');
});

test('a file that is no journal is refused, not overwritten', () => {
  const journal = at(Uint8Array.from(Buffer.from('#!/bin/sh\necho precious\n')));
  assert.throws(() => new Store({ journal }), /not a store journal/);
  assert.equal(journal.replaced, 0);
});

test('a change that cannot be kept is EIO and does not happen', () => {
  const journal = new MemoryJournal();
  const store = new Store({ journal });
  const client = new TestClient(store, DOM0);
  client.ask('WRITE', '/a|1');
  client.ask('WATCH', '/a|t|');
  client.takeEvents();
  journal.full = true;
  assert.equal(client.ask('WRITE', '/a|2'), '!EIO');
  assert.equal(client.ask('RM', '/a|'), '!EIO');
  assert.equal(client.ask('INTRODUCE', '5|1|1|'), '!EIO');
  assert.equal(client.ask('READ', '/a|'), '1');
  assert.deepEqual(client.takeEvents(), []);
  assert.equal(store.introduced.size, 0);
  journal.full = false;
  assert.equal(client.ask('WRITE', '/a|2'), 'OK|');
});

test('a long journal is written anew, and a disk without room for that only makes it longer', () => {
  const journal = new MemoryJournal();
  journal.append = (record) => {
    // Appending for real would copy a megabyte a thousand times.
    journal.ends.push(record.length);
    return !journal.full;
  };
  const client = new TestClient(new Store({ journal }), DOM0);
  const before = journal.replaced;
  const value = 'x'.repeat(4000);
  for (let i = 0; i < 600; i++) client.ask('WRITE', `/a|${value}`);
  const bytes = journal.ends.reduce((sum, each) => sum + each, 0);
  assert.equal(journal.replaced - before, Math.floor(bytes / (1 << 20)));
  assert.ok(journal.bytes.length < 5000);
  journal.replace = () => false;
  for (let i = 0; i < 600; i++) assert.equal(client.ask('WRITE', `/a|${value}`), 'OK|');
});
