/**
 * The typed client of xend's API: HTTP with JSON on a Unix socket. Its types are those of xend/routes.ts; at run time it
 * needs nothing of xend.
 */
import http from 'node:http';
import type { Input, Reply, RouteName } from '../xend/routes.ts';

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

export class XendClient {
  readonly socket: string;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

  constructor(socket: string) {
    this.socket = socket;
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
    this.#agent.destroy();
  }

  #request(method: string, path: string, body: string | undefined): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers =
        body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const request = http.request(
        { socketPath: this.socket, method, path, headers, agent: this.#agent },
        (response) => {
          response.setEncoding('utf8');
          let text = '';
          response.on('data', (chunk: string) => {
            text += chunk;
          });
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
          response.on('error', failed);
        },
      );
      const failed = (error: NodeJS.ErrnoException) => {
        const gone = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
        const why = gone ? `nobody listens on ${this.socket}` : `${error.message}`;
        reject(new ApiError('no-xend', 0, why));
      };
      request.on('error', failed);
      request.end(body);
    });
  }
}
