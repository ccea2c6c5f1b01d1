/**
 * The agent's socket in a domain's run folder: each connection is one command in the guest (host/agent-link.ts has the
 * messages). The socket is the user's own; whoever can connect may do in the guest what root may there.
 */
import net from 'node:net';
import { InputDisk, OutputDisk, type StreamDisk } from '../../devices/blk/stream-disk.ts';
import {
  type AgentAnswer,
  AgentMessage,
  type AgentRequest,
  MESSAGE_MAX,
  makeMessage,
  messageSplitter,
  REQUEST_MAX,
} from '../../host/agent-link.ts';
import { parseJson, readFirstLine, SIZE_MAX, type TerminalSize } from '../../host/console-link.ts';
import type { PluggedDisk } from '../stream-disks.ts';
import type { AgentLink, ExecRequest, Session } from './link.ts';

/** Bytes of output on their way to a client that reads slowly; a quarter read is allowed again at once. */
const OUTPUT_WINDOW = 256 << 10;
const WAIT_MAX_MS = 600_000;
const SIGNAL_MAX = 64;
const NO_AGENT = 'there is no agent in the guest: its image was made without one, or it has not started yet';

// biome-ignore format: a table
const LOGIN: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root', USER: 'root', LOGNAME: 'root', SHELL: '/bin/sh',
};

/** Plugs in a disk for the length of a copy, if the guest can have one now. */
export type Plug = (disk: StreamDisk) => Promise<PluggedDisk | undefined>;

/** Where a command's input and output go when it has a disk for them. */
interface Bulk {
  readonly input?: InputDisk;
  readonly plugged: PluggedDisk;
}

export class AgentServer {
  readonly #agent: AgentLink;
  readonly #plug: Plug;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  constructor(agent: AgentLink, plug: Plug = async () => undefined) {
    this.#agent = agent;
    this.#plug = plug;
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#greet(socket));
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, () => resolve());
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #greet(socket: net.Socket): void {
    this.#sockets.add(socket);
    const gone = new AbortController();
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#sockets.delete(socket);
      gone.abort();
    });
    readFirstLine(
      socket,
      (line, rest) => {
        socket.pause();
        if (rest.length > 0) socket.unshift(rest);
        void this.#exec(socket, line, gone.signal);
      },
      REQUEST_MAX,
    );
  }

  async #exec(socket: net.Socket, line: string, gone: AbortSignal): Promise<void> {
    const refuse = (error: string) => socket.end(`${JSON.stringify({ error })}\n`);
    const request = execRequest(parseJson(line));
    if (!request) return void refuse('the request is not one for an agent');
    const present = await this.#agent.wait(Math.min(request.waitMs, WAIT_MAX_MS), gone);
    if (gone.aborted) return;
    if (!present) return void refuse(NO_AGENT);
    const bulk = request.bulk && (await this.#plugDisk(socket, request.bulk));
    const unplug = () => void bulk?.plugged.unplug().catch(() => {}); // The store goes with the domain.
    if (gone.aborted) return unplug();
    // Bytes of output that were written to the client and have left this process: allowed again in larger pieces.
    let sent = 0;
    const environment = bulk ? [...request.environment, `DOMUS_DISK=/dev/${bulk.plugged.name}`] : request.environment;
    const session = this.#agent.exec(
      { ...request, environment },
      {
        output: (stream, bytes) =>
          socket.write(makeMessage(stream === 'out' ? AgentMessage.Output : AgentMessage.Errors, bytes), () => {
            sent += bytes.length;
            if (sent < OUTPUT_WINDOW / 4) return;
            if (typeof session !== 'string') session.allow(sent);
            sent = 0;
          }),
        drained: () => socket.resume(),
        exit: (how) => {
          unplug();
          socket.end(
            'why' in how
              ? makeMessage(AgentMessage.Failed, Buffer.from(how.why))
              : makeMessage(AgentMessage.Exit, Uint8Array.of(how.code, how.signal)),
          );
        },
      },
    );
    if (typeof session === 'string') {
      unplug();
      return void refuse(session);
    }
    socket.write(`${JSON.stringify({ ok: true, disk: bulk?.plugged.name } satisfies AgentAnswer)}\n`);
    session.allow(OUTPUT_WINDOW);
    socket.on('close', unplug);
    this.#join(socket, session, bulk?.input);
  }

  /** A disk that is read from this client, or written to it. */
  async #plugDisk(socket: net.Socket, way: 'in' | 'out'): Promise<Bulk | undefined> {
    const disk = way === 'in' ? new InputDisk(() => socket.resume()) : new OutputDisk(outputTo(socket));
    const plugged = await this.#plug(disk);
    return plugged && { plugged, ...(disk instanceof InputDisk ? { input: disk } : {}) };
  }

  #join(socket: net.Socket, session: Session, input: InputDisk | undefined): void {
    const split = messageSplitter((type, bytes) => {
      if (type === AgentMessage.Input) {
        if (!(input ? input.feed(bytes) : session.send(bytes))) socket.pause();
      } else if (type === AgentMessage.InputEnd) {
        input?.end();
        session.end();
      } else if (type === AgentMessage.Signal && bytes.length === 1 && bytes[0]! > 0 && bytes[0]! <= SIGNAL_MAX)
        session.signal(bytes[0]!);
      else if (type === AgentMessage.Size && bytes.length === 4)
        session.resize({ columns: bytes.readUInt16BE(0), rows: bytes.readUInt16BE(2) });
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        split(chunk);
      } catch {
        socket.destroy();
      }
    });
    // The end of input is a message: who ends the connection, or is killed, lets go of the command.
    socket.on('end', () => socket.destroy());
    socket.on('close', () => this.#agent.abandon(session));
    socket.resume();
  }
}

