/** The store's server dies and comes back under a client that must not notice more than a delay. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromLatin1, latin1 } from '../store/bytes.ts';
import { StoreClient } from '../store/client.ts';
import { serveConnection } from '../store/connection.ts';
import { readJournal, snapshot } from '../store/journal.ts';
import type { Identity } from '../store/permissions.ts';
import { Store } from '../store/store.ts';
import { type ByteStream, createPipe } from '../store/stream.ts';
import { chance, DOM0, guest, TestClient, TestStream } from '../store/testing.ts';
import { encode, MessageType } from '../store/wire.ts';
import { XenstoreLink } from './xenstore-link.ts';

const settle = async () => {
  for (let i = 0; i < 100; i++) await undefined;
};

/** A store that can be killed and started again with what it had committed, and time that passes when the test says so. */
class World {
  store: Store | undefined = new Store();
  #streams: ByteStream[] = [];
  #kept: Uint8Array = new Uint8Array(0);
  timers: { at: number; run: () => void }[] = [];
  now = 0;
  attempts = 0;
  who: Identity;

  constructor(who: Identity = guest(3)) {
    this.who = who;
    const tools = this.tools();
    tools.ask('MKDIR', '/local/domain/3|');
    tools.ask('SET_PERMS', '/local/domain/3|n3|');
  }

  tools(): TestClient {
    return new TestClient(this.store!, DOM0);
  }

  readonly ports = {
    connect: async (): Promise<ByteStream> => {
      this.attempts++;
      if (!this.store) throw new Error('connection refused');
      const [ours, theirs] = createPipe();
      serveConnection(this.store, this.who, theirs);
      this.#streams.push(theirs);
      return ours;
    },
    after: (ms: number, run: () => void) => {
      this.timers.push({ at: this.now + ms, run });
    },
  };

  kill(): void {
    this.#kept = snapshot(this.store!.root, this.store!.introduced);
    this.store = undefined;
    for (const stream of this.#streams) stream.close();
    this.#streams = [];
  }

  start(): void {
    const kept = this.#kept;
    this.store = new Store({ journal: { read: () => kept, append: () => true, replace: () => true } });
    assert.ok(readJournal(kept, this.store.root).records === 1);
  }

  async pass(ms: number): Promise<void> {
    const end = this.now + ms;
    for (;;) {
      await settle();
      this.timers.sort((a, b) => a.at - b.at);
      const next = this.timers[0];
      if (!next || next.at > end) break;
      this.now = next.at;
      this.timers.shift();
      next.run();
    }
    this.now = end;
  }
}

/** A client at the near end of a link, which sends and receives when the test says so. */
class LinkedClient {
  readonly stream = new TestStream();
  readonly link: XenstoreLink;
  readonly world: World;
  #lastRequest = 0;

  constructor(world: World) {
    this.world = world;
    this.link = new XenstoreLink(this.stream, world.ports);
  }

  send(type: keyof typeof MessageType, payload: string, txId = 0): number {
    const reqId = ++this.#lastRequest;
    const bytes = fromLatin1(payload.replaceAll('|', '\0'));
    this.stream.receive(encode({ type: MessageType[type], reqId, txId, payload: bytes }));
    return reqId;
  }

  /** What came: "reqId payload", "reqId !error", "event path|token". */
  async got(): Promise<string[]> {
    await settle();
    return this.stream.messages().map(({ type, reqId, payload }) => {
      const text = latin1(payload).replaceAll('\0', '|');
      if (type === MessageType.WATCH_EVENT) return `event ${text}`;
      return type === MessageType.ERROR ? `${reqId} !${text.slice(0, -1)}` : `${reqId} ${text}`;
    });
  }

