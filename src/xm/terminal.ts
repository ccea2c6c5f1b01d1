/**
 * A person's terminal on a domain's console, xm-xend 1.5: raw input, Ctrl-] as the first byte of a read detaches, the
 * terminal is restored whatever happens. Where standard input is no terminal, bytes pass through as they are.
 */
import { spawnSync } from 'node:child_process';
import type net from 'node:net';
import os from 'node:os';
import { type ConsoleMode, openConsole, type TerminalSize } from '../host/console-link.ts';

export const GREETING = '************ REMOTE CONSOLE: CTRL-] TO QUIT ********\n';
export const FAREWELL = '\n************ REMOTE CONSOLE EXITED *****************\n';
const DETACH = 0x1d;

export type Ending = 'detached' | 'closed';

export interface Attachment {
  /** Resolves when the person detached or the console ended. */
  readonly ended: Promise<Ending>;
}

export interface AttachOptions {
  readonly quiet?: boolean;
  readonly mode?: ConsoleMode;
}

/** Attach to the console behind a monitor's socket; resolves when attached, so that nothing printed from then on is missed. */
export async function attach(path: string, { quiet = false, mode = 'write' }: AttachOptions = {}): Promise<Attachment> {
  const size = terminalSize();
  const console_ = await openConsole(path, { mode, who: whoAmI(), ...(size ? { size } : {}) });
  return joinTerminal(console_.socket, { quiet, resized: (now) => console_.resize(now) });
}

export function terminalSize(): TerminalSize | undefined {
  const { stdin, stdout } = process;
  return stdin.isTTY && stdout.isTTY ? { columns: stdout.columns, rows: stdout.rows } : undefined;
}

function whoAmI(): string {
  try {
    return `${os.userInfo().username}, process ${process.pid}`;
  } catch {
    return `process ${process.pid}`; // A uid without a name.
  }
}

/**
 * Node's raw mode still turns each newline into two characters on output, which a guest's full-screen programs do not
 * expect: stty takes that away. Leaving raw mode restores the terminal as it was before either.
 */
export function makeRaw(): void {
  process.stdin.setRawMode(true);
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
}

export interface JoinOptions {
  readonly quiet?: boolean;
  /** The terminal has another size. */
  resized?(size: TerminalSize): void;
}

/** Join standard input and output with a connection, until either ends. */
export function joinTerminal(socket: net.Socket, { quiet = false, resized }: JoinOptions = {}): Attachment {
  const { stdin, stdout } = process;
  const greet = !quiet && (stdin.isTTY || stdout.isTTY);
  if (greet) stdout.write(GREETING);

  const ended = new Promise<Ending>((resolve) => {
    const sizeChanged = () => {
      const size = terminalSize();
      if (size) resized?.(size);
    };
    const finish = (how: Ending) => {
      restore();
      socket.destroy();
      stdin.off('data', typed);
      stdin.off('end', inputEnded);
      stdout.off('resize', sizeChanged);
      stdin.pause();
      if (greet) stdout.write(FAREWELL);
      resolve(how);
    };
    const typed = (bytes: Buffer) => {
      if (stdin.isTTY && bytes[0] === DETACH) finish('detached');
      else if (!socket.write(bytes)) {
        stdin.pause();
        socket.once('drain', () => stdin.resume());
      }
    };
    const inputEnded = () => socket.end();
    const restore = () => {
      if (stdin.isTTY) stdin.setRawMode(false);
    };
    const killed = () => {
      restore();
      process.exit(1);
    };
    if (stdin.isTTY) makeRaw();
    process.once('exit', restore);
    for (const name of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.once(name, killed);
    socket.on('data', (bytes) => {
      // The person's terminal sets the pace of this watcher; the monitor looks after the others.
      if (stdout.write(bytes)) return;
      socket.pause();
      stdout.once('drain', () => socket.resume());
    });
    socket.on('error', () => finish('closed'));
    socket.on('end', () => finish('closed'));
    stdin.on('data', typed);
    stdin.on('end', inputEnded);
    if (resized) stdout.on('resize', sizeChanged);
    socket.resume();
  });
  return { ended };
}
