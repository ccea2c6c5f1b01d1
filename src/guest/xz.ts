/**
 * The xz container: streams of blocks, each LZMA2 behind an optional x86 filter, with a check of the unpacked bytes.
 * Follows "The .xz File Format" 1.2.0. One stream per file is what kernels and modules have; more are refused.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { CorruptError } from './corrupt.ts';
import { LzmaDecoder } from './lzma.ts';

const HEADER_SIZE = 12;
const FILTER_X86 = 4;
const FILTER_LZMA2 = 0x21;
/** Size of the check field by its type number. */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
const CHECK_SHA256 = 10;

export function unpackXz(input: Uint8Array, limit: number): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (input.length < 2 * HEADER_SIZE + 8) throw new CorruptError('xz data ends early', input.length);
  if (crc32(input.subarray(6, 8)) !== view.getUint32(8, true)) throw new CorruptError('xz header is damaged', 6);
  const check = input[7] & 15;
  const footer = input.length - HEADER_SIZE;
  if (input[footer + 10] !== 0x59 || input[footer + 11] !== 0x5a) {
    throw new CorruptError('xz data ends early or goes on too long (no footer at its end)', footer);
  }
  if (crc32(input.subarray(footer + 4, footer + 10)) !== view.getUint32(footer, true)) {
    throw new CorruptError('xz footer is damaged', footer);
  }
  const index = footer - (view.getUint32(footer + 4, true) + 1) * 4;
  const output = new Uint8Array(indexedSize(input, view, index, footer, limit));
  let at = HEADER_SIZE;
  let to = 0;
  while (at < index) {
    const block = unpackBlock(input, view, at, index, output, to, check);
    at = block.at;
    to = block.to;
  }
  if (at !== index || to !== output.length) throw new CorruptError('xz index does not match its blocks', index);
  return output;
}

/** The index at the end lists the blocks; the sum of their sizes is the size of everything. */
function indexedSize(input: Uint8Array, view: DataView, index: number, footer: number, limit: number): number {
  if (index < HEADER_SIZE || input[index] !== 0) throw new CorruptError('xz index is not where the footer says', index);
  if (crc32(input.subarray(index, footer - 4)) !== view.getUint32(footer - 4, true)) {
    throw new CorruptError('xz index is damaged', index);
  }
  let [records, at] = variableNumber(input, index + 1, footer);
  let size = 0;
  for (; records > 0; records--) {
    [, at] = variableNumber(input, at, footer);
    const [unpacked, next] = variableNumber(input, at, footer);
    size += unpacked;
    at = next;
    if (size > limit) throw new CorruptError('xz data unpacks to an unreasonable size', at);
  }
  return size;
}

function variableNumber(input: Uint8Array, from: number, end: number): [value: number, next: number] {
  let value = 0;
  let scale = 1;
  for (let at = from; at < end && at < from + 7; at++) {
    value += (input[at] & 0x7f) * scale;
    if (input[at] < 0x80) return [value, at + 1];
    scale *= 128;
  }
  throw new CorruptError('xz number is too long', from);
}

function unpackBlock(
  input: Uint8Array,
  view: DataView,
  start: number,
  end: number,
  output: Uint8Array,
  to: number,
  check: number,
): { at: number; to: number } {
  const headerEnd = start + (input[start] + 1) * 4;
  if (headerEnd > end || crc32(input.subarray(start, headerEnd - 4)) !== view.getUint32(headerEnd - 4, true)) {
    throw new CorruptError('xz block header is damaged', start);
  }
  const flags = input[start + 1];
  let at = start + 2;
  if (flags & 0x40) [, at] = variableNumber(input, at, headerEnd);
  if (flags & 0x80) [, at] = variableNumber(input, at, headerEnd);
  let x86From: number | undefined;
  for (let filter = 0; filter <= (flags & 3); filter++) {
    const [id, sizeAt] = variableNumber(input, at, headerEnd);
    const [size, data] = variableNumber(input, sizeAt, headerEnd);
    const last = filter === (flags & 3);
    if (last ? id !== FILTER_LZMA2 : id !== FILTER_X86) {
      throw new CorruptError(`xz filter 0x${id.toString(16)} is not supported`, at);
    }
    if (!last) x86From = size === 4 ? view.getUint32(data, true) : 0;
    at = data + size;
  }
  const decoded = unpackLzma2(input, headerEnd, end, output, to);
  const bytes = output.subarray(to, decoded.to);
  if (x86From !== undefined) decodeX86(bytes, x86From);
  at = headerEnd + ((decoded.at - headerEnd + 3) & ~3);
  if (input.subarray(decoded.at, at).some((byte) => byte !== 0)) {
    throw new CorruptError('xz block is not padded with zeros', decoded.at);
  }
  if (!checkMatches(check, bytes, input, view, at)) throw new CorruptError('xz data does not match its checksum', at);
  return { at: at + CHECK_SIZES[check], to: decoded.to };
}

