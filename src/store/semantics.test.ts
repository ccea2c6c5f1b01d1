/** The rules of pv-abi 7.3 one by one, as a client sees them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_QUOTA } from './quota.ts';
import { Store } from './store.ts';
import { DOM0, guest, TestClient } from './testing.ts';

/** A store with a home for domain 3 that the tool stack owns and the guest reads, and a folder of the guest's own. */
function setup(quota = {}) {
  const store = new Store({ quota: { ...DEFAULT_QUOTA, ...quota } });
  const tools = new TestClient(store, DOM0);
  for (const domid of [3, 4]) {
    tools.ask('MKDIR', `/local/domain/${domid}|`);
    tools.ask('SET_PERMS', `/local/domain/${domid}|n0|r${domid}|`);
    tools.ask('MKDIR', `/local/domain/${domid}/data|`);
    tools.ask('SET_PERMS', `/local/domain/${domid}/data|n${domid}|`);
  }
  return { store, tools, domu: new TestClient(store, guest(3)), other: new TestClient(store, guest(4)) };
}

describe('paths', () => {
  test('a relative path is below the client’s own home', () => {
    const { tools, domu } = setup();
    assert.equal(domu.ask('WRITE', 'data/x|1'), 'OK|');
    assert.equal(tools.ask('READ', '/local/domain/3/data/x|'), '1');
    assert.equal(tools.ask('WRITE', 'y|2'), 'OK|');
    assert.equal(tools.ask('READ', '/local/domain/0/y|'), '2');
  });

  test('paths that are not well formed are EINVAL', () => {
    const { tools } = setup();
    for (const path of ['', '//', '/a//b', '/a/', 'a/', '/a b', '/ä', '/a.b', 'a//b', '/a\u0001']) {
      assert.equal(tools.ask('READ', `${path}|`), '!EINVAL', JSON.stringify(path));
    }
    assert.equal(tools.ask('WRITE', '/AZaz09-_@/x|v'), 'OK|');
  });

  test('an absolute path has at most 3072 characters and a relative one 2048', () => {
    const { tools } = setup();
    assert.equal(tools.ask('WRITE', `/${'a'.repeat(3071)}|v`), 'OK|');
    assert.equal(tools.ask('WRITE', `/${'a'.repeat(3072)}|v`), '!EINVAL');
    assert.equal(tools.ask('WRITE', `${'a'.repeat(2048)}|v`), 'OK|');
    assert.equal(tools.ask('WRITE', `${'a'.repeat(2049)}|v`), '!EINVAL');
  });
});

describe('writing', () => {
  test('missing parents are made, empty, with the permissions of the nearest one that exists', () => {
    const { tools } = setup();
    tools.ask('MKDIR', '/top|');
    tools.ask('SET_PERMS', '/top|b0|r9|');
    assert.equal(tools.ask('WRITE', '/top/a/b/c|deep'), 'OK|');
    assert.equal(tools.ask('READ', '/top/a/b|'), '');
    assert.equal(tools.ask('GET_PERMS', '/top/a/b/c|'), 'b0|r9|');
    assert.equal(tools.ask('DIRECTORY', '/top/a|'), 'b|');
  });

  test('what a guest creates is the guest’s', () => {
    const { tools, domu } = setup();
    tools.ask('MKDIR', '/shared|');
    tools.ask('SET_PERMS', '/shared|b0|');
    assert.equal(domu.ask('WRITE', '/shared/a/b|v'), 'OK|');
    assert.equal(tools.ask('GET_PERMS', '/shared/a|'), 'b3|');
    assert.equal(tools.ask('GET_PERMS', '/shared/a/b|'), 'b3|');
  });

  test('MKDIR leaves an existing node alone', () => {
    const { tools } = setup();
    tools.ask('WRITE', '/a|value');
    assert.equal(tools.ask('MKDIR', '/a|'), 'OK|');
    assert.equal(tools.ask('READ', '/a|'), 'value');
  });

  test('a value is octets: NULs, high bytes and nothing at all come back as written', () => {
    const { tools } = setup();
    for (const value of ['', '|', 'a|b|', '\u00ff\u0000\u0080']) {
      assert.equal(tools.ask('WRITE', `/v|${value}`), 'OK|');
      assert.equal(tools.ask('READ', '/v|'), value.replaceAll('\0', '|'));
    }
  });
});

