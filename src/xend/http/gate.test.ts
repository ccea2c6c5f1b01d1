import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { type Door, loadToken, refusal } from './gate.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const TOKEN = 'a-token-of-enough-characters';
const LOCAL: Door = { kind: 'tcp', loopback: true, hosts: ['localhost', '127.0.0.1', '[::1]'], token: TOKEN };
const WIDE: Door = { kind: 'tcp', loopback: false, hosts: [], token: TOKEN };
const me = process.getuid!();
const other = me + 1;
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

// biome-ignore format: a table
const CASES: readonly [story: string, door: Door, headers: IncomingMessage['headers'], uid: number | undefined, status: number | undefined][] = [
  ['anybody who could open the Unix socket',       { kind: 'unix' }, { host: 'evil.example', origin: 'http://evil.example' }, undefined, undefined],
  ['our own user on loopback',                     LOCAL, { host: 'localhost:8000' },                                       me,        undefined],
  ['root on loopback',                             LOCAL, { host: '127.0.0.1:8000' },                                       0,         undefined],
  ['by IPv6',                                      LOCAL, { host: '[::1]:8000' },                                           me,        undefined],
  ['in capitals and without a port',               LOCAL, { host: 'LOCALHOST' },                                            me,        undefined],
  ['another user on loopback',                     LOCAL, { host: 'localhost:8000' },                                       other,     401],
  ['nobody knows who',                             LOCAL, { host: 'localhost:8000' },                                       undefined, 401],
  ['another user with the token',                  LOCAL, { host: 'localhost:8000', ...bearer(TOKEN) },                     other,     undefined],
  ['our own user with a wrong token',              LOCAL, { host: 'localhost:8000', ...bearer(`${TOKEN}x`) },               me,        401],
  ['another way to authenticate',                  LOCAL, { host: 'localhost:8000', authorization: `Basic ${TOKEN}` },      other,     401],
  ['a name that a stranger points at us',          LOCAL, { host: 'evil.example:8000' },                                    me,        403],
  ['the same with the token',                      LOCAL, { host: 'evil.example:8000', ...bearer(TOKEN) },                  me,        403],
  ['no host at all',                               LOCAL, {},                                                               me,        403],
  ["a page of another origin's",                   LOCAL, { host: 'localhost:8000', origin: 'http://evil.example' },        me,        403],
  ["a page of another port's",                     LOCAL, { host: 'localhost:8000', origin: 'http://localhost:3000' },      me,        403],
  ['a page without an origin',                     LOCAL, { host: 'localhost:8000', origin: 'null' },                       me,        403],
  ["a picture in a stranger's page",               LOCAL, { host: 'localhost:8000', 'sec-fetch-site': 'cross-site' },       me,        403],
  ['our own page',                                 LOCAL, { host: 'localhost:8000', origin: 'http://localhost:8000', 'sec-fetch-site': 'same-origin' }, me, undefined],
  ['another machine without a token',              WIDE,  { host: 'xen.example:8000' },                                     undefined, 401],
  ['our own user by the outer address',            WIDE,  { host: 'xen.example:8000' },                                     me,        401],
  ['another machine with the token',               WIDE,  { host: 'xen.example:8000', ...bearer(TOKEN) },                   undefined, undefined],
];
for (const [story, door, headers, uid, status] of CASES) {
  test(`${story}: ${status ?? 'served'}`, () => {
    const request = { headers, socket: {} } as IncomingMessage;
    assert.equal(refusal(request, door, () => uid)?.status, status);
  });
}

test('a connection is looked up once', () => {
  let asked = 0;
  const request = { headers: { host: 'localhost' }, socket: {} } as IncomingMessage;
  const uidOf = () => {
    asked++;
    return me;
  };
  for (let n = 0; n < 3; n++) assert.equal(refusal(request, LOCAL, uidOf), undefined);
  assert.equal(asked, 1);
});

test('the token is made once, for its owner alone; a file that others can read is refused', () => {
  const file = path.join(dir, 'token');
  const token = loadToken(file);
  assert.match(token, /^[0-9a-f]{64}$/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(loadToken(file), token);
  chmodSync(file, 0o640);
  assert.throws(() => loadToken(file), /token: others can read it: chmod 600 it$/);
  writeFileSync(path.join(dir, 'short'), 'secret\n', { mode: 0o600 });
  assert.throws(() => loadToken(path.join(dir, 'short')), /short: no token of at least 16 characters/);
});
