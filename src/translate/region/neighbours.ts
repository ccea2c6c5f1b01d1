/**
 * Which memory operands of a block are near one another: the same base and index, not changed in between, and displacements
 * that hardly differ. All but the first of them are probably in its page, whose translation is at hand already.
 *
 * This is about speed alone: whoever uses it compares pages at run time.
 */
import { Kind, type Operand, RIP } from '../../x86/decode.ts';
import { GPR } from '../../x86/state.ts';
import { isAbsolute } from '../interpreter/shape.ts';
import type { Block } from './discover.ts';

/** Displacements that differ by more are taken to be of different things. */
const NEAR = 256;
/** Groups of a block at most: each needs two locals. */
export const GROUPS = 6;
export const ALONE = -1;

interface Group {
  readonly displacement: number;
  readonly members: number[];
}

/** For each instruction the number of its memory operand's group, or ALONE. */
export function neighbours(block: Block): Int8Array {
  const found = new Int8Array(block.insns.length).fill(ALONE);
  /** How often each register was changed so far. */
  const changes = new Uint16Array(RIP + 1);
  const groups = new Map<string, Group[]>();
  let offset = block.start;
  block.insns.forEach((insn, n) => {
    offset += insn.length;
    const k = insn.operands.findIndex((op) => op.kind === Kind.Mem);
    const op = insn.operands[k];
    if (op !== undefined && insn.addrSize === 8 && isPlain(op) && !isAbsolute(insn, k)) {
      const index = op.index < 0 ? '' : `${op.index}.${changes[op.index]}.${op.scale}`;
      const key = `${op.base}.${op.base < 0 ? 0 : changes[op.base]}+${index}`;
      const displacement = op.base === RIP ? offset + op.disp : op.disp;
      let list = groups.get(key);
      if (list === undefined) groups.set(key, (list = []));
      const group = list.find((other) => Math.abs(other.displacement - displacement) < NEAR);
      if (group === undefined) list.push({ displacement, members: [n] });
      else group.members.push(n);
    }
    const { registers, operands } = block.uses[n]!.changes;
    for (let reg = 0; reg < 16; reg++) if ((registers >> reg) & 1) changes[reg]!++;
    insn.operands.forEach(({ kind, reg }, i) => {
      if (kind === Kind.Reg && (operands >> i) & 1) changes[reg]!++;
    });
  });
  let number = 0;
  for (const { members } of [...groups.values()].flat()) {
    if (members.length < 2) continue;
    if (number === GROUPS) break;
    for (const n of members) found[n] = number;
    number++;
  }
  return found;
}

/** In a flat segment, and not what the page of the stack is kept for. */
const isPlain = (op: Operand): boolean => op.seg < 0 && (op.base !== GPR.rsp || op.index >= 0);
