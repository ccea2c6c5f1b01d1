/** For tests: an ELF file of a few KiB that looks like code to xz's x86 filter, the same on every machine. */
export function sampleElf(length = 3000): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes[18] = 62;
  // Calls, jumps and the top bytes 00 and FF crowd together, so that the filter meets operands that overlap.
  const common = [0xe8, 0xe9, 0x00, 0xff, 0x90];
  let seed = 2004;
  for (let at = 64; at < length; at++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const pick = (seed >>> 16) % 8;
    bytes[at] = pick < common.length ? common[pick] : at & 0x3f;
  }
  return bytes;
}
