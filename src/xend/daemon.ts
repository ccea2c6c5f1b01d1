/** The serving process: claims the pid file, opens the store, finds its domains, serves the API until told to stop. */
import { rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { installExamples } from '../config/examples.ts';
import { makeFolders, type Paths, pidFile, xendLog } from '../host/paths.ts';
import { claimPidFile, readPidFile } from '../host/process-identity.ts';
import { EventLog } from './events.ts';
import { serve } from './http/serve.ts';
import { MessageBuffer, XendLog } from './log.ts';
import { nodeInfo } from './node-info.ts';
import { PATIENCE, type XendPorts } from './ports.ts';
import { VERSION } from './routes.ts';
import { openStoreHome } from './store-home.ts';
import { Xend } from './xend.ts';
import { loadXendConfig, xendConfigFile } from './xend-config.ts';

/** Another xend serves these folders already. */
const LOOPBACK = ['localhost', '127.0.0.1'];

export class AlreadyRunning extends Error {
  readonly pid: number;
  constructor(pid: number) {
    super(`xend is running already, process ${pid}`);
    this.pid = pid;
  }
}

export interface Daemon {
  readonly xend: Xend;
  readonly log: XendLog;
  /** Of the API on TCP, when it is served there. */
  readonly port: number | undefined;
  stop(): Promise<void>;
}

/** What tests choose. */
export type DaemonOptions = Partial<Pick<XendPorts, 'patience' | 'atStep'>>;

/** `DOMAIN/WORK: STEP`: this process dies as by kill -9 when that step begins. DOMAIN is a name or a uuid. For tests of what that leaves behind. */
function killSwitch(where: string): NonNullable<XendPorts['atStep']> {
  return ({ name, uuid }, work, step) => {
    const dies = [name, uuid].some((domain) => where === `${domain}/${work}: ${step}`);
    if (dies) process.kill(process.pid, 'SIGKILL');
  };
}

export async function startDaemon(paths: Paths, options: DaemonOptions = {}): Promise<Daemon> {
  process.umask(0o077); // Every socket and file of xend is its user's alone.
  makeFolders(paths);
  const owner = claimPidFile(pidFile(paths));
  if (owner) throw new AlreadyRunning(owner.pid);
  const warnings: string[] = [];
  try {
    installExamples(paths.etc);
  } catch (error) {
    warnings.push(`no example configurations in ${paths.etc}: ${(error as Error).message}`);
  }
  let log = new XendLog(xendLog(paths));
  let xend: Xend | undefined;
  try {
    const config = loadXendConfig(xendConfigFile(paths), paths, (text) => warnings.push(text));
    log = new XendLog(config.logfile, { format: config['log-format'], level: config.loglevel });
    if (!LOOPBACK.includes(config['console-address']))
      warnings.push("console-address: the consoles' ports are on the loopback address only");
    for (const warning of warnings) log.write('WARNING', 'daemon', warning);
    const messages = new MessageBuffer(path.join(paths.log, 'dmesg'));
    const { cores, memoryMiB } = nodeInfo([]);
    messages.add(
      `Domus ${VERSION} on ${os.type()} ${os.release()} ${os.machine()}, Node ${process.versions.node}: ${cores} CPUs, ${memoryMiB} MiB`,
    );
    log.write('INFO', 'daemon', `xend ${VERSION} starts, process ${process.pid}, files under ${paths.run}`);
    const store = await openStoreHome(paths, (text) => log.write('INFO', 'store', text));
    const events = new EventLog(path.join(paths.lib, 'events.jsonl'));
    const { DOMUS_KILL_XEND_AT: killAt } = process.env;
    xend = new Xend({
      paths,
      store,
      log,
      messages,
      events,
      consolePortBase: config['console-port-base'],
      dumpsCrashes: config['enable-dump'],
      settings: config,
      now: Date.now,
      patience: PATIENCE,
      ...(killAt && { atStep: killSwitch(killAt) }),
      ...options,
    });
    await xend.start();
    const served = await serve(xend, config, paths);
    events.emit('xend.started', undefined, { version: VERSION, pid: process.pid });
    const running = xend;
    return {
      xend: running,
      log,
      port: served.port,
      async stop() {
        log.write('INFO', 'daemon', 'xend stops; its domains run on');
        events.emit('xend.stopping');
        await running.stop();
        await served.close();
        if (readPidFile(pidFile(paths))?.pid === process.pid) rmSync(pidFile(paths), { force: true });
      },
    };
  } catch (error) {
    log.write('ERROR', 'daemon', (error as Error).stack ?? String(error));
    await xend?.stop();
    rmSync(pidFile(paths), { force: true });
    throw error;
  }
}
