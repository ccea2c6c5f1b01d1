/**
 * Regions that outlive their domain, those of its first vCPU: what one has translated, every later one finds in a folder of files, by what its code is. Each
 * file holds some dozen regions that were made one after the other, most of which are needed together again.
 *
 * A file's name begins with the number of its format and a hash of our own sources (engine-code.ts). It has a head, which is read when a domain starts, and a body,
 * read when control first comes to code that looks like an entry of one of its regions. Either is believed only with its SHA-256.
 * Beside it there may be V8's machine code of its module (v8-code.ts), which a process of xend's makes for those that come later.
 * What is in it was made from bytes of some guest's, and is run for exactly the same bytes only: by Regions, which compares all of them.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  utimesSync,
} from 'node:fs';
import path from 'node:path';
import v8, { deserialize, serialize } from 'node:v8';
import { VCPUS_BASE } from '../../hypervisor/memory.ts';
import { ENTRY_HINTS } from '../../translate/interpreter/entry-hint.ts';
import { joinRegions, type RegionOrigin } from '../../translate/region/index.ts';
import type { FunctionCode } from '../../wasm/module.ts';
import { writeAtomically } from '../atomic-file.ts';
import { compileOptimized, moduleWithCode, serializeCode } from '../v8-code.ts';

/** A region as its domain gives it away. */
export interface KeptRegion {
  /** Of its function, for profilers. */
  readonly name: string;
  readonly origin: RegionOrigin;
  readonly code: FunctionCode;
}

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
  /** What it was made from; undefined: it is not there any more. */
  origin(place: KeptPlace): RegionOrigin | undefined;
  /** Its function, over these imports, which are the same each time. */
  code(place: KeptPlace, imports: Record<string, unknown>): unknown;
  /** The module that has it, for those who want to read it, and what it is exported as; undefined: it is not there any more. */
  module(place: KeptPlace): { readonly bytes: Uint8Array; readonly exported: string } | undefined;
  /** Take these, which are new. */
  keep(regions: readonly KeptRegion[]): void;
}

/** WebAssembly of one file, about: a guest waits while one is taken. */
const FILE_CODE_BYTES = 96 << 10;

interface Head {
  /** For each entry of each region: its entryKey, the region's number and that of the entry, and its entryHint. */
  readonly keys: Uint32Array;
  /** For each region a hash of its origin. */
  readonly ids: readonly string[];
  /** SHA-256 of the body. */
  readonly bodyHash: Uint8Array;
  /** When it was made, milliseconds since 1970. The file's own times say when it was needed last. */
  readonly made: number;
}
interface Body {
  readonly origins: readonly RegionOrigin[];
  /** Exports "0", "1", … */
  readonly module: Uint8Array<ArrayBuffer>;
}
interface File {
  readonly file: string;
  readonly bodyHash: Uint8Array;
  /** It has been read before. */
  counted: boolean;
  /** Once it has been asked for; false: it cannot be had. */
  origins: readonly RegionOrigin[] | undefined | false;
  /** Once one of its functions has been asked for. */
  exports: Record<string, unknown> | undefined;
}

/** Bytes of all files together; the oldest go first. */
const FOLDER_BYTES_MAX = 256 << 20;
/** So much of the disk stays free for others: what is kept saves time, and what they write may be needed. */
const FREE_BYTES_LEAST = 512 << 20;
const USE_MS = 3_600_000;
/** Of modules that a domain takes. */
const LOADED_BYTES_MAX = 32 << 20;
const HASH_BYTES = 32;
/** SHA-256 of the head, its length (u32); then the head and the body. */
const LEAD_BYTES = HASH_BYTES + 4;
const SUFFIX = '.regions';
/** Of what is in a file: whoever changes it counts on. */
const FORMAT = 2;

/** V8's code of a file's module: for this V8, with these flags, on this kind of CPU. */
const codeFile = (file: string): string =>
  `${file.slice(0, -SUFFIX.length)}.${v8.cachedDataVersionTag().toString(16)}.code`;

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
/** Of what it says: V8's serializer writes a number in several ways, as its compilers happen to hold it. */
const idOf = ({ bytes, ...rest }: RegionOrigin): string =>
  createHash('sha256').update(JSON.stringify(rest)).update(bytes).digest('hex').slice(0, 24);

