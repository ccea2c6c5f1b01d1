/**
 * The files that the program may see: those below one folder of the host, which is its root, for reading only. Links lead to what they
 * name below the root, whatever they name on the host. Besides, some devices.
 */
import {
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { CallError, DT, O } from './linux.ts';
import { Folder, Nothing, type OpenFile, Randomness, RegularFile } from './open-files.ts';

const LINKS_MAX = 40;
const DEVICES: Readonly<Record<string, () => OpenFile>> = {
  '/dev/null': () => new Nothing(),
  '/dev/random': () => new Randomness(),
  '/dev/urandom': () => new Randomness(),
};
/** What the host's kernel has there is about this process of the host. */
const NOT_SEEN = /^\/(?:dev|proc|sys)(?:\/|$)/;

export class Tree {
  readonly #root: string;
  readonly #program: string;

  /** `program`: where the program itself is, as it sees that. */
  constructor(root: string, program: string) {
    this.#root = realpathSync(root);
    this.#program = program;
  }

  /** The host's path for an absolute one of the program's. Whether there is a file is not looked at. */
  resolve(name: string, followLast = true): string {
    const done: string[] = [];
    const todo = name.split('/');
    for (let links = 0; todo.length > 0; ) {
      const part = todo.shift()!;
      if (part === '' || part === '.') continue;
      if (part === '..') {
        done.pop();
        continue;
      }
      done.push(part);
      if (!followLast && todo.every((rest) => rest === '')) break;
      const at = path.join(this.#root, ...done);
      if (lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink() !== true) continue;
      if (++links > LINKS_MAX) throw new CallError('ELOOP');
      const target = readlinkSync(at);
      if (target.startsWith('/')) done.length = 0;
      else done.pop();
      todo.unshift(...target.split('/'));
    }
    if (NOT_SEEN.test(`/${done.join('/')}`)) throw new CallError('ENOENT');
    return path.join(this.#root, ...done);
  }

  open(name: string, flags: number): OpenFile {
    const device = DEVICES[name];
    if (device !== undefined) return device();
    const at = this.resolve(name);
    const facts = statSync(at, { throwIfNoEntry: false });
    const writing = (flags & (O.ACCMODE | O.CREAT)) !== 0;
    if (writing && (facts !== undefined || (flags & O.CREAT) !== 0)) throw new CallError('EROFS');
    if (facts === undefined) throw new CallError('ENOENT');
    if (facts.isDirectory()) return new Folder(name, facts, () => entriesOf(at));
    if ((flags & O.DIRECTORY) !== 0) throw new CallError('ENOTDIR');
    // Opening a pipe or a device of the host can wait for ever, or do something.
    if (!facts.isFile()) throw new CallError('EACCES');
    return new RegularFile(openSync(at, 'r'));
  }

  stat(name: string, followLast: boolean): Stats {
    return (followLast ? statSync : lstatSync)(this.resolve(name, followLast));
  }

  readlink(name: string): string {
    if (name === '/proc/self/exe') return this.#program;
    return readlinkSync(this.resolve(name, false));
  }

  readFile(name: string): Uint8Array {
    return readFileSync(this.resolve(name));
  }
}

function entriesOf(folder: string): { name: string; kind: number }[] {
  const known = readdirSync(folder, { withFileTypes: true }).map((entry) => ({
    name: entry.name,
    kind: entry.isDirectory() ? DT.DIR : entry.isFile() ? DT.REG : entry.isSymbolicLink() ? DT.LNK : DT.UNKNOWN,
  }));
  return [{ name: '.', kind: DT.DIR }, { name: '..', kind: DT.DIR }, ...known];
}
