/** Brings the old interface (sxp-paths.ts) onto the server: forms in, SXP out, messages in the reason phrase. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { unforeseen, XendError } from '../errors.ts';
import type { Xend } from '../xend.ts';
import { answerOld, failure, type OldAnswer, Params } from './sxp-paths.ts';

export function oldInterface(xend: Xend) {
  return async (app: FastifyInstance): Promise<void> => {
    // Whatever the client calls its body, it is a form.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
      const status = error.statusCode ?? 500;
      if (status >= 500) xend.ports.log.write('ERROR', 'server', error.stack ?? error.message);
      const known =
        status >= 500 ? unforeseen(error, xend.ports.log.file) : new XendError('bad-request', error.message);
      return send(reply, { ...failure(known), status: status >= 500 ? known.status : status });
    });
    app.route({
      method: ['GET', 'POST'],
      url: '/xend/*',
      handler: async (request, reply) => {
        const params = await paramsOf(request);
        const path = (request.params as { '*': string })['*'].replace(/\/+$/, '');
        return send(reply, await answerOld(xend, { method: request.method as 'GET' | 'POST', path, params }));
      },
    });
  };
}

async function paramsOf({ method, raw, headers, body }: FastifyRequest): Promise<Params> {
  if (method === 'GET') return new Params(new URL(raw.url ?? '', 'http://xend').searchParams);
  const type = headers['content-type'] ?? '';
  const bytes = (body as Buffer | undefined) ?? Buffer.alloc(0);
  if (!/^multipart\/form-data/i.test(type)) return new Params(new URLSearchParams(bytes.toString('utf8')));
  try {
    const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': type } }).formData();
    const values = new URLSearchParams();
    for (const [key, value] of form) values.append(key, typeof value === 'string' ? value : await value.text());
    return new Params(values);
  } catch {
    throw Object.assign(new Error('the form is malformed'), { statusCode: 400 });
  }
}

function send(reply: FastifyReply, { status, body, type, reason, location }: OldAnswer): FastifyReply {
  // A reason phrase is one line of plain characters, whatever names are in it.
  if (reason !== undefined) reply.raw.statusMessage = reason.replace(/[^\x20-\x7e]/g, '?').slice(0, 400);
  if (location !== undefined) reply.header('location', location);
  return reply.status(status).type(type).send(body);
}
