import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { type ConsoleHello, openConsole, type TerminalSize } from '../../host/console-link.ts';
import { Scrollback } from './scrollback.ts';
import { ConsoleServer } from './server.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-console-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const notLinux = process.platform === 'linux' ? false : 'only Linux tells who connects';
const bytes = (text: string) => new TextEncoder().encode(text);

let count = 0;
async function makeConsole(take: (typed: string) => number = (typed) => typed.length) {
  const name = `c${count++}`;
  const socket = path.join(dir, `${name}.sock`);
  const log = path.join(dir, `${name}.log`);
  const typed: string[] = [];
  const sizes: TerminalSize[] = [];
  const logged: string[] = [];
  const server = new ConsoleServer(log, {
    input(chunk) {
      const text = new TextDecoder().decode(chunk);
      const taken = take(text);
      if (taken > 0) typed.push(text.slice(0, taken));
      return taken;
    },
    log: (text) => void logged.push(text),
    resized: (size) => void sizes.push(size),
  });
  await server.listen(socket);
  return { server, socket, log, typed, sizes, logged };
}

/** Somebody who keeps what it reads; `until` resolves when the wanted text is there. */
function reader(stream: net.Socket) {
  let seen = '';
  stream.on('data', (chunk) => {
    seen += chunk.toString();
  });
  stream.on('error', () => {});
  stream.on('end', () => stream.destroy());
  stream.resume();
  return {
    stream,
    closed: once(stream, 'close'),
    seen: () => seen,
    async until(text: string) {
      while (!seen.includes(text)) await once(stream, 'data');
    },
  };
}

async function watch(socket: string, hello: Partial<ConsoleHello> = {}) {
  const { socket: stream, welcome, resize } = await openConsole(socket, { mode: 'write', who: 'a test', ...hello });
  return { ...reader(stream), welcome, resize };
}

const turns = async (n = 20) => {
  for (let i = 0; i < n; i++) await new Promise(setImmediate);
};

test('a watcher gets what was printed before it came, and then what follows', async () => {
  const { server, socket, log } = await makeConsole();
  server.output(bytes('before '));
  const first = await watch(socket);
  await first.until('before ');
  server.output(bytes('after'));
  const second = await watch(socket);
  await Promise.all([first.until('before after'), second.until('before after')]);
  assert.equal(readFileSync(log, 'latin1'), 'before after');
  await server.close();
});

test('bytes given to output may be used again by their owner at once', async () => {
  const { server, socket } = await makeConsole();
  const watcher = await watch(socket);
  await watcher.until('');
  const buffer = bytes('one ');
  server.output(buffer);
  buffer.set(bytes('TWO '));
  server.output(buffer);
  await watcher.until('one TWO ');
  await server.close();
});

test('what a guest does not take yet is kept and offered again in order', async () => {
  let room = 3;
  const { server, socket, typed } = await makeConsole((text) => {
    const taken = Math.min(room, text.length);
    room -= taken;
    return taken;
  });
  const watcher = await watch(socket);
  watcher.stream.write('abcdefgh');
  while (typed.join('') !== 'abc') await new Promise(setImmediate);
  room = 100;
  server.drainInput();
  assert.equal(typed.join(''), 'abcdefgh');
  await server.close();
});

