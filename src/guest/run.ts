/** Runs one of the system's programs for the preparation of guests; its failure becomes one line. */
import { spawn } from 'node:child_process';
import { GuestError } from './errors.ts';

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly input?: string;
  /** What was being done, for the error's first words. */
  readonly purpose: string;
}

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

export function run(command: string, args: readonly string[], options: RunOptions): Promise<Output> {
  const { cwd, env, input, purpose } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive', ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin.on('error', () => {}); // It may have ended without reading: its exit code tells.
    child.stdin.end(input);
    child.on('error', (error) => reject(new GuestError(`${purpose}: cannot run ${command}: ${error.message}`)));
    child.on('close', (code, signal) => {
      const stdout = Buffer.concat(out).toString();
      const stderr = Buffer.concat(err).toString();
      if (code === 0) resolve({ stdout, stderr });
      else reject(new GuestError(`${purpose}: ${reasonIn(stderr) ?? `${command} ended with ${signal ?? code}`}`));
    });
  });
}

/** apt marks its errors with "E:"; of others the last line says most. */
function reasonIn(stderr: string): string | undefined {
  const lines = stderr.split('\n').map((line) => line.trim());
  return (
    lines
      .find((line) => line.startsWith('E:'))
      ?.slice(2)
      .trim() ?? lines.filter(Boolean).at(-1)
  );
}
