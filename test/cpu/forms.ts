/**
 * The list of everything that has to be compared: each opcode row in each operand size, with a register and with a memory
 * operand, with LOCK and repeat prefixes where they are allowed. What cannot be compared is listed with its reason.
 */
import { ROWS } from '../../src/x86/opcodes/index.ts';
import type { Row } from '../../src/x86/rows.ts';
import { type Encoding, parseEncoding } from './emit.ts';
import { hostFeatures, hostVendor } from './oracle.ts';

export interface Form {
  /** Names the form in reports and on the command line. */
  readonly key: string;
  readonly row: Row;
  readonly encoding: Encoding;
  readonly opSize: number;
  /** What ModRM.rm is. */
  readonly rm: 'register' | 'memory' | 'none';
  readonly lock: boolean;
  readonly rep: number;
  /** Several instructions in a row instead of one: `row` is only the first in the tables. See blocks.ts. */
  readonly block?: boolean;
}

export interface Excluded {
  readonly row: Row;
  readonly reason: string;
}

/** An operand code in parts: `s` for sign-extended, a letter, a size; `Rv/Mw` gives two. */
export interface OperandCode {
  readonly signed: boolean;
  readonly letter: string;
  readonly size: string;
}
export function operandCodes(code: string): OperandCode[] {
  return code.split('/').map((part) => {
    const match = /^(s?)([A-Z])([a-z0-9]*)$/.exec(part);
    return match
      ? { signed: match[1] === 's', letter: match[2]!, size: match[3]! }
      : { signed: false, letter: '', size: part };
  });
}

const EXCLUDED: Record<string, string> = {
  syscall: 'a system call: the oracle lets none through',
  int: 'a software interrupt: the oracle lets no system call through',
  rdtsc: 'reads the time',
  rdtscp: 'reads the time',
  rdrand: 'is random',
  rdseed: 'is random',
};
/** Linux's names of features, where they differ from the rows'. */
const FEATURE_NAMES: Record<string, string> = { x87: 'fpu', sse3: 'pni' };
const FEATURE_FLAGS = [
  'x87',
  'mmx',
  'sse',
  'sse2',
  'sse3',
  'ssse3',
  'sse4_1',
  'sse4_2',
  'popcnt',
  'cx16',
  'fxsr',
  'serialize',
];

/** What only one of the makers does: forms by the end of their key. */
const AMD_DIFFERS: readonly { readonly test: (form: Form) => boolean; readonly reason: string }[] = [
  {
    test: ({ row, rm }) => row.encoding === '0F 0D /r' && rm === 'register',
    reason: 'AMD raises #UD for 0F 0D with a register, Intel performs a NOP',
  },
  {
    test: ({ row, rm, opSize }) => row.mnemonic === 'movsxd' && rm === 'memory' && opSize === 2,
    reason: 'AMD reads four bytes for MOVSXD with 16-bit operands, Intel two',
  },
];

function whyExcluded(row: Row, features: Set<string>): string | undefined {
  if (EXCLUDED[row.mnemonic]) return EXCLUDED[row.mnemonic];
  if (row.flags.includes('priv') && row.mnemonic !== 'ud2') return 'privileged, or emulated by the hypervisor';
  // The manuals do not have it, and it does not notice an empty register.
  if (row.encoding === 'D9 D8+i') return 'an undocumented form of FSTP that ignores stack underflow';
  for (const flag of row.flags) {
    if (FEATURE_FLAGS.includes(flag) && !features.has(FEATURE_NAMES[flag] ?? flag)) return `this host has no ${flag}`;
  }
  return undefined;
}

/** Rows without operands whose meaning depends on the operand size. */
const SIZED = new Set(['cbw', 'cwd']);

function operandSizes(row: Row, encoding: Encoding): number[] {
  if (row.flags.includes('f64')) return [8];
  if (row.flags.includes('d64')) return [8, 2];
  if (encoding.rexW) return [8];
  const codes = row.operands.flatMap(operandCodes);
  // Control codes carry a letter: a size alone (`rAX`) goes with the other operand's.
  if (codes.some(({ size }) => size === 'v' || size === 'z') || SIZED.has(row.mnemonic)) {
    return encoding.prefix === 0x66 ? [2, 8] : [2, 4, 8];
  }
  if (codes.some(({ size }) => size === 'y')) return [4, 8];
  if (codes.some(({ size }) => size === 'env' || size === 'state')) return [4, 2];
  // REX.W makes the lengths 64 bits wide.
  if (/^pcmpestr/.test(row.mnemonic)) return [4, 8];
  return [4];
}

function repeats(row: Row): number[] {
  if (row.flags.includes('repz') || row.flags.includes('rep')) return [0, 0xf3, 0xf2];
  return [0];
}

const MEMORY_LETTERS = 'EMWQ';

/** The forms of one row. */
function formsOfRow(row: Row): Form[] {
  const encoding = parseEncoding(row);
  const codes = row.operands.flatMap(operandCodes);
  const kinds: Form['rm'][] = [];
  if (encoding.extension === undefined) kinds.push('none');
  else {
    // Codes with a letter that can stand for ModRM.rm; the `G`s and `V`s are ModRM.reg.
    if (codes.some(({ letter }) => letter !== '' && 'ERWUQN'.includes(letter))) kinds.push('register');
    if (codes.some(({ letter }) => letter !== '' && MEMORY_LETTERS.includes(letter))) kinds.push('memory');
    if (kinds.length === 0) kinds.push('register');
  }
  const forms: Form[] = [];
  for (const opSize of operandSizes(row, encoding)) {
    for (const rm of kinds) {
      for (const rep of repeats(row)) {
        for (const lock of row.flags.includes('lock') && rm === 'memory' ? [false, true] : [false]) {
          const key = [
            row.encoding.replaceAll(' ', '_'),
            row.mnemonic,
            row.operands.join(',') || '-',
            `size${opSize}`,
            rm,
            ...(rep ? [rep === 0xf3 ? 'f3' : 'f2'] : []),
            ...(lock ? ['lock'] : []),
          ].join(':');
          forms.push({ key, row, encoding, opSize, rm, lock, rep });
        }
      }
    }
  }
  return forms;
}

let cache: { forms: Form[]; excluded: Excluded[] } | undefined;
export function formsOf(): { forms: Form[]; excluded: Excluded[] } {
  if (cache) return cache;
  const features = hostFeatures();
  const amd = hostVendor() === 'AuthenticAMD';
  const forms: Form[] = [];
  const excluded: Excluded[] = [];
  for (const row of ROWS) {
    const reason = whyExcluded(row, features);
    if (reason) excluded.push({ row, reason });
    else {
      for (const form of formsOfRow(row)) {
        const differs = amd ? AMD_DIFFERS.find(({ test }) => test(form)) : undefined;
        if (differs) excluded.push({ row, reason: differs.reason });
        else forms.push(form);
      }
    }
  }
  cache = { forms, excluded };
  return cache;
}