/** The files of `version`, the newest first. */
function filesOf(folder: string, version = ''): string[] {
  try {
    const names = readdirSync(folder).filter(
      (name) => name.startsWith(`${FORMAT}-${version}`) && name.endsWith(SUFFIX),
    );
    const files = names.map((name) => path.join(folder, name)).map((file) => ({ file, age: statSync(file).mtimeMs }));
    return files.sort((a, b) => b.age - a.age).map(({ file }) => file);
  } catch {
    return [];
  }
}

/** Undefined when there is none that can be believed. */
function readHead(file: string): Head | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    const lead = Buffer.alloc(LEAD_BYTES);
    readSync(fd, lead);
    const head = Buffer.alloc(Math.min(lead.readUInt32LE(HASH_BYTES), FOLDER_BYTES_MAX));
    readSync(fd, head);
    if (!sha256(head).equals(lead.subarray(0, HASH_BYTES))) return undefined;
    return deserialize(head) as Head;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** What is known of files, whose names say what is in them. */
const idsKnown = new Map<string, readonly string[]>();

/** The regions of a file; none if it cannot be believed. */
function idsOf(file: string): readonly string[] {
  let ids = idsKnown.get(file);
  if (ids === undefined) {
    ids = readHead(file)?.ids ?? [];
    idsKnown.set(file, ids);
  }
  return ids;
}

/** A file's time says when it was needed last, about: to set it each time was a fifth of what taking the files costs at a boot. */
function noteUse(file: string): void {
  const now = new Date();
  if (now.getTime() - statSync(file).mtimeMs > USE_MS) utimesSync(file, now, now);
}

function readBody({ file, bodyHash }: Pick<File, 'file' | 'bodyHash'>): Body | undefined {
  try {
    const all = readFileSync(file);
    const body = all.subarray(LEAD_BYTES + all.readUInt32LE(HASH_BYTES));
    if (!sha256(body).equals(bodyHash)) return undefined;
    noteUse(file);
    return deserialize(body) as Body;
  } catch {
    return undefined;
  }
}

/** The folder as a vCPU's engine sees it: what was there when it began. `keep` is told what is new. */
export class RegionFolder implements KeptRegions {
  readonly keep: (regions: readonly KeptRegion[]) => void;
  readonly #files: File[] = [];
  /** The module of the file that was read last: of the others nothing stays, and they are read again if need be. */
  #last: { readonly number: number; readonly module: Uint8Array<ArrayBuffer> } | undefined;
  readonly hints = new Uint8Array(ENTRY_HINTS);
  readonly #places = new Map<number, KeptPlace[]>();
  #loadedBytes = 0;

