/**
 * The symbols that a Linux kernel has of itself, found in its memory: the tables behind /proc/kallsyms, which every
 * distribution's kernel carries (CONFIG_KALLSYMS), while its System.map is often in a package for debugging only. Nothing is
 * believed that does not fit in the bytes given: they are a guest's.
 * Format: scripts/kallsyms.c of Linux. Two orders of the tables, before and since 6.4:
 *   offsets relative_base num_syms names markers [seqs_of_names] token_table token_index
 *   num_syms names markers token_table token_index offsets relative_base [seqs_of_names]
 */
export interface KernelSymbols {
  /** Ascending, with the name of each. */
  readonly addresses: BigUint64Array;
  readonly names: readonly string[];
  /** One letter each, as nm has them: T and t are code, D, R, B and others data. */
  readonly kinds: readonly string[];
}

const TOKENS = 256;
/** The tokens of the digits, as every kernel has them: each stands for itself. */
const DIGITS = Array.from({ length: 10 }, (_, digit) => `${digit}\0`).join('');
/** More than any kernel has, fewer than would fill our memory. */
const SYMBOLS_MAX = 1_000_000;
const MARKER_EVERY = 256;
const TOKEN_TABLE_MAX = 8192;
const ALIGNMENT = 8;

const aligned = (at: number): number => (at + ALIGNMENT - 1) & -ALIGNMENT;

/** `memory` has the kernel's image in it, aligned as it was linked. Undefined when there are no tables. */
export function findKernelSymbols(memory: Uint8Array): KernelSymbols | undefined {
  const bytes = Buffer.from(memory.buffer, memory.byteOffset, memory.byteLength);
  const digits = Buffer.from(DIGITS, 'latin1');
  for (let at = bytes.indexOf(digits); at >= 0; at = bytes.indexOf(digits, at + 1)) {
    const tokens = findTokens(bytes, at);
    const symbols = tokens && readSymbols(bytes, tokens);
    if (symbols) return symbols;
  }
  return undefined;
}

interface Tokens {
  readonly table: number;
  readonly index: number;
  readonly texts: readonly string[];
}

/** The table that has the digits at `digits`, which are its tokens 48 to 57: the index behind it has to agree. */
function findTokens(bytes: Buffer, digits: number): Tokens | undefined {
  // The end: 198 more tokens, each ended by a zero. Then the index, 256 offsets that begin with 0 and have ours as the 48th.
  let end = digits;
  for (let token = 0x30; token < TOKENS; token++) {
    end = bytes.indexOf(0, end) + 1;
    if (end === 0 || end - digits > TOKEN_TABLE_MAX) return undefined;
  }
  const index = aligned(end);
  if (index + 2 * TOKENS > bytes.length) return undefined;
  const table = digits - bytes.readUInt16LE(index + 2 * 0x30);
  if (table < 0 || table % ALIGNMENT !== 0 || bytes.readUInt16LE(index) !== 0) return undefined;
  const texts: string[] = [];
  for (let token = 0; token < TOKENS; token++) {
    const start = table + bytes.readUInt16LE(index + 2 * token);
    const stop = bytes.indexOf(0, start);
    if (start >= index || stop < 0 || stop >= index) return undefined;
    texts.push(bytes.toString('latin1', start, stop));
  }
  return { table, index, texts };
}

function readSymbols(bytes: Buffer, { table, index, texts }: Tokens): KernelSymbols | undefined {
  const found = findNames(bytes, table);
  if (!found) return undefined;
  const { count, at, names } = found;
  // Offsets before the count (older), or behind the index (newer).
  const places = [
    { base: count - 8, offsets: aligned(count - 8 - 4 * at - 7) },
    { base: aligned(aligned(index + 2 * TOKENS) + 4 * at), offsets: aligned(index + 2 * TOKENS) },
  ];
  for (const { base, offsets } of places) {
    if (offsets < 0 || base < 0 || base + 8 > bytes.length) continue;
    const relative = bytes.readBigUInt64LE(base);
    if (relative >> 47n !== 0x1ffffn) continue; // The kernel's half.
    const addresses = new BigUint64Array(at);
    for (let k = 0; k < at; k++) {
      const offset = bytes.readInt32LE(offsets + 4 * k);
      // Those below zero count from the base (CONFIG_KALLSYMS_ABSOLUTE_PERCPU), the others are what they are.
      addresses[k] = offset >= 0 ? BigInt(offset) : relative - 1n - BigInt(offset);
    }
    // The letter of its kind, then its name.
    const words = names.map((codes) => codes.map((code) => texts[code]!).join(''));
    return sorted(addresses, words);
  }
  return undefined;
}

