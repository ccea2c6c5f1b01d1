/**
 * Which memory operands of a block are near one another: the same base and index, not changed in between, and displacements
 * that hardly differ. All but the first of them are probably in its page, whose translation is at hand already; in a loop also the
 * first, from the round before.
 *
 * This is about speed alone: whoever uses it compares pages at run time.
 */
import { Kind, type Operand, RIP } from '../../x86/decode.ts';
import { GPR } from '../../x86/state.ts';
import { isAbsolute } from '../interpreter/shape.ts';
import type { ProbedBlock } from './probe.ts';

/** Displacements that differ by more are taken to be of different things. */
const NEAR = 256;
/** Groups of a block at most: each needs two locals. */
export const GROUPS = 6;

/** More than a register can be changed in a block. */
const MOST_CHANGES = 1 << 16;
/** One for each register, how often it had been changed, and none. */
const VERSIONS = (RIP + 2) * MOST_CHANGES;

/** Memory operands of a block that are probably in one page. */
export interface Group {
  readonly displacement: number;
  /** Their instructions, by their place in the block. */
  readonly members: number[];
  /** One of them is written. */
  writes: boolean;
  /** Bits of the registers that the address is made of. */
  readonly registers: number;
}

/** The group of each instruction's memory operand; undefined for what belongs to none. */
export function neighbours(block: ProbedBlock): (Group | undefined)[] {
  const found: (Group | undefined)[] = block.insns.map(() => undefined);
  if (!block.insns.some(({ hasMem }) => hasMem)) return found;
  /** How often each register was changed so far. */
  const changes = new Uint16Array(RIP + 1);
  /** By base, index and scale, and by how often the registers had been changed. */
  const groups = new Map<number, Group[]>();
  const version = (register: number): number => (register < 0 ? 0 : (register + 1) * MOST_CHANGES + changes[register]!);
  let offset = block.start;
  block.insns.forEach((insn, n) => {
    offset += insn.length;
    const k = insn.operands.findIndex((op) => op.kind === Kind.Mem);
    const op = insn.operands[k];
    if (op !== undefined && insn.addrSize === 8 && isPlain(op) && !isAbsolute(insn, k)) {
      const key = (version(op.base) * VERSIONS + version(op.index)) * 4 + op.scale;
      const displacement = op.base === RIP ? offset + op.disp : op.disp;
      let list = groups.get(key);
      if (list === undefined) groups.set(key, (list = []));
      let group = list.find((other) => Math.abs(other.displacement - displacement) < NEAR);
      if (group === undefined) {
        const bit = (register: number): number => (register >= 0 && register < 16 ? 1 << register : 0);
        group = { displacement, members: [], writes: false, registers: bit(op.base) | bit(op.index) };
        list.push(group);
      }
      group.members.push(n);
      if (block.uses[n]!.stores) group.writes = true;
      found[n] = group;
    }
    const { registers, operands } = block.uses[n]!.changes;
    for (let bits = registers; bits !== 0; bits &= bits - 1) changes[31 - Math.clz32(bits & -bits)]!++;
    insn.operands.forEach(({ kind, reg }, i) => {
      if (kind === Kind.Reg && (operands >> i) & 1) changes[reg]!++;
    });
  });
  return found;
}

/** In a flat segment, and not what the page of the stack is kept for. */
const isPlain = (op: Operand): boolean => op.seg < 0 && (op.base !== GPR.rsp || op.index >= 0);
