/**
 * The sockets that xend serves HTTP on, and how far a client's patience with us may be stretched: a request that is too
 * large, half sent or slow costs its own connection and nothing else.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { type Door, type Refusal, refusal } from './gate.ts';

export interface Limits {
  readonly headerBytes: number;
  readonly headersMs: number;
  readonly requestMs: number;
  readonly idleMs: number;
  readonly connections: number;
  /** How often the first two times are looked at. */
  readonly checkMs: number;
}

export const LIMITS: Limits = {
  /** Request line and headers. */
  headerBytes: 16 << 10,
  /** A request's headers must be there by then, ... */
  headersMs: 10_000,
  /** ... all of it by then. */
  requestMs: 30_000,
  /** A connection on which nothing moves; longer than the longest wait that a request may ask for. */
  idleMs: 90_000,
  /** Connections at once, each listener for itself: strangers on TCP cannot shut out the owner's socket. */
  connections: 512,
  checkMs: 2_000,
};
/** What is under way when xend stops may take so long. */
const CLOSING_MS = 1_000;

export interface Tcp {
  readonly address: string;
  readonly port: number;
  readonly token: string;
  readonly tls?: { readonly cert: string; readonly key: string };
}

export interface Handlers {
  request(request: http.IncomingMessage, response: http.ServerResponse): void;
  /** A WebSocket is wanted. */
  upgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void;
}

export class Listeners {
  readonly #handlers: Handlers;
  readonly #limits: Limits;
  readonly #servers: http.Server[] = [];

  constructor(handlers: Handlers, limits: Limits = LIMITS) {
    this.#handlers = handlers;
    this.#limits = limits;
  }

  /** A socket for its owner alone. What another process left there is replaced, unless it still serves. */
  async unix(path: string): Promise<void> {
    await removeStale(path);
    const server = this.#server({ kind: 'unix' }, undefined);
    const folder = dirname(path);
    if (!existsSync(folder)) throw new Error(`${path}: there is no folder ${folder}`);
    await listening(server, { path });
    chmodSync(path, 0o600);
  }

  /** Resolves with the port. Beyond loopback a token would travel for everyone to read: only with TLS. */
  async tcp({ address, port, token, tls }: Tcp): Promise<number> {
    const loopback = isLoopback(address);
    if (!loopback && !tls) {
      throw new Error(
        `xend-address ${JSON.stringify(address)} is not of this machine alone: xend-tls-cert and xend-tls-key are needed`,
      );
    }
    const hosts = ['localhost', '127.0.0.1', '[::1]', address.toLowerCase()];
    const server = this.#server({ kind: 'tcp', loopback, hosts, token }, tls);
    try {
      await listening(server, { host: address || undefined, port });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new Error(
        code === 'EADDRINUSE'
          ? `xend-port ${port} is in use by another program`
          : `xend-address ${address}: ${message}`,
      );
    }
    return (server.address() as net.AddressInfo).port;
  }

  async close(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    const limit = setTimeout(() => {
      for (const server of this.#servers) server.closeAllConnections();
    }, CLOSING_MS);
    await Promise.all(closed);
    clearTimeout(limit);
  }

  #server(door: Door, tls: Tcp['tls']): http.Server {
    const options: http.ServerOptions = {
      maxHeaderSize: this.#limits.headerBytes,
      headersTimeout: this.#limits.headersMs,
      requestTimeout: this.#limits.requestMs,
      connectionsCheckingInterval: this.#limits.checkMs,
    };
    const serve: http.RequestListener = (request, response) => {
      const refused = refusal(request, door);
      if (refused) refuse(response, refused);
      else this.#handlers.request(request, response);
    };
    const server = tls ? https.createServer({ ...options, ...pemPair(tls) }, serve) : http.createServer(options, serve);
    server.maxConnections = this.#limits.connections;
    server.timeout = this.#limits.idleMs;
    server.on('upgrade', (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => {
      socket.on('error', () => socket.destroy());
      const refused = refusal(request, door);
      socket.setTimeout(0);
      if (refused) endWith(socket, refused.status, refused.text);
      else this.#handlers.upgrade(request, socket, head);
    });
    // Node would close the connection without a word.
    server.on('connect', (request: http.IncomingMessage, socket: net.Socket) => {
      socket.on('error', () => socket.destroy());
      const refused = refusal(request, door);
      endWith(socket, refused?.status ?? 404, refused?.text ?? `xend has no CONNECT ${request.url}`);
    });
    server.on('clientError', (error: NodeJS.ErrnoException, socket: net.Socket) => {
      if (error.code === 'ECONNRESET' || !socket.writable) return socket.destroy();
      const [status, text] = CLIENT_ERRORS[error.code ?? ''] ?? [400, 'this is not HTTP'];
      endWith(socket, status, text);
    });
    this.#servers.push(server);
    return server;
  }
}

/** Certificate and key, if they are that and belong together. Throws one line that names the setting and the file. */
function pemPair({ cert, key }: NonNullable<Tcp['tls']>): { cert: Buffer; key: Buffer } {
  const read = <T>(setting: string, file: string, as: (pem: Buffer) => T): { pem: Buffer; value: T } => {
    try {
      const pem = readFileSync(file);
      return { pem, value: as(pem) };
    } catch (error) {
      throw new Error(`${setting} ${file}: ${(error as Error).message}`);
    }
  };
  const certificate = read('xend-tls-cert', cert, (pem) => new X509Certificate(pem));
  const own = read('xend-tls-key', key, (pem) => createPrivateKey(pem));
  if (!certificate.value.checkPrivateKey(own.value))
    throw new Error(`xend-tls-key ${key}: it is not the key of the certificate in ${cert}`);
  return { cert: certificate.pem, key: own.pem };
}

const CLIENT_ERRORS: Readonly<Record<string, readonly [status: number, text: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'the headers are too long'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'the chunk extensions are too long'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request did not come to an end'],
};

export const errorBody = (code: string, text: string): string => JSON.stringify({ error: { code, text } });

function refuse(response: http.ServerResponse, { status, text }: Refusal): void {
  const body = errorBody('forbidden', text);
  // Whatever else the client is sending is not read.
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
    ...(status === 401 && { 'www-authenticate': 'Bearer' }),
  });
  response.end(body);
}

/** Answers on a bare connection, and ends it. */
export function endWith(socket: Duplex, status: number, text: string): void {
  const body = errorBody(status === 401 || status === 403 ? 'forbidden' : 'bad-request', text);
  socket.end(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
  // Who does not read the answer is not waited for.
  setTimeout(() => socket.destroy(), CLOSING_MS).unref();
}

function isLoopback(address: string): boolean {
  return address === 'localhost' || address === '::1' || (net.isIPv4(address) && address.startsWith('127.'));
}

function listening(server: http.Server, where: net.ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Take away a socket on which nobody answers. Anything else at that path is somebody's. */
async function removeStale(path: string): Promise<void> {
  if (!existsSync(path)) return;
  if (!statSync(path).isSocket()) throw new Error(`${path}: something that is not a socket is in the way`);
  const alive = await new Promise<boolean>((resolve) => {
    const probe = net.connect(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
  if (alive) throw new Error(`${path}: another process serves there`);
  rmSync(path, { force: true });
}
