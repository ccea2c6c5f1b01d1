/** Finding a xend, or starting one. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { apiSocket, findPaths } from '../host/paths.ts';
import { ApiError, XendClient } from './client.ts';
import type { Domain } from './domain.ts';
import type { DomainInit } from './domain-init.ts';
import { Host } from './host.ts';

export interface ConnectOptions {
  /** The folder that DOMUS_HOME would name. */
  readonly home?: string;
  /** The path of a xend's socket. */
  readonly socket?: string;
  /** A xend on TCP: http://localhost:8000, or https:// and a token for one elsewhere. */
  readonly url?: string;
  readonly token?: string;
  /** The file with the token. */
  readonly tokenFile?: string;
  /** The certificate of whoever signed that xend's, PEM. */
  readonly ca?: string;
  /** Start a xend when none runs; it is stopped with the connection, and its domains run on. */
  readonly start?: boolean;
  /** A xend of one's own in a new folder: all of it, domains as well, is gone when the connection is closed. */
  readonly temporary?: boolean;
}

const MAIN = fileURLToPath(new URL('../../bin/xend', import.meta.url));

/** Rejects with an ApiError 'no-xend' when there is none. */
export async function connect(options: ConnectOptions = {}): Promise<Host> {
  const { url, socket, start = false, temporary = false } = options;
  if (url !== undefined) {
    const token = options.token ?? (options.tokenFile && readFileSync(options.tokenFile, 'utf8').trim());
    return reached(new Host(new XendClient({ url, ...(token && { token }), ...(options.ca && { ca: options.ca }) })));
  }
  if (temporary) return temporaryHost();
  const home = options.home ?? process.env.DOMUS_HOME;
  const paths = findPaths({ ...process.env, DOMUS_HOME: home });
  const client = new XendClient(socket ?? apiSocket(paths));
  try {
    return await reached(new Host(client));
  } catch (error) {
    if (!start || !(error instanceof ApiError) || error.code !== 'no-xend') throw error;
  }
  await xend(['start'], home);
  return new Host(new XendClient(apiSocket(paths)), () => xend(['stop'], home));
}

/**
 * Make a domain and start it, on the xend that runs here or on one that is started for it. With `await using` the domain is
 * ended at the end of the block, and so is a xend that was started.
 */
export async function createDomain(init: DomainInit, options: ConnectOptions = {}): Promise<Domain> {
  const host = await connect({ start: true, ...options });
  const release = async () => {
    try {
      await init.release?.();
    } finally {
      await host.close();
    }
  };
  return host.create({ ...init, release });
}

async function reached(host: Host): Promise<Host> {
  try {
    await host.call('GET /xend', {});
    return host;
  } catch (error) {
    await host.close();
    throw error;
  }
}

async function temporaryHost(): Promise<Host> {
  const home = await mkdtemp(path.join(os.tmpdir(), 'domus-'));
  const client = new XendClient(apiSocket(findPaths({ DOMUS_HOME: home })));
  const stop = async () => {
    try {
      const domains = (await client.call('GET /domains', {})).filter(({ domid }) => domid !== 0);
      await Promise.all(domains.map(({ uuid }) => client.call('POST /domains/:name/destroy', { name: uuid })));
    } finally {
      await xend(['stop'], home);
      await rm(home, { recursive: true, force: true });
    }
  };
  try {
    await xend(['start'], home);
  } catch (error) {
    await rm(home, { recursive: true, force: true });
    throw error;
  }
  return new Host(client, stop);
}

/** Run the command `xend`; rejects with what it said. */
function xend(args: readonly string[], home: string | undefined): Promise<void> {
  if (!existsSync(MAIN)) throw new ApiError('no-xend', 0, `there is no ${MAIN}`);
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...(home !== undefined && { DOMUS_HOME: home }) };
    const child = spawn(MAIN, [...args], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.on('error', reject);
    // "exit", not "close": a daemon may hold our pipe.
    child.on('exit', (code) => {
      child.stderr.destroy();
      if (code === 0) resolve();
      else reject(new ApiError('no-xend', 0, said.trim() || `xend ${args.join(' ')} failed with exit code ${code}`));
    });
  });
}
