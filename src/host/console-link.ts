/**
 * How one attaches to a domain's console on the monitor's own socket. The client sends one line of JSON, how it wants to
 * attach; the monitor answers with one line, and from then on both ways carry plain bytes. The size of a terminal that
 * changes is told on a connection of its own, because nothing but bytes for the guest travels on the first.
 */
import net from 'node:net';

/** write: type when nobody else does, otherwise wait for one's turn. force: take over. watch: never type. */
export type ConsoleMode = 'write' | 'force' | 'watch';

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

export interface ConsoleHello {
  readonly mode: ConsoleMode;
  /** For the others: "root, process 4242". */
  readonly who: string;
  /** The client's terminal, if it has one. Without, what it sends while it is not its turn waits instead of being dropped. */
  readonly size?: TerminalSize;
}

/** In place of a hello, on a connection of its own. */
export interface ConsoleResize {
  readonly resize: number;
  readonly size: TerminalSize;
}

export interface ConsoleWelcome {
  /** Names this attachment when it is resized. */
  readonly session: number;
  /** It is this client that types. */
  readonly writes: boolean;
  /** Who types, if anybody. */
  readonly writer?: string;
}

export const HELLO_MAX = 4096;
export const SIZE_MAX = 10_000;

/** Calls back once with the first line and what came after it; destroys a socket that sends a longer one. */
export function readFirstLine(
  socket: net.Socket,
  use: (line: string, rest: Buffer) => void,
  max: number = HELLO_MAX,
): void {
  let head = Buffer.alloc(0);
  const take = (chunk: Buffer): void => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf(10);
    if (end < 0 && head.length <= max) return;
    socket.off('data', take);
    if (end < 0 || end > max) socket.destroy();
    else use(head.toString('utf8', 0, end), head.subarray(end + 1));
  };
  socket.on('data', take);
}

export interface OpenConsole {
  /** Plain bytes both ways; paused: `resume` it when somebody reads. What came with the welcome comes first. */
  readonly socket: net.Socket;
  readonly welcome: ConsoleWelcome;
  resize(size: TerminalSize): void;
}

/** Attach; resolves when attached, so that nothing printed from then on is missed. */
export function openConsole(path: string, hello: ConsoleHello): Promise<OpenConsole> {
  return new Promise((resolve, reject) => {
    const failed = (why: string) => reject(new Error(`cannot reach the console at ${path}: ${why}`));
    const socket = net.connect({ path, allowHalfOpen: true });
    const onError = (error: Error) => failed(error.message);
    const onEnd = () => failed('it was closed');
    socket.once('error', onError);
    socket.once('end', onEnd);
    socket.write(`${JSON.stringify(hello)}\n`);
    readFirstLine(socket, (line, rest) => {
      socket.pause();
      socket.off('error', onError);
      socket.off('end', onEnd);
      if (rest.length > 0) socket.unshift(rest);
      const welcome = parseJson(line) as ConsoleWelcome | undefined;
      if (typeof welcome?.session !== 'number') {
        socket.destroy();
        return failed('it answers with something else than a console does');
      }
      resolve({ socket, welcome, resize: (size) => tellSize(path, { resize: welcome.session, size }) });
    });
  });
}

export function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function tellSize(path: string, message: ConsoleResize): void {
  const socket = net.connect(path);
  socket.on('error', () => {}); // The console has ended: so will the attachment.
  socket.end(`${JSON.stringify(message)}\n`);
  socket.resume();
}
