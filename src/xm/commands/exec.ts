/** `xm exec`: a command in a guest, through its agent. */
import os from 'node:os';
import { AgentError, type AgentProcess, execInGuest } from '../../host/agent-link.ts';
import type { TerminalSize } from '../../host/console-link.ts';
import { command, UserError } from '../command.ts';
import { makeRaw, terminalSize } from '../terminal.ts';

/** As a shell has it: 128 and the signal that ended the command. */
const SIGNALLED = 128;
const TIMED_OUT = 124;
const KILL_AFTER_MS = 5000;
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
    const { stdin, stdout, stderr } = process;
    const environment = variables((flags.env as unknown as string[] | undefined) ?? []);
    const timeoutMs = seconds('timeout', flags.timeout);
    const terminal: TerminalSize | undefined = flags.tty ? (terminalSize() ?? { columns: 80, rows: 24 }) : undefined;
    const { socket } = await xend.call('GET /domains/:name/agent', { name: name! });
    const run = await execInGuest(
      socket,
      {
        argv,
        environment: { ...(terminal && process.env.TERM ? { TERM: process.env.TERM } : {}), ...environment },
        ...(flags.workdir === undefined ? {} : { folder: String(flags.workdir) }),
        ...(terminal ? { terminal } : {}),
        waitMs: seconds('wait', flags.wait) ?? 0,
      },
      { output: (bytes) => passOn(stdout, bytes), errors: (bytes) => passOn(stderr, bytes) },
    ).catch(refused);
    if (typeof run === 'string') throw new UserError(`exec: ${run}`);
    // Who reads our output sets the pace; the guest is told.
    function passOn(to: NodeJS.WriteStream, bytes: Uint8Array): void {
      if (to.write(bytes) || typeof run === 'string') return;
      (run as AgentProcess).pause();
      to.once('drain', () => (run as AgentProcess).resume());
    }
    const timedOut = limit(run, timeoutMs);
    if (!flags.interactive) run.end();
    else if (flags.tty && stdin.isTTY) typeAtTerminal(run);
    else sendInput(run);
    if (!(flags.interactive && flags.tty && stdin.isTTY))
      for (const signal of PASSED) process.on(signal, () => run.signal(os.constants.signals[signal]));
    try {
      const { code, signal } = await run.exit;
      if (timedOut()) return TIMED_OUT;
      return signal ? SIGNALLED + signal : code;
    } catch (error) {
      throw error instanceof AgentError ? new UserError(`exec: ${error.message}`) : error;
    } finally {
      stdin.pause();
      if (stdin.isTTY) stdin.setRawMode(false);
    }
  },
});

const refused = (error: unknown): string => {
  if (error instanceof AgentError) return error.message;
  throw error;
};

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

function typeAtTerminal(run: AgentProcess): void {
  makeRaw();
  sendInput(run);
  process.stdout.on('resize', () => {
    const size = terminalSize();
    if (size) run.resize(size);
  });
}
