/** xend's WebSockets from a client's side. Loaded only when one is opened: xm has no need of it. */
import net from 'node:net';
import { WebSocket } from 'ws';
import { ApiError, type Target } from './client.ts';

export type { WebSocket };

export interface StreamHandlers {
  text(message: string): void;
  bytes(message: Buffer): void;
  /** Not called when it never opened. */
  closed(reason: string): void;
}

/** Open one; resolves when it is open. Rejects with an ApiError: xend's refusal, or 'no-xend'. */
export function openStream(target: Target, path: string, handlers: StreamHandlers): Promise<WebSocket> {
  const socket = makeSocket(target, path);
  // Listened to from the beginning: several messages can come with the answer that opens it.
  socket.on('message', (data: Buffer, binary) => (binary ? handlers.bytes(data) : handlers.text(data.toString())));
  return new Promise((resolve, reject) => {
    socket.on('open', () => {
      socket.on('close', (_code, reason) => handlers.closed(String(reason)));
      resolve(socket);
    });
    socket.on('error', (error) => reject(new ApiError('no-xend', 0, error.message)));
    socket.on('unexpected-response', (_request, response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => reject(refusal(response.statusCode ?? 0, text)));
    });
  });
}

function makeSocket(target: Target, path: string): WebSocket {
  const options = { perMessageDeflate: false, maxPayload: 16 << 20 };
  if (typeof target === 'string')
    return new WebSocket(`ws://localhost${path}`, { ...options, createConnection: () => net.connect(target) });
  const { url, token, ca } = target;
  return new WebSocket(new URL(path, url.replace(/^http/, 'ws')), {
    ...options,
    ca,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
}

function refusal(status: number, body: string): ApiError {
  try {
    const { error } = JSON.parse(body) as { error: { code: string; text: string } };
    return new ApiError(error.code, status, error.text);
  } catch {
    return new ApiError('internal', status, `xend answered with status ${status}`);
  }
}