function unpackLzma2(input: Uint8Array, start: number, end: number, output: Uint8Array, to: number) {
  const decoder = new LzmaDecoder(input, output);
  decoder.to = decoder.dictionaryStart = to;
  let at = start;
  let ready = false;
  for (;;) {
    const control = input[at];
    if (at >= end) throw new CorruptError('LZMA2 data has no end', at);
    if (control === 0) return { at: at + 1, to: decoder.to };
    if (control > 2 && control < 0x80) throw new CorruptError('LZMA2 chunk has an unknown type', at);
    const packed = control >= 0x80;
    const size = (packed ? (control & 0x1f) << 16 : 0) + (input[at + 1] << 8) + input[at + 2] + 1;
    if (size > output.length - decoder.to) throw new CorruptError('LZMA2 data is longer than the index says', at);
    if (control === 1 || control >= 0xe0) decoder.dictionaryStart = decoder.to;
    if (packed) {
      const reset = (control >> 5) & 3;
      const chunk = at + (reset >= 2 ? 6 : 5);
      const chunkEnd = chunk + (input[at + 3] << 8) + input[at + 4] + 1;
      if (chunkEnd > end) throw new CorruptError('LZMA2 chunk is longer than its block', at);
      if (reset >= 2) decoder.setProperties(input[at + 5]);
      else if (!ready) throw new CorruptError('LZMA2 data does not begin with its properties', at);
      if (reset >= 1) decoder.resetState();
      ready = true;
      decoder.at = chunk;
      decoder.startRange(chunkEnd);
      if (decoder.decode(decoder.to + size)) throw new CorruptError('LZMA2 chunk ends early', chunk);
      if (!decoder.isAtEnd(chunkEnd)) throw new CorruptError('LZMA2 chunk does not end where it says', chunk);
      at = chunkEnd;
    } else {
      const chunk = at + 3;
      if (chunk + size > end) throw new CorruptError('LZMA2 chunk is longer than its block', at);
      output.set(input.subarray(chunk, chunk + size), decoder.to);
      decoder.to += size;
      at = chunk + size;
    }
  }
}

/**
 * Undoes the x86 filter: near calls and jumps (E8, E9) carry absolute targets here, since these repeat and so pack better.
 * Only targets whose top byte is 00 or FF were changed. Bit d-1 of `left` says that d bytes back an opcode was left alone;
 * its operand overlaps this one, and both sides have to agree on whether the overlap makes it look changed.
 */
function decodeX86(bytes: Uint8Array, startOffset: number): void {
  const end = bytes.length - 4;
  let left = 0;
  for (let at = 0; at < end; ) {
    const isOpcode = (bytes[at] & 0xfe) === 0xe8;
    const distance = DISTANCE_OF_LEFT[left];
    if (isOpcode && isTop(bytes[at + 4]) && distance >= 0 && !(distance > 0 && isTop(bytes[at + 4 - distance]))) {
      let target = bytes[at + 1] | (bytes[at + 2] << 8) | (bytes[at + 3] << 16) | (bytes[at + 4] << 24);
      target -= startOffset + at + 5;
      const overlap = 8 * distance;
      while (distance > 0 && isTop((target >> (24 - overlap)) & 0xff)) {
        target = (target ^ (2 ** (32 - overlap) - 1)) - (startOffset + at + 5);
      }
      bytes[at + 1] = target;
      bytes[at + 2] = target >> 8;
      bytes[at + 3] = target >> 16;
      bytes[at + 4] = target & 0x01000000 ? 0xff : 0; // The target is 25 bits, sign-extended.
      left = 0;
      at += 5;
    } else {
      left = ((left << 1) | (isOpcode ? 1 : 0)) & 7;
      at++;
    }
  }
}

/** How far back the one opcode that was left alone is; -1 when there are several. */
const DISTANCE_OF_LEFT = [0, 1, 2, -1, 3, -1, -1, -1];
const isTop = (byte: number): boolean => byte === 0 || byte === 0xff;

function checkMatches(check: number, bytes: Uint8Array, input: Uint8Array, view: DataView, at: number): boolean {
  switch (check) {
    case CHECK_CRC32:
      return crc32(bytes) === view.getUint32(at, true);
    case CHECK_CRC64:
      return crc64(bytes) === view.getBigUint64(at, true);
    case CHECK_SHA256:
      return createHash('sha256')
        .update(bytes)
        .digest()
        .equals(input.subarray(at, at + 32));
    default:
      return true; // No check, or one that the format reserves: readers may go on without.
  }
}

/** CRC-64/XZ, in two halves because a BigInt per byte would take longer than unpacking. */
function crc64(bytes: Uint8Array): bigint {
  const low = new Uint32Array(256);
  const high = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let value = BigInt(i);
    for (let bit = 0; bit < 8; bit++) value = value & 1n ? (value >> 1n) ^ 0xc96c5795d7870f42n : value >> 1n;
    low[i] = Number(value & 0xffffffffn);
    high[i] = Number(value >> 32n);
  }
  let l = -1;
  let h = -1;
  for (let i = 0; i < bytes.length; i++) {
    const slot = (l ^ bytes[i]) & 0xff;
    l = ((l >>> 8) | (h << 24)) ^ low[slot];
    h = (h >>> 8) ^ high[slot];
  }
  return (BigInt(~h >>> 0) << 32n) | BigInt(~l >>> 0);
}
