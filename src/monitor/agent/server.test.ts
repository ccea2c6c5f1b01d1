/** The agent's socket as its clients have it: a client that goes away lets go of its command and of its disk. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { STREAM_START, type StreamDisk } from '../../devices/blk/stream-disk.ts';
import { AgentMessage, execInGuest, messageSplitter } from '../../host/agent-link.ts';
import { FrameReader, FrameType, makeFrame, u32 } from './frames.ts';
import { AgentLink } from './link.ts';
import { AgentServer } from './server.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-agent-server-'));
after(() => rmSync(dir, { recursive: true, force: true }));

/** A server whose guest is the test: what it was sent, by type, and the disks that are plugged in. */
async function scripted(name: string) {
  const waiting: { type: number; found: () => void }[] = [];
  const sent: { type: number; session: number }[] = [];
  const reader = new FrameReader();
  const link = new AgentLink({
    send(bytes) {
      reader.take(bytes, ({ type, session }) => {
        sent.push({ type, session });
        for (const one of waiting) if (one.type === type) one.found();
      });
      return bytes.length;
    },
    log: () => {},
  });
  link.receive(makeFrame(FrameType.Hello, 0, Uint8Array.of(1, 4, ...u32(16384))));
  const disks: StreamDisk[] = [];
  const plugged = Promise.withResolvers<StreamDisk>();
  const unplugged = Promise.withResolvers<void>();
  const server = new AgentServer(link, async (disk) => {
    disks.push(disk);
    plugged.resolve(disk);
    return { name: 'xvdz', unplug: async () => unplugged.resolve() };
  });
  const socket = path.join(dir, name);
  await server.listen(socket);
  after(() => server.close());
  return {
    socket,
    sent,
    plugged: plugged.promise,
    unplugged: unplugged.promise,
    frame: (type: number, payload?: Uint8Array) => link.receive(makeFrame(type, 1, payload)),
    /** Resolves when the guest has been sent one. */
    async until(type: number): Promise<void> {
      if (!sent.some((one) => one.type === type))
        await new Promise<void>((resolve) => waiting.push({ type, found: resolve }));
    },
  };
}
const nothing = { output() {}, errors() {} };

test('a client that ends its connection, or breaks it, lets go of its command: the guest is told', async () => {
  for (const way of ['close', 'abort', 'end'] as const) {
    const guest = await scripted(`${way}.sock`);
    if (way === 'end') {
      const client = net.connect(guest.socket);
      client.end('{"argv":["sleep"]}\n');
      client.resume();
    } else {
      const interrupt = new AbortController();
      const run = await execInGuest(guest.socket, { argv: ['sleep'] }, nothing, interrupt.signal);
      if (way === 'close') run.close();
      else interrupt.abort();
      await assert.rejects(run.exit, /^AgentError: /);
    }
    await guest.until(FrameType.Close);
  }
});

test('a command that has ended is not given up as well', async () => {
  const guest = await scripted('ended.sock');
  const run = await execInGuest(guest.socket, { argv: ['true'] }, nothing);
  guest.frame(FrameType.Exit, Uint8Array.of(3, 0));
  assert.deepEqual(await run.exit, { code: 3, signal: 0 });
  const again = await execInGuest(guest.socket, { argv: ['true'] }, nothing);
  again.close();
  await guest.until(FrameType.Close);
  assert.deepEqual(
    guest.sent.filter(({ type }) => type === FrameType.Close),
    [{ type: FrameType.Close, session: 2 }],
  );
});

test('a disk is unplugged when its client goes, and when its command has ended, whatever the client does', async () => {
  const left = await scripted('disk-left.sock');
  const run = await execInGuest(left.socket, { argv: ['dd'], bulk: 'in' }, nothing);
  assert.equal(run.disk, 'xvdz');
  run.close();
  await left.unplugged;

  const ended = await scripted('disk-ended.sock');
  const client = net.connect({ path: ended.socket, allowHalfOpen: true });
  client.write('{"argv":["dd"],"bulk":"in"}\n');
  await ended.until(FrameType.Exec);
  ended.frame(FrameType.Exit, Uint8Array.of(0, 0));
  await ended.unplugged;
  client.destroy();
});

test('a guest that writes faster than its client reads waits, however many requests it has under way', async () => {
  const guest = await scripted('slow.sock');
  const warned: Error[] = [];
  const note = (warning: Error) => void warned.push(warning);
  process.on('warning', note);
  const client = net.connect(guest.socket);
  client.write('{"argv":["dd"],"bulk":"out"}\n');
  const disk = await guest.plugged;
  await guest.until(FrameType.Exec);
  const piece = new Uint8Array(1 << 18).fill(7);
  let [written, done] = [0, 0];
  const writes = Array.from({ length: 40 }, (_, k) =>
    disk.write((STREAM_START + k * piece.length) / 512, [piece]).then(() => (done += piece.length)),
  );
  await once(client, 'readable');
  assert.ok(done < 40 * piece.length, 'the client has read nothing yet');
  const line = Promise.withResolvers<void>();
  const split = messageSplitter((type, bytes) => {
    if (type === AgentMessage.Output) written += bytes.length;
  });
  let head = true;
  client.on('data', (chunk: Buffer) => {
    const from = head ? chunk.indexOf('\n') + 1 : 0;
    head = false;
    split(chunk.subarray(from));
    if (written === 40 * piece.length) line.resolve();
  });
  await Promise.all([...writes, line.promise]);
  process.off('warning', note);
  client.destroy();
  assert.deepEqual(warned, []);
});
