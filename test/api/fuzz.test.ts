/**
 * Bytes of chance, and good requests with something wrong in them, for xend's HTTP interface, its reader of SXP and
 * xenstored. Whatever comes, the daemon answers the next proper client, logs no mistake of its own, and a guest changes
 * nothing outside its own part of the store. DOMUS_FUZZ_SEED repeats a run; a failure prints its seed.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { parseSxp, printCompact, printPretty, type Sxp, SxpError } from '../../src/config/sxp.ts';
import { apiSocket } from '../../src/host/paths.ts';
import { connectStoreSocket } from '../../src/host/store-socket.ts';
import { Xenstored } from '../../src/host/xenstored.ts';
import { StoreClient } from '../../src/store/client.ts';
import { permissions } from '../../src/store/permissions.ts';
import { encode, encodeStrings, MessageType } from '../../src/store/wire.ts';
import { exchange, fetchRaw } from '../../src/xend/http/raw-http-for-tests.ts';
import { makeHome, startXend } from '../../src/xend/testing.ts';
import { Random } from '../cpu/random.ts';

const SEED = Number(process.env.DOMUS_FUZZ_SEED ?? 20_050_111);
const story = (what: string) => `${what} (seed ${SEED})`;

/** Something wrong with good bytes: flipped, cut out, doubled, replaced, put in. */
function damage(random: Random, good: Uint8Array): Uint8Array {
  let bytes = Buffer.from(good);
  for (let times = 1 + random.below(4); times > 0; times--) {
    const at = random.below(bytes.length + 1);
    const length = random.below(20);
    const before = bytes.subarray(0, at);
    const rest = bytes.subarray(at);
    switch (random.below(6)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << random.below(8);
        break;
      case 1:
        bytes = Buffer.concat([before, rest.subarray(length)]);
        break;
      case 2:
        bytes = Buffer.concat([before, rest.subarray(0, length), rest]);
        break;
      case 3:
        bytes = Buffer.concat([before, Buffer.from(Array.from({ length }, () => random.below(256))), rest]);
        break;
      case 4:
        bytes = Buffer.concat([before, Buffer.from(random.pick(NASTY), 'latin1'), rest]);
        break;
      default:
        bytes = before;
    }
  }
  return bytes;
}
const NASTY = [
  '\0',
  '\r\n',
  '\r\n\r\n',
  '%00',
  '%',
  '../',
  '(',
  ')',
  '"',
  "'",
  '\\',
  '{',
  '[',
  ':',
  '\xff',
  '-1',
  '9'.repeat(30),
  'a'.repeat(3000),
];

