/**
 * The API as an OpenAPI 3.1 document, made from the rows of routes.ts, and what those rows do not have: the two WebSockets,
 * the metrics and xend's old interface.
 */
import { ERRORS } from '../errors.ts';
import { ROUTES, type Route, VERSION } from '../routes.ts';

type Json = Record<string, unknown>;

const json = (schema: unknown): Json => ({ content: { 'application/json': { schema } } });
const plain = (description: string, type = 'text/plain'): Json => ({
  200: { description, content: { [type]: { schema: { type: 'string' } } } },
});

const ERROR_SCHEMA = {
  type: 'object',
  description: 'A refusal: nothing has changed, or everything was undone.',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'text'],
      properties: {
        code: { type: 'string', enum: Object.keys(ERRORS) },
        text: { type: 'string', description: 'one line for people' },
      },
    },
  },
};

export const SECURITY = {
  token: {
    type: 'http',
    scheme: 'bearer',
    description:
      "Over TCP: the token in xend's token file. Not needed on the Unix socket, nor on loopback by processes of xend's own user.",
  },
};

/** What is served beside the routes. */
const BESIDE: Json = {
  '/events/stream': {
    get: {
      summary: 'Events as they happen: a WebSocket, one JSON event a text message',
      description:
        'Begins with the events after `since` (without it: with the next). When some of those are kept no more, the first message is {"gap": true, "first": N}.',
      parameters: [query('since', { type: 'integer', minimum: 0 })],
      responses: { 101: { description: 'the WebSocket is open' } },
    },
  },
  '/domains/{name}/console/stream': {
    get: {
      summary: "A domain's console: a WebSocket of bytes in binary messages",
      description:
        'First a text message about the connection: {"session", "writes", "writer"}. Then what was printed before, and what is printed. Binary messages to xend are typed, text messages {"columns", "rows"} tell the size of a terminal. Of those that write one types at a time: the first, or who came with force.',
      parameters: [
        inPath('name', { type: 'string' }),
        query('mode', { type: 'string', enum: ['watch', 'write', 'force'], default: 'watch' }),
      ],
      responses: { 101: { description: 'the WebSocket is open' }, default: { $ref: '#/components/responses/Refusal' } },
    },
  },
  '/domains/{name}/agent/stream': {
    get: {
      summary: "Commands in a domain's guest: a WebSocket of bytes, one command each",
      description:
        'A line of JSON with the request, then messages of a type (u8), a length (u32, big-endian) and that many bytes: as on the socket that GET /domains/{name}/agent names.',
      parameters: [inPath('name', { type: 'string' })],
      responses: { 101: { description: 'the WebSocket is open' }, default: { $ref: '#/components/responses/Refusal' } },
    },
  },
  '/metrics': {
    get: { summary: "Metrics in Prometheus' text format", responses: plain('metrics', 'text/plain; version=0.0.4') },
  },
  '/openapi.json': { get: { summary: 'This document', responses: { 200: { description: 'it', ...json({}) } } } },
  '/docs': { get: { summary: 'This document as a page', responses: plain('the page', 'text/html') } },
};

function query(name: string, schema: unknown): Json {
  return { name, in: 'query', schema };
}

function inPath(name: string, schema: unknown): Json {
  return { name, in: 'path', required: true, schema };
}

export function openApi(): Json {
  const schemas: Json = { Error: ERROR_SCHEMA };
  const paths: Record<string, Json> = {};
  for (const [name, row] of Object.entries(ROUTES) as [string, Route<never, unknown>][]) {
    const [method, template] = name.split(' ') as ['GET' | 'POST', string];
    const path = template.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [method.toLowerCase()]: operation(method, template, row, schemas) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'xend',
      version: VERSION,
      description:
        "Domus' daemon: domains on this machine. On the Unix socket RUN/xend.sock, and on TCP where xend-config.sxp says so.",
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{}, { token: [] }],
    paths: { ...paths, ...BESIDE },
    components: {
      schemas,
      securitySchemes: SECURITY,
      responses: { Refusal: { description: 'refused', ...json({ $ref: '#/components/schemas/Error' }) } },
    },
  };
}

function operation(method: string, template: string, row: Route<never, unknown>, schemas: Json): Json {
  const pathNames = new Set([...template.matchAll(/:(\w+)/g)].map(([, key]) => key!));
  const required = new Set(row.input.required ?? []);
  const properties = Object.entries(row.input.properties).map(
    ([key, schema]) => [key, shared(schema, schemas)] as const,
  );
  const rest = properties.filter(([key]) => !pathNames.has(key));
  const parameters = properties
    .filter(([key]) => pathNames.has(key) || method === 'GET')
    .map(([key, schema]) =>
      pathNames.has(key) ? inPath(key, schema) : { ...query(key, schema), required: required.has(key) },
    );
  const body = method !== 'GET' && rest.length > 0;
  return {
    summary: row.summary,
    operationId: `${method} ${template}`.replace(/\W+/g, '_'),
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        required: true,
        ...json({
          type: 'object',
          properties: Object.fromEntries(rest),
          required: rest.map(([key]) => key).filter((key) => required.has(key)),
          additionalProperties: false,
        }),
      },
    }),
    responses: {
      200: { description: 'done', ...json(shared(row.reply, schemas)) },
      default: { $ref: '#/components/responses/Refusal' },
    },
  };
}

/** A schema as plain JSON. Those that have a name go into the components and are pointed at. */
function shared(schema: unknown, schemas: Json): unknown {
  if (Array.isArray(schema)) return schema.map((item) => shared(item, schemas));
  if (typeof schema !== 'object' || schema === null) return schema;
  const { $id, ...rest } = schema as Json & { $id?: string };
  const own = () => Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, shared(value, schemas)]));
  if ($id === undefined) return own();
  schemas[$id] ??= own();
  return { $ref: `#/components/schemas/${$id}` };
}
