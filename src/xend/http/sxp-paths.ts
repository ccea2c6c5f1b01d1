/**
 * The old interface below /xend (xm-xend 5.3, 5.4, 11.3): paths, `op=`, SXP. What the original answered with status 200 and
 * `(xend.err ...)` for a failure has a status of its own here; the body stays, and the reason phrase says the same.
 */
import { checkConfig } from '../../config/check.ts';
import { ConfigError } from '../../config/config-error.ts';
import { parseDisk } from '../../config/disk.ts';
import type { Disk } from '../../config/domain-config.ts';
import { consoleSxp, diskSxp, domainSxp } from '../../config/domain-sxp.ts';
import { classicFacts } from '../../config/node-facts.ts';
import { parseSxp, printCompact, type Sxp, SxpError } from '../../config/sxp.ts';
import { randomMacOf } from '../../config/vif.ts';
import { configFromSxp, vmSxp } from '../../config/vm-sxp.ts';
import { XendError } from '../errors.ts';
import type { NodeInfo } from '../node-info.ts';
import type { DomainView } from '../view.ts';
import type { Xend } from '../xend.ts';

/** An old client's request. `path` is what comes after /xend/, decoded, without a slash at its end. */
export interface OldRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly params: Params;
}
export interface OldAnswer {
  readonly status: number;
  readonly body: string;
  readonly type: 'application/sxp' | 'text/plain';
  /** After the status number: what clients of old show for an error. */
  readonly reason?: string;
  readonly location?: string;
}

const sxp = (value: Sxp, status = 200, more: Partial<OldAnswer> = {}): OldAnswer => ({
  status,
  body: `${printCompact(value)}\n`,
  type: 'application/sxp',
  ...more,
});
const text = (body: string): OldAnswer => ({ status: 200, body, type: 'text/plain' });
const OK = sxp(0);

/** Parameters of a query or a form. */
export class Params {
  readonly #values: URLSearchParams;

  constructor(values: URLSearchParams) {
    this.#values = values;
  }

  optional(key: string): string | undefined {
    const values = this.#values.getAll(key);
    if (values.length > 1) throw new XendError('bad-request', `Too many values for ${key}`);
    return values[0];
  }

  one(key: string): string {
    const value = this.optional(key);
    if (value === undefined) throw new XendError('bad-request', `Missing parameter: ${key}`);
    return value;
  }

  whole(key: string): number {
    const value = this.one(key);
    if (!/^\d{1,9}$/.test(value)) throw new XendError('bad-request', `Invalid parameter: ${key}=${value.slice(0, 80)}`);
    return Number(value);
  }

  choice<T extends string>(key: string, words: readonly T[], usual?: T): T {
    const value = usual === undefined ? this.one(key) : (this.optional(key) ?? usual);
    const found = words.find((word) => word === value);
    if (found === undefined) throw new XendError('bad-request', `Invalid parameter: ${key}=${value.slice(0, 80)}`);
    return found;
  }
}

type Op = (xend: Xend, params: Params, name: string) => Promise<OldAnswer> | OldAnswer;

// biome-ignore format: a table
const NODE_OPS: Readonly<Record<string, Op>> = {
  shutdown:              () => OK, // As in the original: the machine is not ours to end.
  reboot:                () => OK,
};

const DMESG_OPS: Readonly<Record<string, Op>> = {
  clear(xend) {
    xend.ports.messages.clear();
    return OK;
  },
};

// biome-ignore format: a table
const DOMAIN_OPS: Readonly<Record<string, Op>> = {
  unpause:           async (xend, _, name) => { await xend.unpause(name); return OK; },
  pause:             async (xend, _, name) => { await xend.pause(name); return OK; },
  shutdown:          (xend, params, name) => shutdown(xend, params, name),
  destroy:           async (xend, params, name) => { await (params.choice('reason', ['halt', 'reboot'], 'halt') === 'halt' ? xend.destroy(name) : xend.controls.reset(name)); return OK; },
  rename:            async (xend, params, name) => { await xend.controls.rename(name, params.one('name')); return OK; },
  pincpu:            async (xend, params, name) => { await xend.controls.pin(name, vcpuIn(params), cpusIn(params)); return OK; },
  mem_target_set:    (xend, params, name) => { xend.controls.setMemory(name, params.whole('target')); return OK; },
  maxmem_set:        async (xend, params, name) => { await xend.controls.setMaxmem(name, params.whole('memory')); return OK; },
  set_vcpus:         (xend, params, name) => { xend.controls.setVcpus(name, params.whole('vcpus')); return OK; },
  send_sysrq:        async (xend, params, name) => { await xend.controls.sysrq(name, keyIn(params)); return OK; },
  device_create:     async (xend, params, name) => { await xend.disks.attach(name, diskIn(params)); return sxp(theOne(params.one('config'))); },
  device_destroy:    async (xend, params, name) => { params.choice('type', ['vbd']); await xend.disks.detach(name, params.one('idx'), false); return OK; },
  wait_for_devices:  async (xend, _, name) => { await xend.view(name); return OK; },
};