describe('removing', () => {
  test('RM takes the whole subtree', () => {
    const { tools } = setup();
    tools.ask('WRITE', '/a/b/c|1');
    assert.equal(tools.ask('RM', '/a|'), 'OK|');
    assert.equal(tools.ask('READ', '/a/b/c|'), '!ENOENT');
    assert.equal(tools.ask('READ', '/a|'), '!ENOENT');
  });

  test('RM of a missing node is OK below an existing parent, ENOENT otherwise; RM of the root is EINVAL', () => {
    const { tools } = setup();
    tools.ask('MKDIR', '/a|');
    assert.equal(tools.ask('RM', '/a/missing|'), 'OK|');
    assert.equal(tools.ask('RM', '/missing/x|'), '!ENOENT');
    assert.equal(tools.ask('RM', '/|'), '!EINVAL');
  });
});

describe('watches', () => {
  test('a watch fires once when registered, after the reply', () => {
    const { domu } = setup();
    assert.equal(domu.ask('WATCH', 'device|token|'), 'OK|');
    assert.deepEqual(domu.takeEvents(), ['device|token']);
  });

  test('a watch fires for its node and all below: created, written alike, removed, permissions', () => {
    const { tools } = setup();
    tools.ask('WATCH', '/w|t|');
    tools.takeEvents();
    // biome-ignore format: a table
    const steps = [
      ['MKDIR',     '/w|',         ['/w|t']],
      ['WRITE',     '/w|1',        ['/w|t']],
      ['WRITE',     '/w|1',        ['/w|t']],
      ['WRITE',     '/w/a/b|1',    ['/w/a/b|t']],
      ['SET_PERMS', '/w/a|n0|r1|', ['/w/a|t']],
      ['RM',        '/w/a|',       ['/w/a|t']],
      ['RM',        '/w/a|',       []],
      ['MKDIR',     '/w|',         []],
      ['WRITE',     '/wx|1',       []],
      ['WRITE',     '/v|1',        []],
    ] as const;
    for (const [request, payload, events] of steps) {
      assert.equal(tools.ask(request, payload), 'OK|');
      assert.deepEqual(tools.takeEvents(), events, `${request} ${payload}`);
    }
  });

  test('the removal of an ancestor fires with the watched path', () => {
    const { tools } = setup();
    tools.ask('WRITE', '/a/b/c|1');
    for (const path of ['/a/b/c', '/a/b/none', '/a', '/']) tools.ask('WATCH', `${path}|${path}|`);
    tools.takeEvents();
    tools.ask('RM', '/a|');
    assert.deepEqual(tools.takeEvents().sort(), ['/a/b/c|/a/b/c', '/a/b/none|/a/b/none', '/a|/', '/a|/a']);
  });

  test('a node made as a missing parent is told to those who watch just it', () => {
    const { tools } = setup();
    tools.ask('WATCH', '/a|t|0|');
    tools.ask('WATCH', '/a/b|u|');
    tools.takeEvents();
    tools.ask('WRITE', '/a/b/c|1');
    assert.deepEqual(tools.takeEvents().sort(), ['/a/b/c|u', '/a/b|u', '/a|t']);
  });

  test('events name paths in the form in which the watch was registered', () => {
    const { tools, domu } = setup();
    domu.ask('WATCH', 'data|rel|');
    domu.ask('WATCH', '/local/domain/3/data|abs|');
    domu.takeEvents();
    tools.ask('WRITE', '/local/domain/3/data/x/y|1');
    assert.deepEqual(domu.takeEvents(), ['data/x/y|rel', '/local/domain/3/data/x/y|abs']);
  });

  test('a watch on the root sees everything', () => {
    const { tools } = setup();
    tools.ask('WATCH', '/|t|');
    tools.takeEvents();
    tools.ask('WRITE', '/a/b|1');
    assert.deepEqual(tools.takeEvents(), ['/a/b|t']);
  });

  test('path and token together identify a watch: twice is EEXIST, unwatching another is ENOENT', () => {
    const { domu, other } = setup();
    assert.equal(domu.ask('WATCH', 'data|t|'), 'OK|');
    assert.equal(domu.ask('WATCH', 'data|t|'), '!EEXIST');
    assert.equal(domu.ask('WATCH', 'data|u|'), 'OK|');
    assert.equal(other.ask('WATCH', 'data|t|'), 'OK|');
    assert.equal(domu.ask('UNWATCH', 'data|v|'), '!ENOENT');
    assert.equal(domu.ask('UNWATCH', 'data|t|'), 'OK|');
    assert.equal(domu.ask('UNWATCH', 'data|t|'), '!ENOENT');
    domu.takeEvents();
    domu.ask('WRITE', 'data|1');
    assert.deepEqual(domu.takeEvents(), ['data|u']);
  });

  test('a depth limits how far below the node changes count', () => {
    const { tools } = setup();
    tools.ask('MKDIR', '/d|');
    for (const depth of [0, 1]) assert.equal(tools.ask('WATCH', `/d|${depth}|${depth}|`), 'OK|');
    tools.takeEvents();
    tools.ask('WRITE', '/d/a|1');
    assert.deepEqual(tools.takeEvents(), ['/d/a|1']);
    tools.ask('WRITE', '/d/a/b|1');
    assert.deepEqual(tools.takeEvents(), []);
    tools.ask('WRITE', '/d|1');
    assert.deepEqual(tools.takeEvents().sort(), ['/d|0', '/d|1']);
    assert.equal(tools.ask('WATCH', '/d|x|-1|'), '!EINVAL');
  });

  test('domains that come and go are told to privileged clients only', () => {
    const { tools, domu } = setup();
    for (const name of ['@introduceDomain', '@releaseDomain']) {
      assert.equal(domu.ask('WATCH', `${name}|t|`), '!EACCES');
      assert.equal(tools.ask('WATCH', `${name}|t|`), 'OK|');
    }
    assert.equal(tools.ask('WATCH', '@nothing|t|'), '!EINVAL');
    tools.takeEvents();
    assert.equal(tools.ask('INTRODUCE', '3|0|1|'), 'OK|');
    assert.deepEqual(tools.takeEvents(), ['@introduceDomain|t']);
    assert.equal(tools.ask('INTRODUCE', '3|0|1|'), 'OK|');
    assert.deepEqual(tools.takeEvents(), []);
    assert.equal(tools.ask('RELEASE', '3|'), 'OK|');
    assert.deepEqual(tools.takeEvents(), ['@releaseDomain|t']);
    assert.equal(tools.ask('RELEASE', '3|'), '!ENOENT');
  });

  test('a guest gets no event about a node of which it may not even know', () => {
    const { tools, domu } = setup();
    for (const path of ['/local/domain/4', '/local/domain/4/data', '/', 'data']) domu.ask('WATCH', `${path}|t|`);
    domu.takeEvents();
    tools.ask('WRITE', '/local/domain/4/data/secret|1');
    tools.ask('RM', '/local/domain/4/data|');
    assert.deepEqual(domu.takeEvents(), []);
    tools.ask('WRITE', '/local/domain/3/name|web1');
    assert.deepEqual(domu.takeEvents(), ['/local/domain/3/name|t']);
  });

  test('events equal to one that still waits are merged', () => {
    const { tools, domu } = setup();
    domu.ask('WATCH', 'data|t|');
    domu.stream.open = false;
    for (let i = 0; i < 1000; i++) tools.ask('WRITE', `/local/domain/3/data/x|${i}`);
    tools.ask('WRITE', '/local/domain/3/data/y|');
    domu.stream.drain();
    // One was on its way already when the stream said that it was full.
    assert.deepEqual(domu.takeEvents(), ['data|t', 'data/x|t', 'data/x|t', 'data/y|t']);
  });

  test('RESET_WATCHES drops a client’s watches and transactions', () => {
    const { domu } = setup();
    domu.ask('WATCH', 'data|t|');
    const id = domu.begin();
    assert.equal(domu.ask('RESET_WATCHES', '|'), 'OK|');
    domu.takeEvents();
    domu.ask('WRITE', 'data/x|1');
    assert.deepEqual(domu.takeEvents(), []);
    assert.equal(domu.ask('READ', 'data|', id), '!ENOENT');
  });
});