test('a watcher that does not read never holds up the guest and is told what it missed', async () => {
  const { server, socket } = await makeConsole();
  server.output(bytes('attached'));
  const { stream, until } = await watch(socket);
  await until('attached');
  stream.pause();
  const chunk = new Uint8Array(1 << 20).fill(0x78);
  for (let i = 0; i < 12; i++) {
    server.output(chunk);
    await new Promise(setImmediate);
  }
  let seen = '';
  stream.on('data', (part) => {
    seen = (seen + part.toString('latin1')).slice(-200);
  });
  stream.resume();
  while (!/\[console: \d+ bytes were skipped/.test(seen)) await once(stream, 'data');
  server.output(bytes('live again'));
  while (!seen.endsWith('live again')) await once(stream, 'data');
  await server.close();
});

test('after the end watchers get end of file, and later ones the scrollback with end of file', async () => {
  const { server, socket } = await makeConsole();
  server.output(bytes('last words'));
  const early = await watch(socket);
  await early.until('last words');
  server.end();
  await early.closed;
  const late = await watch(socket);
  await late.closed;
  assert.equal(late.seen(), 'last words');
  await server.close();
});

test("the end of a watcher's input leaves it watching", async () => {
  const { server, socket, typed } = await makeConsole();
  const { stream } = await watch(socket);
  stream.end('typed');
  while (typed.join('') !== 'typed') await new Promise(setImmediate);
  server.output(bytes('answer'));
  const [chunk] = await once(stream, 'data');
  assert.equal(String(chunk), 'answer');
  await server.close();
});

test('the scrollback keeps the last bytes, whatever sizes they came in', () => {
  let seed = 3;
  const random = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  const ring = new Scrollback(64);
  let model = '';
  for (let i = 0; i < 500; i++) {
    const text = Array.from({ length: random(i % 7 === 0 ? 200 : 20) }, () =>
      String.fromCharCode(97 + random(26)),
    ).join('');
    ring.push(bytes(text));
    model = (model + text).slice(-64);
    assert.equal(new TextDecoder().decode(ring.contents()), model, `seed 3, round ${i}`);
  }
});

test('one types, the others are told who, and the pen goes to who has waited longest', async () => {
  const { server, socket, typed } = await makeConsole();
  const terminal = { columns: 80, rows: 25 };
  const first = await watch(socket, { who: 'ann', size: terminal });
  const looker = await watch(socket, { who: 'eve', mode: 'watch', size: terminal });
  const second = await watch(socket, { who: 'bob', size: terminal });
  const third = await watch(socket, { who: 'cid', size: terminal });
  assert.deepEqual(first.welcome, { session: 1, writes: true, writer: 'ann' });
  assert.deepEqual([second.welcome.writes, second.welcome.writer], [false, 'ann']);
  await second.until('[console: ann types; you are watching (xm console -f takes over)]');
  second.stream.write('lost');
  looker.stream.write('lost too');
  first.stream.write('hello');
  while (typed.join('') !== 'hello') await turns(1);
  assert.equal(server.status().writer, 'ann');
  assert.equal(server.status().attached, 4);
  first.stream.destroy();
  await second.until('[console: ann types no more: now what you type goes to the guest]');
  second.stream.write(' from bob');
  while (typed.join('') !== 'hello from bob') await turns(1);
  second.stream.destroy();
  await third.until('bob types no more');
  third.stream.destroy();
  while (server.status().writer !== undefined) await turns(1);
  assert.doesNotMatch(looker.seen(), /console:/);
  assert.deepEqual(typed.join(''), 'hello from bob');
  await server.close();
});

test('taking over makes the one who typed a watcher, who is told, and gets the pen back afterwards', async () => {
  const { server, socket, typed } = await makeConsole();
  const terminal = { columns: 80, rows: 25 };
  const first = await watch(socket, { who: 'ann', size: terminal });
  const second = await watch(socket, { who: 'bob', mode: 'force', size: terminal });
  assert.equal(second.welcome.writes, true);
  await first.until('[console: bob has taken over; you are watching]');
  first.stream.write('not taken');
  second.stream.write('taken');
  while (typed.join('') !== 'taken') await turns(1);
  second.stream.end();
  await first.until('bob types no more');
  first.stream.write(' again');
  while (typed.join('') !== 'taken again') await turns(1);
  await server.close();
});

test('what a program sends while somebody types waits for its turn and is not lost', async () => {
  const { server, socket, typed } = await makeConsole();
  const person = await watch(socket, { who: 'ann', size: { columns: 80, rows: 25 } });
  const program = await watch(socket, { who: 'script' });
  const text = 'line\n'.repeat(50_000);
  program.stream.end(text);
  await program.until('what you send waits');
  await turns();
  assert.equal(typed.join(''), '');
  person.stream.destroy();
  while (typed.join('').length < text.length) await turns(1);
  assert.equal(typed.join(''), text);
  await server.close();
});

test('the size of the terminal that types reaches the guest, also when it changes or another takes over', async () => {
  const { server, socket, sizes } = await makeConsole();
  const first = await watch(socket, { who: 'ann', size: { columns: 80, rows: 25 } });
  first.resize({ columns: 132, rows: 50 });
  while (sizes.length < 2) await turns(1);
  const second = await watch(socket, { who: 'bob', size: { columns: 40, rows: 10 } });
  second.resize({ columns: 41, rows: 11 });
  second.resize({ columns: 0, rows: 1e9 });
  await turns();
  assert.deepEqual(server.size, { columns: 132, rows: 50 });
  first.stream.destroy();
  while (server.size?.columns !== 41) await turns(1);
  assert.deepEqual(sizes.at(-1), { columns: 41, rows: 11 });
  await server.close();
});

test('a connection that says nothing, or nonsense, or too much in its first line, is no watcher', async () => {
  const { server, socket } = await makeConsole();
  const silent = net.connect(socket);
  await once(silent, 'connect');
  for (const line of [
    'hello\n',
    '{}\n',
    'null\n',
    '{"mode":"own","who":"x"}\n',
    '{"resize":99,"size":{"columns":1,"rows":1}}\n',
  ]) {
    const stream = reader(net.connect(socket));
    stream.stream.write(line);
    await once(stream.stream, 'close');
    assert.doesNotMatch(stream.seen(), /session/);
  }
  const endless = net.connect(socket);
  endless.on('error', () => {});
  endless.write('x'.repeat(10_000));
  await once(endless, 'close');
  assert.equal(server.status().attached, 0);
  const named = await watch(socket, { who: 'evil\x1b[2J\n'.repeat(50) });
  assert.match(named.welcome.writer!, /^(evil\?\[2J\?)+/);
  assert.ok(named.welcome.writer!.length <= 80);
  await server.close();
});

test('who connects to the TCP port is attached like others, with plain bytes', { skip: notLinux }, async () => {
  const { server, socket, typed } = await makeConsole();
  await server.openPort(0, false);
  server.output(bytes('before '));
  const { port } = server.status();
  const telnet = reader(net.connect(port!, '127.0.0.1'));
  await telnet.until('before ');
  telnet.stream.write('typed');
  while (typed.join('') !== 'typed') await turns(1);
  assert.match(server.status().writer!, /^127\.0\.0\.1:\d+$/);
  const other = await watch(socket);
  assert.equal(other.welcome.writes, false);
  await server.close();
});

const ipv6 = Object.values(os.networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));
test('the console has the same port on the loopback address of IPv6', { skip: notLinux || !ipv6 }, async () => {
  const { server } = await makeConsole();
  await server.openPort(0, false);
  server.output(bytes('here too'));
  const telnet = reader(net.connect(server.status().port!, '::1'));
  await telnet.until('here too');
  assert.match(server.status().writer!, /^\[::1\]:\d+$/);
  await server.close();
});

test('a port in use: an error when it had to be that one, otherwise another port and a line in the log', {
  skip: notLinux,
}, async () => {
  const taken = net.createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as net.AddressInfo;
  const { server, logged } = await makeConsole();
  await assert.rejects(server.openPort(port, true), new RegExp(`^PortInUse: console port in use: ${port}$`));
  assert.equal(server.status().port, undefined);
  await server.openPort(port, false);
  assert.notEqual(server.status().port, port);
  assert.match(logged.join('\n'), new RegExp(`console port ${port} cannot be had`));
  taken.close();
  await server.close();
});

test('another user of the machine is sent away from the TCP port, unread and unserved', {
  skip: notLinux || (process.getuid?.() === 0 ? false : 'only root can be another user'),
}, async () => {
  const { server, typed, logged } = await makeConsole();
  await server.openPort(0, false);
  server.output(bytes('secret'));
  const program = `
    process.setgid(65534); process.setuid(65534);
    const socket = require('node:net').connect(${server.status().port}, '127.0.0.1');
    socket.write('typed');
    socket.on('data', (bytes) => process.stdout.write(bytes));
    socket.on('error', () => {});
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { cwd: '/' });
  assert.equal(stdout, 'this console belongs to another user\r\n');
  assert.deepEqual(typed, []);
  assert.equal(server.status().attached, 0);
  assert.match(logged.join('\n'), /user 65534 was sent away/);
  await server.close();
});
