/**
 * The store's journal as one file. Appended records are in the kernel's hands when `append` returns, so killing the process
 * loses nothing; a crash of the machine may lose the last ones, but a snapshot is on disk before it takes the file's place.
 * Format: store/journal.ts.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import type { JournalPort } from '../store/journal.ts';

export class JournalFile implements JournalPort {
  readonly #path: string;
  readonly #complain: (text: string) => void;
  #fd: number;
  #length: number;
  /** A record could not be taken back: nothing may follow it until the file is written anew. */
  #spoiled = false;

  /** Throws when the file cannot be opened. `complain` gets one line for each thing that could not be kept. */
  constructor(path: string, complain: (text: string) => void) {
    this.#path = path;
    this.#complain = complain;
    this.#fd = openSync(path, 'a+', 0o600);
    this.#length = 0;
  }

  read(): Uint8Array {
    const bytes = readFileSync(this.#path);
    this.#length = bytes.length;
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  append(record: Uint8Array): boolean {
    if (this.#spoiled) return false;
    try {
      writeAll(this.#fd, record);
      this.#length += record.length;
      return true;
    } catch (error) {
      this.#complain(`${this.#path}: a change of the store cannot be kept and was refused: ${reason(error)}`);
      try {
        ftruncateSync(this.#fd, this.#length);
      } catch {
        this.#spoiled = true;
      }
      return false;
    }
  }

  replace(bytes: Uint8Array): boolean {
    const next = `${this.#path}.new`;
    let fd: number | undefined;
    try {
      // Appending, so that what follows through the same descriptor goes to the end.
      rmSync(next, { force: true });
      fd = openSync(next, 'ax', 0o600);
      writeAll(fd, bytes);
      fsyncSync(fd);
      renameSync(next, this.#path);
    } catch (error) {
      this.#complain(`${next}: the store cannot be written: ${reason(error)}`);
      if (fd !== undefined) closeSync(fd);
      return false;
    }
    closeSync(this.#fd);
    this.#fd = fd;
    this.#length = bytes.length;
    this.#spoiled = false;
    return true;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A write may take less than all, on a disk that is filling up. */
function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
