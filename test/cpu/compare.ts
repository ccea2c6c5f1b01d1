/**
 * The judge: which fields of two outcomes of one case differ, leaving out what the manuals leave undefined.
 */
import { CASE, COMPLETED, DIED, ENDLESS, FX, GIVEN_UP, OUTCOME, SYSCALL, UNSUPPORTED } from './layout.ts';

/** What not to compare after one case. Everything is compared by default. */
export interface Undefined {
  /** RFLAGS bits. */
  flags: number;
  /** Bit per general register. */
  gpr: number;
  /** x87 status-word bits. */
  fsw: number;
  /** The whole x87 state. */
  x87: boolean;
  /** MXCSR bits. */
  mxcsr: number;
  /** Relative tolerance of results that are approximations, 0 for none: in units of the last place of the x87 format. */
  extendedUlps: number;
  /** Maximum relative error, of single-precision elements (RCPPS, RSQRTPS), 0 for none. */
  singleError: number;
  /** Byte ranges of data memory [from, to) whose content is not compared. */
  memory: [number, number][];
  /** Which of several possible faults is raised: compare neither vector nor error code nor CR2 of two faults. */
  fault: boolean;
}

export const nothingUndefined = (): Undefined => ({
  flags: 0,
  gpr: 0,
  fsw: 0,
  x87: false,
  mxcsr: 0,
  extendedUlps: 0,
  singleError: 0,
  memory: [],
  fault: false,
});

export interface Difference {
  readonly field: string;
  readonly host: string;
  readonly ours: string;
}

const GPR_NAMES = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
/** RFLAGS that are compared: status flags, DF and ID. IF, IOPL and TF are not the instruction's business in user mode. */
export const COMPARED_FLAGS = 0x200cd5;
const FLAG_NAMES: [number, string][] = [
  [1, 'CF'],
  [4, 'PF'],
  [0x10, 'AF'],
  [0x40, 'ZF'],
  [0x80, 'SF'],
  [0x400, 'DF'],
  [0x800, 'OF'],
  [0x4000, 'NT'],
  [0x40000, 'AC'],
  [0x200000, 'ID'],
];
const VECTORS: Record<number, string> = {
  0: '#DE', 1: '#DB', 3: '#BP', 4: '#OF', 5: '#BR', 6: '#UD', 7: '#NM', 11: '#NP', 12: '#SS', 13: '#GP', 14: '#PF', 16: '#MF',
  17: '#AC', 19: '#XM', [COMPLETED]: 'completed', [SYSCALL]: 'system call', [DIED]: 'the process died',
  [UNSUPPORTED]: 'not supported', [ENDLESS]: 'does not end', [GIVEN_UP]: 'not run',
}; // biome-ignore format: a table

export const vectorName = (vector: number): string => VECTORS[vector] ?? `vector ${vector}`;
export const flagNames = (flags: number): string =>
  FLAG_NAMES.filter(([bit]) => flags & bit).map(([, name]) => name).join(' ') || 'none'; // biome-ignore format: one line
const hex = (view: DataView, at: number): string => view.getBigUint64(at, true).toString(16).padStart(16, '0');
const hexBytes = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');