  async ask(type: keyof typeof MessageType, payload: string, txId = 0): Promise<string> {
    const reqId = this.send(type, payload, txId);
    const [reply, ...more] = await this.got();
    assert.deepEqual(more, []);
    return reply!.replace(`${reqId} `, '');
  }
}

test('requests, replies, events and transactions pass through', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  assert.equal(await client.ask('WRITE', 'a|1'), 'OK|');
  client.send('WATCH', 'a|t|');
  assert.deepEqual(await client.got(), ['2 OK|', 'event a|t|']);
  const id = Number.parseInt(await client.ask('TRANSACTION_START', '|'), 10);
  assert.equal(await client.ask('READ', 'a|', id), '1');
  assert.equal(await client.ask('TRANSACTION_END', 'T|', id), 'OK|');
  assert.equal(await client.ask('READ', 'a|', id), '!ENOENT');
});

test('requests made while the store is away are answered when it is back', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  await settle();
  world.kill();
  client.send('WRITE', 'a|1');
  client.send('READ', 'a|');
  await world.pass(10_000);
  assert.deepEqual(await client.got(), []);
  assert.ok(world.attempts < 20, 'it does not ask without pause');
  world.start();
  await world.pass(1000);
  assert.deepEqual(await client.got(), ['1 OK|', '2 1']);
});

test('a request whose reply was lost is sent again', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  await settle();
  client.send('WRITE', 'a|1');
  client.send('RM', 'a|');
  client.send('MKDIR', 'b|');
  world.kill();
  world.start();
  await world.pass(1000);
  assert.deepEqual(await client.got(), ['1 OK|', '2 OK|', '3 OK|']);
  assert.equal(world.tools().ask('DIRECTORY', '/local/domain/3|'), 'b|');
});

test('watches live on: each fires once again, later changes are told, and the removed ones stay removed', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  world.tools().ask('MKDIR', '/local/domain/3/dev|');
  for (const token of ['t', 'u', 'v']) client.send('WATCH', `dev|${token}|`);
  client.send('UNWATCH', 'dev|u|');
  await client.got();
  world.kill();
  client.send('UNWATCH', 'dev|v|');
  world.start();
  await world.pass(1000);
  const events = await client.got();
  assert.ok(events.includes('event dev|t|') && events.includes('5 OK|') && !events.includes('event dev|u|'));
  world.tools().ask('WRITE', '/local/domain/3/dev/x|1');
  assert.deepEqual(await client.got(), ['event dev/x|t|']);
  assert.equal(await client.ask('UNWATCH', 'dev|t|'), 'OK|');
  assert.equal(await client.ask('UNWATCH', 'dev|t|'), '!ENOENT');
});

test('an UNWATCH whose reply was lost is answered OK and the watch is gone', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  client.send('WATCH', 'dev|t|');
  await client.got();
  client.send('UNWATCH', 'dev|t|');
  world.kill();
  world.start();
  await world.pass(1000);
  assert.deepEqual(await client.got(), ['2 OK|']);
  world.tools().ask('WRITE', '/local/domain/3/dev|1');
  assert.deepEqual(await client.got(), []);
});

test('a transaction that was open goes on to an end of EAGAIN, and its second run commits', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  await client.ask('WRITE', 'a|before');
  const id = Number.parseInt(await client.ask('TRANSACTION_START', '|'), 10);
  assert.equal(await client.ask('WRITE', 'b|1', id), 'OK|');
  client.send('WRITE', 'c|1', id);
  world.kill();
  world.start();
  // Gives out the same transaction id to somebody else.
  await world.pass(1000);
  assert.deepEqual(await client.got(), ['4 OK|']);
  assert.equal(await client.ask('READ', 'a|', id), 'before');
  assert.equal(await client.ask('MKDIR', 'd|', id), 'OK|');
  const second = Number.parseInt(await client.ask('TRANSACTION_START', '|'), 10);
  assert.notEqual(second, id);
  assert.equal(await client.ask('WRITE', 'b|2', second), 'OK|');
  assert.equal(await client.ask('TRANSACTION_END', 'T|', id), '!EAGAIN');
  assert.equal(await client.ask('TRANSACTION_END', 'T|', id), '!ENOENT');
  assert.equal(await client.ask('TRANSACTION_END', 'T|', second), 'OK|');
  assert.equal(await client.ask('DIRECTORY', '|'), '!EINVAL');
  assert.equal(world.tools().ask('DIRECTORY', '/local/domain/3|'), 'a|b|');
});

