/** xend's HTTP interface as a whole: over TCP, for its own user, for others, and for clients that misbehave. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { apiSocket } from '../../src/host/paths.ts';
import { connect, type Domain } from '../../src/sdk/index.ts';
import { openApi } from '../../src/xend/http/openapi.ts';
import { ask, exchange, fetchRaw } from '../../src/xend/http/raw-http-for-tests.ts';
import type { RouteName } from '../../src/xend/routes.ts';
import { makeHome, startXend } from '../../src/xend/testing.ts';

const home = makeHome();
mkdirSync(home.paths.etc, { recursive: true });
writeFileSync(
  path.join(home.paths.etc, 'xend-config.sxp'),
  '(xend-http-server yes)\n(xend-port 0)\n(log-format json)\n',
);
const xend = await startXend(home);
after(async () => {
  await xend.end();
  home.remove();
});
const socket = apiSocket(home.paths);
const port = xend.daemon.port!;
const tokenFile = path.join(home.paths.lib, 'api-token');
const local = { host: 'localhost' };

const logged = () =>
  readFileSync(xend.daemon.log.file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { level: string; text: string });
const alive = async () => assert.equal((await fetchRaw(socket, { path: '/xend' })).status, 200);

test('the SDK works over TCP as over the socket: requests, consoles, events', async () => {
  await using host = await connect({ url: `http://localhost:${port}`, tokenFile });
  await using domain = await host.create({ kernel: home.kernel, memoryMiB: 32, name: 'far' });
  await using console = await domain.console();
  await console.expect('login:');
  console.line('hello');
  await console.expect('[hello]');
  // The fake guest has no agent: its monitor says so, on this connection as on its own socket.
  const near = await connect({ socket });
  const told = (one: Domain) =>
    one.exec('true', { waitMs: 0 }).then(
      () => assert.fail('there is no agent'),
      ({ name, message }) => [name, message],
    );
  const answer = await told(domain);
  assert.equal(answer[0], 'AgentError');
  assert.deepEqual(answer, await told(await near.domain('far')));
  await near.close();
  const { last } = await host.call('GET /events', {});
  await domain.pause();
  for await (const { type } of domain.events({ since: last })) if (type === 'domain.paused') break;
});

test('a body says nothing about what the path names, and what is wrong with a path is told as all errors are', async () => {
  const { client } = xend;
  for (const name of ['named', 'other']) await client.call('POST /domains', { config: home.config(name) });
  const post = (path: string, body: string) =>
    fetchRaw(
      socket,
      { method: 'POST', path, headers: { 'content-type': 'application/json', 'content-length': body.length } },
      body,
    );
  for (const body of ['{"name":"other"}', '{"name":5}', '[]', '5'])
    assert.equal((await post('/domains/named/destroy', body)).status, 400, body);
  assert.equal((await post('/domains/named/rename', '{"newName":"x","name":"other"}')).status, 400);
  assert.deepEqual((await client.call('GET /domains', {})).map(({ name }) => name).slice(1), ['named', 'other']);
  for (const name of ['named', 'other']) assert.equal((await post(`/domains/${name}/destroy`, '{}')).status, 200);
  for (const path of ['/domains/%zz', '/domains/%c3%28/disks', '/xend/domain/%']) {
    const { status, body } = await fetchRaw(socket, { path });
    assert.deepEqual([status, JSON.parse(body).error.code], [400, 'bad-request'], path);
  }
});

const encodePointer = (key: string) => encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1'));

test('answers are what the document says they are', async () => {
  const { client } = xend;
  const disks = [{ uname: `file:${home.disk}`, dev: 'sda1', mode: 'w' as const }];
  await client.call('POST /domains', { config: home.config('schema', { disks }) });
  const name = { name: 'schema' };
  const answers: Partial<Record<RouteName, unknown>> = {
    'GET /xend': await client.call('GET /xend', {}),
    'GET /node': await client.call('GET /node', {}),
    'GET /domains': await client.call('GET /domains', {}),
    'GET /domains/:name': await client.call('GET /domains/:name', name),
    'GET /domains/:name/disks': await client.call('GET /domains/:name/disks', name),
    'GET /domains/:name/vcpus': await client.call('GET /domains/:name/vcpus', name),
    'GET /domains/:name/scheduling': await client.call('GET /domains/:name/scheduling', name),
    'GET /domains/:name/console': await client.call('GET /domains/:name/console', name),
    'GET /events': await client.call('GET /events', { since: 0 }),
    'POST /domains/:name/destroy': await client.call('POST /domains/:name/destroy', name),
  };
  // The document is no schema itself, only full of them.
  const judge = new Ajv2020({ strict: false });
  judge.addSchema(openApi(), 'api');
  for (const [route, answer] of Object.entries(answers)) {
    const [method = '', template = ''] = route.split(' ');
    const at = ['paths', template.replace(/:(\w+)/g, '{$1}'), method.toLowerCase(), 'responses', '200'];
    const pointer = [...at, 'content', 'application/json', 'schema'].map(encodePointer).join('/');
    const right = judge.validate({ $ref: `api#/${pointer}` }, answer);
    assert.ok(right, `${route}: ${judge.errorsText()}`);
  }
});

test('metrics tell of what happened here', async () => {
  const { body, headers } = await fetchRaw(socket, { path: '/metrics' });
  assert.match(headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/);
  assert.match(body, /^domus_domain_cpu_seconds_total\{domain="Domain-0",domid="0",uuid="[0-]+"\} [\d.]+$/m);
  assert.match(body, /^domus_xend_requests_total\{method="POST",route="\/domains",status="200"\} \d+$/m);
});

test('our own user needs no token on loopback; one that is shown must be right', async () => {
  assert.equal((await fetchRaw(port, { path: '/xend', headers: local })).status, 200);
  assert.equal(statSync(tokenFile).mode & 0o777, 0o600);
  await assert.rejects(connect({ url: `http://127.0.0.1:${port}`, token: 'not-the-token-at-all' }), {
    code: 'forbidden',
    status: 401,
  });
});

test('another user of this machine is let in with the token only', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can be another user');
  const asNobody = (authorization: string) =>
    new Promise<string>((resolve, reject) => {
      const request = `GET /domains HTTP/1.1\r\nHost: localhost\r\n${authorization}Connection: close\r\n\r\n`;
      const child = spawn(
        '/bin/bash',
        ['-c', `exec 3<>/dev/tcp/127.0.0.1/${port}; printf '%b' "$REQUEST" >&3; cat <&3`],
        {
          uid: 65534,
          gid: 65534,
          cwd: '/',
          env: { PATH: process.env.PATH, REQUEST: request.replaceAll('\r\n', '\\r\\n') },
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      );
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      child.on('error', reject);
      child.on('close', () => resolve(text));
    });
  const refused = await asNobody('');
  assert.match(refused, /^HTTP\/1\.1 401 /);
  assert.ok(!refused.includes('Domain-0'), 'and learns nothing');
  const token = readFileSync(tokenFile, 'utf8').trim();
  assert.match(await asNobody(`Authorization: Bearer ${token}\r\n`), /^HTTP\/1\.1 200 [\s\S]*Domain-0/);
});

// biome-ignore format: a table
const WRONG: readonly [story: string, method: string, target: string, body: string | undefined, status: number, text: RegExp][] = [
  ['a body that is no JSON',        'POST', '/domains',                  '{"config":',                                400, /JSON/],
  ['an empty body',                 'POST', '/domains',                  '',                                          400, /./],
  ['a list for an object',          'POST', '/domains',                  '[]',                                        400, /must be object/],
  ['a prototype for a value',       'POST', '/domains',                  '{"__proto__":{"admin":true},"config":{}}',  400, /./],
  ['a body that is too large',      'POST', '/domains',                  `"${'x'.repeat(5 << 20)}"`,                  413, /too large/],
  ['lists within lists',            'POST', '/domains',                  `{"config":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, 400, /./],
  ['a name without end',            'GET',  `/domains/${'n'.repeat(5000)}`, undefined,                               414, /./],
  ['a name that goes up',           'GET',  '/domains/..%2f..%2fetc%2fpasswd', undefined,                            404, /invalid domain/],
  ['a name with a zero in it',      'GET',  '/domains/a%00b',            undefined,                                   404, /invalid domain/],
  ['a number that is none',         'GET',  '/events?since=x',           undefined,                                   400, /since must be integer/],
  ['a wait without end',            'GET',  '/events?waitS=1e9',         undefined,                                   400, /waitS must be <= 60/],
  ['a parameter nobody knows',      'GET',  '/events?colour=red',        undefined,                                   400, /additional properties/],
  ['a method nobody knows',         'DELETE', '/domains/x',              undefined,                                   404, /xend has no DELETE/],
  ['percent signs without meaning', 'GET',  '/domains/%zz',              undefined,                                   400, /./],
];
for (const [story, method, target, body, status, text] of WRONG) {
  test(`${story} is refused with ${status}, without a stack`, async () => {
    const headers =
      body === undefined ? local : { ...local, 'content-type': 'application/json', 'content-length': body.length };
    const answer = await fetchRaw(port, { method, path: target, headers }, body).catch(
      (error: NodeJS.ErrnoException) => {
        // The answer to a body that is too large may be lost when we are still sending.
        assert.ok(status === 413 && /EPIPE|ECONNRESET/.test(error.code ?? ''), String(error));
      },
    );
    if (answer) {
      assert.equal(answer.status, status);
      assert.match(answer.body, text);
      assert.doesNotMatch(answer.body, /\bat .*\.ts:|node:internal/);
    }
    await alive();
  });
}

test('every answer is for the request it belongs to, however many come on one connection and at once', async () => {
  const names = Array.from({ length: 40 }, (_, n) => `nobody-${n}`);
  const pipelined = await exchange(
    socket,
    names
      .map(
        (name, at) =>
          `GET /domains/${name} HTTP/1.1\r\nHost: x\r\n${at === names.length - 1 ? 'Connection: close\r\n' : ''}\r\n`,
      )
      .join(''),
  );
  assert.deepEqual(
    [...pipelined.matchAll(/invalid domain:(\S+?)"/g)].map(([, name]) => name),
    names,
  );
  const answers = await Promise.all(names.map((name) => fetchRaw(port, { path: `/domains/${name}`, headers: local })));
  assert.deepEqual(
    answers.map(({ body }) => /invalid domain:(\S+?)"/.exec(body)?.[1]),
    names,
  );
});

test('clients that do not read, or leave half-way, hold up nobody', async () => {
  const request = 'GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(200);
  const lazy = Array.from({ length: 20 }, () => {
    const one = net.connect(socket).on('error', () => {});
    one.pause();
    one.write(request);
    return one;
  });
  const waiting = Array.from({ length: 50 }, () => {
    const one = net.connect(socket).on('error', () => {});
    one.write('GET /events?waitS=60 HTTP/1.1\r\nHost: x\r\n\r\n');
    return one;
  });
  await alive();
  for (const one of [...lazy, ...waiting]) one.destroy();
  await alive();
});

test('WebSocket frames that are none end their connection', async () => {
  const open =
    'GET /events/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';
  for (const frame of ['\xff\xff\xff\xff', '\x81\x05hello', `\x82\xff${'\x7f'.repeat(8)}abcd`])
    assert.match(await exchange(port, Buffer.from(open + frame, 'latin1')), /^HTTP\/1\.1 101 /);
  const plain = await ask(
    port,
    'GET /events/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n',
  );
  assert.ok(plain.status >= 400);
  await alive();
});

test('nothing of all this was a mistake of ours', () => {
  assert.deepEqual(
    logged().filter(({ level }) => level === 'ERROR'),
    [],
  );
});
