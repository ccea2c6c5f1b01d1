/**
 * `xendomains start|stop|restart|status`: the domains of /etc/xen/auto at boot and at shutdown, xm-xend 6.4. Everything is done
 * with xm's own commands, so that a domain starts here as it does by hand.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { apiSocket, findPaths, type Paths } from '../host/paths.ts';
import { ApiError, XendClient } from '../sdk/client.ts';
import { run as runXm } from '../xm/main.ts';
import { type Entry, needed, PlanError, readWishes, startOrder, stopWaves } from './plan.ts';
import { readSettings, SETTINGS, type Settings } from './settings.ts';

const USAGE = `usage: xendomains {start|stop|restart|status}
  start    start the domains of the folder of automatic domains that do not run
  stop     shut all domains down, or only those of the folder; see XENDOMAINS_AUTO_ONLY
  restart  stop, then start
  status   tell how each domain of the folder is; exit code 0: all run, 3: not all run, 4: xend does not answer

Variables, in the environment or as NAME=VALUE in /etc/default/xendomains or /etc/sysconfig/xendomains:
${Object.entries(SETTINGS)
  .map(([name, about]) => `  ${name.padEnd(25)} ${about}\n`)
  .join('')}`;

/** Exit codes of init scripts, as the Linux Standard Base has them. */
const EXIT = { failure: 1, usage: 2, notRunning: 3, unknown: 4 } as const;

/** Files that editors and package managers leave. */
const LEFTOVER = /~$|^\.|\.(rpmsave|rpmnew|rpmorig|dpkg-\w+|bak|swp)$/;

export interface Surroundings {
  readonly paths: Paths;
  readonly env: NodeJS.ProcessEnv;
  out(text: string): void;
  err(text: string): void;
}

