/** For tests: bytes to an HTTP server as no proper client would send them, and what comes back. */
import http from 'node:http';
import net from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export type Where = string | number;

const connect = (where: Where) => (typeof where === 'string' ? net.connect(where) : net.connect(where, '127.0.0.1'));

/** Send bytes, and return all that comes back until the server closes. `end`: close our side after them. */
export function exchange(where: Where, bytes: string | Uint8Array, { end = false } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(where);
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('close', () => resolve(text));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // Cut off while we were still sending: what came back counts.
      if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') reject(error);
    });
    socket.write(bytes);
    if (end) socket.end();
  });
}

export function parseAnswer(text: string): RawAnswer {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [first = '', ...lines] = head.split('\r\n');
  const [, status, reason] = /^HTTP\/1\.1 (\d{3}) (.*)$/.exec(first) ?? [];
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  return { status: Number(status), reason: reason ?? '', headers, body: rest.join('\r\n\r\n') };
}

/** One request as it stands, on a connection of its own. */
export async function ask(where: Where, request: string): Promise<RawAnswer> {
  return parseAnswer(await exchange(where, request));
}

/** An ordinary request. */
export function fetchRaw(where: Where, options: http.RequestOptions, body?: string): Promise<RawAnswer> {
  const target = typeof where === 'string' ? { socketPath: where } : { host: '127.0.0.1', port: where };
  return new Promise((resolve, reject) => {
    const request = http.request({ ...target, agent: false, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          reason: response.statusMessage ?? '',
          headers: response.headers as Record<string, string>,
          body: text,
        }),
      );
    });
    request.on('error', reject);
    request.end(body);
  });
}
