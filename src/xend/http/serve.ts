/** Opens xend's doors as its configuration says: the API's socket, the one of the old xend, TCP. */
import type { Paths } from '../../host/paths.ts';
import { apiSocket } from '../../host/paths.ts';
import { makeServer } from '../server.ts';
import type { Xend } from '../xend.ts';
import type { XendConfig } from '../xend-config.ts';
import { loadToken } from './gate.ts';
import { Listeners } from './listeners.ts';
import { Streams } from './streams.ts';

export interface Served {
  /** The TCP port, when there is one. */
  readonly port: number | undefined;
  close(): Promise<void>;
}

export async function serve(xend: Xend, config: XendConfig, paths: Paths): Promise<Served> {
  const log = (level: 'INFO' | 'WARNING', text: string) => xend.ports.log.write(level, 'server', text);
  const streams = new Streams(xend);
  const app = makeServer(xend, () => streams.clients);
  await app.ready();
  const listeners = new Listeners({
    request: (request, response) => app.routing(request, response),
    upgrade: (request, socket, head) => streams.upgrade(request, socket, head),
  });
  const close = async () => {
    streams.close();
    await listeners.close();
    await app.close();
  };
  try {
    await listeners.unix(apiSocket(paths));
    if (config['xend-unix-server']) await listeners.unix(config['xend-unix-path']);
    const port = config['xend-http-server'] ? await listenTcp(listeners, config) : undefined;
    if (port !== undefined) log('INFO', `serving on ${config['xend-address'] || 'every interface'}, TCP port ${port}`);
    return { port, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function listenTcp(listeners: Listeners, config: XendConfig): Promise<number> {
  const { 'xend-tls-cert': cert, 'xend-tls-key': key } = config;
  if ((cert === '') !== (key === '')) throw new Error('xend-tls-cert and xend-tls-key go together');
  return listeners.tcp({
    address: config['xend-address'],
    port: config['xend-port'],
    token: loadToken(config['xend-token-file']),
    ...(cert !== '' && { tls: { cert, key } }),
  });
}
