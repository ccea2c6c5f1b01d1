/**
 * Cases in which the instruction of a form stands somewhere in a small program with control flow of chance: what the translator
 * makes of it beside branches, merges and loops, with registers and flags that were changed around it. The program's pieces:
 *
 *   entry → pieces that jump on, fork forwards by a condition, or loop a few times → the instruction → a last piece
 *
 * They lie in memory in any order, the last at the end. The pieces before the instruction may change flags and two registers that
 * it does not use, and load and store around a third, which points near the boundary of two data pages; the one behind it changes no flags, since it may have left some undefined. So the judge's rules for the
 * instruction alone hold for the whole.
 */
import { PAGE_SIZE } from '../../src/hypervisor/memory.ts';
import { decode } from '../../src/x86/decode.ts';
import type { Form } from './forms.ts';
import { begin, choose, type Draft, emitCase, finish } from './generate.ts';
import { CASE, CODE_OFFSET, DATA_OFFSET } from './layout.ts';
import type { Random } from './random.ts';

/** Where a piece goes: numbers of pieces. */
interface Piece {
  readonly body: readonly number[];
  readonly condition?: { readonly opcode: number; readonly to: number };
  /** Undefined: it is the last in memory and runs into the INT3 behind the program. */
  readonly next: number | undefined;
}

const JMP = 0xeb;
const JNZ = 0x75;
const JCC = 0x70;
const BRANCH = 2;
/** The entry's jump, before the pieces. */
const ENTRY = BRANCH;

/** r8 to r15 without those that the code names; r12 needs a longer encoding as a base. */
function freeRegisters(code: readonly number[]): number[] {
  const scratch = new Uint8Array(32).fill(0x90);
  scratch.set(code);
  const insn = decode(scratch, 0, scratch.length);
  const used = typeof insn === 'string' ? [] : insn.operands.flatMap(({ reg, base, index }) => [reg, base, index]);
  return [8, 9, 10, 11, 13, 14, 15].filter((reg) => !used.includes(reg));
}

const lea = (reg: number, by: number): number[] => [0x4d, 0x8d, 0x40 | ((reg & 7) << 3) | (reg & 7), by & 0xff];
const dec = (reg: number): number[] => [0x41, 0xff, 0xc8 | (reg & 7)];
const test = (reg: number): number[] => [0x4d, 0x85, 0xc0 | ((reg & 7) << 3) | (reg & 7)];
/** MOV between `reg` and memory `by` bytes from where `pointer` points, which is not r12. */
const move = (opcode: number, reg: number, pointer: number, by: number): number[] => [
  ...[0x4d, opcode, 0x40 | ((reg & 7) << 3) | (pointer & 7)],
  by & 0xff,
];
const LOAD = 0x8b;
const STORE = 0x89;
/** Operands begin so far before or behind the boundary at most; most lie in one page, some in both. */
const NEAR = 32;

interface Registers {
  readonly counter: number;
  readonly other: number;
  readonly pointer: number;
}

function pieces(
  random: Random,
  code: readonly number[],
  { counter, other, pointer }: Registers,
  branches: boolean,
): Piece[] {
  const before = 2 + random.below(2);
  const instruction = before;
  const list: Piece[] = [];
  const loopAt = !branches && random.chance(2) ? random.below(before) : -1;
  for (let k = 0; k < before; k++) {
    if (k === loopAt) {
      // Back to itself or to a piece before it, as often as the counter says.
      list.push({ body: dec(counter), condition: { opcode: JNZ, to: random.below(k + 1) }, next: k + 1 });
      continue;
    }
    const near = (): number => random.below(2 * NEAR) - NEAR;
    const body = random.pick([
      () => lea(other, random.below(256)),
      () => test(other),
      () => [],
      ...(branches
        ? []
        : [
            () => [...move(LOAD, other, pointer, near()), ...move(LOAD, other, pointer, near())],
            () => [...move(STORE, other, pointer, near()), ...move(LOAD, other, pointer, near())],
          ]),
    ])();
    const to = k + 1 + random.below(instruction - k);
    const condition = random.chance(3) ? undefined : { opcode: JCC | random.below(16), to };
    list.push({ body, ...(condition && { condition }), next: k + 1 });
  }
  list.push({ body: code, next: instruction + 1 });
  list.push({ body: lea(other, 1), next: undefined });
  return list;
}

const sizeOf = ({ body, condition, next }: Piece): number =>
  body.length + (condition ? BRANCH : 0) + (next === undefined ? 0 : BRANCH);

/** Places of the pieces in the code, the last one at the end; and the length of it all. */
function place(random: Random, list: readonly Piece[]): { at: number[]; length: number } {
  const order = list.slice(0, -1).map((_, k) => k);
  for (let k = order.length - 1; k > 0; k--) {
    const other = random.below(k + 1);
    [order[k], order[other]] = [order[other]!, order[k]!];
  }
  const at: number[] = [];
  let length = ENTRY;
  for (const k of [...order, list.length - 1]) {
    at[k] = length;
    length += sizeOf(list[k]!);
  }
  return { at, length };
}

export function fillFlow(random: Random, form: Form, buffer: Uint8Array, offset: number): void {
  const draft = begin(random, buffer, offset);
  const { code, steer } = emitCase(draft, form, choose(draft, form, form.rm === 'memory' || isMoffs(form)));
  const [counter, other, pointer] = freeRegisters(code) as [number, number, number];
  // Code that branches anywhere may come back to the program with the counter spent, or into the middle of a load, whose address
  // is then one that only the oracle's process has.
  const list = pieces(random, code, { counter, other, pointer }, branchesAnywhere(form));
  const { at, length } = place(random, list);
  const instruction = list.length - 2;
  const start = random.chance(6) ? 0x1000 - 1 - random.below(length - 1) : 0x200 + random.below(0xc00);
  finish(draft, code, start + at[instruction]!, steer(start + at[instruction]!));
  const body = [...draft.bytes.subarray(CASE.code, CASE.code + code.length)];
  assemble(draft, list, at, length, body);
  draft.setGpr(counter, BigInt(1 + random.below(4)));
  draft.setGpr(pointer, BigInt(draft.base + DATA_OFFSET + PAGE_SIZE));
  draft.view.setUint32(CASE.codeLength, length, true);
  draft.view.setUint32(CASE.insnAt, at[instruction]!, true);
  draft.view.setBigUint64(CASE.rip, BigInt(draft.base + CODE_OFFSET + start), true);
}

/** May the instruction lead back to what was before it, so that there is a loop that nobody planned? */
export const branchesAnywhere = ({ row }: Form): boolean => /^(j|call|ret|loop)/.test(row.mnemonic);

const isMoffs = (form: Form): boolean => form.row.operands.some((code) => code.startsWith('O'));

function assemble(draft: Draft, list: readonly Piece[], at: readonly number[], length: number, body: number[]): void {
  const code = new Uint8Array(length);
  const branch = (from: number, opcode: number, to: number): void => {
    code[from] = opcode;
    code[from + 1] = (at[to]! - (from + BRANCH)) & 0xff;
  };
  branch(0, JMP, 0);
  list.forEach((piece, k) => {
    const bytes = k === list.length - 2 ? body : piece.body;
    code.set(bytes, at[k]);
    let end = at[k]! + bytes.length;
    if (piece.condition) {
      branch(end, piece.condition.opcode, piece.condition.to);
      end += BRANCH;
    }
    if (piece.next !== undefined) branch(end, JMP, piece.next);
  });
  draft.bytes.set(code, CASE.code);
}
