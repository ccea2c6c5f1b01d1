/**
 * The typed client of xend's API: HTTP with JSON, on a Unix socket or TCP. Its types are those of xend/routes.ts; at run
 * time it needs nothing of xend, and xm needs nothing of the SDK but this.
 */
import type * as Http from 'node:http';
import type { Input, Reply, RouteName } from '../xend/routes.ts';

/** Not imported: an import asks for all that the module exports, and its WebSocket alone takes 50 ms to load. */
const http = process.getBuiltinModule('node:http');

/** xend refused, or there is no xend. `code` is of xend/errors.ts, or 'no-xend'. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: string;
  readonly status: number;
  constructor(code: string, status: number, text: string) {
    super(text);
    this.code = code;
    this.status = status;
  }
}

/** Where a xend serves: the path of its socket, or a URL, with the token of its token file where that is needed. */
export type Target = string | { readonly url: string; readonly token?: string; readonly ca?: string };

export class XendClient {
  readonly target: Target;
  /** Connections that are kept for the next read. */
  readonly #kept: Http.Agent;
  /**
   * One connection for each change: xend may close a kept one just as we use it again, and then nobody knows whether the
   * change was made. A read asks again.
   */
  readonly #fresh: Http.Agent;
  readonly #where: Http.RequestOptions;
  readonly #start: typeof Http.request;

  constructor(target: Target) {
    this.target = target;
    let agent = (keepAlive: boolean): Http.Agent => new http.Agent({ keepAlive, maxSockets: 8 });
    this.#start = http.request;
    if (typeof target === 'string') {
      this.#where = { socketPath: target };
    } else {
      const url = new URL(target.url);
      const secure = url.protocol === 'https:';
      this.#where = {
        protocol: url.protocol,
        hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
        port: url.port || (secure ? 443 : 80),
        headers: target.token === undefined ? {} : { authorization: `Bearer ${target.token}` },
      };
      if (secure) {
        const https = process.getBuiltinModule('node:https');
        agent = (keepAlive) => new https.Agent({ keepAlive, maxSockets: 8, ca: target.ca });
        this.#start = https.request;
      }
    }
    this.#kept = agent(true);
    this.#fresh = agent(false);
  }

  async call<K extends RouteName>(route: K, input: Input<K>): Promise<Reply<K>> {
    const [method, template] = route.split(' ') as ['GET' | 'POST', string];
    const rest: Record<string, unknown> = { ...input };
    let path = template.replace(/:(\w+)/g, (_, key: string) => {
      const value = String(rest[key]);
      delete rest[key];
      return encodeURIComponent(value);
    });
    const query = Object.entries(rest).filter(([, value]) => value !== undefined);
    if (method === 'GET' && query.length > 0) {
      path += `?${new URLSearchParams(query.map(([key, value]) => [key, String(value)]))}`;
    }
    const body = method === 'POST' && query.length > 0 ? JSON.stringify(rest) : undefined;
    const { status, text } = await this.#request(method, path, body);
    let reply: unknown;
    try {
      reply = JSON.parse(text);
    } catch {
      throw new ApiError('internal', status, `xend answered with something that is not JSON (status ${status})`);
    }
    if (status >= 200 && status < 300) return reply as Reply<K>;
    const { error } = reply as { error?: { code: string; text: string } };
    throw new ApiError(error?.code ?? 'internal', status, error?.text ?? `xend answered with status ${status}`);
  }

  close(): void {
    this.#kept.destroy();
    this.#fresh.destroy();
  }

  #request(method: string, path: string, body: string | undefined): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const agent = method === 'GET' ? this.#kept : this.#fresh;
      const headers = {
        ...(this.#where.headers as Http.OutgoingHttpHeaders),
        ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      };
      const request = this.#start({ ...this.#where, method, path, headers, agent }, (response) => {
        response.setEncoding('utf8');
        let text = '';
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
        response.on('error', failed);
      });
      const failed = (error: NodeJS.ErrnoException) => {
        // xend closed the connection while nobody used it, and we had not noticed yet.
        if (request.reusedSocket && error.code === 'ECONNRESET') {
          resolve(this.#request(method, path, body));
          return;
        }
        const gone = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
        const where = typeof this.target === 'string' ? this.target : this.target.url;
        const why = gone ? `nobody listens on ${where}` : `${error.message}`;
        reject(new ApiError('no-xend', 0, why));
      };
      request.on('error', failed);
      request.end(body);
    });
  }
}