interface Names {
  /** Where their number is. */
  readonly count: number;
  readonly at: number;
  readonly names: readonly (readonly number[])[];
}

/** Looks backwards from the tokens for the markers, and from those for the names: a place where both agree. */
function findNames(bytes: Buffer, table: number): Names | undefined {
  // Markers are offsets of every 256th name, from 0 on, ascending: before the tokens, perhaps with the 3 bytes a symbol between.
  for (let first = table - ALIGNMENT; first >= Math.max(0, table - (4 << 20)); first -= ALIGNMENT) {
    if (bytes.readUInt32LE(first) !== 0) continue;
    const second = bytes.readUInt32LE(first + 4);
    if (second < MARKER_EVERY * 2 || second > MARKER_EVERY * 64) continue;
    const third = bytes.readUInt32LE(first + 8);
    if (third < second + MARKER_EVERY * 2 || third > second + MARKER_EVERY * 64) continue;
    const names = namesBefore(bytes, first);
    if (names) return names;
  }
  return undefined;
}

/** The names that end where the markers at `markers` begin. */
function namesBefore(bytes: Buffer, markers: number): Names | undefined {
  const second = bytes.readUInt32LE(markers + 4);
  // Their number is known only by where they begin, so each place that could be the count is tried.
  for (let count = markers - ALIGNMENT; count >= Math.max(0, markers - (8 << 20)); count -= ALIGNMENT) {
    const at = bytes.readUInt32LE(count);
    if (at < 2 * MARKER_EVERY || at > SYMBOLS_MAX || bytes.readUInt32LE(count + 4) !== 0) continue;
    const names = readNames(bytes, count + 8, at, markers, second);
    if (names) return { count, at, names };
  }
  return undefined;
}

function readNames(bytes: Buffer, start: number, count: number, end: number, second: number): number[][] | undefined {
  const names: number[][] = [];
  let at = start;
  for (let k = 0; k < count; k++) {
    if (k === MARKER_EVERY && at - start !== second) return undefined;
    if (at >= end) return undefined;
    let length = bytes[at++]!;
    // Since 6.1 a length above 127 takes two bytes.
    if (length & 0x80) length = (length & 0x7f) | (bytes[at++]! << 7);
    if (length === 0 || at + length > end) return undefined;
    names.push([...bytes.subarray(at, at + length)]);
    at += length;
  }
  return end - at < ALIGNMENT ? names : undefined;
}

function sorted(addresses: BigUint64Array, words: readonly string[]): KernelSymbols {
  const order = Array.from(words.keys()).sort((a, b) =>
    addresses[a]! < addresses[b]! ? -1 : addresses[a]! > addresses[b]! ? 1 : a - b,
  );
  return {
    addresses: BigUint64Array.from(order, (k) => addresses[k]!),
    names: order.map((k) => words[k]!.slice(1)),
    kinds: order.map((k) => words[k]![0]!),
  };
}

/** The symbol that `address` is in or behind, and how far. */
export function symbolAt(
  { addresses, names }: KernelSymbols,
  address: bigint,
): { readonly name: string; readonly offset: number } | undefined {
  let low = 0;
  let high = addresses.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (addresses[middle]! <= address) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return undefined;
  // Of several names for one address the first.
  let first = low - 1;
  while (first > 0 && addresses[first - 1] === addresses[first]) first--;
  const offset = address - addresses[first]!;
  return offset < 1n << 24n ? { name: names[first]!, offset: Number(offset) } : undefined;
}
