/**
 * A monitor's socket that is on another machine, or behind xend's TCP port, as a socket here: each connection is carried by
 * a WebSocket of its own.
 */
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Target } from './client.ts';
import { openStream, type WebSocket } from './stream.ts';

export interface Tunnel {
  /** The socket here, for this user alone. */
  readonly path: string;
  close(): void;
}

/** `stream` is a path of xend's API. The tunnel does not keep the program running. */
export async function openTunnel(target: Target, stream: string): Promise<Tunnel> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'domus-tunnel-'));
  const here = path.join(folder, 'socket');
  const server = net.createServer({ allowHalfOpen: true }, (socket) => void carry(socket, target, stream));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  await new Promise<void>((resolve) => server.listen(here, resolve));
  server.unref();
  return {
    path: here,
    close() {
      server.close();
      process.off('exit', remove);
      remove();
    },
  };
}

async function carry(socket: net.Socket, target: Target, stream: string): Promise<void> {
  socket.on('error', () => socket.destroy());
  let far: WebSocket | undefined;
  try {
    far = await openStream(target, stream, {
      text() {},
      bytes(message) {
        if (!socket.write(message)) far?.pause();
      },
      closed: () => socket.end(),
    });
  } catch {
    socket.destroy(); // Whoever asked is told that the connection ended.
    return;
  }
  const open = far;
  socket.on('drain', () => open.resume());
  socket.on('data', (bytes) => {
    socket.pause();
    open.send(bytes, () => socket.resume());
  });
  socket.on('close', () => open.close());
  if (socket.destroyed) open.close();
}
