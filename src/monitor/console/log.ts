/**
 * Log files with a size limit. The console's is a file that begins anew, FILE, when it is long, and keeps the ones before as
 * FILE.1 (the latest) to FILE.3. The monitor's own is its standard error, which cannot be another file later: what is in it
 * is copied to FILE.1 and it begins anew in place. A full disk costs the log, never the domain.
 */
import { closeSync, copyFileSync, fstatSync, ftruncateSync, openSync, renameSync, statSync, writeSync } from 'node:fs';

export const CONSOLE_LOG_BYTES = 4 << 20;
const OLD_FILES = 3;
export const MONITOR_LOG_BYTES = 1 << 20;
const STDERR = 2;

export class ConsoleLog {
  readonly #path: string;
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

  close(): void {
    closeSync(this.#fd);
  }

  #rotate(): void {
    for (let i = OLD_FILES; i > 0; i--)
      moveIfThere(i === 1 ? this.#path : `${this.#path}.${i - 1}`, `${this.#path}.${i}`);
    closeSync(this.#fd);
    this.#fd = openSync(this.#path, 'a', 0o600);
    this.#size = 0;
  }
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/**
 * Keeps standard error, when it is the file at `path`, below a size: a function to call before each line. The file was
 * opened for appending, so that what is written next goes to its new end.
 */
export function standardErrorLimit(path: string, limit = MONITOR_LOG_BYTES, fd = STDERR): () => void {
  return () => {
    try {
      const mine = fstatSync(fd);
      if (mine.size < limit) return;
      const named = statSync(path);
      if (named.ino !== mine.ino || named.dev !== mine.dev) return;
      copyFileSync(path, `${path}.1`);
      ftruncateSync(fd, 0);
    } catch {
      // Standard error is no file, or the disk is full: the next line tries again.
    }
  };
}
