/** What a file descriptor of the program can be, and the table of them. What a kind cannot do answers as Linux does. */
import { closeSync, fstatSync, readSync, type Stats } from 'node:fs';
import { CallError, S_IF, SEEK } from './linux.ts';

const DESCRIPTORS_MAX = 1024;

/** What stat tells that is not zero here. */
export type FileFacts = Pick<Stats, 'dev' | 'ino' | 'mode' | 'size' | 'mtimeMs'>;
export interface FolderEntry {
  readonly name: string;
  readonly kind: number;
}

const special = (mode: number): FileFacts => ({ dev: 1, ino: 1, mode, size: 0, mtimeMs: 0 });

export abstract class OpenFile {
  abstract readonly facts: FileFacts;
  /** How many bytes were read; 0 at the end. `at`: from there, and the file's position stays. */
  read(_into: Uint8Array, _at?: number): number {
    throw new CallError('EBADF');
  }
  write(_bytes: Uint8Array): number {
    throw new CallError('EBADF');
  }
  seek(_offset: number, _from: number): number {
    throw new CallError('ESPIPE');
  }
  /** The next entry that was not taken yet. */
  peekEntry(): FolderEntry | undefined {
    throw new CallError('ENOTDIR');
  }
  takeEntry(): void {}
  close(): void {}
}

export class RegularFile extends OpenFile {
  readonly #host: number;
  #position = 0;

  constructor(host: number) {
    super();
    this.#host = host;
  }
  get facts(): FileFacts {
    return fstatSync(this.#host);
  }
  override read(into: Uint8Array, at?: number): number {
    const count = readSync(this.#host, into, 0, into.length, at ?? this.#position);
    if (at === undefined) this.#position += count;
    return count;
  }
  override seek(offset: number, from: number): number {
    const bases: Readonly<Record<number, number>> = {
      [SEEK.SET]: 0,
      [SEEK.CUR]: this.#position,
      [SEEK.END]: this.facts.size,
    };
    const base = bases[from];
    if (base === undefined || base + offset < 0) throw new CallError('EINVAL');
    return (this.#position = base + offset);
  }
  override close(): void {
    closeSync(this.#host);
  }
}

export class Folder extends OpenFile {
  /** As the program sees it. */
  readonly path: string;
  readonly facts: FileFacts;
  readonly #list: () => FolderEntry[];
  #entries: FolderEntry[] | undefined;

  constructor(path: string, facts: FileFacts, list: () => FolderEntry[]) {
    super();
    this.path = path;
    this.facts = facts;
    this.#list = list;
  }
  override read(): number {
    throw new CallError('EISDIR');
  }
  override peekEntry(): FolderEntry | undefined {
    return (this.#entries ??= this.#list())[0];
  }
  override takeEntry(): void {
    this.#entries?.shift();
  }
}

/** Bytes that the host has for the program, as they come: a pipe, a terminal. */
export class Input extends OpenFile {
  readonly facts = special(S_IF.FIFO | 0o400);
  readonly #host: number;

  constructor(host: number) {
    super();
    this.#host = host;
  }
  override read(into: Uint8Array, at?: number): number {
    if (at !== undefined) throw new CallError('ESPIPE');
    return readSync(this.#host, into, 0, into.length, null);
  }
}

export class Output extends OpenFile {
  readonly facts = special(S_IF.FIFO | 0o200);
  readonly #sink: (bytes: Uint8Array) => void;

  constructor(sink: (bytes: Uint8Array) => void) {
    super();
    this.#sink = sink;
  }
  override write(bytes: Uint8Array): number {
    this.#sink(bytes);
    return bytes.length;
  }
}

export class Nothing extends OpenFile {
  readonly facts = special(S_IF.CHR | 0o666);
  override read(): number {
    return 0;
  }
  override write(bytes: Uint8Array): number {
    return bytes.length;
  }
}

/** The same numbers in every run: xorshift. */
export class Randomness extends OpenFile {
  readonly facts = special(S_IF.CHR | 0o444);
  #state = 2463534242;

  override read(into: Uint8Array): number {
    for (let k = 0; k < into.length; k++) {
      this.#state ^= this.#state << 13;
      this.#state ^= this.#state >>> 17;
      this.#state ^= this.#state << 5;
      into[k] = this.#state;
    }
    return into.length;
  }
}

export class Descriptors {
  readonly #files = new Map<number, OpenFile>();

  get(descriptor: number): OpenFile {
    const file = this.#files.get(descriptor);
    if (file === undefined) throw new CallError('EBADF');
    return file;
  }

  /** Under the lowest number that is free, from `least` on. */
  add(file: OpenFile, least = 0): number {
    let descriptor = least;
    while (this.#files.has(descriptor)) descriptor++;
    if (descriptor >= DESCRIPTORS_MAX) throw new CallError('EMFILE');
    this.#files.set(descriptor, file);
    return descriptor;
  }

  /** dup2: `descriptor` becomes another number for what `from` is. */
  copy(from: number, descriptor: number): number {
    const file = this.get(from);
    if (!(descriptor >= 0 && descriptor < DESCRIPTORS_MAX)) throw new CallError('EBADF');
    if (from !== descriptor && this.#files.has(descriptor)) this.close(descriptor);
    this.#files.set(descriptor, file);
    return descriptor;
  }

  close(descriptor: number): void {
    const file = this.get(descriptor);
    this.#files.delete(descriptor);
    if (![...this.#files.values()].includes(file)) file.close();
  }
}