/**
 * Writes a client's output in pieces that a message may have. What it returns resolves when the client has room for more, or is
 * gone: one promise for all who wait.
 */
function outputTo(socket: net.Socket): (bytes: Uint8Array) => Promise<void> | undefined {
  let room: Promise<void> | undefined;
  const untilRoom = () =>
    new Promise<void>((resolve) => {
      const done = () => {
        socket.off('drain', done);
        socket.off('close', done);
        room = undefined;
        resolve();
      };
      socket.on('drain', done);
      socket.on('close', done);
    });
  return (bytes) => {
    for (let at = 0; at < bytes.length; at += MESSAGE_MAX)
      socket.write(makeMessage(AgentMessage.Output, bytes.subarray(at, at + MESSAGE_MAX)));
    if (!socket.writableNeedDrain || socket.destroyed) return undefined;
    return (room ??= untilRoom());
  };
}

function execRequest(wish: unknown): (ExecRequest & Pick<AgentRequest, 'bulk'> & { waitMs: number }) | undefined {
  const { argv, environment = {}, folder, terminal, waitMs = 0, bulk } = (wish ?? {}) as Partial<AgentRequest>;
  if (!Array.isArray(argv) || argv.length === 0 || !argv.every((word) => typeof word === 'string')) return undefined;
  if (argv[0] === '' || typeof environment !== 'object' || typeof waitMs !== 'number') return undefined;
  if (folder !== undefined && typeof folder !== 'string') return undefined;
  if (terminal !== undefined && !isSize(terminal)) return undefined;
  if (bulk !== undefined && bulk !== 'in' && bulk !== 'out') return undefined;
  const all = { ...LOGIN, ...(terminal ? { TERM: 'linux' } : {}), ...environment };
  return {
    argv,
    environment: Object.entries(all).map(([name, value]) => `${name}=${value}`),
    folder: folder ?? LOGIN.HOME!,
    waitMs,
    ...(terminal ? { terminal } : {}),
    ...(bulk ? { bulk } : {}),
  };
}

function isSize(size: Partial<TerminalSize> | null): size is TerminalSize {
  const good = (n: unknown) => Number.isInteger(n) && (n as number) > 0 && (n as number) <= SIZE_MAX;
  return size !== null && good(size.columns) && good(size.rows);
}
