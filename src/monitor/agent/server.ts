/**
 * The agent's socket in a domain's run folder: each connection is one command in the guest (host/agent-link.ts has the
 * messages). The socket is the user's own; whoever can connect may do in the guest what root may there.
 */
import net from 'node:net';
import { AgentMessage, type AgentRequest, makeMessage, messageSplitter, REQUEST_MAX } from '../../host/agent-link.ts';
import { parseJson, readFirstLine, SIZE_MAX, type TerminalSize } from '../../host/console-link.ts';
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

export class AgentServer {
  readonly #agent: AgentLink;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  constructor(agent: AgentLink) {
    this.#agent = agent;
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
    // Bytes of output that were written to the client and have left this process: allowed again in larger pieces.
    let sent = 0;
    const session = this.#agent.exec(request, {
      output: (stream, bytes) =>
        socket.write(makeMessage(stream === 'out' ? AgentMessage.Output : AgentMessage.Errors, bytes), () => {
          sent += bytes.length;
          if (sent < OUTPUT_WINDOW / 4) return;
          if (typeof session !== 'string') session.allow(sent);
          sent = 0;
        }),
      drained: () => socket.resume(),
      exit: (how) =>
        socket.end(
          'why' in how
            ? makeMessage(AgentMessage.Failed, Buffer.from(how.why))
            : makeMessage(AgentMessage.Exit, Uint8Array.of(how.code, how.signal)),
        ),
    });
    if (typeof session === 'string') return void refuse(session);
    socket.write('{"ok":true}\n');
    session.allow(OUTPUT_WINDOW);
    this.#join(socket, session);
  }

  #join(socket: net.Socket, session: Session): void {
    const split = messageSplitter((type, bytes) => {
      if (type === AgentMessage.Input) {
        if (!session.send(bytes)) socket.pause();
      } else if (type === AgentMessage.InputEnd) session.end();
      else if (type === AgentMessage.Signal && bytes.length === 1 && bytes[0]! > 0 && bytes[0]! <= SIGNAL_MAX)
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
    socket.on('end', () => session.end());
    socket.on('close', () => this.#agent.abandon(session));
    socket.resume();
  }
}

function execRequest(wish: unknown): (ExecRequest & { waitMs: number }) | undefined {
  const { argv, environment = {}, folder, terminal, waitMs = 0 } = (wish ?? {}) as Partial<AgentRequest>;
  if (!Array.isArray(argv) || argv.length === 0 || !argv.every((word) => typeof word === 'string')) return undefined;
  if (argv[0] === '' || typeof environment !== 'object' || typeof waitMs !== 'number') return undefined;
  if (folder !== undefined && typeof folder !== 'string') return undefined;
  if (terminal !== undefined && !isSize(terminal)) return undefined;
  const all = { ...LOGIN, ...(terminal ? { TERM: 'linux' } : {}), ...environment };
  return {
    argv,
    environment: Object.entries(all).map(([name, value]) => `${name}=${value}`),
    folder: folder ?? LOGIN.HOME!,
    waitMs,
    ...(terminal ? { terminal } : {}),
  };
}

function isSize(size: Partial<TerminalSize> | null): size is TerminalSize {
  const good = (n: unknown) => Number.isInteger(n) && (n as number) > 0 && (n as number) <= SIZE_MAX;
  return size !== null && good(size.columns) && good(size.rows);
}
