/**
 * A terminal on a domain's console, xm-xend 1.5: raw input, Ctrl-] as the first byte of a read detaches, the terminal is
 * restored whatever happens. Where standard input is no terminal, bytes pass through as they are.
 */
import { spawnSync } from 'node:child_process';
import net from 'node:net';

export const GREETING = '************ REMOTE CONSOLE: CTRL-] TO QUIT ********\n';
export const FAREWELL = '\n************ REMOTE CONSOLE EXITED *****************\n';
const DETACH = 0x1d;

export type Ending = 'detached' | 'closed';

export interface Attachment {
  /** Resolves when the person detached or the console ended. */
  readonly ended: Promise<Ending>;
}

/**
 * Node's raw mode still turns each newline into two characters on output, which a guest's full-screen programs do not
 * expect: stty takes that away. Leaving raw mode restores the terminal as it was before either.
 */
function makeRaw(): void {
  process.stdin.setRawMode(true);
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
}

/** Connect; resolves when connected, so that nothing printed from then on is missed. */
export async function attach(socketPath: string, options: { quiet?: boolean } = {}): Promise<Attachment> {
  const { stdin, stdout } = process;
  const socket = net.connect({ path: socketPath, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => reject(new Error(`cannot reach the console at ${socketPath}: ${error.message}`)));
  });
  const greet = !options.quiet && (stdin.isTTY || stdout.isTTY);
  if (greet) stdout.write(GREETING);

  const ended = new Promise<Ending>((resolve) => {
    const finish = (how: Ending) => {
      restore();
      socket.destroy();
      stdin.off('data', typed);
      stdin.off('end', inputEnded);
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
  });
  return { ended };
}