/** Compare outcome `i` of two batches. An empty list is agreement. */
export function compareOutcomes(host: Uint8Array, ours: Uint8Array, i: number, skip: Undefined): Difference[] {
  const at = i * OUTCOME.size;
  const a = new DataView(host.buffer, host.byteOffset + at, OUTCOME.size);
  const b = new DataView(ours.buffer, ours.byteOffset + at, OUTCOME.size);
  const differences: Difference[] = [];
  const differ = (field: string, theirs: string, mine: string): void => {
    differences.push({ field, host: theirs, ours: mine });
  };
  const same64 = (offset: number): boolean =>
    a.getInt32(offset, true) === b.getInt32(offset, true) &&
    a.getInt32(offset + 4, true) === b.getInt32(offset + 4, true);

  const vector = a.getUint32(OUTCOME.vector, true);
  const ourVector = b.getUint32(OUTCOME.vector, true);
  const anyFault = skip.fault && vector < 32 && ourVector < 32;
  if (vector !== ourVector && !anyFault) differ('result', vectorName(vector), vectorName(ourVector));
  else if (vector < 32 && !anyFault) {
    const error = a.getUint32(OUTCOME.errorCode, true);
    const ourError = b.getUint32(OUTCOME.errorCode, true);
    // Linux tells user mode that every page of the upper half is present, so as to tell nothing about it.
    const present = a.getInt32(OUTCOME.cr2 + 4, true) < 0 ? 1 : 0;
    if ((error ^ ourError) & ~present) differ('error code', error.toString(16), ourError.toString(16));
    if (!same64(OUTCOME.cr2)) differ('cr2', hex(a, OUTCOME.cr2), hex(b, OUTCOME.cr2));
  }
  for (let r = 0; r < 16; r++) {
    const offset = OUTCOME.gpr + 8 * r;
    if (!same64(offset) && !(skip.gpr & (1 << r))) differ(GPR_NAMES[r]!, hex(a, offset), hex(b, offset));
  }
  if (!same64(OUTCOME.rip)) differ('rip', hex(a, OUTCOME.rip), hex(b, OUTCOME.rip));
  const flags = a.getUint32(OUTCOME.rflags, true);
  const ourFlags = b.getUint32(OUTCOME.rflags, true);
  const changed = (flags ^ ourFlags) & COMPARED_FLAGS & ~skip.flags;
  if (changed)
    differ(`flags (${flagNames(changed)})`, flagNames(flags & COMPARED_FLAGS), flagNames(ourFlags & COMPARED_FLAGS));

  for (let x = 0; x < 16; x++) {
    const offset = OUTCOME.fx + FX.xmm + 16 * x;
    if (same64(offset) && same64(offset + 8)) continue;
    if (skip.singleError && closeSingles(a, b, offset, skip.singleError)) continue;
    differ(`xmm${x}`, `${hex(a, offset + 8)} ${hex(a, offset)}`, `${hex(b, offset + 8)} ${hex(b, offset)}`);
  }
  const mxcsr = a.getUint32(OUTCOME.fx + FX.mxcsr, true);
  const ourMxcsr = b.getUint32(OUTCOME.fx + FX.mxcsr, true);
  if ((mxcsr ^ ourMxcsr) & ~skip.mxcsr) differ('mxcsr', mxcsr.toString(16), ourMxcsr.toString(16));
  for (const [field, offset, mask] of [
    ['fcw', FX.fcw, 0xffff],
    ['fsw', FX.fsw, 0xffff & ~skip.fsw],
    ['ftw', FX.ftw, 0xff],
  ] as const) {
    const word = a.getUint16(OUTCOME.fx + offset, true);
    const ourWord = b.getUint16(OUTCOME.fx + offset, true);
    if ((word ^ ourWord) & mask && !skip.x87) differ(field, word.toString(16), ourWord.toString(16));
  }
  for (let s = 0; s < 8 && !skip.x87; s++) {
    const offset = OUTCOME.fx + FX.st + 16 * s;
    if (same64(offset) && a.getUint16(offset + 8, true) === b.getUint16(offset + 8, true)) continue;
    if (skip.extendedUlps && closeExtended(a, b, offset, skip.extendedUlps)) continue;
    const show = (view: DataView): string => `${view.getUint16(offset + 8, true).toString(16)} ${hex(view, offset)}`;
    differ(`st${s}`, show(a), show(b));
  }
  compareMemory(a, b, skip, differ);
  return differences;
}

function compareMemory(
  a: DataView,
  b: DataView,
  skip: Undefined,
  differ: (field: string, host: string, ours: string) => void,
): void {
  const low = a.getUint32(OUTCOME.memoryLow, true);
  const high = a.getUint32(OUTCOME.memoryHigh, true);
  const ourLow = b.getUint32(OUTCOME.memoryLow, true);
  const ourHigh = b.getUint32(OUTCOME.memoryHigh, true);
  const show = (view: DataView, from: number, to: number): string =>
    from === to
      ? 'unchanged'
      : `[${from.toString(16)}, ${to.toString(16)}) = ${hexBytes(new Uint8Array(view.buffer, view.byteOffset + OUTCOME.memory, Math.min(to - from, 32)))}`;
  let equal = low === ourLow && high === ourHigh;
  if (skip.memory.length > 0) equal = true; // The ends of the span may lie in what is undefined.
  const byte = (view: DataView, from: number, to: number, at: number): number | undefined =>
    at >= from && at < to && at - from < OUTCOME.memoryMax ? view.getUint8(OUTCOME.memory + at - from) : undefined;
  if (equal && high + ourHigh > 0) {
    const from = Math.min(low === high ? ourLow : low, ourLow === ourHigh ? low : ourLow);
    const to = Math.max(high, ourHigh);
    for (let at = from; at < to && equal; at++) {
      if (skip.memory.some(([start, end]) => at >= start && at < end)) continue;
      equal = byte(a, low, high, at) === byte(b, ourLow, ourHigh, at);
    }
  }
  if (!equal) differ('memory', show(a, low, high), show(b, ourLow, ourHigh));
}

