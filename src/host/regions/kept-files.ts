/**
 * The files of kept regions: what is in them, who writes them, and what has V8's machine code made of them.
 *
 * A file's name begins with the number of its format and a hash of our own sources (engine-code.ts). It has a head, which is read when a domain starts, and a body,
 * read when control first comes to code that looks like an entry of one of its regions. Either is believed only with its SHA-256.
 * Beside it there may be V8's machine code of its module (v8-code.ts), which a process of xend's makes for those that come later.
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
import { joinRegions, type RegionOrder, type RegionOrigin } from '../../translate/region/index.ts';
import type { FunctionCode } from '../../wasm/module.ts';
import { writeAtomically } from '../atomic-file.ts';
import { sourceHash } from '../engine-code.ts';
import { compileOptimized, moduleWithCode, serializeCode } from '../v8-code.ts';
import { makeRegions } from './translator.ts';

/** A region as its domain gives it away. */
export interface KeptRegion {
  /** Of its function, for profilers. */
  readonly name: string;
  readonly origin: RegionOrigin;
  readonly code: FunctionCode;
}

/** One that is to be made. */
export interface WantedRegion {
  readonly origin: RegionOrigin;
  readonly order: RegionOrder;
}

/** WebAssembly of one file, about: a guest waits while one is taken. */
const FILE_CODE_BYTES = 96 << 10;

export interface Head {
  /** For each entry of each region: its entryKey, the region's number and that of the entry, and its entryHint. */
  readonly keys: Uint32Array;
  /** For each region a hash of its origin. */
  readonly ids: readonly string[];
  /** SHA-256 of the body. */
  readonly bodyHash: Uint8Array;
  /** When it was made, milliseconds since 1970. The file's own times say when it was needed last. */
  readonly made: number;
}
/** … and in the body. */
interface Body {
  readonly origins: readonly RegionOrigin[];
  /** Exports "0", "1", … */
  readonly module: Uint8Array<ArrayBuffer>;
}
/** Bytes of all files together; the oldest go first. */
const FOLDER_BYTES_MAX = 256 << 20;
/** So much of the disk stays free for others: what is kept saves time, and what they write may be needed. */
const FREE_BYTES_LEAST = 512 << 20;
const USE_MS = 3_600_000;
const HASH_BYTES = 32;
/** SHA-256 of the head, its length (u32); then the head and the body. */
const LEAD_BYTES = HASH_BYTES + 4;
const SUFFIX = '.regions';
/** Of files with regions that are wanted. */
const WANTED_SUFFIX = '.wanted';
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
export function filesOf(folder: string, version = ''): string[] {
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
export function readHead(file: string): Head | undefined {
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

/** A file, and the SHA-256 of its body. */
export interface KeptFile {
  readonly file: string;
  readonly bodyHash: Uint8Array;
}

/** Undefined when it cannot be believed. */
function readBody({ file, bodyHash }: KeptFile): Body | undefined {
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

/** What is in a file, so that it can be run. */
export interface LoadedFile {
  /** What its regions were made from, without keys and hints, which are in the head. */
  readonly origins: readonly RegionOrigin[];
  /** Exports "0", "1", … */
  readonly module: WebAssembly.Module;
  /** Of WebAssembly. */
  readonly bytes: number;
}

/** Reads a file, and takes V8's machine code beside it, if there is some: some milliseconds. Undefined when it cannot be believed. */
export function loadFile(kept: KeptFile): LoadedFile | undefined {
  const body = readBody(kept);
  if (body === undefined) return undefined;
  const bytes = new Uint8Array(body.module);
  const origins = body.origins.map((origin) => ({ ...origin, bytes: origin.bytes.slice(), keys: [], hints: [] }));
  return { origins, module: moduleOf(kept.file, bytes), bytes: bytes.length };
}

/** The module of a file as bytes; undefined when it cannot be believed. */
export const moduleBytes = (kept: KeptFile): Uint8Array | undefined => readBody(kept)?.module;

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
    const known = knownIds(folder, version);
    const fresh = regions.map((region) => ({ ...region, id: idOf(region.origin) })).filter(({ id }) => !known.has(id));
    for (const together of parcels(fresh)) writeFile(folder, version, together);
    if (fresh.length > 0) removeOldest(folder);
  } catch {
    return;
  }
}

/** What files of regions have to have in their names, so that this program can run them. */
export const regionVersion = (): string => sourceHash().slice(0, 16);

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

/** Writes down what is to be made for later domains, unless fewer than `free` bytes of the disk are free. Whatever goes wrong costs those time. */
export function wantRegions(
  folder: string,
  version: string,
  regions: readonly WantedRegion[],
  free = FREE_BYTES_LEAST,
): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!isFree(folder, free)) return;
    const content = serialize(regions);
    const hash = sha256(content);
    const file = path.join(folder, `${FORMAT}-${version}-${hash.toString('hex', 0, 10)}${WANTED_SUFFIX}`);
    writeAtomically(file, Buffer.concat([hash, content]), 0o600);
  } catch {
    return;
  }
}

/** Files of what is wanted by domains of this version. */
export function wantedFiles(folder: string, version: string): string[] {
  try {
    const names = readdirSync(folder).filter(
      (name) => name.startsWith(`${FORMAT}-${version}-`) && name.endsWith(WANTED_SUFFIX),
    );
    return names.map((name) => path.join(folder, name));
  } catch {
    return [];
  }
}

/** Makes what a file wants, unless it is there already, and removes the file: first, so that what cannot be made is tried once. */
export function makeWanted(folder: string, version: string, file: string): void {
  try {
    const content = readFileSync(file);
    rmSync(file);
    if (!sha256(content.subarray(HASH_BYTES)).equals(content.subarray(0, HASH_BYTES))) return;
    const known = knownIds(folder, version);
    const wanted = deserialize(content.subarray(HASH_BYTES)) as readonly WantedRegion[];
    const fresh = wanted.filter(({ origin }) => !known.has(idOf(origin)));
    if (fresh.length === 0) return;
    const { codes } = makeRegions(
      VCPUS_BASE,
      fresh.map(({ order }) => order),
    );
    keepRegions(
      folder,
      version,
      fresh.map(({ origin, order: { name } }, k) => ({ name, origin, code: codes[k]! })),
    );
  } catch {
    return;
  }
}

/** The ids of all regions that are kept. */
const knownIds = (folder: string, version: string): ReadonlySet<string> =>
  new Set(filesOf(folder, version).flatMap(idsOf));

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
