/**
 * Cases of several instructions in a row: what an engine makes of flags and registers between them. A few register-only
 * instructions come first, then one that may use memory or branch. Members leave nothing undefined except AF, which none of
 * them reads, and none of the first changes a register that the last one's address needs.
 */
import { decode, Kind } from '../../src/x86/decode.ts';
import { GPR } from '../../src/x86/state.ts';
import { emit } from './emit.ts';
import { type Form, formsOf } from './forms.ts';
import { begin, choose, chooseAddress, finish } from './generate.ts';
import { CASE, CODE_OFFSET } from './layout.ts';
import type { Random } from './random.ts';
import { hasRule } from './undefined.ts';

const LOGIC = ['and', 'or', 'xor', 'test'];
/** Readers of AF, users of the stack, string instructions, traps, and what takes no part. */
const APART =
  /^(lahf|push|pop|call|ret|enter|leave|movs$|cmps|stos|lods|scas|xlat|int3|ud|nop|prefetch|pause|endbr|cl|std$|cld$|loop|jrcxz|jmp|mov_from_seg|.fence|movnti|cmpxchg\d)/;
const IMPLICIT = /^(cmpxchg|cbw|cwd|sahf)/;

interface Members {
  readonly first: Form[];
  readonly last: Form[];
}
let cache: Members | undefined;
function members(): Members {
  if (cache) return cache;
  const general = formsOf().forms.filter(
    ({ row }) =>
      (!hasRule(row.mnemonic) || LOGIC.includes(row.mnemonic)) &&
      !APART.test(row.mnemonic) &&
      !row.operands.some((code) => code.startsWith('O')) &&
      row.flags.every((flag) => !/^(x87|mmx|sse|fxsr|ssse)/.test(flag)),
  );
  const jumps = (form: Form): boolean => form.row.operands[0]?.startsWith('J') ?? false;
  cache = {
    first: general.filter((form) => form.rm !== 'memory' && !jumps(form)),
    last: general.filter((form) => !form.row.operands.includes('Jz')),
  };
  return cache;
}

/** The one form that stands for all blocks in lists and counts. */
export function blockForm(): Form {
  return { ...members().first[0]!, key: 'block', block: true };
}

function bytesOf(draft: ReturnType<typeof begin>, form: Form): number[] {
  const choice = choose(draft, form, form.rm === 'memory');
  if (typeof choice.rm === 'number') return emit(form.row, form.encoding, choice);
  let rm = choice.rm;
  while (rm.base === 16 || (rm.base < 0 && rm.index < 0)) rm = chooseAddress(draft.random, false);
  return emit(form.row, form.encoding, { ...choice, rm });
}

export function fillBlock(random: Random, buffer: Uint8Array, at: number): void {
  const draft = begin(random, buffer, at);
  const { first, last } = members();
  const tail = bytesOf(draft, random.pick(last));
  const needed = addressRegisters(tail);
  const head: number[] = [];
  const count = 1 + random.below(4);
  for (let k = 0; k < count; ) {
    const code = bytesOf(draft, random.pick(first));
    if (changes(code).some((reg) => needed.includes(reg))) continue;
    if (head.length + code.length > 40) break;
    head.push(...code);
    k++;
  }
  const start = random.chance(24)
    ? 0x1000 - 1 - random.below(head.length + tail.length - 1)
    : 0x200 + random.below(0xc00);
  finish(draft, tail, start + head.length, () => tail);
  const { view, bytes } = draft;
  const code = [...head, ...bytes.subarray(CASE.code, CASE.code + tail.length)];
  if (draft.insn?.operands[0]?.kind === Kind.Rel) {
    // Forward only: a loop would need a counter.
    code[code.length - 1] = random.below(128);
  }
  bytes.set(code, CASE.code);
  view.setUint32(CASE.codeLength, code.length, true);
  view.setBigUint64(CASE.rip, BigInt(draft.base + CODE_OFFSET + start), true);
}

function decoded(code: number[]): Exclude<ReturnType<typeof decode>, string> | undefined {
  const scratch = new Uint8Array(32).fill(0x90);
  scratch.set(code);
  const insn = decode(scratch, 0, 32);
  return typeof insn === 'string' ? undefined : insn;
}

function addressRegisters(code: number[]): number[] {
  return (decoded(code)?.operands ?? []).flatMap(({ kind, base, index }) => (kind === Kind.Mem ? [base, index] : []));
}

/** Registers that an instruction may change: its operands, and what it changes without naming it. */
function changes(code: number[]): number[] {
  const insn = decoded(code);
  if (!insn) return Array.from({ length: 16 }, (_, reg) => reg);
  const named = insn.operands.flatMap(({ kind, reg }) => (kind === Kind.Reg ? [reg] : []));
  return IMPLICIT.test(insn.mnemonic) ? [...named, GPR.rax, GPR.rdx] : named;
}
