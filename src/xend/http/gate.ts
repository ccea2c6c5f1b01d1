/**
 * Who may come in, and on whose behalf. On a Unix socket the file's mode has decided. On TCP a client shows the token, or
 * is, on loopback, a process of the same user or of root. A browser is an honest process of the right user that obeys
 * whatever page is open in it: so a request that names another host than ours (DNS rebinding), or comes from a page of
 * another origin (CSRF), is refused before anything else is looked at.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { peerUid } from '../../host/peer-uid.ts';

/** How a client reached us. */
export type Door =
  | { readonly kind: 'unix' }
  | { readonly kind: 'tcp'; readonly loopback: boolean; readonly hosts: readonly string[]; readonly token: string };

export interface Refusal {
  readonly status: 400 | 401 | 403;
  readonly text: string;
}

const refuse = (status: Refusal['status'], text: string): Refusal => ({ status, text });
const trusted = new WeakMap<Socket, boolean>();

/** Why this request may not be served; undefined: it may. */
export function refusal(request: IncomingMessage, door: Door, uidOf = uidOfPeer): Refusal | undefined {
  if (door.kind === 'unix') return undefined;
  const { host, origin, authorization } = request.headers;
  if (door.loopback && !door.hosts.includes(hostName(host ?? '')))
    return refuse(403, `this is not the server of ${JSON.stringify(host ?? '')}`);
  if (request.headers['sec-fetch-site'] === 'cross-site' || (origin !== undefined && !sameOrigin(origin, host ?? '')))
    return refuse(403, 'requests from pages of another origin are not served');
  const shown = /^Bearer (\S+)$/i.exec(authorization ?? '')?.[1];
  if (shown !== undefined) return same(shown, door.token) ? undefined : refuse(401, 'the token is wrong');
  if (door.loopback && isOwner(request.socket, uidOf)) return undefined;
  return refuse(401, 'a token is needed: Authorization: Bearer TOKEN');
}

/** The name without the port, in small letters. */
function hostName(host: string): string {
  return host.replace(/:\d+$/, '').toLowerCase();
}

function sameOrigin(origin: string, host: string): boolean {
  try {
    return new URL(origin).host === host.toLowerCase();
  } catch {
    return false; // "null" and the like.
  }
}

function same(shown: string, token: string): boolean {
  const [a, b] = [Buffer.from(shown), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function uidOfPeer({ remoteAddress, remotePort, localAddress, localPort }: Socket): number | undefined {
  if (!remoteAddress || !remotePort || !localAddress || !localPort) return undefined;
  return peerUid({ peerAddress: remoteAddress, peerPort: remotePort, ownAddress: localAddress, ownPort: localPort });
}

/** Looked up once a connection. */
function isOwner(socket: Socket, uidOf: (socket: Socket) => number | undefined): boolean {
  let known = trusted.get(socket);
  if (known === undefined) {
    const uid = uidOf(socket);
    known = uid !== undefined && (uid === 0 || uid === process.getuid?.());
    trusted.set(socket, known);
  }
  return known;
}

/** The token in a file that only its owner can read; made when there is none. Throws one clear line. */
export function loadToken(file: string): string {
  try {
    const { mode } = statSync(file);
    if ((mode & 0o077) !== 0) throw new Error(`${file}: others can read it: chmod 600 it`);
    const token = readFileSync(file, 'latin1').trim();
    if (!/^[\x21-\x7e]{16,}$/.test(token)) throw new Error(`${file}: no token of at least 16 characters in it`);
    return token;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const token = randomBytes(32).toString('hex');
  writeFileSync(file, `${token}\n`, { mode: 0o600, flag: 'wx' });
  return token;
}
