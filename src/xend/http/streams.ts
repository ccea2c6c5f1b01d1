/**
 * The WebSockets: events as they happen, and consoles. A client that reads too slowly is let go (events: it resumes with
 * `since`) or holds up its own console connection, never xend.
 */
import type { IncomingMessage } from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { type OpenConsole, openConsole, parseJson, SIZE_MAX, type TerminalSize } from '../../host/console-link.ts';
import { XendError } from '../errors.ts';
import type { XendEvent } from '../events.ts';
import type { Xend } from '../xend.ts';
import { endWith } from './listeners.ts';

/** A typed message may have so much: a pasted file comes in several. */
const MESSAGE_MAX = 64 << 10;
const BEHIND_MAX = 4 << 20;
const PING_MS = 30_000;

/** Codes of RFC 6455 7.4.1. */
const CLOSE = { done: 1000, leaving: 1001, refused: 1008, broken: 1011, slow: 1013 } as const;

type Open = (socket: WebSocket) => void;

export class Streams {
  readonly #xend: Xend;
  readonly #server = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_MAX, perMessageDeflate: false });
  readonly #pings: NodeJS.Timeout;

  constructor(xend: Xend) {
    this.#xend = xend;
    this.#pings = setInterval(() => this.#ping(), PING_MS).unref();
  }

  get clients(): number {
    return this.#server.clients.size;
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    let open: Open;
    try {
      open = this.#find(request.url ?? '');
    } catch (error) {
      const known = error instanceof XendError;
      if (!known) this.#xend.ports.log.write('ERROR', 'streams', String((error as Error).stack));
      endWith(socket, known ? error.status : 500, known ? error.message : 'internal error');
      return;
    }
    this.#server.handleUpgrade(request, socket, head, (client) => {
      alive.add(client);
      client.on('pong', () => alive.add(client));
      client.on('error', () => client.terminate()); // Too long a message, broken frames: the client's affair.
      open(client);
    });
  }

  close(): void {
    clearInterval(this.#pings);
    for (const client of this.#server.clients) {
      client.close(CLOSE.leaving, 'xend stops');
      // Who does not answer the closing is not waited for.
      setTimeout(() => client.terminate(), 500).unref();
    }
    this.#server.close();
  }

  /** What is to be done with a connection that asks for `target`; throws when there is no such stream. */
  #find(target: string): Open {
    const url = URL.parse(target, 'http://xend');
    const [, name = '', what] = /^\/domains\/([^/]+)\/(console|agent)\/stream$/.exec(url?.pathname ?? '') ?? [];
    if (url?.pathname === '/events/stream') return this.#events(number(url.searchParams.get('since')));
    if (url && what === 'console') return this.#console(decoded(name), url.searchParams.get('mode') ?? 'watch');
    if (url && what === 'agent') return this.#agent(decoded(name));
    throw new XendError('not-found', `xend has no WebSocket at ${target.slice(0, 200)}`);
  }

  #events(since: number | undefined): Open {
    const log = this.#xend.ports.events;
    return (client) => {
      const send = (event: XendEvent) => {
        if (client.bufferedAmount > BEHIND_MAX) client.close(CLOSE.slow, 'too slow: resume with since=');
        else client.send(JSON.stringify(event));
      };
      if (since !== undefined) {
        const { events, complete } = log.after(since);
        if (!complete) client.send(JSON.stringify({ gap: true, first: events[0]?.seq ?? log.last + 1 }));
        for (const event of events) client.send(JSON.stringify(event));
      }
      client.on('close', log.listen(send));
    };
  }

  #console(name: string, mode: string): Open {
    if (mode !== 'watch' && mode !== 'write' && mode !== 'force')
      throw new XendError('bad-request', 'mode must be watch, write or force');
    const { socket: path } = this.#xend.console(name);
    return (client) => {
      // Nothing is taken from the client before there is somebody to give it to.
      client.pause();
      openConsole(path, { mode, who: 'a WebSocket' }).then(
        (console) => carry(client, console, mode !== 'watch'),
        () => client.close(CLOSE.broken, 'its monitor does not answer'),
      );
    };
  }

  /** The monitor's agent socket as it is (host/agent-link.ts): one command a connection. */
  #agent(name: string): Open {
    const { socket: path } = this.#xend.agent(name);
    return (client) => {
      const agent = net.connect(path);
      pour(agent, client, 'the command has ended');
      client.on('message', (message: Buffer) => {
        if (!agent.write(message)) client.pause();
      });
    };
  }

  /** Connections whose client has vanished without a word are found and ended. */
  #ping(): void {
    for (const client of this.#server.clients) {
      if (alive.delete(client)) client.ping();
      else client.terminate();
    }
  }
}

/** Carry bytes both ways until either side ends. */
function carry(client: WebSocket, { socket: console, welcome, resize }: OpenConsole, types: boolean): void {
  client.send(JSON.stringify(welcome));
  pour(console, client, 'the console has ended');
  client.on('message', (message: Buffer, binary) => {
    const size = binary ? undefined : sizeIn(message.toString());
    if (size) resize(size);
    else if (!binary) client.close(CLOSE.refused, 'text messages are {"columns": N, "rows": N}');
    else if (!types) client.close(CLOSE.refused, 'this connection only watches');
    else if (!console.write(message)) client.pause();
  });
  if (client.readyState !== client.OPEN) console.destroy();
  client.resume();
  console.resume();
}

/** What a monitor's socket says goes to the client, as fast as that takes it; the end of either is the end of both. */
function pour(from: net.Socket, client: WebSocket, ended: string): void {
  from.on('data', (bytes) => {
    client.send(bytes, () => {
      if (client.bufferedAmount < BEHIND_MAX / 2) from.resume();
    });
    if (client.bufferedAmount > BEHIND_MAX) from.pause();
  });
  from.on('error', () => client.close(CLOSE.broken, 'its monitor has ended'));
  from.on('end', () => client.close(CLOSE.done, ended));
  from.on('drain', () => client.resume());
  client.on('close', () => from.destroy());
}

function sizeIn(text: string): TerminalSize | undefined {
  const { columns, rows } = (parseJson(text) ?? {}) as Partial<TerminalSize>;
  const good = (value: unknown): value is number =>
    Number.isInteger(value) && Number(value) > 0 && Number(value) <= SIZE_MAX;
  return good(columns) && good(rows) ? { columns, rows } : undefined;
}

/** Clients that have answered since the last ping. */
const alive = new WeakSet<WebSocket>();

function number(text: string | null): number | undefined {
  if (text === null) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new XendError('bad-request', 'since must be the number of an event');
  return Number(text);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new XendError('bad-request', 'the path is not encoded as a URL is');
  }
}
