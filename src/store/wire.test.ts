/** Framing, and what a connection answers to requests that are not as they should be. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromLatin1, fromUtf8, latin1, utf8 } from './bytes.ts';
import { serveConnection } from './connection.ts';
import { DEFAULT_QUOTA } from './quota.ts';
import { Store } from './store.ts';
import { chance, DOM0, guest, TestClient, TestStream } from './testing.ts';
import { decodeStrings, encode, encodeStrings, MessageReader, MessageType } from './wire.ts';

describe('framing', () => {
  test('messages come out the same however the stream is cut', () => {
    const messages = [0, 1, 15, 16, 17, 4096].map((length, i) => {
      return { type: i, reqId: 0xfffffff0 + i, txId: i * 7, payload: new Uint8Array(length).fill(i + 1) };
    });
    const stream = Uint8Array.from(messages.flatMap((message) => [...encode(message)]));
    for (const size of [1, 2, 3, 15, 16, 17, 1000, stream.length]) {
      const reader = new MessageReader();
      const out = [];
      for (let at = 0; at < stream.length; at += size) {
        reader.push(stream.subarray(at, at + size));
        for (let message = reader.next(); message; message = reader.next()) out.push(message);
      }
      assert.deepEqual(out, messages, `in pieces of ${size}`);
    }
  });

  test('a payload longer than 4096 breaks the stream before any of it is kept', () => {
    const reader = new MessageReader();
    const head = encode({ type: 2, reqId: 0, txId: 0, payload: new Uint8Array(0) });
    new DataView(head.buffer).setUint32(12, 4097, true);
    reader.push(head);
    assert.equal(reader.next(), undefined);
    assert.equal(reader.broken, true);
  });

  test('strings are those that end with NUL', () => {
    assert.deepEqual(decodeStrings(encodeStrings('a', '', 'b')), ['a', '', 'b']);
    assert.deepEqual(decodeStrings(new Uint8Array(0)), []);
    assert.equal(decodeStrings(fromLatin1('a\0b')), undefined);
  });

  test('UTF-8 is what Node takes it for', () => {
    const random = chance(1);
    const texts = ['', 'a', 'äöü€', '𝄞x', '\ud800', 'a\udfffb'];
    for (const text of texts) assert.deepEqual(fromUtf8(text), new Uint8Array(Buffer.from(text)));
    for (const text of texts.slice(0, 4)) assert.equal(utf8(fromUtf8(text)), text);
    for (let i = 0; i < 2000; i++) {
      const bytes = Uint8Array.from({ length: 3 }, () =>
        random.pick([0, 0x41, 0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xf0, 0xff]),
      );
      const [ours, nodes] = [utf8(bytes), Buffer.from(bytes).toString()];
      assert.equal(ours.includes('\ufffd'), nodes.includes('\ufffd'), latin1(bytes));
      if (!ours.includes('\ufffd')) assert.equal(ours, nodes);
    }
  });
});

describe('requests', () => {
  test('payloads of the wrong shape are EINVAL', () => {
    const store = new Store();
    const client = new TestClient(store, DOM0);
    // biome-ignore format: a table
    const rows = [
      ['READ', ''], ['READ', '/a'], ['READ', '/a|/b|'], ['READ', '/a|x'], ['DIRECTORY', '/'], ['GET_PERMS', ''],
      ['WRITE', ''], ['WRITE', '/a'], ['WRITE', '|v'], ['MKDIR', '/a'], ['RM', '/a'], ['SET_PERMS', ''], ['SET_PERMS', '/|'],
      ['SET_PERMS', '/|n0'], ['WATCH', ''], ['WATCH', '/|'], ['WATCH', '/|t'], ['WATCH', '/|t|1|2|'], ['UNWATCH', '/|'],
      ['UNWATCH', '/|t|1|'], ['TRANSACTION_END', ''], ['TRANSACTION_END', 'T'], ['INTRODUCE', ''], ['INTRODUCE', '1|2|'],
      ['INTRODUCE', '99999|1|1|'], ['INTRODUCE', 'x|1|1|'], ['RELEASE', '|'], ['RELEASE', '0|'], ['GET_DOMAIN_PATH', 'x|'],
      ['GET_DOMAIN_PATH', ''], ['IS_DOMAIN_INTRODUCED', '-1|'], ['DIRECTORY_PART', '/|'], ['DIRECTORY_PART', '/|x|'],
      ['DIRECTORY_PART', '/|-1|'], ['DIRECTORY_PART', '/|0|0|'],
    ] as const;
    for (const [request, payload] of rows)
      assert.equal(client.ask(request, payload), '!EINVAL', `${request} ${payload}`);
  });

  test('unknown types are ENOSYS for everybody', () => {
    const store = new Store();
    for (const who of [DOM0, guest(1)]) {
      const client = new TestClient(store, who);
      for (const type of [15, 16, 20, 23, 24, 25, 26, 27, 128, 0x7fffffff, 0xffffffff]) {
        assert.equal(client.askType(type, 'x|'), '!ENOSYS', `${type}`);
      }
    }
  });

  test('an unknown transaction is ENOENT in every request', () => {
    const client = new TestClient(new Store(), DOM0);
    for (const request of ['READ', 'WRITE', 'TRANSACTION_START', 'TRANSACTION_END'] as const) {
      assert.equal(client.ask(request, request === 'TRANSACTION_END' ? 'T|' : '/|', 12345), '!ENOENT');
    }
  });

  test('domains’ homes and whether they are introduced', () => {
    const store = new Store();
    const client = new TestClient(store, guest(7));
    assert.equal(client.ask('GET_DOMAIN_PATH', '12|'), '/local/domain/12|');
    assert.equal(client.ask('IS_DOMAIN_INTRODUCED', '0|'), 'T|');
    assert.equal(client.ask('IS_DOMAIN_INTRODUCED', '7|'), 'F|');
    store.introduce(7);
    assert.equal(client.ask('IS_DOMAIN_INTRODUCED', '7|'), 'T|');
    store.release(7);
    assert.equal(client.stream.closed, true, 'a released domain’s connection is closed');
    assert.equal(store.connections.size, 0);
  });

  test('a directory too long for one reply is E2BIG and comes in parts', () => {
    const client = new TestClient(new Store(), DOM0);
    const names = Array.from({ length: 300 }, (_, i) => `child-number-${i}-${'x'.repeat(i % 40)}`);
    for (const name of names) client.ask('MKDIR', `/d/${name}|`);
    assert.equal(client.ask('DIRECTORY', '/d|'), '!E2BIG');
    const found: string[] = [];
    let generation: string | undefined;
    for (let offset = 0; ; ) {
      const [now, ...part] = client.ask('DIRECTORY_PART', `/d|${offset}|`).split('|').slice(0, -1);
      assert.equal((generation ??= now), now);
      const last = part[part.length - 1] === '';
      if (last) part.pop();
      found.push(...part);
      if (last) break;
      offset += part.join('|').length + 1;
    }
    assert.deepEqual(found, names);
    client.ask('WRITE', '/d/new|');
    assert.notEqual(client.ask('DIRECTORY_PART', '/d|0|').split('|')[0], generation);
    client.ask('MKDIR', '/empty|');
    assert.match(client.ask('DIRECTORY_PART', '/empty|0|'), /^\d+\|\|$/);
    assert.match(client.ask('DIRECTORY_PART', '/d|999999|'), /^\d+\|\|$/);
  });
});

describe('clients that misbehave', () => {
  test('a broken length closes the connection and forgets its watches', () => {
    const store = new Store();
    const client = new TestClient(store, guest(1));
    client.ask('WATCH', '/|t|');
    const head = encode({ type: 2, reqId: 0, txId: 0, payload: new Uint8Array(0) });
    new DataView(head.buffer).setUint32(12, 0xffffffff, true);
    client.stream.receive(head);
    assert.equal(client.stream.closed, true);
    assert.equal(store.connections.size, 0);
  });

  test('no request is performed while replies wait to be read, and all are once they are', () => {
    const store = new Store();
    const stream = new TestStream();
    serveConnection(store, guest(1), stream);
    stream.open = false;
    const request = encode({ type: MessageType.GET_DOMAIN_PATH, reqId: 9, txId: 0, payload: encodeStrings('1') });
    for (let i = 0; i < 5000; i++) stream.receive(request);
    assert.equal(stream.paused, true);
    assert.ok(stream.written.length < 10);
    let replies = 0;
    for (let i = 0; i < 20; i++) {
      stream.drain();
      replies += stream.messages().length;
    }
    assert.equal(replies, 5000);
    assert.equal(stream.paused, false);
  });

  test('a client that lets watch events pile up is dropped', () => {
    const store = new Store({ quota: { ...DEFAULT_QUOTA, queuedBytes: 10_000 } });
    const tools = new TestClient(store, DOM0);
    tools.ask('MKDIR', '/public|');
    tools.ask('SET_PERMS', '/public|r0|');
    const client = new TestClient(store, guest(1));
    client.ask('WATCH', '/public|t|');
    client.stream.open = false;
    for (let i = 0; i < 1000 && !client.stream.closed; i++) tools.ask('WRITE', `/public/${i}|`);
    assert.equal(client.stream.closed, true);
    assert.equal(store.connections.size, 1);
    assert.equal(tools.ask('WRITE', '/public/later|'), 'OK|');
  });

  test('random bytes in valid and broken frames never throw, and leave others unharmed', () => {
    const seed = Number(process.env.SEED ?? 20260101);
    const random = chance(seed);
    const store = new Store();
    const tools = new TestClient(store, DOM0);
    tools.ask('MKDIR', '/local/domain/1/data|');
    tools.ask('SET_PERMS', '/local/domain/1|n1|');
    tools.ask('WRITE', '/other|untouched');
    // biome-ignore format: a table
    const words = ['/', '/local/domain/1', 'data', 'data/x', 'data/y/z', 'T', 'F', '0', '1', '99999999', 'n1', 'b1', '@introduceDomain',
      '', '//', 'x'.repeat(3000), '\u00ff', 't', '/other', '/local/domain/1/data'];
    try {
      for (let round = 0; round < 200; round++) {
        const stream = new TestStream();
        serveConnection(store, guest(1), stream);
        for (let i = 0; i < 100 && !stream.closed; i++) {
          stream.open = random.next(4) > 0;
          const strings = Array.from({ length: random.next(5) }, () => random.pick(words));
          const payload =
            random.next(5) > 0
              ? encodeStrings(...strings)
              : Uint8Array.from({ length: random.next(64) }, () => random.next(256));
          const bytes = encode({
            type: random.next(28),
            reqId: i,
            txId: random.pick([0, 0, 0, 0, 1, 2, 3]),
            payload: payload.subarray(0, 4096),
          });
          if (random.next(100) === 0) bytes[random.next(bytes.length)] = random.next(256);
          const cut = random.next(bytes.length);
          stream.receive(bytes.subarray(0, cut));
          stream.receive(bytes.subarray(cut));
          if (random.next(10) === 0) stream.drain();
        }
        stream.handlers!.closed();
      }
      assert.equal(tools.ask('READ', '/other|'), 'untouched');
      assert.ok(store.owned(1) <= DEFAULT_QUOTA.nodes);
      assert.equal(store.connections.size, 1);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  });
});
