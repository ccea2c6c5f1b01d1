/** What a bad request costs: its own connection. Times are short here; LIMITS has those of the daemon. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { LIMITS, Listeners } from './listeners.ts';
import { ask, exchange, fetchRaw, parseAnswer } from './raw-http-for-tests.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
const socket = path.join(dir, 'socket');
const seen: string[] = [];
const listeners = new Listeners(
  {
    request(request, response) {
      let bytes = 0;
      request.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      request.on('end', () => {
        seen.push(`${request.method} ${request.url}`);
        response.end(`${bytes}`);
      });
      request.on('error', () => {});
    },
    upgrade: (_request, end) => end.destroy(),
  },
  { ...LIMITS, headersMs: 50, requestMs: 100, idleMs: 2000, checkMs: 20, connections: 4 },
);
await listeners.unix(socket);
const TOKEN = 'a-token-of-enough-characters';
const port = await listeners.tcp({ address: '127.0.0.1', port: 0, token: TOKEN });
after(async () => {
  await listeners.close();
  rmSync(dir, { recursive: true, force: true });
});

test('its socket is for its owner alone', () => {
  assert.equal(statSync(socket).mode & 0o777, 0o600);
});

// biome-ignore format: a table
const BROKEN: readonly [story: string, bytes: string, status: number, text: RegExp][] = [
  ['no HTTP at all',                'hello\r\n\r\n',                                                                      400, /not HTTP/],
  ['bytes of chance',               '\x00\xff\x80\x01',                                                                   400, /not HTTP/],
  ['a TLS greeting',                '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',                                       400, /not HTTP/],
  ['a header without end',          `GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}`,                              431, /too long/],
  ['a URL without end',             `GET /${'a'.repeat(20_000)}`,                                                         431, /too long/],
  ['half a header',                 'GET / HTTP/1.1\r\nHo',                                                               408, /did not come to an end/],
  ['half a body',                   'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf',                      408, /did not come to an end/],
  ['two lengths',                   'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na',      400, /not HTTP/],
  ['a length and chunks',           'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400, /not HTTP/],
  ['a negative length',             'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',                           400, /not HTTP/],
  ['a chunk that is no number',     'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',             400, /not HTTP/],
  ['a wish for a tunnel',           'CONNECT /domains HTTP/1.1\r\nHost: x\r\n\r\n',                                        404, /xend has no CONNECT \/domains"/],
  ['no Host',                       'GET / HTTP/1.1\r\n\r\n',                                                             400, /^(?:0\r\n\r\n)?$/],
];
for (const [story, bytes, status, text] of BROKEN) {
  test(`${story} is answered with ${status}, and the connection is closed`, async () => {
    const before = seen.length;
    const answer = parseAnswer(await exchange(socket, Buffer.from(bytes, 'latin1')));
    assert.equal(answer.status, status);
    assert.match(answer.body, text);
    assert.equal(seen.length, before, 'nobody was asked to serve it');
  });
}

test('a request smuggled behind a broken one is not served', async () => {
  const before = seen.length;
  await exchange(socket, 'GET / HTTP/9.9\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.ok(!seen.slice(before).includes('GET /smuggled'));
});

test('a client that says nothing is let go', async () => {
  assert.equal(parseAnswer(await exchange(port, '')).status, 408);
});

test('a body in many pieces is served when it comes in time', async () => {
  const body = 'x'.repeat(100_000);
  const answer = await fetchRaw(
    socket,
    { method: 'POST', path: '/', headers: { 'content-length': body.length } },
    body,
  );
  assert.deepEqual([answer.status, answer.body], [200, '100000']);
});

test('strangers on TCP who take every connection do not shut out the owner', async () => {
  const strangers = Array.from({ length: 12 }, () => net.connect(port, '127.0.0.1').on('error', () => {}));
  const answer = await fetchRaw(socket, { path: '/still' });
  assert.equal(answer.status, 200);
  for (const stranger of strangers) stranger.destroy();
});

test('on TCP a request says whom it is for, and a page of another origin is not served', async () => {
  const get = (headers: string) => ask(port, `GET /mine HTTP/1.1\r\n${headers}Connection: close\r\n\r\n`);
  assert.equal((await get('Host: localhost\r\n')).status, 200);
  const before = seen.length;
  const rebound = await get('Host: evil.example\r\n');
  assert.deepEqual([rebound.status, rebound.headers.connection], [403, 'close']);
  assert.equal((await get('Host: localhost\r\nOrigin: http://evil.example\r\n')).status, 403);
  const wrong = await get('Host: localhost\r\nAuthorization: Bearer wrong\r\n');
  assert.deepEqual([wrong.status, wrong.headers['www-authenticate']], [401, 'Bearer']);
  const upgrade = await get(
    'Host: localhost\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
  );
  assert.equal(upgrade.status, 403);
  const tunnel = await ask(port, 'CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere:80\r\n\r\n');
  assert.equal(tunnel.status, 403);
  assert.equal(seen.length, before);
});

test('beyond this machine only with TLS', async () => {
  const other = new Listeners({ request() {}, upgrade() {} });
  await assert.rejects(other.tcp({ address: '', port: 0, token: TOKEN }), /xend-tls-cert and xend-tls-key are needed/);
  await assert.rejects(other.tcp({ address: '192.0.2.1', port: 0, token: TOKEN }), /not of this machine alone/);
});

test('a socket that a dead process left is replaced; a living one and a file are not', async () => {
  const other = new Listeners({ request() {}, upgrade() {} });
  await assert.rejects(other.unix(socket), /another process serves there/);
  const file = path.join(dir, 'file');
  writeFileSync(file, 'precious');
  await assert.rejects(other.unix(file), /something that is not a socket is in the way/);
  assert.equal((await fetchRaw(socket, { path: '/' })).status, 200);
});

test('a port that another program has, an address of another machine, a folder that is not there: one line each', async () => {
  const tcp = (address: string) => listeners.tcp({ address, port, token: TOKEN });
  await assert.rejects(tcp('127.0.0.1'), { message: `xend-port ${port} is in use by another program` });
  await assert.rejects(tcp('127.999.0.1'), /^Error: xend-address 127\.999\.0\.1: |xend-tls-cert/);
  const missing = path.join(dir, 'none', 'socket');
  await assert.rejects(listeners.unix(missing), { message: `${missing}: there is no folder ${path.dirname(missing)}` });
});