  constructor(folder: string, version: string, keep: (regions: readonly KeptRegion[]) => void) {
    this.keep = keep;
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
          bodyHash: head.bodyHash.slice(),
          counted: false,
          origins: undefined,
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

  origin({ file, region }: KeptPlace): RegionOrigin | undefined {
    const entry = this.#files[file]!;
    entry.origins ??= this.#read(file);
    return entry.origins === false ? undefined : entry.origins[region];
  }

  code({ file, region }: KeptPlace, imports: Record<string, unknown>): unknown {
    const entry = this.#files[file]!;
    if (entry.exports === undefined) {
      if (this.#last?.number !== file) this.#read(file);
      if (this.#last?.number !== file) return undefined;
      const bytes = new Uint8Array(this.#last.module);
      this.#last = undefined;
      entry.exports = new WebAssembly.Instance(moduleOf(entry.file, bytes), { e: imports }).exports;
    }
    return entry.exports[String(region)];
  }

  module({ file, region }: KeptPlace): { readonly bytes: Uint8Array; readonly exported: string } | undefined {
    const body = readBody(this.#files[file]!);
    return body && { bytes: body.module, exported: String(region) };
  }

  /** What the regions of a file were made from; false when it is not there, or there is enough. Its module is then `#last`. */
  #read(number: number): readonly RegionOrigin[] | false {
    const file = this.#files[number]!;
    const body = file.counted || this.#loadedBytes < LOADED_BYTES_MAX ? readBody(file) : undefined;
    if (body === undefined) return false;
    this.#last = { number, module: body.module };
    if (!file.counted) this.#loadedBytes += body.module.length;
    file.counted = true;
    return body.origins.map((origin) => ({ ...origin, bytes: origin.bytes.slice(), keys: [], hints: [] }));
  }
}

function moduleOf(file: string, bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  let code: Uint8Array<ArrayBuffer> | undefined;
  try {
    code = new Uint8Array(readFileSync(codeFile(file)));
  } catch {
    // V8 compiles what is called, and later again what is called often.
  }
  return (code && moduleWithCode(bytes, code)) ?? new WebAssembly.Module(bytes);
}

/** May anything be written to `folder`, so that at least `bytes` of its disk are free? */
function isFree(folder: string, bytes: number): boolean {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize >= bytes;
}

/**
 * Writes what is new to the folder, unless fewer than `free` bytes of its disk are free. Whatever goes wrong costs the next domain time, and
 * nobody else anything.
 */
export function keepRegions(
  folder: string,
  version: string,
  regions: readonly KeptRegion[],
  free = FREE_BYTES_LEAST,
): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!isFree(folder, free)) return;
    const known = new Set(filesOf(folder, version).flatMap(idsOf));
    const fresh = regions.map((region) => ({ ...region, id: idOf(region.origin) })).filter(({ id }) => !known.has(id));
    for (const together of parcels(fresh)) writeFile(folder, version, together);
    if (fresh.length > 0) removeOldest(folder);
  } catch {
    return;
  }
}

interface NamedRegion extends KeptRegion {
  readonly id: string;
}

/** What comes into one file. */
function parcels(regions: readonly NamedRegion[]): NamedRegion[][] {
  const parcels: NamedRegion[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const region of regions) {
    const { length } = region.code.bytes;
    if (bytes + length > FILE_CODE_BYTES) {
      parcels.push([]);
      bytes = 0;
    }
    parcels.at(-1)!.push(region);
    bytes += length;
  }
  return parcels;
}

function writeFile(folder: string, version: string, regions: readonly NamedRegion[]): void {
  const origins = regions.map(({ origin }) => origin);
  const body = serialize({ origins, module: joinRegions(VCPUS_BASE, regions) } satisfies Body);
  const keys = origins.flatMap((origin, region) =>
    origin.keys.flatMap((key, entry) => [key, region, entry, origin.hints[entry]!]),
  );
  const head = serialize({
    keys: Uint32Array.from(keys),
    ids: regions.map(({ id }) => id),
    bodyHash: sha256(body),
    // Of two files that are written one after the other the second one is newer.
    made: performance.timeOrigin + performance.now(),
  } satisfies Head);
  const lead = Buffer.alloc(LEAD_BYTES);
  sha256(head).copy(lead);
  lead.writeUInt32LE(head.length, HASH_BYTES);
  const file = path.join(folder, `${FORMAT}-${version}-${sha256(head).toString('hex', 0, 10)}${SUFFIX}`);
  writeAtomically(file, Buffer.concat([lead, head, body]), 0o600);
}

/**
 * Files of regions of which there is no machine code yet, the newest first; none while fewer than `free` bytes of the disk are free. Under the
 * same V8 flags as the domains' monitors.
 */
export function uncompiled(folder: string, free = FREE_BYTES_LEAST): string[] {
  const files = filesOf(folder).filter((file) => !existsSync(codeFile(file)));
  return files.length > 0 && isFree(folder, free) ? files : [];
}

/**
 * Makes the machine code of a file's regions. A second of work for a megabyte of WebAssembly, in which this process can do nothing else. False:
 * it cannot be made; an empty file says so to others.
 */
export function compileKept(file: string): boolean {
  const head = readHead(file);
  const body = head && readBody({ file, bodyHash: head.bodyHash });
  let code: Uint8Array | undefined;
  if (body !== undefined) {
    const bytes = new Uint8Array(body.module);
    const module = compileOptimized(bytes);
    code = module && serializeCode(bytes);
  }
  writeAtomically(codeFile(file), code ?? new Uint8Array(0), 0o600);
  return code !== undefined;
}

function removeOldest(folder: string): void {
  const files = readdirSync(folder).map((name) => path.join(folder, name));
  const stats = files.map((file) => ({ file, ...statSync(file) })).sort((a, b) => b.mtimeMs - a.mtimeMs);
  let bytes = 0;
  for (const { file, size } of stats) {
    bytes += size;
    if (bytes > FOLDER_BYTES_MAX) rmSync(file, { force: true });
  }
}
