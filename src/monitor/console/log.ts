/**
 * Log files with a size limit. The console's is a file that begins anew, FILE, when it is long, and keeps the ones before as
 * FILE.1 (the latest) to FILE.3. The monitor's own is its standard error, which cannot be another file later: what is in it
 * is copied to FILE.1 and it begins anew in place. A full disk costs the log, never the domain. Both follow their domain's name.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';

export const CONSOLE_LOG_BYTES = 4 << 20;
const OLD_FILES = 3;
export const MONITOR_LOG_BYTES = 1 << 20;
const STDERR = 2;

export class ConsoleLog {
  #path: string;
  readonly #limit: number;
  readonly #onError: (text: string) => void;
  #fd: number;
  #size: number;
  #failed = false;

  constructor(path: string, onError: (text: string) => void, limit = CONSOLE_LOG_BYTES) {
    this.#path = path;
    this.#limit = limit;
    this.#onError = onError;
    this.#fd = openSync(path, 'a', 0o600);
    this.#size = statSync(path).size;
  }

  write(bytes: Uint8Array): void {
    try {
      if (this.#size > 0 && this.#size + bytes.length > this.#limit) this.#rotate();
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
      this.#size += bytes.length;
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#onError(`console log ${this.#path}: ${(error as Error).message}`);
      this.#failed = true;
    }
  }

  /** Goes on under another name, with what it has kept. */
  moveTo(path: string): void {
    moveLog(this.#path, path, OLD_FILES);
    this.#path = path;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #rotate(): void {
    for (let i = OLD_FILES; i > 0; i--) moveIfThere(generation(this.#path, i - 1), generation(this.#path, i));
    closeSync(this.#fd);
    this.#fd = openSync(this.#path, 'a', 0o600);
    this.#size = 0;
  }
}

/** FILE, and those that it was before. */
const generation = (path: string, age: number): string => (age === 0 ? path : `${path}.${age}`);

/** Move a log with its older files. What an earlier domain has left under that name becomes older still, `old` files at most. */
export function moveLog(from: string, to: string, old: number): void {
  if (from === to) return;
  const ages = Array.from({ length: old + 1 }, (_, age) => age);
  const own = ages.map((age) => generation(from, age)).filter((file) => existsSync(file));
  for (const age of ages.toReversed()) {
    const file = generation(to, age);
    if (age + own.length > old) rmSync(file, { force: true });
    else moveIfThere(file, generation(to, age + own.length));
  }
  for (const [age, file] of own.entries()) renameSync(file, generation(to, age));
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Keeps standard error, when it is the file at `path`, below a size. It was opened for appending: what is written next goes to its new end. */
export class StandardErrorLog {
  #path: string;
  readonly #limit: number;
  readonly #fd: number;

  constructor(path: string, limit = MONITOR_LOG_BYTES, fd = STDERR) {
    this.#path = path;
    this.#limit = limit;
    this.#fd = fd;
  }

  /** To be called before each line. */
  shorten(): void {
    try {
      if (fstatSync(this.#fd).size < this.#limit || !this.#isAt(this.#path)) return;
      copyFileSync(this.#path, generation(this.#path, 1));
      ftruncateSync(this.#fd, 0);
    } catch {
      // Standard error is no file, or the disk is full: the next line tries again.
    }
  }

  moveTo(path: string): void {
    if (!this.#isAt(this.#path)) return;
    moveLog(this.#path, path, 1);
    this.#path = path;
  }

  #isAt(path: string): boolean {
    const [mine, named] = [fstatSync(this.#fd), statSync(path, { throwIfNoEntry: false })];
    return named?.ino === mine.ino && named.dev === mine.dev;
  }
}