describe('transactions', () => {
  test('see the state at their start and their own writes, and nobody sees them', () => {
    const { tools, domu } = setup();
    domu.ask('WRITE', 'data/a|old');
    const id = domu.begin();
    assert.notEqual(id, 0);
    tools.ask('WRITE', '/local/domain/3/data/a|new');
    assert.equal(domu.ask('READ', 'data/a|', id), 'old');
    domu.ask('WRITE', 'data/b|mine', id);
    assert.equal(domu.ask('READ', 'data/b|', id), 'mine');
    assert.equal(domu.ask('READ', 'data/b|'), '!ENOENT');
  });

  test('a commit makes all changes visible, and events follow it', () => {
    const { tools, domu } = setup();
    tools.ask('WATCH', '/local/domain/3/data|t|');
    tools.takeEvents();
    const id = domu.begin();
    domu.ask('WRITE', 'data/a|1', id);
    domu.ask('WRITE', 'data/b|2', id);
    assert.deepEqual(tools.takeEvents(), []);
    assert.equal(domu.ask('TRANSACTION_END', 'T|', id), 'OK|');
    assert.deepEqual(tools.takeEvents(), ['/local/domain/3/data/a|t', '/local/domain/3/data/b|t']);
    assert.equal(tools.ask('READ', '/local/domain/3/data/b|'), '2');
    assert.equal(domu.ask('READ', 'data/a|', id), '!ENOENT', 'the id is gone');
  });

  test('an abort leaves nothing', () => {
    const { domu } = setup();
    const id = domu.begin();
    domu.ask('WRITE', 'data/a|1', id);
    assert.equal(domu.ask('TRANSACTION_END', 'F|', id), 'OK|');
    assert.equal(domu.ask('READ', 'data/a|'), '!ENOENT');
    assert.equal(domu.ask('TRANSACTION_END', 'F|', id), '!ENOENT');
  });

  // What the transaction does, what another client does meanwhile, and whether that is a conflict.
  // biome-ignore format: a table
  const conflicts = [
    ['READ',      'data/a|',     'WRITE',     'data/a|x',    'EAGAIN'],
    ['READ',      'data/a|',     'WRITE',     'data/a|1',    'EAGAIN'],
    ['READ',      'data/a|',     'SET_PERMS', 'data/a|b3|',  'EAGAIN'],
    ['READ',      'data/none|',  'WRITE',     'data/none|x', 'EAGAIN'],
    ['READ',      'data/a|',     'WRITE',     'data/b|x',    'OK'],
    ['READ',      'data/a|',     'WRITE',     'data/a/c|x',  'EAGAIN'],
    ['READ',      'data/a|',     'WRITE',     'data/a/d/e|x', 'OK'],
    ['DIRECTORY', 'data|',       'WRITE',     'data/new|x',  'EAGAIN'],
    ['DIRECTORY', 'data|',       'WRITE',     'data/a|x',    'OK'],
    ['DIRECTORY', 'data|',       'RM',        'data/a|',     'EAGAIN'],
    ['GET_PERMS', 'data/a|',     'WRITE',     'data/a|x',    'EAGAIN'],
    ['WRITE',     'data/a|x',    'WRITE',     'data/a|y',    'EAGAIN'],
    ['WRITE',     'data/a|x',    'WRITE',     'data/b|y',    'OK'],
    ['WRITE',     'data/n|x',    'WRITE',     'data/a|y',    'OK'],
    ['WRITE',     'data/n/o|x',  'WRITE',     'data/n|y',    'EAGAIN'],
    ['RM',        'data/a|',     'WRITE',     'data/a/d/e|y', 'EAGAIN'],
    ['RM',        'data/a|',     'WRITE',     'data/b|y',    'OK'],
    ['WRITE',     'data/a/d/e|x', 'RM',       'data/a|',     'EAGAIN'],
    ['WRITE',     'data/b|x',    'RM',        'data/a|',     'OK'],
  ] as const;
  for (const [request, payload, otherRequest, otherPayload, outcome] of conflicts) {
    test(`${request} ${payload} against ${otherRequest} ${otherPayload} gives ${outcome}`, () => {
      const { store, domu } = setup();
      const second = new TestClient(store, guest(3));
      for (const path of ['data/a', 'data/b', 'data/a/d']) domu.ask('WRITE', `${path}|1`);
      const id = domu.begin();
      domu.ask(request, payload, id);
      assert.equal(second.ask(otherRequest, otherPayload), 'OK|');
      const reply = domu.ask('TRANSACTION_END', 'T|', id);
      assert.equal(reply, outcome === 'OK' ? 'OK|' : `!${outcome}`);
      const result = otherPayload.split('|')[0]!;
      assert.equal(
        second.ask('READ', `${result}|`).startsWith('!'),
        otherRequest === 'RM',
        'the other one’s change stays',
      );
    });
  }

  test('two transactions on different nodes both commit, and both changes are there', () => {
    const { domu, other } = setup();
    for (const client of [domu, other]) client.ask('WRITE', 'data/x|0');
    const [a, b] = [domu.begin(), other.begin()];
    domu.ask('WRITE', 'data/x|A', a);
    domu.ask('WRITE', 'data/new|A', a);
    other.ask('WRITE', 'data/x|B', b);
    assert.equal(other.ask('TRANSACTION_END', 'T|', b), 'OK|');
    assert.equal(domu.ask('TRANSACTION_END', 'T|', a), 'OK|');
    assert.equal(domu.ask('READ', 'data/x|'), 'A');
    assert.equal(domu.ask('READ', 'data/new|'), 'A');
    assert.equal(other.ask('READ', 'data/x|'), 'B');
  });

  test('a conflict is EAGAIN once, and the id is gone', () => {
    const { tools, domu } = setup();
    const id = domu.begin();
    domu.ask('WRITE', 'data/a|1', id);
    tools.ask('WRITE', '/local/domain/3/data/a|2');
    assert.equal(domu.ask('TRANSACTION_END', 'T|', id), '!EAGAIN');
    assert.equal(domu.ask('TRANSACTION_END', 'T|', id), '!ENOENT');
    assert.equal(domu.ask('READ', 'data/a|'), '2');
  });

  test('watches registered inside a transaction are registered at once', () => {
    const { domu } = setup();
    const id = domu.begin();
    assert.equal(domu.ask('WATCH', 'data|t|', id), 'OK|');
    domu.ask('TRANSACTION_END', 'F|', id);
    domu.takeEvents();
    domu.ask('WRITE', 'data/x|');
    assert.deepEqual(domu.takeEvents(), ['data/x|t']);
  });

  test('a transaction inside a transaction is EBUSY, an id of another client ENOENT', () => {
    const { domu, other } = setup();
    const id = domu.begin();
    assert.equal(domu.ask('TRANSACTION_START', '|', id), '!EBUSY');
    assert.equal(other.ask('READ', 'data|', id), '!ENOENT');
    assert.equal(domu.ask('TRANSACTION_END', 'X|', id), '!EINVAL');
    assert.equal(domu.ask('TRANSACTION_END', 'T|'), '!ENOENT');
  });
});

