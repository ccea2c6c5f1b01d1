/** The WebSockets: events and consoles, against a xend whose domains run the fake machine. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { WebSocket } from 'ws';
import { apiSocket } from '../../host/paths.ts';
import type { XendEvent } from '../events.ts';
import { makeHome, startXend } from '../testing.ts';

const home = makeHome();
const xend = await startXend(home);
const clients: WebSocket[] = [];
after(async () => {
  for (const client of clients) client.terminate();
  await xend.end();
  home.remove();
});
const { client } = xend;

/** Opens a stream and collects what comes. */
function stream(target: string) {
  const socket = new WebSocket(`ws+unix://${apiSocket(home.paths)}:${target}`);
  clients.push(socket);
  const texts: string[] = [];
  let bytes = '';
  let wake = () => {};
  const change = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  socket.on('message', (data: Buffer, binary) => {
    if (binary) bytes += data.toString('latin1');
    else texts.push(data.toString());
    wake();
  });
  socket.on('close', () => wake());
  return {
    socket,
    opened: once(socket, 'open'),
    texts,
    async until(what: () => boolean) {
      while (!what()) {
        if (socket.readyState === WebSocket.CLOSED) assert.fail(`closed: ${texts.join('\n')}${bytes}`);
        await change();
      }
    },
    seen: () => bytes,
    events: () => texts.map((text) => JSON.parse(text) as XendEvent),
    closed: once(socket, 'close').then(([code, reason]) => [code, String(reason)]),
  };
}

async function refusalOf(target: string): Promise<[number, string]> {
  const socket = new WebSocket(`ws+unix://${apiSocket(home.paths)}:${target}`);
  const [, response] = (await once(socket, 'unexpected-response')) as [
    unknown,
    NodeJS.ReadableStream & { statusCode: number },
  ];
  let body = '';
  for await (const chunk of response) body += chunk;
  return [response.statusCode, (JSON.parse(body) as { error: { text: string } }).error.text];
}

async function make(name: string) {
  const { uuid } = await client.call('POST /domains', { config: home.config(name) });
  return uuid;
}
const unpause = (name: string) => client.call('POST /domains/:name/unpause', { name });

test('events come as they happen, and again from where one was', async () => {
  const { last } = await client.call('GET /events', {});
  const live = stream(`/events/stream?since=${last}`);
  await live.opened;
  const uuid = await make('seen');
  await unpause('seen');
  const started = () => live.events().find(({ type, domain }) => type === 'domain.started' && domain?.uuid === uuid);
  await live.until(() => started() !== undefined);
  const numbers = live.events().map(({ seq }) => seq);
  assert.deepEqual(
    numbers,
    numbers.map((_, at) => last + 1 + at),
    'none is missing, none comes twice',
  );
  const created = live.events().find(({ type }) => type === 'domain.created')!;
  const again = stream(`/events/stream?since=${created.seq}`);
  await again.until(() => again.texts.length >= started()!.seq - created.seq);
  assert.equal(again.events()[0]!.seq, created.seq + 1);
  const polled = await client.call('GET /events', { since: created.seq });
  assert.deepEqual(polled.events.slice(0, again.texts.length), again.events());
  await client.call('POST /domains/:name/destroy', { name: 'seen' });
});

test('a question for the next event is answered when there is one', async () => {
  const { last } = await client.call('GET /events', {});
  const asked = client.call('GET /events', { since: last, waitS: 30 });
  xend.daemon.xend.ports.events.emit('domain.paused', { domid: 9, uuid: 'u', name: 'n' });
  const { events, complete } = await asked;
  assert.deepEqual([events[0]?.type, complete], ['domain.paused', true]);
});

test('a number from another life is answered with a gap', async () => {
  const live = stream('/events/stream?since=999999999');
  await live.until(() => live.texts.length > 0);
  assert.deepEqual(JSON.parse(live.texts[0]!), { gap: true, first: 1 });
});

test('a console has one writer and any number of watchers', async () => {
  await make('talker');
  const writer = stream('/domains/talker/console/stream?mode=write');
  const watcher = stream('/domains/talker/console/stream');
  await Promise.all([writer.opened, watcher.opened]);
  await unpause('talker');
  await writer.until(() => writer.seen().includes('login:'));
  writer.socket.send(Buffer.from('hello\n'));
  for (const one of [writer, watcher]) await one.until(() => one.seen().includes('[hello]'));
  const late = stream('/domains/talker/console/stream');
  await late.until(() => late.seen().includes('[hello]'));
  assert.match(late.seen(), /fake kernel/, 'what was printed before comes first');

  watcher.socket.send(Buffer.from('poweroff\n'));
  assert.deepEqual(await watcher.closed, [1008, 'this connection only watches']);
  writer.socket.send('not a size');
  assert.deepEqual(await writer.closed, [1008, 'text messages are {"columns": N, "rows": N}']);

  const next = stream('/domains/talker/console/stream?mode=write');
  await next.until(() => next.texts.length > 0);
  assert.equal(JSON.parse(next.texts[0]!).writes, true);
  const taker = stream('/domains/talker/console/stream?mode=force');
  await taker.until(() => taker.texts.length > 0);
  assert.equal(JSON.parse(taker.texts[0]!).writes, true);
  taker.socket.send('{"columns": 100, "rows": 30}');
  taker.socket.send(Buffer.from('mine\n'));
  await taker.until(() => taker.seen().includes('[mine]'));
  taker.socket.send(Buffer.from('poweroff\n'));
  assert.deepEqual(await taker.closed, [1000, 'the console has ended']);
  assert.equal((await late.closed)[0], 1000);
});

test('a message that is too long ends its own connection', async () => {
  await make('patient');
  const writer = stream('/domains/patient/console/stream?mode=write');
  await writer.opened;
  writer.socket.send(Buffer.alloc(65 << 10));
  assert.equal((await writer.closed)[0], 1009);
  const next = stream('/domains/patient/console/stream?mode=write');
  await next.opened;
  await client.call('POST /domains/:name/destroy', { name: 'patient' });
});

// biome-ignore format: a table
const REFUSALS: readonly [target: string, status: number, text: RegExp][] = [
  ['/nowhere',                                   404, /^xend has no WebSocket at \/nowhere$/],
  ['/domains/nobody/console/stream',             404, /^invalid domain:nobody$/],
  ['/domains/Domain-0/console/stream',           404, /^No console information$/],
  ['/domains/%zz/console/stream',                400, /encoded/],
  ['/domains/x/console/stream?mode=maybe',      400, /mode must be watch, write or force/],
  ['/events/stream?since=yesterday',             400, /since must be the number of an event/],
  ['/events/stream?since=-1',                    400, /since must be/],
];
for (const [target, status, text] of REFUSALS) {
  test(`${target} is refused before the WebSocket opens`, async () => {
    const [got, said] = await refusalOf(target);
    assert.equal(got, status);
    assert.match(said, text);
  });
}
