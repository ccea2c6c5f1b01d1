/** Commands in a guest, and files into it and out of it, through the agent that Domus' own images have. */
import { type AgentProcess, type AgentRequest, execInGuest } from '../host/agent-link.ts';

export interface ExecOptions extends Omit<AgentRequest, 'argv' | 'terminal'> {
  /** What the command reads. */
  readonly input?: string | Uint8Array;
  /** End it after so long, with SIGKILL. */
  readonly timeoutMs?: number;
}

export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  /** The same as bytes. */
  readonly bytes: Buffer;
  readonly code: number;
  /** The number of the signal that ended it; 0: none. */
  readonly signal: number;
  /** It ended by itself with 0. */
  readonly ok: boolean;
}

/** A guest that has only just been created is still booting. */
export const AGENT_WAIT_MS = 120_000;
const SIGKILL = 9;
const INPUT_CHUNK = 64 << 10;

/** A word list is run as it is, text by the guest's shell. */
export const argvOf = (command: string | readonly string[]): readonly string[] =>
  typeof command === 'string' ? ['sh', '-c', command] : command;

/** Run a command to its end. Rejects with an AgentError when it cannot be run; how it ends is in the result. */
export async function runInGuest(
  socket: string,
  command: string | readonly string[],
  { input = '', timeoutMs, ...rest }: ExecOptions = {},
): Promise<ExecResult> {
  const out: Buffer[] = [];
  const errors: Buffer[] = [];
  const request = { waitMs: AGENT_WAIT_MS, ...rest, argv: argvOf(command) };
  const running = await execInGuest(socket, request, {
    output: (bytes) => void out.push(Buffer.from(bytes)),
    errors: (bytes) => void errors.push(Buffer.from(bytes)),
  });
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => running.signal(SIGKILL), timeoutMs);
  try {
    const [{ code, signal }] = await Promise.all([running.exit, feed(running, Buffer.from(input as string))]);
    const bytes = Buffer.concat(out);
    return {
      stdout: bytes.toString('utf8'),
      stderr: Buffer.concat(errors).toString('utf8'),
      bytes,
      code,
      signal,
      ok: code === 0 && signal === 0,
    };
  } finally {
    clearTimeout(timer);
    running.close();
  }
}

/** No faster than it is read. */
async function feed(running: AgentProcess, input: Buffer): Promise<void> {
  for (let at = 0; at < input.length; at += INPUT_CHUNK) {
    if (!running.send(input.subarray(at, at + INPUT_CHUNK))) await running.drained();
  }
  running.end();
}
