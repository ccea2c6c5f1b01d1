/**
 * Makes files of what a guest's archive says, at one place of this machine and nowhere else. The guest is not trusted: a name
 * leads nowhere but below that place, links are made and never followed, and nothing gets a set-uid bit.
 *
 * What was not there before is there when all of it has come: it is made beside its place, under a name that ends in .part. In
 * a folder that is there already each file appears whole or not at all.
 */
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { CopyError } from './copy-error.ts';
import { nameBytes, nameOf, nameText, type TarEntry, type TarUser } from './tar.ts';

/** Paths in here are strings of bytes, as tar's names are. */
type Place = string;
const at = (place: Place): Buffer => nameBytes(place);
const isFolder = (place: Place): boolean => lstatSync(at(place), { throwIfNoEntry: false })?.isDirectory() ?? false;

export class Unpacker implements TarUser {
  readonly #target: Place;
  readonly #draft: Place;
  readonly #note: (text: string) => void;
  /** Where what the archive begins with is made; not known before it begins. */
  #root: Place | undefined;
  /** Folders that were made, or found, on the way: only in these is anything made. */
  readonly #folders = new Map<Place, { mode: number; mtime: number }>();
  readonly #files = new Set<Place>();
  #open: { fd: number; draft: Place; file: Place; entry: TarEntry } | undefined;

  /** What the archive begins with becomes `target`. `note` is told what is left out. */
  constructor(target: string, note: (text: string) => void) {
    this.#target = nameOf(target);
    this.#draft = draftOf(this.#target);
    this.#note = note;
  }

  entry(entry: TarEntry): void {
    const file = this.#place(entry);
    switch (entry.kind) {
      case 'folder':
        this.#folder(file, entry);
        return;
      case 'file': {
        const draft = draftOf(file);
        this.#makeWay(file, draft);
        this.#open = { fd: openSync(at(draft), 'wx', 0o600), draft, file, entry };
        return;
      }
      case 'symlink':
        this.#makeWay(file, file);
        symlinkSync(nameBytes(entry.target ?? ''), at(file));
        return;
      case 'hardlink': {
        const other = this.#place({ ...entry, name: entry.target ?? '' });
        if (!this.#files.has(other)) throw new CopyError(`${nameText(entry.name)}: a link to what was not copied`);
        this.#makeWay(file, file);
        linkSync(at(other), at(file));
        return;
      }
      default:
        this.#note(`${nameText(entry.name)} is neither a file nor a folder: left out`);
    }
  }

  data(bytes: Buffer): void {
    if (!this.#open) return;
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#open.fd, bytes, done);
  }

  done(): void {
    const open = this.#open;
    if (!open) return;
    this.#open = undefined;
    closeSync(open.fd);
    chmodSync(at(open.draft), open.entry.mode & 0o777);
    utimesSync(at(open.draft), open.entry.mtime, open.entry.mtime);
    renameSync(at(open.draft), at(open.file));
    this.#files.add(open.file);
  }

  /** All has come. */
  finish(): void {
    this.#settleFolders();
    if (this.#root === this.#draft && lstatSync(at(this.#draft), { throwIfNoEntry: false }))
      renameSync(at(this.#draft), at(this.#target));
  }

  /** No more comes: what was begun goes. */
  abandon(): void {
    if (this.#open) {
      closeSync(this.#open.fd);
      rmSync(at(this.#open.draft), { force: true });
    }
    if (this.#root === this.#draft) rmSync(at(this.#draft), { recursive: true, force: true });
    else this.#settleFolders();
  }

  /** Folders get their times and permissions, which were in the way before. */
  #settleFolders(): void {
    for (const [folder, { mode, mtime }] of [...this.#folders].reverse()) {
      chmodSync(at(folder), mode);
      utimesSync(at(folder), mtime, mtime);
    }
  }

  /** The place of an entry. The first part of its name is whatever the guest calls what we asked for. */
  #place({ name, kind }: TarEntry): Place {
    const [, ...parts] = name.replace(/^\.\//, '').replace(/\/+$/, '').split('/');
    if (
      parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0')) ||
      name.startsWith('/')
    ) {
      throw new CopyError(`the guest's archive names ${shown(name)}`);
    }
    if (parts.length === 0) this.#root ??= this.#begin(kind);
    const file = path.join(this.#root ?? this.#draft, ...parts);
    if (parts.length > 0 && !this.#folders.has(path.dirname(file)))
      throw new CopyError(`the guest's archive has ${shown(name)} without its folder`);
    return file;
  }

  /** Into a folder that is there goes what the guest's has; all else is made beside its place. */
  #begin(kind: TarEntry['kind']): Place {
    const there = lstatSync(at(this.#target), { throwIfNoEntry: false });
    if (there?.isDirectory() && kind === 'folder') return this.#target;
    if (there?.isDirectory()) throw new CopyError(`${nameText(this.#target)}: is a folder`);
    if (there && kind === 'folder')
      throw new CopyError(`${nameText(this.#target)}: is there already and is not a folder`);
    return this.#draft;
  }

  #folder(folder: Place, { mode, mtime }: TarEntry): void {
    const there = lstatSync(at(folder), { throwIfNoEntry: false });
    if (there && !there.isDirectory()) throw new CopyError(`${nameText(folder)}: is there already and is not a folder`);
    if (!there) mkdirSync(at(folder), { mode: 0o700 });
    // A folder that was there keeps its permissions.
    const known = this.#folders.get(folder);
    this.#folders.set(folder, { mode: known?.mode ?? (there ? there.mode & 0o7777 : mode & 0o777), mtime });
  }

  /** Something is made as `draft` and will be `file`. */
  #makeWay(file: Place, draft: Place): void {
    if (isFolder(file)) throw new CopyError(`${nameText(file)}: is a folder`);
    rmSync(at(draft), { force: true });
  }
}

const draftOf = (place: Place): Place => `${place}.${process.pid}.part`;
const shown = (name: string): string => JSON.stringify(nameText(name).slice(0, 200));