class Xendomains {
  readonly #around: Surroundings;
  readonly #settings: Settings;
  readonly #xend: XendClient;
  #failed = false;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#settings = readSettings(around.paths, around.env);
    this.#xend = new XendClient(apiSocket(around.paths));
  }

  async start(): Promise<number> {
    const running = await this.#running();
    const entries = await this.#entries();
    const down = new Set<Entry>();
    for (const { entry, problem } of startOrder(entries)) {
      if (running.has(entry.name)) {
        this.#around.out(`${entry.name} runs already\n`);
        continue;
      }
      const missing = needed(entry, entries).find((one) => down.has(one));
      const why =
        problem ??
        (missing
          ? `${missing.name} did not start`
          : await this.#xm('create', '--quiet', '--defconfig', this.#file(entry.file)));
      if (why !== undefined) {
        down.add(entry);
        this.#complain(`${entry.name} is not started: ${why}`);
        continue;
      }
      this.#around.out(`started ${entry.name}\n`);
      await sleep(entry.delayS * 1000 + this.#settings.createPauseMs);
    }
    return this.#failed ? EXIT.failure : 0;
  }

  async stop(): Promise<number> {
    const { autoOnly, missing } = this.#settings;
    for (const name of missing) this.#around.err(`xendomains: ${name}: not possible yet, domains are shut down\n`);
    const running = await this.#running();
    const entries = (await this.#entries()).filter(({ name }) => running.has(name));
    const waves = stopWaves(entries).map((wave) => wave.map(({ name }) => name));
    const automatic = new Set(entries.map(({ name }) => name));
    const others = autoOnly ? [] : [...running].filter((name) => !automatic.has(name));
    // Those that nobody knows anything about may need any of the others: they go first.
    for (const wave of [others, ...waves]) await Promise.all(wave.map((name) => this.#stopOne(name)));
    return this.#failed ? EXIT.failure : 0;
  }

  async #stopOne(name: string): Promise<void> {
    for (const letter of this.#settings.sysrq) await this.#xm('sysrq', name, letter);
    const { maxWaitS, force } = this.#settings;
    const why = await this.#xm('shutdown', '--halt', `--timeout=${maxWaitS}`, ...(force ? ['--force'] : []), name);
    // One that is kept after its end (on_poweroff = "preserve") would be in the way of its next start. Others are gone already.
    if (why === undefined) await this.#xm('destroy', name);
    if (why === undefined) this.#around.out(`stopped ${name}\n`);
    else this.#complain(`${name} is not stopped: ${why}`);
  }

  async status(): Promise<number> {
    const running = await this.#running();
    const entries = await this.#entries();
    for (const { name } of entries) this.#around.out(`${name} ${running.has(name) ? 'runs' : 'does not run'}\n`);
    if (entries.length === 0) this.#around.out(`there are no automatic domains in ${this.#settings.auto}\n`);
    return this.#failed || !entries.every(({ name }) => running.has(name)) ? EXIT.notRunning : 0;
  }

  close(): void {
    this.#xend.close();
  }

  /** Names of the domains that have not ended. */
  async #running(): Promise<Set<string>> {
    const domains = await this.#xend.call('GET /domains', {});
    return new Set(domains.filter(({ domid, state }) => domid !== 0 && state !== 'shutdown').map(({ name }) => name));
  }

  #file(name: string): string {
    return path.join(this.#settings.auto, name);
  }

  /** The files of the folder. One that is wrong is complained of, and does not keep the others from starting. */
  async #entries(): Promise<Entry[]> {
    const entries: Entry[] = [];
    for (const file of list(this.#settings.auto)) {
      let config = '';
      const why = await this.#xm('create', '--quiet', '--dryrun', '--json', '--defconfig', this.#file(file), (text) => {
        config += text;
      });
      try {
        if (why !== undefined) throw new PlanError(why);
        const { name } = JSON.parse(config) as { name: string };
        entries.push({ file, name, ...readWishes(readFileSync(this.#file(file), 'utf8')) });
      } catch (error) {
        this.#complain(`${file}: ${(error as Error).message}`);
      }
    }
    return entries;
  }

  /** Run a command of xm: undefined when it succeeds, what it complained of otherwise. */
  async #xm(...words: (string | ((text: string) => void))[]): Promise<string | undefined> {
    const out = words.find((word) => typeof word === 'function');
    let errors = '';
    const code = await runXm(
      words.filter((word) => typeof word === 'string'),
      {
        paths: this.#around.paths,
        out: (text) => out?.(text),
        err: (text) => {
          if (/^Warning: /.test(text)) this.#around.err(`xendomains: ${text}`);
          else errors += text;
        },
      },
    );
    return code === 0
      ? undefined
      : errors
          .trim()
          .replace(/^Error: /, '')
          .split('\n')[0] || `exit code ${code}`;
  }

  #complain(text: string): void {
    this.#failed = true;
    this.#around.err(`xendomains: ${text}\n`);
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Files and links to files, in the order of their bytes, as a shell's * has them. */
function list(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => !LEFTOVER.test(name) && statSync(path.join(folder, name), { throwIfNoEntry: false })?.isFile())
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export async function main([verb, ...rest]: readonly string[], around: Surroundings): Promise<number> {
  const known = ['start', 'stop', 'restart', 'status'].includes(verb ?? '');
  if (!known || rest.length > 0) {
    const help = verb === '--help' || verb === '-h' || verb === 'help';
    (help ? around.out : around.err)(USAGE);
    return help ? 0 : EXIT.usage;
  }
  const xendomains = new Xendomains(around);
  try {
    if (verb !== 'restart') return await xendomains[verb as 'start' | 'stop' | 'status']();
    // What could not be stopped, or is no configuration, is no reason to leave the others stopped.
    const stopped = await xendomains.stop();
    return (await xendomains.start()) || stopped;
  } catch (error) {
    around.err(`xendomains: ${(error as Error).message}\n`);
    return error instanceof ApiError && error.code === 'no-xend'
      ? verb === 'status'
        ? EXIT.unknown
        : EXIT.failure
      : EXIT.failure;
  } finally {
    xendomains.close();
  }
}

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2), {
    paths: findPaths(),
    env: process.env,
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
}
