/** The client's connections, against a server that closes them at the worst moment. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { XendClient } from './client.ts';

test('a connection that xend closes as it is used again costs neither a read nor a change', async () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-client-'));
  const asked: string[] = [];
  // Answers the first request of each connection, and closes it without a word at the second.
  const server = net.createServer((socket) => {
    let answered = false;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      if (answered) return socket.destroy();
      answered = true;
      asked.push(chunk.toString().split(' HTTP')[0]!);
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n{}');
    });
  });
  const file = path.join(dir, 'socket');
  await new Promise<void>((resolve) => server.listen(file, resolve));
  const client = new XendClient(file);
  try {
    await client.call('GET /node', {});
    await client.call('POST /domains/:name/destroy', { name: 'a' });
    await client.call('GET /node', {});
    await client.call('POST /domains/:name/destroy', { name: 'b' });
    assert.deepEqual(asked, ['GET /node', 'POST /domains/a/destroy', 'GET /node', 'POST /domains/b/destroy']);
  } finally {
    client.close();
    server.close();
    rmSync(dir, { recursive: true });
  }
});