describe('HTTP', () => {
  const home = makeHome();
  const started = startXend(home);
  after(async () => {
    await (await started).end();
    home.remove();
  });
  const socket = apiSocket(home.paths);
  const post = (target: string, type: string, body: string) =>
    `POST ${target} HTTP/1.1\r\nHost: x\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
  const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  const FORM = 'application/x-www-form-urlencoded';
  const config = { config: home.config('fuzz', { kernel: '/nope' }) };
  const vm = "(vm (name 'fuzz') (memory 32) (image (linux (kernel /nope))))";
  const GOOD = [
    get('/domains'),
    get('/domains/Domain-0'),
    get('/events?since=1'),
    get('/exits/nobody?waitS=0'),
    get('/xend/domain/Domain-0?detail=1'),
    get('/xend/node/'),
    get('/metrics'),
    post('/domains', 'application/json', JSON.stringify(config)),
    post('/domains/fuzz/shutdown', 'application/json', '{"reason":"poweroff"}'),
    post('/domains/fuzz/disks/attach', 'application/json', '{"disk":{"uname":"file:/nope","dev":"sda1","mode":"r"}}'),
    post('/xend/domain', FORM, `op=create&config=${encodeURIComponent(vm)}`),
    post('/xend/domain/fuzz', FORM, 'op=pincpu&cpu=0'),
    post(
      '/xend/domain/fuzz',
      'multipart/form-data; boundary=b',
      '--b\r\nContent-Disposition: form-data; name="op"\r\n\r\npause\r\n--b--\r\n',
    ),
    'GET /events/stream?since=0 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x85abcdhello',
  ];

  test(story('600 broken requests: each is answered or cut off, and xend serves on'), async () => {
    const { daemon } = await started;
    const random = new Random(SEED);
    for (let round = 0; round < 30; round++) {
      const requests = Array.from({ length: 20 }, () =>
        random.chance(8)
          ? Uint8Array.from({ length: 1 + random.below(300) }, () => random.below(256))
          : damage(random, Buffer.from(random.pick(GOOD), 'latin1')),
      );
      const answers = await Promise.all(requests.map((bytes) => halfClosed(bytes)));
      for (const [at, answer] of answers.entries()) {
        const shown = () =>
          `seed ${SEED}, round ${round}: ${JSON.stringify(Buffer.from(requests[at]!).toString('latin1'))}\n${answer}`;
        assert.ok(answer === '' || answer.startsWith('HTTP/1.1 '), shown());
        assert.doesNotMatch(answer, /^HTTP\/1\.1 500/m, shown());
      }
    }
    const names = (await fetchRaw(socket, { path: '/xend/domain' })).body;
    assert.equal(names, '(Domain-0)\n', 'nothing was made');
    const errors = readFileSync(daemon.log.file, 'utf8')
      .split('\n')
      .filter((line) => line.includes('] ERROR ('));
    assert.deepEqual(errors, []);
  });

  /** Closes its side at once, so that a request which waits for more comes to its end. */
  const halfClosed = (bytes: Uint8Array) => exchange(socket, bytes, { end: true });
});

describe('SXP', () => {
  const ATOMS = [
    'vm',
    'name',
    '',
    ' ',
    "it's",
    'a b',
    '\n',
    '#no',
    '(',
    'ü',
    '\x00',
    '1',
    '/dev/sda1',
    '"',
    '\\',
    'x'.repeat(100),
  ];
  const make = (random: Random, depth: number): Sxp =>
    depth === 0 || random.chance(3)
      ? random.pick(ATOMS)
      : Array.from({ length: random.below(5) }, () => make(random, depth - 1));

  test(story('what is printed is read as what it was'), () => {
    const random = new Random(SEED);
    for (let n = 0; n < 3000; n++) {
      const value = [make(random, 5)];
      for (const print of [printCompact, printPretty])
        assert.deepEqual(parseSxp(print(value)), [value], `seed ${SEED}: ${print(value)}`);
    }
  });

  test(story('broken text is a value or an error with its line, never anything else'), () => {
    const random = new Random(SEED);
    for (let n = 0; n < 5000; n++) {
      const good = printPretty(make(random, 5));
      const text = Buffer.from(damage(random, Buffer.from(good))).toString(random.chance(2) ? 'utf8' : 'latin1');
      try {
        parseSxp(text);
      } catch (error) {
        assert.ok(error instanceof SxpError, `seed ${SEED}: ${JSON.stringify(text)}: ${error}`);
        assert.match(error.message, /^\d+:\d+: /);
      }
    }
  });

  test('lists within lists are refused before the stack is full', () => {
    assert.throws(() => parseSxp('('.repeat(1_000_000)), SxpError);
    assert.throws(() => parseSxp(`${'(a '.repeat(100_000)}${')'.repeat(100_000)}`), /nested too deeply/);
  });
});

describe('xenstored', () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-'));
  const log: string[] = [];
  const xenstored = new Xenstored({ log: (text) => log.push(text) });
  const [owner, guest] = [path.join(dir, 'owner'), path.join(dir, 'guest')];
  const listening = Promise.all([
    xenstored.listen(owner, { domid: 0, privileged: true }),
    xenstored.listen(guest, { domid: 5, privileged: false }),
  ]);
  after(() => {
    xenstored.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const PATHS = [
    '/',
    '/local/domain/5/data',
    '/local/domain/6/secret',
    '/vm/x',
    'data/a',
    '@releaseDomain',
    '',
    '//',
    '/a/../b',
    `/${'n'.repeat(3000)}`,
  ];
  const GOOD = Object.values(MessageType).flatMap((type) =>
    PATHS.map((node) => encode({ type, reqId: 1, txId: 0, payload: encodeStrings(node, 'value', 'token') })),
  );

  test(
    story('broken messages end their own connection at most; a guest changes nothing that is not its own'),
    async () => {
      await listening;
      const random = new Random(SEED);
      const proper = new StoreClient(await connectStoreSocket(owner));
      await proper.transaction(async (view) => {
        for (const [node, perms] of [
          ['/local/domain/5/data', 'n5'],
          ['/local/domain/6/secret', 'n6'],
        ] as const) {
          await view.write(node, 'precious');
          await view.setPermissions(node, permissions(perms));
        }
      });
      for (let round = 0; round < 25; round++) {
        const streams = Array.from({ length: 8 }, () =>
          Buffer.concat(
            Array.from({ length: 1 + random.below(12) }, () => {
              const good = random.pick(GOOD);
              return random.chance(3) ? good : damage(random, good);
            }),
          ),
        );
        await Promise.all(streams.map((bytes) => sendAndLeave(guest, bytes)));
        assert.equal(await proper.read('/local/domain/6/secret'), 'precious', `seed ${SEED}, round ${round}`);
      }
      assert.deepEqual(await proper.list('/local/domain'), ['5', '6']);
      const late = new StoreClient(await connectStoreSocket(guest));
      assert.equal(typeof (await late.read('/local/domain/5/data')), 'string');
      late.close();
      proper.close();
    },
  );

  test(story('not even the owner can break it'), async () => {
    await listening;
    const random = new Random(SEED + 1);
    for (let round = 0; round < 15; round++) {
      const bytes = Buffer.concat(Array.from({ length: 10 }, () => damage(random, random.pick(GOOD))));
      await sendAndLeave(owner, bytes);
    }
    const proper = new StoreClient(await connectStoreSocket(owner));
    await proper.write('/still', 'here');
    assert.equal(await proper.read('/still'), 'here');
    proper.close();
  });
});

/** Sends bytes, reads what comes until the other side is silent about them, and goes. */
function sendAndLeave(where: string, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(where);
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.resume();
    // What the server has taken of it, it has taken by the time that it sees our end.
    socket.end(bytes);
  });
}
