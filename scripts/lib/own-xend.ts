/**
 * A xend of one's own for the length of a program: its files in a temporary folder, driven with `xend` and `xm` as a person
 * would. `stop` leaves nothing behind, whatever state things are in, and may be called at any time.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { apiSocket, findPaths, type Paths, pidFile } from '../../src/host/paths.ts';
import { isAlive, type ProcessIdentity, readPidFile, signal, waitGone } from '../../src/host/process-identity.ts';
import { XendClient } from '../../src/sdk/client.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STOP_TIMEOUT_MS = 15_000;
const KILL_TIMEOUT_MS = 5_000;

export interface Finished {
  readonly code: number;
  /** Standard output and error, as they came. */
  readonly output: string;
}

export class OwnXend {
  /** The folder of everything: configuration files and disks may be put there as well. */
  readonly folder: string;
  readonly paths: Paths;
  readonly #env: NodeJS.ProcessEnv;
  readonly #children = new Set<ChildProcess>();
  #stopping: Promise<void> | undefined;

  constructor() {
    this.folder = mkdtempSync(path.join(tmpdir(), 'domus-'));
    const home = path.join(this.folder, 'home');
    this.#env = { ...process.env, DOMUS_HOME: home };
    this.paths = findPaths(this.#env);
  }

  async start(): Promise<void> {
    const { code, output } = await this.run('xend', ['start']);
    if (code !== 0) throw new Error(`xend does not start: ${output.trim()}`);
  }

  /** Start `xend` or `xm`. The child is ended with this object. */
  spawn(command: 'xend' | 'xm', args: readonly string[], options: SpawnOptions): ChildProcess {
    if (this.#stopping) throw new Error('this xend has been stopped');
    const child = spawn(path.join(root, 'bin', command), args, { ...options, env: this.#env });
    this.#children.add(child);
    child.on('exit', () => this.#children.delete(child));
    return child;
  }

  /** Run `xend` or `xm` to its end. */
  run(command: 'xend' | 'xm', args: readonly string[]): Promise<Finished> {
    return new Promise((resolve, reject) => {
      const child = this.spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => {
          output += text;
        });
      }
      child.on('error', reject);
      // "exit", not "close": the daemon that `xend start` leaves may hold our pipe.
      child.on('exit', (code, by) => setImmediate(() => resolve({ code: code ?? 1, output: output + (by ?? '') })));
    });
  }

  client(): XendClient {
    return new XendClient(apiSocket(this.paths));
  }

  /** The monitor processes of all domains. */
  monitors(): ProcessIdentity[] {
    const domains = path.join(this.paths.run, 'domains');
    if (!existsSync(domains)) return [];
    return readdirSync(domains).flatMap((name) => readPidFile(path.join(domains, name, 'monitor.pid')) ?? []);
  }

  /** End the domains, xend and every process started here. With `keep`, the folder stays to be looked at. */
  stop(keep = false): Promise<void> {
    this.#stopping ??= this.#stop(keep);
    return this.#stopping;
  }

  async #stop(keep: boolean): Promise<void> {
    for (const child of this.#children) child.kill('SIGTERM');
    const xend = readPidFile(pidFile(this.paths));
    const monitors = this.monitors();
    if (xend && isAlive(xend)) await within(STOP_TIMEOUT_MS, this.#destroyDomains());
    if (xend) await end(xend);
    // What a creation that was under way has started meanwhile is in the folder by now.
    await Promise.all([...monitors, ...this.monitors()].map(end));
    for (const child of this.#children) child.kill('SIGKILL');
    if (!keep) rmSync(this.folder, { recursive: true, force: true });
  }

  async #destroyDomains(): Promise<void> {
    const client = this.client();
    try {
      const domains = (await client.call('GET /domains', {})).filter(({ domid }) => domid !== 0);
      await Promise.all(domains.map(({ uuid }) => client.call('POST /domains/:name/destroy', { name: uuid })));
    } catch {
      // Whatever is left is ended by its process.
    } finally {
      client.close();
    }
  }
}

async function end(who: ProcessIdentity): Promise<void> {
  signal(who, 'SIGTERM');
  if (await waitGone(who, KILL_TIMEOUT_MS)) return;
  signal(who, 'SIGKILL');
  await waitGone(who, KILL_TIMEOUT_MS);
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    work,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    }),
  ]);
  clearTimeout(timer);
}
