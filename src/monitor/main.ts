/**
 * One domain's process: `node main.ts RUN-FOLDER`. Reads RUN-FOLDER/config.json (a MonitorConfig), opens the console and
 * control sockets there and waits for xend. Its standard output and error are the domain's log file. It is its own
 * session, so neither xend's death nor a terminal's hang-up reaches it.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { agentSocket, consoleSocket, controlSocket } from '../host/paths.ts';
import { identify } from '../host/process-identity.ts';
import { heapTrimmer } from '../host/trim-heap.ts';
import { processTrimmer } from '../host/trim-process.ts';
import { AgentLink } from './agent/link.ts';
import { AgentServer } from './agent/server.ts';
import { StandardErrorLog } from './console/log.ts';
import { ConsoleServer } from './console/server.ts';
import type { CreateMachine, LogLevel, MachineConfig } from './machine-types.ts';
import { Shell } from './shell.ts';
import { prepareVcpuThread } from './vcpu-thread.ts';

/** What xend leaves in RUN-FOLDER/config.json. */
export interface MonitorConfig {
  readonly machine: MachineConfig;
  readonly consoleLog: string;
  /** The console's TCP port; `fixed`: that one or none. Without it, the console has no port. */
  readonly consolePort?: { readonly port: number; readonly fixed: boolean };
  /** The file that standard error is: it is kept below a size. */
  readonly monitorLog?: string;
  /** How often xend wants to hear that it lives; also how often it looks whether garbage can be given back. */
  readonly pulseMs?: number;
}

/** A monitor that nobody has asked to build anything ends by itself: its xend died between two steps. */
const ORPHAN_TIMEOUT_MS = 20_000;

/** Without `pulseMs`. One timer for all that an idle monitor does by itself: a wake-up costs it a tenth of a millisecond and more. */
const PULSE_MS = 20_000;

let ownLog: StandardErrorLog | undefined;

function log(level: LogLevel, text: string): void {
  ownLog?.shorten();
  const stamp = new Date().toISOString().slice(0, 19).replace('T', ' ');
  process.stderr.write(`[${stamp}] ${level.toUpperCase()} ${text}\n`);
}

async function main(): Promise<void> {
  const runDir = process.argv[2];
  if (!runDir) throw new Error('usage: main.ts RUN-FOLDER|--warm|--compile FOLDER');
  if (runDir === '--warm') {
    const { warm } = await import('./warm.ts');
    await warm();
    return;
  }
  process.umask(0o077);
  if (runDir === '--compile') {
    const { compile } = await import('./compile.ts');
    await compile(process.argv[3]!);
    return;
  }
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGPIPE'] as const) process.on(signal, () => {});
  const config = JSON.parse(readFileSync(path.join(runDir, 'config.json'), 'utf8')) as MonitorConfig;
  if (config.monitorLog) ownLog = new StandardErrorLog(config.monitorLog);
  process.title = `domus: ${config.machine.name}`;
  const me = identify(process.pid);
  writeFileSync(path.join(runDir, 'monitor.pid'), `${me.pid} ${me.startTime}\n`, { mode: 0o600 });
  mkdirSync(path.dirname(config.consoleLog), { recursive: true, mode: 0o700 });

  // Tests run the shell with a machine of their own.
  const { DOMUS_MACHINE } = process.env;
  if (DOMUS_MACHINE === undefined) prepareVcpuThread(config.machine.paths.lib);
  const module = DOMUS_MACHINE === undefined ? import('./machine.ts') : import(DOMUS_MACHINE);
  const { createMachine } = (await module) as { createMachine: CreateMachine };

  const consoleServer = new ConsoleServer(config.consoleLog, {
    input: (bytes) => shell.consoleIn(bytes),
    log: (text) => log('error', text),
    changed: () => shell.announce(),
    resized: (size) => agent.resizeConsole(size),
  });
  const agent = new AgentLink({
    send: (bytes) => shell.agentIn(bytes),
    log,
    greeted() {
      if (consoleServer.size) agent.resizeConsole(consoleServer.size);
      shell.announce();
    },
  });
  const agentServer = new AgentServer(agent, (disk) => shell.plugStream(disk));
  const shell = new Shell(config.machine, {
    createMachine,
    console: consoleServer,
    agent,
    ...(config.consolePort ? { consolePort: config.consolePort } : {}),
    log,
    logTo: (file) => ownLog?.moveTo(file),
    now: Date.now,
    exit: () => process.exit(0),
  });
  process.on('SIGTERM', () => void shell.command('destroy'));
  rmSync(consoleSocket(runDir), { force: true });
  rmSync(controlSocket(runDir), { force: true });
  rmSync(agentSocket(runDir), { force: true });
  await consoleServer.listen(consoleSocket(runDir));
  await agentServer.listen(agentSocket(runDir));
  await shell.listen(controlSocket(runDir));
  const trimHeap = heapTrimmer();
  const trimProcess = processTrimmer();
  setInterval(() => {
    shell.beat();
    trimHeap();
    trimProcess();
  }, config.pulseMs ?? PULSE_MS).unref();
  log('info', `monitor of domain ${config.machine.domid} "${config.machine.name}", process ${me.pid}`);
  setTimeout(() => {
    if (shell.builds > 0 || shell.clients > 0) return;
    log('warn', 'nobody has asked for anything: ending');
    process.exit(1);
  }, ORPHAN_TIMEOUT_MS).unref();
}

process.on('uncaughtException', (error) => {
  log('error', `internal error: ${error.stack ?? error.message}`);
  process.exit(70);
});
main().catch((error: Error) => {
  log('error', error.stack ?? error.message);
  process.exit(1);
});
