/**
 * Tells systemd that xend serves, for a unit of Type=notify (sd_notify(3)). Node has no datagram sockets of the Unix kind;
 * the program systemd-notify(1) is wherever systemd is.
 */
import { execFile } from 'node:child_process';

/** Where systemd listens, or undefined. Takes it out of `env`: no child of xend is to speak for the service. */
export function takeNotifySocket(env: NodeJS.ProcessEnv): string | undefined {
  const { NOTIFY_SOCKET } = env;
  delete env.NOTIFY_SOCKET;
  return NOTIFY_SOCKET || undefined;
}

/** Returns at once; `failed` hears, in one line, why systemd could not be told. */
export function notifyReady(socket: string, failed: (reason: string) => void): void {
  const args = ['--ready', `--pid=${process.pid}`];
  const env = { ...process.env, NOTIFY_SOCKET: socket };
  execFile('systemd-notify', args, { env }, (error, _out, said) => {
    if (error) failed((said.trim() || error.message).split('\n')[0]!);
  });
}
