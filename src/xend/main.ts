/** The command `xend`: starts the daemon in the background and waits until it serves, stops it, tells whether it runs. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { debugLog, findPaths, makeFolders, pidFile, regionsDir, xendLog } from '../host/paths.ts';
import { isAlive, type ProcessIdentity, readPidFile, signal, waitGone } from '../host/process-identity.ts';
import { domusVersion } from '../host/version.ts';
import { notifyReady, takeNotifySocket } from './service-manager.ts';

const USAGE = `usage: xend {start|stop|restart|status|openapi}
  start                 start the daemon; succeeds when it runs already
  start --foreground    serve in this process until it is interrupted; exit code 75 when another one runs
  stop                  stop the daemon; domains run on
  restart               stop, then start
  status                exit code 0 when it runs, 3 when not
  openapi               print the API as an OpenAPI document
`;
const STOP_TIMEOUT_MS = 10_000;
/** The descriptor on which the background process tells its starter how it went. */
const REPORT_FD = 3;
/** EX_TEMPFAIL of sysexits.h: whoever supervises a process is to know that this one has not served, and need not try again. */
const RUNS_ALREADY = 75;

class Problem extends Error {}

function runningXend(): ProcessIdentity | undefined {
  const owner = readPidFile(pidFile(findPaths()));
  return owner && isAlive(owner) ? owner : undefined;
}

/** `report` hears 'ready' or why not; `runs` instead, when another xend serves these folders. */
async function serve(report: (text: string) => void, runs: (pid: number) => void): Promise<void> {
  const notifySocket = takeNotifySocket(process.env);
  const { AlreadyRunning, startDaemon } = await import('./daemon.ts');
  const { RegionCompiler } = await import('./region-compiler.ts');
  const { warmMonitors } = await import('./warm-monitors.ts');
  try {
    const daemon = await startDaemon(findPaths());
    void warmMonitors();
    const compiler = new RegionCompiler(regionsDir(findPaths().lib));
    let stopping = false;
    const stop = () => {
      if (stopping) return;
      stopping = true;
      compiler.stop();
      daemon.stop().then(
        () => process.exit(0),
        (error: Error) => {
          daemon.log.write('ERROR', 'daemon', error.stack ?? error.message);
          process.exit(1);
        },
      );
    };
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, stop);
    // An error that nobody caught costs a line in the log, not every client's connection.
    process.on('uncaughtException', (error) => daemon.log.write('ERROR', 'daemon', error.stack ?? error.message));
    report('ready');
    if (notifySocket !== undefined)
      notifyReady(notifySocket, (reason) =>
        daemon.log.write('WARNING', 'daemon', `systemd is not told that xend serves: ${reason}`),
      );
  } catch (error) {
    const already = error instanceof AlreadyRunning;
    process.exitCode = already ? RUNS_ALREADY : 1;
    if (already) runs(error.pid);
    else report((error as Error).message);
  }
}

async function start(): Promise<void> {
  if (runningXend()) return;
  const paths = findPaths();
  makeFolders(paths);
  // Who started this command is told by its end; the daemon is not to speak for another's service.
  takeNotifySocket(process.env);
  const log = openSync(debugLog(paths), 'a', 0o600);
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), '--serve'], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
  });
  closeSync(log);
  let said = '';
  const pipe = child.stdio[REPORT_FD] as NodeJS.ReadableStream;
  pipe.setEncoding('utf8');
  for await (const chunk of pipe) said += chunk;
  child.unref();
  if (said.trim() === 'ready') return;
  throw new Problem(said.trim() || `it ended while starting; see ${debugLog(paths)} and ${xendLog(paths)}`);
}

async function stop(): Promise<void> {
  const owner = runningXend();
  if (!owner || !signal(owner, 'SIGTERM')) return;
  if (!(await waitGone(owner, STOP_TIMEOUT_MS))) throw new Problem(`process ${owner.pid} does not stop`);
}

function complain(text: string): void {
  process.stderr.write(`xend: ${text}\n`);
}

function reportOnPipe(text: string): void {
  writeSync(REPORT_FD, `${text}\n`);
  closeSync(REPORT_FD);
}

async function main([verb, ...options]: string[]): Promise<number> {
  const foreground = options.some((option) => ['-F', '-f', '--foreground'].includes(option));
  if (options.length > (foreground ? 1 : 0)) throw new Problem(`not an option: ${options.join(' ')}`);
  switch (verb) {
    case 'start':
      if (!foreground) await start();
      else
        await serve(
          (text) => text !== 'ready' && complain(text),
          (pid) => complain(`another xend runs, process ${pid}; \`xend stop\` ends it, and its domains run on`),
        );
      return Number(process.exitCode ?? 0);
    case 'stop':
      await stop();
      return 0;
    case 'restart':
      await stop();
      await start();
      return 0;
    case 'status': {
      const owner = runningXend();
      process.stdout.write(owner ? `xend is running, process ${owner.pid}\n` : 'xend is not running\n');
      return owner ? 0 : 3;
    }
    case 'openapi': {
      const { openApi } = await import('./http/openapi.ts');
      process.stdout.write(`${JSON.stringify(openApi(), null, 2)}\n`);
      return 0;
    }
    case '--serve':
      await serve(reportOnPipe, () => reportOnPipe('ready'));
      return Number(process.exitCode ?? 0);
    case '--version':
    case '-V':
      process.stdout.write(`Domus ${domusVersion()}\n`);
      return 0;
    case undefined:
    case 'help':
    case '-h':
    case '--help':
      process.stdout.write(USAGE);
      return verb === undefined ? 1 : 0;
    default:
      throw new Problem(`not an option: ${verb} (xend help lists them)`);
  }
}

// `xend openapi | head` closes our output early: that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: Error) => {
    complain(error.message.split('\n')[0]!);
    process.exitCode = 1;
  },
);
