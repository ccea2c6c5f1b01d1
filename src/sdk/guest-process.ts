/** A command in a guest while it runs: what it prints comes as streams, and it can be typed to, on a terminal if it is to have one. */
import os from 'node:os';
import { Readable } from 'node:stream';
import { type AgentProcess, type AgentRequest, execInGuest } from '../host/agent-link.ts';
import { AGENT_WAIT_MS, argvOf } from './exec.ts';

export type StartOptions = Omit<AgentRequest, 'argv' | 'bulk'>;

/** How a command ended: `signal` is the number of the signal that ended it, 0 for none; `ok`: by itself with 0. */
export interface GuestExit {
  readonly code: number;
  readonly signal: number;
  readonly ok: boolean;
}

/** The guest waits where one of `stdout` and `stderr` is not read. On a terminal there is `stdout` alone. */
export class GuestProcess implements AsyncDisposable {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Rejects with an AgentError when the domain ends before the command, or the command was let go of. */
  readonly exit: Promise<GuestExit>;
  readonly #run: AgentProcess;

  private constructor(run: AgentProcess, stdout: Readable, stderr: Readable) {
    this.#run = run;
    this.stdout = stdout;
    this.stderr = stderr;
    this.exit = run.exit.then(({ code, signal }) => ({ code, signal, ok: code === 0 && signal === 0 }));
    const end = () => {
      stdout.push(null);
      stderr.push(null);
    };
    this.exit.then(end, end);
  }

  /** Resolves when the guest has been told. Rejects with an AgentError. */
  static async start(
    socket: string,
    command: string | readonly string[],
    options: StartOptions,
  ): Promise<GuestProcess> {
    const full = new Set<Readable>();
    const stream = (): Readable => {
      const read = () => {
        if (full.delete(one) && full.size === 0) run.resume();
      };
      const one: Readable = new Readable({ read });
      return one;
    };
    const [stdout, stderr] = [stream(), stream()];
    const pass = (bytes: Uint8Array, to: Readable) => {
      if (to.push(bytes)) return;
      full.add(to);
      run.pause();
    };
    const request = { waitMs: AGENT_WAIT_MS, ...options, argv: argvOf(command) };
    const run: AgentProcess = await execInGuest(socket, request, {
      output: (bytes) => pass(bytes, stdout),
      errors: (bytes) => pass(bytes, stderr),
    });
    return new GuestProcess(run, stdout, stderr);
  }

  /** Input for it; resolves when there is room for more. */
  async write(what: string | Uint8Array): Promise<void> {
    if (!this.#run.send(Buffer.from(what as string))) await this.#run.drained();
  }

  /** No more input. */
  end(): void {
    this.#run.end();
  }

  signal(name: NodeJS.Signals): void {
    this.#run.signal(os.constants.signals[name]);
  }

  /** The size of its terminal. */
  resize(columns: number, rows: number): void {
    this.#run.resize({ columns, rows });
  }

  /** Let go of it: it gets a hang-up if it runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#run.close();
    await this.exit.catch(() => {});
  }
}
