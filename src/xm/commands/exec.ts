/** `xm exec`: a command in a guest, through its agent. */
import os from 'node:os';
import { AgentError, type AgentProcess, type AgentRequest, execInGuest } from '../../host/agent-link.ts';
import type { TerminalSize } from '../../host/console-link.ts';
import { command, UserError } from '../command.ts';
import { makeRaw, terminalSize } from '../terminal.ts';

/** As a shell has it: 128 and the signal that ended the command. */
const SIGNALLED = 128;
const TIMED_OUT = 124;
/** After SIGTERM; and as long again for the guest's answer. */
const KILL_AFTER_MS = 2000;
/** Of a terminal where we have none. */
const SOME_SIZE: TerminalSize = { columns: 80, rows: 24 };
const PASSED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

export const exec = command({
  name: 'exec',
  group: 'domain',
  params: ['DOM', '[COMMAND...]'],
  passesRest: true,
  summary: 'Run a command in a domain',
  details: `
Needs the agent in the guest, which Domus' own images have. Standard input goes to the command with -i, its output and errors
come apart, and its exit code is that of xm exec: 128 and the signal that ended it, 124 after --timeout, 125 when the agent
cannot run it. What follows DOM is the command's own.`,
  options: {
    interactive: { type: 'boolean', short: 'i', help: 'pass standard input on' },
    tty: { type: 'boolean', short: 't', help: 'run it on a terminal, as large as this one' },
    env: { type: 'string', short: 'e', multiple: true, value: 'NAME=VALUE', help: 'set a variable; may be repeated' },
    workdir: {
      type: 'string',
      short: 'w',
      value: 'FOLDER',
      help: "the guest's folder to run it in; /root if not given",
    },
    timeout: { type: 'string', value: 'SECONDS', help: 'end it after so long' },
    wait: { type: 'string', value: 'SECONDS', help: 'wait so long for a guest that is still booting' },
  },
  async run({ args, flags, xend }) {
    const [name, ...argv] = args;
    if (argv[0] === '--') argv.shift();
    if (argv.length === 0) throw new UserError('exec: Missing command');
    const environment = variables((flags.env ?? []) as unknown as readonly string[]);
    const timeoutMs = seconds('timeout', flags.timeout);
    const waitMs = seconds('wait', flags.wait) ?? 0;
    const terminal = flags.tty ? (terminalSize() ?? SOME_SIZE) : undefined;
    const { socket } = await xend.call('GET /domains/:name/agent', { name: name! });
    const request: AgentRequest = {
      argv,
      environment: { ...(terminal && process.env.TERM ? { TERM: process.env.TERM } : {}), ...environment },
      ...(flags.workdir === undefined ? {} : { folder: String(flags.workdir) }),
      ...(terminal ? { terminal } : {}),
      waitMs,
    };
    try {
      return await follow(socket, request, { interactive: flags.interactive === true, timeoutMs });
    } catch (error) {
      throw error instanceof AgentError ? new UserError(`exec: ${error.message}`) : error;
    }
  },
});

/** Run it with our standard input and output; returns the exit code. */
async function follow(
  socket: string,
  request: AgentRequest,
  { interactive, timeoutMs }: { interactive: boolean; timeoutMs: number | undefined },
): Promise<number> {
  const { stdin, stdout, stderr } = process;
  // Who reads our output sets the pace; the guest is told.
  const passOn = (to: NodeJS.WriteStream, bytes: Uint8Array): void => {
    if (to.write(bytes)) return;
    run.pause();
    to.once('drain', () => run.resume());
  };
  const run: AgentProcess = await execInGuest(socket, request, {
    output: (bytes) => passOn(stdout, bytes),
    errors: (bytes) => passOn(stderr, bytes),
  });
  const timedOut = limit(run, timeoutMs);
  const typed = interactive && request.terminal !== undefined && stdin.isTTY;
  if (typed) makeRaw();
  else passSignals(run);
  if (interactive) sendInput(run);
  else run.end();
  if (request.terminal) stdout.on('resize', () => run.resize(terminalSize() ?? SOME_SIZE));
  try {
    const { code, signal } = await run.exit;
    if (timedOut()) return TIMED_OUT;
    return signal ? SIGNALLED + signal : code;
  } catch (error) {
    if (timedOut()) return TIMED_OUT;
    throw error;
  } finally {
    stdin.pause();
    if (typed) stdin.setRawMode(false);
  }
}

/** Signals go to the command; the second of a kind ends us, as a guest that is paused or hangs does not answer. */
function passSignals(run: AgentProcess): void {
  for (const name of PASSED) {
    const number = os.constants.signals[name];
    process.once(name, () => {
      run.signal(number);
      process.once(name, () => process.exit(SIGNALLED + number));
    });
  }
}

function variables(settings: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    settings.map((setting) => {
      const [, name, value] = /^([^=]+)=(.*)$/s.exec(setting) ?? [];
      if (name === undefined) throw new UserError(`exec: Invalid value: ${setting}: --env is NAME=VALUE`);
      return [name, value!];
    }),
  );
}

export function seconds(option: string, value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!(number >= 0) || String(value).trim() === '')
    throw new UserError(`Invalid value: ${value}: --${option} is a number of seconds`);
  return number * 1000;
}

/** Ends the command after a time; says whether it was that. */
function limit(run: AgentProcess, ms: number | undefined): () => boolean {
  let over = false;
  if (ms === undefined) return () => false;
  const timer = setTimeout(() => {
    over = true;
    run.signal(os.constants.signals.SIGTERM);
    setTimeout(() => run.signal(os.constants.signals.SIGKILL), KILL_AFTER_MS).unref();
    setTimeout(() => run.close(), 2 * KILL_AFTER_MS).unref();
  }, ms);
  run.exit.finally(() => clearTimeout(timer)).catch(() => {});
  return () => over;
}

function sendInput(run: AgentProcess): void {
  const { stdin } = process;
  stdin.on('data', (bytes: Buffer) => {
    if (run.send(bytes)) return;
    stdin.pause();
    void run.drained().then(() => stdin.resume());
  });
  stdin.on('end', () => run.end());
}
