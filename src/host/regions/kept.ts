/**
 * Regions that outlive their domain, those of its first vCPU: what one has translated, every later one finds in a folder of files
 * (kept-files.ts), by what its code is. Each file holds some dozen regions that were made one after the other, most of which are needed together again.
 * What is in it was made from bytes of some guest's, and is run for exactly the same bytes only: by Regions, which compares all of them.
 */
import { statSync } from 'node:fs';
import { ENTRY_HINTS } from '../../translate/interpreter/entry-hint.ts';
import type { RegionOrigin } from '../../translate/region/index.ts';
import {
  filesOf,
  type KeptFile,
  type KeptRegion,
  type LoadedFile,
  loadFile,
  moduleBytes,
  readHead,
  type WantedRegion,
  wantRegions,
} from './kept-files.ts';

/** Where a kept region is found: which of a file's, and which of its entries was looked for. */
export interface KeptPlace {
  readonly file: number;
  readonly region: number;
  readonly entry: number;
  /** How many kept regions were made later, and one. */
  readonly age: number;
}

/** What Regions wants of it. */
export interface KeptRegions {
  /** By entryHint: 1 where there may be an entry with it. */
  readonly hints: Uint8Array;
  /** Regions that may have an entry with this entryKey, the newest first. */
  find(key: number): readonly KeptPlace[];
  /** What it was made from; 'coming': its file is being loaded (come); undefined: it is not there any more. */
  origin(place: KeptPlace): RegionOrigin | 'coming' | undefined;
  /** Files that have come since they were asked for, and since this was called last. */
  come(): readonly number[];
  /** Its function, over these imports, which are the same each time; undefined unless it has an origin. */
  code(place: KeptPlace, imports: Record<string, unknown>): unknown;
  /** The module that has it, for those who want to read it, and what it is exported as; undefined: it is not there any more. */
  module(place: KeptPlace): { readonly bytes: Uint8Array; readonly exported: string } | undefined;
  /** Take these, which are new. */
  keep(regions: readonly KeptRegion[]): void;
  /** Have these made for later domains. */
  want(regions: readonly WantedRegion[]): void;
}

/** Who loads files: the vCPU's own thread, while the guest waits, or another one (translator.ts). */
export interface KeptLoader {
  load(file: KeptFile): LoadingFile;
}
export interface LoadingFile {
  /** False: it cannot be had. Undefined as long as it has not come. */
  readonly loaded: LoadedFile | false | undefined;
}
export const LOADER_AT_ONCE: KeptLoader = { load: (file) => ({ loaded: loadFile(file) ?? false }) };

interface File extends KeptFile {
  readonly size: number;
  /** Since it was asked for. */
  loading: LoadingFile | undefined;
  /** Once one of its functions has been asked for. */
  exports: Record<string, unknown> | undefined;
}

/**
 * Files up to this size, without V8's machine code, are loaded while the guest waits: mostly a millisecond each. While it does not, the interpreter runs
 * all code that comes to them meanwhile, and the other thread takes its share of the caches: a boot's vCPU thread took 1.1 of the CPU time.
 */
const AT_ONCE_BYTES = 64 << 10;
/** Of modules that a domain takes. */
const LOADED_BYTES_MAX = 32 << 20;

/** The folder as a vCPU's engine sees it: what was there when it began. `keep` is told what is new, and `loader` loads what is larger than `atOnceBytes`. */
export class RegionFolder implements KeptRegions {
  readonly keep: (regions: readonly KeptRegion[]) => void;
  readonly hints = new Uint8Array(ENTRY_HINTS);
  readonly #loader: KeptLoader;
  readonly #atOnceBytes: number;
  readonly #folder: string;
  readonly #version: string;
  readonly #files: File[] = [];
  readonly #places = new Map<number, KeptPlace[]>();
  /** Files that are being loaded. */
  readonly #coming = new Set<number>();
  #loadedBytes = 0;

  constructor(
    folder: string,
    version: string,
    keep: (regions: readonly KeptRegion[]) => void,
    loader: KeptLoader = LOADER_AT_ONCE,
    atOnceBytes = AT_ONCE_BYTES,
  ) {
    this.keep = keep;
    this.#folder = folder;
    this.#version = version;
    this.#loader = loader;
    this.#atOnceBytes = atOnceBytes;
    const heads = filesOf(folder, version).flatMap((file) => {
      const head = readHead(file);
      return head === undefined ? [] : [{ file, head }];
    });
    // Whoever made a region anew knew more of it.
    heads.sort((a, b) => b.head.made - a.head.made);
    let newer = 0;
    for (const { file, head } of heads) {
      const number =
        this.#files.push({
          file,
          size: statSync(file, { throwIfNoEntry: false })?.size ?? 0,
          bodyHash: head.bodyHash.slice(),
          loading: undefined,
          exports: undefined,
        }) - 1;
      newer += head.ids.length;
      for (let k = head.keys.length - 4; k >= 0; k -= 4) {
        this.hints[head.keys[k + 3]!] = 1;
        const region = head.keys[k + 1]!;
        const place = { file: number, region, entry: head.keys[k + 2]!, age: newer - region };
        const known = this.#places.get(head.keys[k]!);
        if (known === undefined) this.#places.set(head.keys[k]!, [place]);
        else known.push(place);
      }
    }
  }

  find(key: number): readonly KeptPlace[] {
    return this.#places.get(key) ?? [];
  }

  origin({ file, region }: KeptPlace): RegionOrigin | 'coming' | undefined {
    const entry = this.#files[file]!;
    if (entry.loading === undefined) this.#load(file, entry);
    if (this.#coming.has(file)) return 'coming';
    return (entry.loading?.loaded || undefined)?.origins[region];
  }

  come(): readonly number[] {
    const come: number[] = [];
    for (const file of this.#coming) {
      if (this.#files[file]!.loading!.loaded === undefined) continue;
      this.#has(file);
      come.push(file);
    }
    return come;
  }

  code({ file, region }: KeptPlace, imports: Record<string, unknown>): unknown {
    const entry = this.#files[file]!;
    const loaded = entry.loading?.loaded;
    if (!loaded) return undefined;
    entry.exports ??= new WebAssembly.Instance(loaded.module, { e: imports }).exports;
    return entry.exports[String(region)];
  }

  module({ file, region }: KeptPlace): { readonly bytes: Uint8Array; readonly exported: string } | undefined {
    const bytes = moduleBytes(this.#files[file]!);
    return bytes && { bytes, exported: String(region) };
  }

  want(regions: readonly WantedRegion[]): void {
    wantRegions(this.#folder, this.#version, regions);
  }

  /** Has it loaded, unless there is enough. */
  #load(number: number, file: File): void {
    if (this.#loadedBytes >= LOADED_BYTES_MAX) {
      file.loading = { loaded: false };
      return;
    }
    const loader = file.size > this.#atOnceBytes ? this.#loader : LOADER_AT_ONCE;
    file.loading = loader.load({ file: file.file, bodyHash: file.bodyHash });
    this.#coming.add(number);
    if (file.loading.loaded !== undefined) this.#has(number);
  }

  #has(number: number): void {
    const { loaded } = this.#files[number]!.loading!;
    this.#coming.delete(number);
    if (loaded) this.#loadedBytes += loaded.bytes;
  }
}