describe('permissions', () => {
  test('letters: n nothing, r read, w write, b both; the first entry’s is for everybody else', () => {
    const { tools, domu } = setup();
    tools.ask('WRITE', '/p|v');
    // biome-ignore format: a table
    const rows = [
      ['n0|',    '!EACCES', '!EACCES'],
      ['r0|',    'v',       '!EACCES'],
      ['w0|',    '!EACCES', 'OK|'],
      ['b0|',    'v',       'OK|'],
      ['n0|r3|', 'v',       '!EACCES'],
      ['n0|w3|', '!EACCES', 'OK|'],
      ['n0|b4|', '!EACCES', '!EACCES'],
      ['b0|n3|', '!EACCES', '!EACCES'],
      ['n3|',    'v',       'OK|'],
    ] as const;
    for (const [list, read, write] of rows) {
      assert.equal(tools.ask('SET_PERMS', `/p|${list}`), 'OK|');
      assert.equal(domu.ask('READ', '/p|'), read, `read with ${list}`);
      assert.equal(domu.ask('WRITE', '/p|v'), write, `write with ${list}`);
      assert.equal(tools.ask('READ', '/p|'), 'v');
    }
  });

  test('whether a node is missing is told only to those who may read its nearest parent', () => {
    const { domu } = setup();
    assert.equal(domu.ask('READ', 'none|'), '!ENOENT');
    assert.equal(domu.ask('READ', '/local/domain/4/none|'), '!EACCES');
    assert.equal(domu.ask('READ', '/nowhere/at/all|'), '!EACCES');
  });

  test('creating needs write on the nearest parent, removing needs it on the node', () => {
    const { tools, domu } = setup();
    assert.equal(domu.ask('WRITE', 'none|'), '!EACCES');
    assert.equal(domu.ask('MKDIR', '/none|'), '!EACCES');
    tools.ask('WRITE', '/local/domain/3/mine|');
    tools.ask('SET_PERMS', '/local/domain/3/mine|n3|');
    assert.equal(domu.ask('RM', 'mine|'), 'OK|');
    assert.equal(domu.ask('RM', '/local/domain/4/data|'), '!EACCES');
  });

  test('only the owner sets permissions, and cannot give a node away', () => {
    const { domu, other } = setup();
    assert.equal(domu.ask('SET_PERMS', 'data|n3|r4|'), 'OK|');
    assert.equal(domu.ask('SET_PERMS', 'data|n4|'), '!EPERM');
    assert.equal(other.ask('SET_PERMS', '/local/domain/3/data|n4|'), '!EACCES');
    assert.equal(other.ask('READ', '/local/domain/3/data|'), '');
    for (const bad of ['x3|', 'n|', 'n-1|', 'n99999|', '3|', 'nn3|', '|']) {
      assert.equal(domu.ask('SET_PERMS', `data|${bad}`), '!EINVAL', bad);
    }
    assert.equal(domu.ask('SET_PERMS', 'data|'), '!EINVAL');
  });

  test('what is for the tools is EACCES for guests', () => {
    const { domu } = setup();
    for (const request of ['CONTROL', 'INTRODUCE', 'RELEASE', 'RESUME', 'SET_TARGET'] as const) {
      assert.equal(domu.ask(request, '3|0|1|'), '!EACCES');
    }
  });

  test('a backend’s connection reaches its domain’s home and backends, nothing else', () => {
    const { store } = setup();
    const backend = new TestClient(store, { domid: 0, privileged: true, onlyFor: 3 });
    assert.equal(backend.ask('WRITE', '/local/domain/0/backend/vbd/3/51712/state|2'), 'OK|');
    assert.equal(backend.ask('WRITE', '/local/domain/3/device/vbd/51712/state|4'), 'OK|');
    assert.equal(backend.ask('WATCH', '/local/domain/0/backend/vbd/3|t|'), 'OK|');
    for (const path of [
      '/local/domain/0/backend/vbd/4/51712/state',
      '/local/domain/33',
      '/',
      '/vm',
      '/local/domain/0/backend',
    ]) {
      assert.equal(backend.ask('READ', `${path}|`), '!EACCES', path);
      assert.equal(backend.ask('WATCH', `${path}|t|`), '!EACCES', path);
    }
    assert.equal(backend.ask('WATCH', '@releaseDomain|t|'), '!EACCES');
    assert.equal(backend.ask('RELEASE', '3|'), '!EACCES');
  });
});

