/**
 * xend's log file, in the original's line format or as JSON lines, with its rotation; and the hypervisor's message buffer
 * behind `xm dmesg`.
 */
import { appendFileSync, readFileSync, renameSync, statSync } from 'node:fs';
import { writeAtomically } from '../host/atomic-file.ts';

const ROTATE_BYTES = 1 << 20;
const OLD_FILES = 5;
const MESSAGES_MAX = 256 << 10;

export const LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR'] as const;
export type Level = (typeof LEVELS)[number];
export type LogFormat = 'text' | 'json';

const stamp = (): string => {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace('T', ' ');
};

// biome-ignore format: a table
const FORMATS: Record<LogFormat, (level: Level, where: string, text: string) => string> = {
  text: (level, where, text) => `[${stamp()} xend] ${level} (${where}) ${text.replaceAll('\n', '\n    ')}\n`,
  json: (level, where, text) => `${JSON.stringify({ time: new Date().toISOString(), level, where, pid: process.pid, text })}\n`,
};

export interface LogOptions {
  readonly format?: LogFormat;
  /** What is below it is not written. */
  readonly level?: Level;
}

export class XendLog {
  readonly file: string;
  readonly #line: (level: Level, where: string, text: string) => string;
  readonly #least: number;
  #size: number;
  /** Lines of each level since this process began, written or not. */
  readonly counts: Record<Level, number> = { DEBUG: 0, INFO: 0, WARNING: 0, ERROR: 0 };

  constructor(file: string, { format = 'text', level = 'DEBUG' }: LogOptions = {}) {
    this.file = file;
    this.#line = FORMATS[format];
    this.#least = LEVELS.indexOf(level);
    this.#size = sizeOf(file);
  }

  write(level: Level, where: string, text: string): void {
    this.counts[level]++;
    if (LEVELS.indexOf(level) < this.#least) return;
    const line = this.#line(level, where, text);
    try {
      if (this.#size + line.length > ROTATE_BYTES) this.#rotate();
      appendFileSync(this.file, line, { mode: 0o600 });
      this.#size += Buffer.byteLength(line);
    } catch {
      // A full disk must not stop the domains' daemon.
    }
  }

  #rotate(): void {
    for (let n = OLD_FILES - 1; n >= 0; n--) {
      try {
        renameSync(n === 0 ? this.file : `${this.file}.${n}`, `${this.file}.${n + 1}`);
      } catch {
        // There are not that many old ones yet.
      }
    }
    this.#size = 0;
  }

  text(): string {
    try {
      return readFileSync(this.file, 'utf8');
    } catch {
      return '';
    }
  }
}

/** The latest messages about the machine and its domains; survives a restart of xend. */
export class MessageBuffer {
  readonly #file: string;
  #text: string;

  constructor(file: string) {
    this.#file = file;
    try {
      this.#text = readFileSync(file, 'utf8');
    } catch {
      this.#text = '';
    }
  }

  add(text: string): void {
    const lines = text
      .split('\n')
      .map((line) => `(XEN) [${stamp()}] ${line}\n`)
      .join('');
    this.#text += lines;
    try {
      if (this.#text.length > MESSAGES_MAX) {
        this.#text = this.#text.slice(this.#text.indexOf('\n', this.#text.length - MESSAGES_MAX / 2) + 1);
        writeAtomically(this.#file, this.#text);
      } else appendFileSync(this.#file, lines, { mode: 0o600 });
    } catch {
      // As above.
    }
  }

  text(): string {
    return this.#text;
  }

  clear(): void {
    this.#text = '';
    writeAtomically(this.#file, '');
  }
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    return 0;
  }
}
