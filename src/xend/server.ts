/**
 * What xend answers over HTTP, whichever socket the request came by: the rows of routes.ts, the document and page about
 * them, metrics, and the old interface. Refusals are `{ error: { code, text } }` with their status.
 */
import { type TObject, Type } from '@sinclair/typebox';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { unforeseen, XendError } from './errors.ts';
import { docsPage } from './http/docs-page.ts';
import { families, render } from './http/metrics.ts';
import { openApi } from './http/openapi.ts';
import { oldInterface } from './http/sxp-plugin.ts';
import { ROUTES, type Route } from './routes.ts';
import type { Xend } from './xend.ts';

const BODY_MAX = 4 << 20;

/** `streams` tells how many WebSockets are open. */
export function makeServer(xend: Xend, streams: () => number = () => 0): FastifyInstance {
  const app = fastify({
    bodyLimit: BODY_MAX,
    routerOptions: { maxParamLength: 1024 },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true } },
    frameworkErrors: ({ statusCode = 400, message }, _request, reply) =>
      void (reply as FastifyReply).status(statusCode).send({ error: { code: 'bad-request', text: message } }),
  });
  for (const [name, row] of Object.entries(ROUTES) as [string, Route<never, unknown>][]) addRow(app, xend, name, row);
  addBeside(app, xend, streams);
  void app.register(oldInterface(xend));
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
    const { code, status: told, message } = unforeseen(error, xend.ports.log.file);
    return reply.status(told).send({ error: { code, text: message } });
  });
  return app;
}

function addRow(app: FastifyInstance, xend: Xend, name: string, row: Route<never, unknown>): void {
  const [method, url] = name.split(' ') as ['GET' | 'POST', string];
  const inPath = new Set([...url.matchAll(/:(\w+)/g)].map(([, key]) => key!));
  const all = Object.entries(row.input.properties as TObject['properties']);
  const part = (keep: (key: string) => boolean) =>
    Type.Object(Object.fromEntries(all.filter(([key]) => keep(key))), { additionalProperties: false });
  const rest = part((key) => !inPath.has(key));
  app.route({
    method,
    url,
    schema: {
      summary: row.summary,
      params: part((key) => inPath.has(key)),
      ...(method === 'GET' ? { querystring: rest } : { body: rest }),
    },
    // Where nothing need be said, no body says so.
    preValidation: async (request) => {
      if (method === 'POST') request.body ??= {};
    },
    handler: async ({ params, query, body }) =>
      row.run(xend, { ...((method === 'GET' ? query : body) as object), ...(params as object) } as never),
  });
}

function addBeside(app: FastifyInstance, xend: Xend, streams: () => number): void {
  const requests = new Map<string, number>();
  app.addHook('onResponse', async ({ method, routeOptions }, { statusCode }) => {
    const key = `${method} ${routeOptions.url ?? 'none'} ${statusCode}`;
    requests.set(key, (requests.get(key) ?? 0) + 1);
  });
  app.get('/openapi.json', async () => openApi());
  app.get('/docs', async (_request, reply) =>
    reply
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .type('text/html; charset=utf-8')
      .send(docsPage()),
  );
  app.get('/metrics', async (_request, reply) => {
    const { log, events } = xend.ports;
    const observed = {
      domains: await xend.list(),
      node: xend.node(),
      events: events.last,
      logLines: log.counts,
      requests,
      streams: streams(),
    };
    return reply.type('text/plain; version=0.0.4; charset=utf-8').send(render(families(observed)));
  });
}
