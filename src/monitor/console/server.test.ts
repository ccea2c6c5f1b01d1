import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { ConsoleServer, Scrollback } from './console-server.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-console-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const bytes = (text: string) => new TextEncoder().encode(text);

let count = 0;
async function makeConsole(take: (typed: string) => number = (typed) => typed.length) {
  const name = `c${count++}`;
  const socket = path.join(dir, `${name}.sock`);
  const log = path.join(dir, `${name}.log`);
  const typed: string[] = [];
  const server = new ConsoleServer(log, {
    input(chunk) {
      const text = new TextDecoder().decode(chunk);
      const taken = take(text);
      if (taken > 0) typed.push(text.slice(0, taken));
      return taken;
    },
    log: () => {},
  });
  await server.listen(socket);
  return { server, socket, log, typed };
}

/** A watcher that keeps what it reads; `until` resolves when the wanted text is there. */
async function watch(socket: string) {
  const stream = net.connect(socket);
  await once(stream, 'connect');
  let seen = '';
  stream.on('data', (chunk) => {
    seen += chunk.toString();
  });
  return {
    stream,
    seen: () => seen,
    async until(text: string) {
      while (!seen.includes(text)) await once(stream, 'data');
    },
  };
}

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
  const stream = net.connect(socket);
  server.output(bytes('attached'));
  await once(stream, 'data');
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
  await once(early.stream, 'close');
  const late = await watch(socket);
  await once(late.stream, 'close');
  assert.equal(late.seen(), 'last words');
  await server.close();
});

test("the end of a watcher's input leaves it watching", async () => {
  const { server, socket, typed } = await makeConsole();
  const stream = net.connect({ path: socket, allowHalfOpen: true });
  await once(stream, 'connect');
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
