/**
 * What the tests of other people's programs stand on: a xend with fake machines, and a PATH on which `xm`, `xl` and `xentop`
 * are ours.
 */
import { type SpawnSyncReturns, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';
import { makeHome, startXend, type TestHome, type TestXend } from '../../src/xend/testing.ts';

const BIN = path.resolve(import.meta.dirname, '../../bin');

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