test('a client with more requests than may be under way is held back, and gets every reply in order', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  world.kill();
  for (let i = 0; i < 500; i++) client.send('WRITE', `a|${i}`);
  await settle();
  assert.equal(client.stream.paused, true);
  world.start();
  await world.pass(2000);
  const replies = await client.got();
  assert.deepEqual(
    replies,
    Array.from({ length: 500 }, (_, i) => `${i + 1} OK|`),
  );
  assert.equal(client.stream.paused, false);
});

test('a broken frame from the client ends its connection; a restart begins a new one without its watches', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  client.send('WATCH', 'a|t|');
  await client.got();
  const head = encode({ type: 2, reqId: 1, txId: 0, payload: new Uint8Array(0) });
  head.set([255, 255], 12);
  client.stream.receive(head);
  assert.equal(client.stream.closed, true);
  await settle();
  assert.equal([...world.store!.connections].filter((each) => each.who.domid === 3).length, 0);
  client.link.restart();
  await world.pass(1000);
  assert.equal(await client.ask('WRITE', 'a|1'), 'OK|');
});

test('after close nothing connects again', async () => {
  const world = new World();
  const client = new LinkedClient(world);
  await settle();
  client.link.close();
  world.kill();
  world.start();
  const { attempts } = world;
  await world.pass(10_000);
  assert.equal(world.attempts, attempts);
});

test('a client that counts in transactions loses and repeats nothing it was told, however often the store is killed', async () => {
  const seed = Number(process.env.SEED ?? 42);
  const random = chance(seed);
  const world = new World(DOM0);
  const [ours, links] = createPipe();
  new XenstoreLink(links, world.ports);
  const client = new StoreClient(ours);
  let events = 0;
  await client.watch('/count', () => events++);
  let confirmed = 0;
  let finished = false;
  const counting = (async () => {
    for (let i = 0; i < 60; i++) {
      await client.transaction(async (view) => {
        const now = Number((await view.read('/count')) ?? '0');
        assert.ok(now >= confirmed, `${now} after ${confirmed} was confirmed, seed ${seed}`);
        await view.write('/count', now + 1);
        await view.write(`/log/${now + 1}`, '');
      });
      confirmed++;
      await client.write('/plain', i);
      assert.equal(await client.read('/plain'), `${i}`);
    }
    finished = true;
  })();
  for (let round = 0; round < 2000 && !finished; round++) {
    for (let i = random.next(60); i > 0; i--) await undefined;
    if (world.store && random.next(3) === 0) world.kill();
    await world.pass(random.next(50));
    if (!world.store) world.start();
    await world.pass(random.next(50));
  }
  await counting;
  const count = Number(await client.read('/count'));
  // A commit whose reply was lost may have been made twice; none that was confirmed may be missing.
  assert.ok(count >= 60 && count <= 90, `${count}`);
  assert.equal((await client.list('/log'))!.length, count);
  assert.ok(events > 60);
});

test('a guest that asks without end and reads no reply is not listened to any more until it reads', async () => {
  const world = new World();
  const client = new TestStream();
  new XenstoreLink(client, world.ports);
  await settle();
  client.open = false;
  // A transaction that does not exist is answered at once, without the server.
  const request = encode({ type: MessageType.READ, reqId: 1, txId: 99, payload: fromLatin1('/a\0') });
  for (let i = 0; i < 1000; i++) client.receive(request);
  assert.equal(client.messages().length, 1);
  assert.equal(client.paused, true);
  client.drain();
  assert.ok(client.messages().length > 900);
});