describe('quotas', () => {
  test('a guest owns at most so many nodes, counted through removal, ownership and transactions', () => {
    const { store, tools, domu } = setup({ nodes: 6 });
    for (let i = 0; i < 5; i++) assert.equal(domu.ask('WRITE', `data/${i}|`), 'OK|');
    assert.equal(store.owned(3), 6);
    assert.equal(domu.ask('WRITE', 'data/5|'), '!ENOSPC');
    assert.equal(domu.ask('WRITE', 'data/0|again'), 'OK|');
    const id = domu.begin();
    assert.equal(domu.ask('RM', 'data/0|', id), 'OK|');
    assert.equal(domu.ask('WRITE', 'data/0/x|', id), '!ENOSPC', 'two nodes');
    assert.equal(domu.ask('WRITE', 'data/6|', id), 'OK|');
    assert.equal(domu.ask('TRANSACTION_END', 'T|', id), 'OK|');
    assert.equal(store.owned(3), 6);
    tools.ask('WRITE', '/given|');
    tools.ask('SET_PERMS', '/given|n3|');
    assert.equal(store.owned(3), 7);
    tools.ask('RM', '/local/domain/3/data|');
    assert.equal(store.owned(3), 1);
  });

  test('a guest’s nodes are at most so deep, and looking for deeper ones costs no more than their path is long', () => {
    const { tools, domu } = setup({ depth: 6 });
    assert.equal(domu.ask('WRITE', 'data/5/6|'), 'OK|');
    assert.equal(domu.ask('WRITE', 'data/5/6/7|'), '!ENOSPC');
    assert.equal(tools.ask('WRITE', '/local/domain/3/data/5/6/7|'), 'OK|');
    const deep = `data${'/x'.repeat(1000)}`;
    const start = performance.now();
    for (let i = 0; i < 200; i++) assert.equal(domu.ask('READ', `${deep}|`), '!ENOENT');
    // With a search from the root for each part this took ten milliseconds a request.
    assert.ok(performance.now() - start < 1000);
  });

  test('two transactions cannot together exceed the quota', () => {
    const { store, domu } = setup({ nodes: 4 });
    for (const path of ['data/a', 'data/b']) domu.ask('MKDIR', `${path}|`);
    const [first, second] = [domu.begin(), domu.begin()];
    assert.equal(domu.ask('WRITE', 'data/a/x|', first), 'OK|');
    assert.equal(domu.ask('WRITE', 'data/b/x|', second), 'OK|');
    assert.equal(domu.ask('TRANSACTION_END', 'T|', first), 'OK|');
    assert.equal(domu.ask('TRANSACTION_END', 'T|', second), '!ENOSPC');
    assert.equal(store.owned(3), 4);
  });

  test('values, watches, transactions, permissions and nodes per transaction have limits for guests only', () => {
    const { tools, domu } = setup({ watches: 2, transactions: 2, transactionNodes: 3 });
    assert.equal(domu.ask('WRITE', `data|${'x'.repeat(2048)}`), 'OK|');
    assert.equal(domu.ask('WRITE', `data|${'x'.repeat(2049)}`), '!ENOSPC');
    assert.equal(tools.ask('WRITE', `/big|${'x'.repeat(4091)}`), 'OK|');
    assert.equal(domu.ask('SET_PERMS', 'data|n3|r4|r5|r6|r7|r8|'), '!ENOSPC');
    for (const token of ['a', 'b']) assert.equal(domu.ask('WATCH', `data|${token}|`), 'OK|');
    assert.equal(domu.ask('WATCH', 'data|c|'), '!ENOSPC');
    const id = domu.begin();
    domu.begin();
    assert.equal(domu.ask('TRANSACTION_START', '|'), '!ENOSPC');
    for (const path of ['data/1', 'data/2', 'data/3']) assert.equal(domu.ask('READ', `${path}|`, id), '!ENOENT');
    assert.equal(domu.ask('READ', 'data/4|', id), '!ENOSPC');
    for (let i = 0; i < 20; i++) {
      assert.equal(tools.ask('WATCH', `/|${i}|`), 'OK|');
      assert.match(tools.ask('TRANSACTION_START', '|'), /^\d+\|$/);
    }
  });
});