/** Are all single-precision elements equal or within a relative error of each other? */
function closeSingles(a: DataView, b: DataView, at: number, error: number): boolean {
  for (let i = 0; i < 16; i += 4) {
    const x = a.getFloat32(at + i, true);
    const y = b.getFloat32(at + i, true);
    if (a.getInt32(at + i, true) === b.getInt32(at + i, true)) continue;
    if (!(Math.abs(x - y) <= Math.abs(x) * error)) return false;
  }
  return true;
}

function closeExtended(a: DataView, b: DataView, at: number, ulps: number): boolean {
  // Sign and exponent as the upper part of one big number: neighbours in value are neighbours here.
  const number = (view: DataView): bigint =>
    (BigInt(view.getUint16(at + 8, true) & 0x7fff) << 63n) + (view.getBigUint64(at, true) & 0x7fff_ffff_ffff_ffffn);
  if ((a.getUint16(at + 8, true) ^ b.getUint16(at + 8, true)) & 0x8000) return false;
  const distance = number(a) - number(b);
  return distance <= BigInt(ulps) && distance >= BigInt(-ulps);
}

/** The state of a case, for people. */
export function describeCase(cases: Uint8Array, i: number): string {
  const at = i * CASE.size;
  const view = new DataView(cases.buffer, cases.byteOffset + at, CASE.size);
  const lines: string[] = [];
  for (let r = 0; r < 16; r += 4) {
    lines.push(
      [0, 1, 2, 3].map((k) => `${GPR_NAMES[r + k]!.padStart(3)} ${hex(view, CASE.gpr + 8 * (r + k))}`).join('  '),
    );
  }
  const flags = view.getUint32(CASE.rflags, true);
  lines.push(
    `rip ${hex(view, CASE.rip)}  flags ${flagNames(flags)}  fs ${hex(view, CASE.fsBase)}  gs ${hex(view, CASE.gsBase)}`,
  );
  const word = (offset: number): string => view.getUint16(CASE.fx + offset, true).toString(16);
  lines.push(
    `fcw ${word(FX.fcw)}  fsw ${word(FX.fsw)}  ftw ${word(FX.ftw)}  mxcsr ${view.getUint32(CASE.fx + FX.mxcsr, true).toString(16)}`,
  );
  for (let x = 0; x < 16; x += 2) {
    lines.push(
      [x, x + 1]
        .map(
          (n) =>
            `xmm${n}`.padStart(5) +
            ` ${hex(view, CASE.fx + FX.xmm + 16 * n + 8)} ${hex(view, CASE.fx + FX.xmm + 16 * n)}`,
        )
        .join('  '),
    );
  }
  for (let s = 0; s < 8; s += 2) {
    lines.push(
      [s, s + 1]
        .map(
          (n) =>
            `st${n} ${view
              .getUint16(CASE.fx + FX.st + 16 * n + 8, true)
              .toString(16)
              .padStart(4, '0')} ${hex(view, CASE.fx + FX.st + 16 * n)}`,
        )
        .join('  '),
    );
  }
  for (let p = 0; p < CASE.patches; p++) {
    const patch = CASE.patch + p * CASE.patchSize;
    const length = view.getUint32(patch + 4, true);
    if (length === 0) continue;
    const bytes = new Uint8Array(view.buffer, view.byteOffset + patch + 8, length);
    lines.push(`data+${view.getUint32(patch, true).toString(16)}: ${hexBytes(bytes)}`);
  }
  return lines.join('\n');
}
