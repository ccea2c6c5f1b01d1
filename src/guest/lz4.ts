/**
 * LZ4's legacy frame, the one that kernels are packed in: a magic, then blocks of {u32 compressed length, sequences},
 * each block at most 8 MiB unpacked and without references to the block before, no end mark.
 * Own code: Node has no LZ4, and the cloud kernel goes through here at every boot, so it writes into one flat buffer.
 */
import { CorruptError } from './corrupt.ts';

const BLOCK_MAX = 8 << 20;
const MATCH_MIN = 4;

export function unpackLz4Legacy(input: Uint8Array, size: number): Uint8Array {
  const output = new Uint8Array(size);
  let at = 4;
  let filled = 0;
  while (filled < size) {
    if (at + 4 > input.length) throw new CorruptError('LZ4 data ends early', input.length);
    const length = input[at] | (input[at + 1] << 8) | (input[at + 2] << 16) | (input[at + 3] << 24);
    at += 4;
    if (length <= 0 || length > input.length - at) throw new CorruptError('LZ4 block is longer than its file', at - 4);
    filled = unpackBlock(input, at, at + length, output, filled);
    at += length;
  }
  if (at !== input.length) throw new CorruptError('LZ4 data goes on after the last block', at);
  return output;
}

/** Unpacks one block to `output` from `start` on; gives the position after it. Typed arrays swallow writes past their end, so bounds are checked. */
function unpackBlock(input: Uint8Array, from: number, end: number, output: Uint8Array, start: number): number {
  const limit = Math.min(output.length, start + BLOCK_MAX);
  let at = from;
  let to = start;
  for (;;) {
    const token = input[at++];
    let literals = token >> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (at >= end) throw new CorruptError('LZ4 length runs past its block', at);
        literals += more = input[at++];
      } while (more === 255);
    }
    if (literals > end - at || literals > limit - to) throw new CorruptError('LZ4 literals run past their block', at);
    if (literals > 32) {
      output.set(input.subarray(at, at + literals), to);
      to += literals;
      at += literals;
    } else {
      for (let i = 0; i < literals; i++) output[to++] = input[at++];
    }
    if (at === end) return to; // A block ends with literals.
    if (at + 2 > end) throw new CorruptError('LZ4 match runs past its block', at);
    const distance = input[at] | (input[at + 1] << 8);
    at += 2;
    if (distance === 0 || distance > to - start) throw new CorruptError('LZ4 match points before its block', at - 2);
    let length = token & 15;
    if (length === 15) {
      let more: number;
      do {
        if (at >= end) throw new CorruptError('LZ4 length runs past its block', at);
        length += more = input[at++];
      } while (more === 255);
    }
    length += MATCH_MIN;
    if (length > limit - to) throw new CorruptError('LZ4 match is longer than the announced size', at);
    if (at >= end) throw new CorruptError('LZ4 block ends with a match', at);
    if (length > 32 && distance >= length) {
      output.copyWithin(to, to - distance, to - distance + length);
      to += length;
    } else {
      for (const stop = to + length; to < stop; to++) output[to] = output[to - distance]; // May overlap: it repeats.
    }
  }
}
