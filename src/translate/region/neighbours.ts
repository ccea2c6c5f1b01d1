/**
 * Which memory operands of blocks that follow one another are near: the same base and index, not changed in between, and displacements
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
/** Groups at most of a block and those that go on from it: each needs two locals. */
export const GROUPS = 12;

/** More than a register can be changed in a block. */
const MOST_CHANGES = 1 << 16;
/** One for each register, how often it had been changed, and none. */
const VERSIONS = (RIP + 2) * MOST_CHANGES;

/** Memory operands that are probably in one page. */
export interface Group {
  readonly displacement: number;
  /** How many. */
  members: number;
  /** One of them is written. */
  writes: boolean;
  /** Bits of the registers that the address is made of. */
  readonly registers: number;
  /** What the groups of blocks that go on from one have in common: how many of them have locals. */
  readonly together: { locals: number };
}

/** What is known where a block begins or ends. */
export class Neighbourhood {
  /** How often each register was changed so far. */
  private readonly changes: Uint16Array;
  /** By base, index and scale, and by how often the registers had been changed. */
  private readonly groups: Map<number, Group[]>;
  private readonly together: Group['together'];

  /** `before`: of the block that control comes from, if there is no other. */
  constructor(before?: Neighbourhood) {
    this.changes = before?.changes.slice() ?? new Uint16Array(RIP + 1);
    this.together = before?.together ?? { locals: 0 };
    this.groups = new Map(Array.from(before?.groups ?? [], ([key, list]) => [key, list.slice()]));
  }

  private version(register: number): number {
    return register < 0 ? 0 : (register + 1) * MOST_CHANGES + this.changes[register]!;
  }

  private groupOf(op: Operand, displacement: number): Group {
    const key = (this.version(op.base) * VERSIONS + this.version(op.index)) * 4 + op.scale;
    let list = this.groups.get(key);
    if (list === undefined) this.groups.set(key, (list = []));
    const near = list.find((other) => Math.abs(other.displacement - displacement) < NEAR);
    if (near !== undefined) return near;
    const bit = (register: number): number => (register >= 0 && register < 16 ? 1 << register : 0);
    const registers = bit(op.base) | bit(op.index);
    const group = { displacement, members: 0, writes: false, registers, together: this.together };
    list.push(group);
    return group;
  }

  /** Goes on through `block`. The group of each instruction's memory operand; undefined for what belongs to none. */
  add(block: ProbedBlock): (Group | undefined)[] {
    let offset = block.start;
    return block.insns.map((insn, n) => {
      offset += insn.length;
      const use = block.uses[n]!;
      const k = insn.operands.findIndex((op) => op.kind === Kind.Mem);
      const op = insn.operands[k];
      let group: Group | undefined;
      if (op !== undefined && insn.addrSize === 8 && isPlain(op) && !isAbsolute(insn, k)) {
        group = this.groupOf(op, op.base === RIP ? offset + op.disp : op.disp);
        group.members++;
        if (use.stores) group.writes = true;
      }
      const { registers, operands } = use.changes;
      for (let bits = registers; bits !== 0; bits &= bits - 1) this.changes[31 - Math.clz32(bits & -bits)]!++;
      insn.operands.forEach(({ kind, reg }, i) => {
        if (kind === Kind.Reg && (operands >> i) & 1) this.changes[reg]!++;
      });
      return group;
    });
  }
}

/** In a flat segment, and not what the page of the stack is kept for. */
const isPlain = (op: Operand): boolean => op.seg < 0 && (op.base !== GPR.rsp || op.index >= 0);
