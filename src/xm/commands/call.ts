/** `xm call`, xm-xend 1.3: one function of Xen 2.0's client, by its name, on the old interface of xend (5.4). */
import type * as Http from 'node:http';
import { parseSxp, printPretty, SxpError } from '../../config/sxp.ts';
import { apiSocket } from '../../host/paths.ts';
import { type Context, command, UserError } from '../command.ts';

interface Row {
  readonly method: 'GET' | 'POST';
  /** Below /xend; :1 and the like stand for the arguments that are in the path. */
  readonly path: string;
  readonly op?: string;
  /** Names of the arguments, those of the path first. */
  readonly args: readonly string[];
}
const row = (method: Row['method'], path: string, args = '', op?: string): Row => ({
  method,
  path,
  args: args.split(' ').filter(Boolean),
  ...(op ? { op } : {}),
});

/** By their names without `xend_`. */
// biome-ignore format: a table
const FUNCTIONS: Readonly<Record<string, Row>> = {
  '':                       row('GET',  '/'),
  node:                     row('GET',  '/node'),
  node_shutdown:            row('POST', '/node',            '',                     'shutdown'),
  node_restart:             row('POST', '/node',            '',                     'reboot'),
  node_dmesg:               row('GET',  '/node/dmesg'),
  node_clear_dmesg:         row('POST', '/node/dmesg',      '',                     'clear'),
  node_log:                 row('GET',  '/node/log'),
  domains:                  row('GET',  '/domain/'),
  domain_create:            row('POST', '/domain',          'config',               'create'),
  domain_restore:           row('POST', '/domain',          'file',                 'restore'),
  domain:                   row('GET',  '/domain/:1',       'id'),
  domain_unpause:           row('POST', '/domain/:1',       'id',                   'unpause'),
  domain_pause:             row('POST', '/domain/:1',       'id',                   'pause'),
  domain_shutdown:          row('POST', '/domain/:1',       'id reason',            'shutdown'),
  domain_destroy:           row('POST', '/domain/:1',       'id reason',            'destroy'),
  domain_save:              row('POST', '/domain/:1',       'id file',              'save'),
  domain_migrate:           row('POST', '/domain/:1',       'id destination live',  'migrate'),
  domain_pincpu:            row('POST', '/domain/:1',       'id cpu',               'pincpu'),
  domain_maxmem_set:        row('POST', '/domain/:1',       'id memory',            'maxmem_set'),
  domain_mem_target_set:    row('POST', '/domain/:1',       'id target',            'mem_target_set'),
  domain_vifs:              row('GET',  '/domain/:1',       'id',                   'vifs'),
  domain_vif:               row('GET',  '/domain/:1',       'id vif',               'vif'),
  domain_vbds:              row('GET',  '/domain/:1',       'id',                   'vbds'),
  domain_vbd:               row('GET',  '/domain/:1',       'id vbd',               'vbd'),
  domain_device_create:     row('POST', '/domain/:1',       'id config',            'device_create'),
  domain_device_destroy:    row('POST', '/domain/:1',       'id type idx',          'device_destroy'),
  consoles:                 row('GET',  '/console/'),
  console:                  row('GET',  '/console/:1',      'port'),
  vnets:                    row('GET',  '/vnet/'),
};

interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly type: string;
  readonly body: string;
}

function ask(where: Http.RequestOptions, method: string, path: string, form: string | undefined): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' };
    const request = process
      .getBuiltinModule('node:http')
      .request({ ...where, method, path, headers, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode: status = 0, statusMessage: reason = '', headers: told } = response;
          resolve({ status, reason, type: told['content-type'] ?? '', body });
        });
      });
    request.on('error', reject);
    request.end(form);
  });
}

/** The request that a function and its arguments mean. */
function requestOf(name: string, values: readonly string[]): [method: string, path: string, form: string | undefined] {
  const short = name.replace(/^xend_?/, '');
  const found = Object.hasOwn(FUNCTIONS, short) ? FUNCTIONS[short] : undefined;
  if (!found)
    throw new UserError(`call: no function ${name}; there are ${Object.keys(FUNCTIONS).filter(Boolean).join(', ')}`);
  if (values.length !== found.args.length)
    throw new UserError(`call: ${name} takes ${found.args.length === 0 ? 'no arguments' : found.args.join(', ')}`);
  const fields = new URLSearchParams();
  let { path } = found;
  for (const [i, value] of values.entries()) {
    if (path.includes(`:${i + 1}`)) path = path.replace(`:${i + 1}`, encodeURIComponent(value));
    else fields.append(found.args[i]!, value);
  }
  if (found.op === 'shutdown') fields.append('key', '0');
  if (found.op) fields.append('op', found.op);
  if (found.method === 'POST') return ['POST', `/xend${path}`, fields.toString()];
  return ['GET', `/xend${path}${found.op ? `?${fields}` : ''}`, undefined];
}

function serverOf({ flags, paths }: Context): Http.RequestOptions {
  if (flags.xend === undefined) return { socketPath: apiSocket(paths) };
  const [, host, port] = /^(?:\[?(.+?)\]?:)(\d+)$/.exec(String(flags.xend)) ?? [];
  if (!host || Number(port) > 65535) throw new UserError(`call: Invalid value: ${flags.xend}: --xend is HOST:PORT`);
  return { host, port: Number(port) };
}

export const call = command({
  name: 'call',
  group: 'general',
  params: ['FUNCTION', '[VALUE...]'],
  summary: "Call a function of Xen 2.0's client library and print what xend answers",
  details: `
FUNCTION is a name such as domains, domain or xend_domain_pause; VALUEs are its arguments. What xend answers is printed as SXP,
or as it is when it is text; what it refuses is one line on standard output that begins with ERROR:, and exit code 1.`,
  options: {
    xend: { type: 'string', short: 'x', value: 'HOST:PORT', help: 'another xend than that of this machine' },
    async: {
      type: 'boolean',
      short: 'a',
      help: "by the original's other client, which waited in another way: no difference",
    },
    debug: { type: 'boolean', short: 'd', help: 'show on standard error what is asked, and the status of the answer' },
  },
  async run(context) {
    const [name, ...values] = context.args;
    const [method, target, form] = requestOf(name!, values);
    const trace = (text: string) => context.flags.debug && context.note(text);
    trace(`${method} ${target}${form === undefined ? '' : ` ${form}`}`);
    const { status, reason, type, body } = await ask(serverOf(context), method, target, form).catch((error) => {
      throw new UserError(`Error connecting to xend, is xend running? (${error.message})`);
    });
    trace(`${status} ${reason}`);
    if (status < 200 || status >= 300) {
      context.out(`ERROR: ${reason}\n`);
      return 1;
    }
    context.out(type.includes('sxp') ? pretty(body) : `${body}\n`);
    return 0;
  },
});

function pretty(body: string): string {
  try {
    return parseSxp(body).map(printPretty).join('');
  } catch (error) {
    if (error instanceof SxpError) return body;
    throw error;
  }
}