// biome-ignore format: a table
const CONSOLE_OPS: Readonly<Record<string, Op>> = {
  disconnect: async (xend, _, port) => { await xend.controls.disconnect(withConsole(await xend.list(), port).uuid); return OK; },
};

const COLLECTION_OPS: Readonly<Record<string, Op>> = {
  create: async (xend, params) => {
    const { config } = configFromSxp(theOne(params.one('config')), () => randomMacOf(Math.random));
    const domain = await xend.create(checkConfig(config));
    return sxp(domainSxp(domain), 201, { location: `/xend/domain/${encodeURIComponent(domain.name)}` });
  },
};

export async function answerOld(xend: Xend, request: OldRequest): Promise<OldAnswer> {
  try {
    return await dispatch(xend, request);
  } catch (error) {
    if (error instanceof SxpError || error instanceof ConfigError)
      return failure(new XendError('bad-config', error.message));
    if (error instanceof XendError) return failure(error);
    throw error;
  }
}

export function failure({ status, message }: XendError): OldAnswer {
  return sxp(['xend.err', message], status, { reason: message });
}

async function dispatch(xend: Xend, { method, path, params }: OldRequest): Promise<OldAnswer> {
  const at = path.indexOf('/');
  const [area, rest] = at < 0 ? [path, ''] : [path.slice(0, at), path.slice(at + 1)];
  const where = `${method} ${area}${rest === '' ? '' : '/…'}`;
  const perform = (ops: Readonly<Record<string, Op>>) => operation(ops, params)(xend, params, rest);
  switch (where) {
    case 'GET ':
      return sxp(['ls', 'node', 'domain', 'console', 'event', 'device', 'vnet']);
    case 'GET node':
      return sxp(nodeSxp(xend.node()));
    case 'GET node/…':
      if (rest === 'dmesg') return text(xend.ports.messages.text());
      if (rest === 'log') return text(xend.ports.log.text());
      break;
    case 'POST node':
      return perform(NODE_OPS);
    case 'POST node/…':
      if (rest !== 'dmesg') break;
      return perform(DMESG_OPS);
    case 'GET domain': {
      const domains = (await xend.list()).sort((a, b) => a.domid - b.domid);
      return sxp(params.optional('detail') === '1' ? domains.map(flatSxp) : domains.map(({ name }) => name));
    }
    case 'POST domain':
      return perform(COLLECTION_OPS);
    case 'GET domain/…':
      return domainPart(await xend.view(rest), params);
    case 'POST domain/…':
      return perform(DOMAIN_OPS);
    case 'GET console':
      return sxp((await xend.list()).flatMap(({ consolePort }) => consolePort ?? []));
    case 'GET console/…':
      return sxp(consoleOf(await xend.list(), rest));
    case 'POST console/…':
      return perform(CONSOLE_OPS);
    case 'GET vnet':
    case 'GET event':
    case 'GET device':
      return sxp([]);
  }
  if (method === 'POST') throw new XendError('not-implemented', params.optional('op') ?? '');
  throw new XendError('not-found', `no such thing: /xend/${path.slice(0, 200)}`);
}

/** 406 and 501 are the original's for these. */
function operation(ops: Readonly<Record<string, Op>>, params: Params): Op {
  let name: string;
  try {
    name = params.one('op');
  } catch (error) {
    throw Object.assign(error as XendError, { status: 406 });
  }
  const found = Object.hasOwn(ops, name) ? ops[name] : undefined;
  if (!found) throw new XendError('not-implemented', name.slice(0, 80));
  return found;
}

/** In 2.0 a SysRq key is a kind of shutdown. */
async function shutdown(xend: Xend, params: Params, name: string): Promise<OldAnswer> {
  const reason = params.choice('reason', ['poweroff', 'reboot', 'halt', 'sysrq']);
  if (reason === 'sysrq') await xend.controls.sysrq(name, keyIn(params));
  else await xend.shutdown(name, reason);
  return sxp(0, 202);
}

