/**
 * What the tests of other people's programs stand on: a xend with fake machines, a PATH on which `xm`, `xl` and `xentop` are
 * ours, and the programs themselves, unmodified, out of Debian's packages in the cache. None is installed and none is root's.
 */
import { type SpawnSyncReturns, spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { DebianPackages } from '../../src/guest/debian.ts';
import { GuestError } from '../../src/guest/errors.ts';
import { guestCache } from '../../src/host/paths.ts';
import { makeHome, startXend, type TestHome, type TestXend } from '../../src/xend/testing.ts';

const BIN = path.resolve(import.meta.dirname, '../../bin');

/** The unpacked package, or why there is none: then its tests are skipped. */
export async function debianPackage(
  ...names: string[]
): Promise<{ folders: string[]; skip: false } | { folders: undefined; skip: string }> {
  const cache = guestCache();
  const packages = new DebianPackages(cache);
  try {
    const folders: string[] = [];
    // One that is in the cache will do, whatever its version: asking for the newest takes a network and seconds.
    for (const name of names) folders.push(cached(cache, name) ?? (await packages.unpacked(await packages.info(name))));
    return { folders, skip: false };
  } catch (error) {
    if (!(error instanceof GuestError)) throw error;
    return { folders: undefined, skip: `${names.join(', ')} cannot be fetched: ${error.message}` };
  } finally {
    await packages.close();
  }
}

function cached(cache: string, name: string): string | undefined {
  return globSync(path.join(cache, 'packages', `${name}_*`)).findLast((folder) => !folder.includes('.new-'));
}

export type Finished = Pick<SpawnSyncReturns<string>, 'status' | 'stdout' | 'stderr'>;

export class Client {
  readonly home: TestHome = makeHome();
  readonly #xend: Promise<TestXend>;
  /** A folder with our programs under the names that clients look for. */
  readonly bin: string;

  constructor(programs: readonly string[] = ['xm', 'xl', 'xentop']) {
    this.#xend = startXend(this.home);
    this.bin = path.join(this.home.dir, 'bin');
    mkdirSync(this.bin);
    for (const name of programs) symlinkSync(path.join(BIN, name), path.join(this.bin, name));
    after(async () => {
      await (await this.#xend).end();
      this.home.remove();
    });
  }

  /** A file of the client's. */
  file(name: string, text: string, mode = 0o644): string {
    const file = path.join(this.home.dir, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text, { mode });
    return file;
  }

  /** A configuration file of a domain on the fake machine. */
  config(name: string, more = ''): string {
    return this.file(`etc/${name}`, `name = "${name}"\nkernel = "${this.home.kernel}"\nmemory = 32\n${more}`);
  }

  /** Run a program as the client's daemon would. */
  async run(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, input = ''): Promise<Finished> {
    await this.#xend;
    const child = spawn(program, args, {
      cwd: this.home.dir,
      env: {
        PATH: `${this.bin}:${process.env.PATH}:/usr/sbin:/sbin`,
        HOME: this.home.dir,
        LC_ALL: 'C',
        DOMUS_HOME: path.join(this.home.dir, 'home'),
        ...env,
      },
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    child.stdin.on('error', () => {}); // It need not read what it is given.
    child.stdin.end(input);
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, stdout, stderr };
  }

  xm(...args: string[]): Promise<Finished> {
    return this.run(path.join(this.bin, 'xm'), args);
  }
}
