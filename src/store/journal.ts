/**
 * The journal's format: what of the store survives its process. A file is a magic number and records; the first record of
 * a fresh file is a snapshot, each later one is one commit. A record is whole or (killed while writing) ignored, so a
 * transaction is never half there. Where the bytes are kept is the port's business.
 *
 *   file      "DOMUSXS1", record…
 *   record    u32 length of body, u32 CRC-32 of body, body = entry…
 *   entry     u8 1 set        u16 path length, path, u16 count, count × (u16 domid, u8 letter), u32 length, value
 *             u8 2 remove     u16 path length, path           (with all below)
 *             u8 3 introduce  u16 domid
 *             u8 4 release    u16 domid
 *
 * Watches and transactions belong to connections; those who hold connections make them again (devices/xenstore-link.ts).
 */
import { concat, fromLatin1, latin1 } from './bytes.ts';
import { parentOf } from './path.ts';
import type { Access, Permissions } from './permissions.ts';
import { lookup, NO_CHILDREN, remove, replace, type TreeNode, walk } from './tree.ts';

export interface JournalPort {
  /** All that was kept; empty when there is nothing yet. */
  read(): Uint8Array;
  /** False when the record could not be kept; then nothing of it is. Returns when a kill of this process cannot lose it. */
  append(record: Uint8Array): boolean;
  /** Put these bytes in the place of everything kept, or leave everything as it is. */
  replace(bytes: Uint8Array): boolean;
}

export type JournalEntry =
  | { readonly kind: 'set'; readonly path: string; readonly value: Uint8Array; readonly permissions: Permissions }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'introduce'; readonly domid: number }
  | { readonly kind: 'release'; readonly domid: number };

const MAGIC = fromLatin1('DOMUSXS1');
const RECORD_HEAD = 8;
const KIND = { set: 1, remove: 2, introduce: 3, release: 4 } as const;

export function encodeRecord(entries: readonly JournalEntry[]): Uint8Array {
  const body = concat(entries.map(encodeEntry));
  const head = new Uint8Array(RECORD_HEAD);
  const view = new DataView(head.buffer);
  view.setUint32(0, body.length, true);
  view.setUint32(4, crc32(body), true);
  return concat([head, body]);
}

function encodeEntry(entry: JournalEntry): Uint8Array {
  if (entry.kind === 'introduce' || entry.kind === 'release') {
    return Uint8Array.of(KIND[entry.kind], entry.domid & 255, entry.domid >> 8);
  }
  const permissions = entry.kind === 'set' ? entry.permissions : [];
  const value = entry.kind === 'set' ? entry.value : new Uint8Array(0);
  const size = 3 + entry.path.length + (entry.kind === 'set' ? 2 + permissions.length * 3 + 4 + value.length : 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes[0] = KIND[entry.kind];
  view.setUint16(1, entry.path.length, true);
  bytes.set(fromLatin1(entry.path), 3);
  if (entry.kind === 'remove') return bytes;
  let at = 3 + entry.path.length;
  view.setUint16(at, permissions.length, true);
  at += 2;
  for (const { domid, access } of permissions) {
    view.setUint16(at, domid, true);
    bytes[at + 2] = access.charCodeAt(0);
    at += 3;
  }
  view.setUint32(at, value.length, true);
  bytes.set(value, at + 4);
  return bytes;
}

function decodeBody(body: Uint8Array): JournalEntry[] {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const entries: JournalEntry[] = [];
  for (let at = 0; at < body.length; ) {
    const kind = body[at]!;
    const count = view.getUint16(at + 1, true);
    at += 3;
    if (kind === KIND.introduce || kind === KIND.release) {
      entries.push({ kind: kind === KIND.introduce ? 'introduce' : 'release', domid: count });
      continue;
    }
    const path = latin1(body, at, at + count);
    at += count;
    if (kind === KIND.remove) {
      entries.push({ kind: 'remove', path });
      continue;
    }
    if (kind !== KIND.set) throw new Error(`entry of unknown kind ${kind}: written by a newer Domus?`);
    const permissions = [];
    const end = at + 2 + 3 * view.getUint16(at, true);
    for (at += 2; at < end; at += 3) {
      permissions.push({ domid: view.getUint16(at, true), access: String.fromCharCode(body[at + 2]!) as Access });
    }
    const length = view.getUint32(at, true);
    entries.push({ kind: 'set', path, permissions, value: body.slice(at + 4, at + 4 + length) });
    at += 4 + length;
  }
  return entries;
}

/** A whole file. */
export function snapshot(root: TreeNode, introduced: Iterable<number>): Uint8Array {
  const entries: JournalEntry[] = [...introduced].map((domid) => ({ kind: 'introduce', domid }));
  walk('/', root, (path, { value, permissions }) => entries.push({ kind: 'set', path, value, permissions }));
  return concat([MAGIC, encodeRecord(entries)]);
}

export interface JournalState {
  readonly root: TreeNode;
  readonly introduced: Set<number>;
  readonly generation: number;
  /** How far the file is whole. */
  readonly goodBytes: number;
  readonly records: number;
}

/** Throws one clear line when the bytes are no journal of ours: better than to go on with an empty store. */
export function readJournal(bytes: Uint8Array, emptyRoot: TreeNode): JournalState {
  let root = emptyRoot;
  let generation = emptyRoot.generation;
  const introduced = new Set<number>();
  if (bytes.length > 0 && MAGIC.some((byte, i) => bytes[i] !== byte)) throw new Error('not a store journal');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = Math.min(MAGIC.length, bytes.length);
  let records = 0;
  while (at + RECORD_HEAD <= bytes.length) {
    const end = at + RECORD_HEAD + view.getUint32(at, true);
    const body = bytes.subarray(at + RECORD_HEAD, end);
    if (end > bytes.length || crc32(body) !== view.getUint32(at + 4, true)) break;
    for (const entry of decodeBody(body)) {
      if (entry.kind === 'introduce') introduced.add(entry.domid);
      else if (entry.kind === 'release') introduced.delete(entry.domid);
      else if (entry.kind === 'remove') {
        if (lookup(root, entry.path)) root = remove(root, entry.path, ++generation);
      } else if (entry.path === '/' || lookup(root, parentOf(entry.path))) {
        const children = lookup(root, entry.path)?.children ?? NO_CHILDREN;
        const { path, value, permissions } = entry;
        root = replace(root, path, { value, permissions, children, generation: ++generation }, generation);
      }
    }
    at = end;
    records++;
  }
  return { root, introduced, generation, goodBytes: at, records };
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255]!;
  return ~crc >>> 0;
}