/** As a character code. */
function keyIn(params: Params): string {
  const key = String.fromCharCode(params.whole('key'));
  if (!/^[0-9a-zA-Z]$/.test(key)) throw new XendError('bad-request', `Invalid parameter: key=${params.one('key')}`);
  return key;
}

/** 2.0 pins the whole domain, its successors one vCPU. */
const vcpuIn = (params: Params): number | undefined =>
  params.optional('vcpu') === undefined ? undefined : params.whole('vcpu');

/** -1 is any. */
const cpusIn = (params: Params): number[] => (params.one('cpu') === '-1' ? [] : [params.whole('cpu')]);

/** The disk in (vbd (uname U) (dev D) (mode M)). */
function diskIn(params: Params): Disk {
  const form = theOne(params.one('config'));
  const rows = Array.isArray(form) ? (form as readonly Sxp[]) : [];
  if (rows[0] !== 'vbd') throw new XendError('not-implemented', `device_create of ${printCompact(form).slice(0, 40)}`);
  const of = (key: string, usual = '') => {
    const row = rows.find((item) => headOf(item) === key) as readonly Sxp[] | undefined;
    return String(row?.[1] ?? usual);
  };
  return parseDisk(`${of('uname')},${of('dev')},${of('mode', 'r')}`, '/');
}

function theOne(source: string): Sxp {
  const forms = parseSxp(source);
  if (forms.length !== 1) throw new XendError('bad-config', `one (vm ...) is wanted, not ${forms.length}`);
  return forms[0]!;
}

/** Names of 2.0, then those that its successors' clients look for. */
function nodeSxp(node: NodeInfo): Sxp {
  return [
    'node',
    ...classicFacts(node),
    ['nr_cpus', node.cores],
    ['nr_nodes', 1],
    ['sockets_per_node', 1],
    ['cores_per_socket', node.cores],
    ['threads_per_core', node.hyperthreadsPerCore],
    ['total_memory', node.memoryMiB],
    ['xend_config_format', 4],
  ];
}

/** The layout of 3.x, for `detail=1`: what is inside (config (vm ...)) in 2.0 stands beside the rest. */
function flatSxp(domain: DomainView): Sxp {
  const own = (domainSxp(domain) as Sxp[]).slice(1).filter((row) => !['devices', 'config'].includes(headOf(row)));
  const known = new Set(own.map(headOf));
  const vm = domain.config ? (vmSxp(domain.config) as Sxp[]).slice(1).filter((row) => !known.has(headOf(row))) : [];
  return ['domain', ['domid', domain.domid], ...own, ...vm];
}

const headOf = (row: Sxp): string => (Array.isArray(row) ? String(row[0]) : '');

function domainPart(domain: DomainView, params: Params): OldAnswer {
  const op = params.optional('op');
  if (op === undefined) return sxp(params.optional('detail') === '1' ? flatSxp(domain) : domainSxp(domain));
  const kind = /^(vbd|vif)s?$/.exec(op)?.[1];
  if (!kind) throw new XendError('not-implemented', op.slice(0, 80));
  const devices = kind === 'vbd' ? (domain.config?.disks ?? []).map(diskSxp) : vifs(domain);
  if (op === `${kind}s`) return sxp(devices);
  const found = devices[Number(params.one(kind))];
  if (found === undefined) throw new XendError('not-found', `invalid ${kind}:${params.one(kind).slice(0, 80)}`);
  return sxp(found);
}

function vifs({ config }: DomainView): Sxp[] {
  return ((config ? vmSxp(config) : []) as Sxp[])
    .filter((row) => headOf(row) === 'device')
    .map((row) => (row as readonly Sxp[])[1]!)
    .filter((device) => headOf(device) === 'vif')
    .map((device, idx): Sxp => ['vif', ['idx', idx], ...(device as readonly Sxp[]).slice(1)]);
}

const consoleOf = (domains: readonly DomainView[], port: string): Sxp => consoleSxp(withConsole(domains, port))[0]!;

function withConsole(domains: readonly DomainView[], port: string): DomainView {
  const domain = domains.find(({ consolePort }) => consolePort !== undefined && String(consolePort) === port);
  if (!domain) throw new XendError('not-found', `invalid console:${port.slice(0, 80)}`);
  return domain;
}
