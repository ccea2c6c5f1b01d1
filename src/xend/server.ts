/** Serves the rows of routes.ts over HTTP on a Unix socket. Refusals are `{ error: { code, text } }` with their status. */
import { type TObject, Type } from '@sinclair/typebox';
import fastify, { type FastifyInstance } from 'fastify';
import { XendError } from './errors.ts';
import { ROUTES, type Route } from './routes.ts';
import type { Xend } from './xend.ts';

const BODY_MAX = 4 << 20;

export function makeServer(xend: Xend): FastifyInstance {
  const app = fastify({
    bodyLimit: BODY_MAX,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 1024 },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true } },
  });
  for (const [name, row] of Object.entries(ROUTES) as [string, Route<never, unknown>][]) {
    const [method, url] = name.split(' ') as ['GET' | 'POST', string];
    const inPath = new Set([...url.matchAll(/:(\w+)/g)].map(([, key]) => key!));
    const all = Object.entries(row.input.properties as TObject['properties']);
    const part = (keep: (key: string) => boolean) =>
      Type.Object(Object.fromEntries(all.filter(([key]) => keep(key))), { additionalProperties: false });
    const rest = part((key) => !inPath.has(key));
    const hasRest = Object.keys(rest.properties).length > 0;
    app.route({
      method,
      url,
      schema: {
        summary: row.summary,
        params: part((key) => inPath.has(key)),
        ...(method === 'GET' ? { querystring: rest } : hasRest ? { body: rest } : {}),
      },
      handler: async ({ params, query, body }) =>
        row.run(xend, { ...(params as object), ...((method === 'GET' ? query : body) as object) } as never),
    });
  }
  app.setNotFoundHandler((request, reply) =>
    reply.status(404).send({ error: { code: 'bad-request', text: `xend has no ${request.method} ${request.url}` } }),
  );
  app.setErrorHandler((error: Error & { statusCode?: number; validation?: unknown }, _request, reply) => {
    if (error instanceof XendError) {
      return reply.status(error.status).send({ error: { code: error.code, text: error.message } });
    }
    const status = error.statusCode ?? 500;
    if (status < 500) return reply.status(status).send({ error: { code: 'bad-request', text: error.message } });
    xend.ports.log.write('ERROR', 'server', error.stack ?? error.message);
    const internal = new XendError('internal', `${error.message} (details are in ${xend.ports.log.file})`);
    return reply.status(500).send({ error: { code: internal.code, text: internal.message } });
  });
  return app;
}
