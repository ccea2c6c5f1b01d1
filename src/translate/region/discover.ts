/**
 * Which code belongs to a region: the blocks that direct jumps reach from an entry, inside one page, as far as the interpreter
 * has seen them run. Code behind a call, or behind an instruction performed in TypeScript, is a further entry: control comes
 * back there from outside.
 */
import { type Insn, Kind } from '../../x86/decode.ts';
import { SEMANTICS } from '../semantics/index.ts';
import { type InsnUse, instructionUse } from './probe.ts';

export interface Block {
  /** Offset in the page. */
  readonly start: number;
  readonly insns: readonly Insn[];
  readonly uses: readonly InsnUse[];
  /** Offset behind the last instruction. */
  readonly end: number;
  /**
   * Offsets of the blocks that follow: -1 when control does not leave that way, or leaves the region there. A call's target
   * is `taken`; what comes after the call is found when it returns.
   */
  readonly taken: number;
  readonly next: number;
}

export interface RegionPlan {
  /** Of the first entry: the others follow it. */
  readonly entries: readonly number[];
  readonly blocks: ReadonlyMap<number, Block>;
  /** Blocks behind the calls to functions of the region: where its RETs probably go. */
  readonly returns: readonly number[];
  readonly instructions: number;
}

export interface DiscoverPorts {
  /** The instruction at `offset`, or undefined when it cannot be decoded within the page. */
  decode(offset: number): Insn | undefined;
  /** Has the interpreter run the code at `offset`? */
  known(offset: number): boolean;
}

export const LIMITS = { instructions: 500, entries: 24 } as const;

/** After these the next instruction in memory does not follow, as far as the region can tell. */
const ENDS = new Set(['jmp', 'call', 'ret', 'syscall', 'int3']);

const isBranch = (insn: Insn): boolean => insn.operands[0]?.kind === Kind.Rel;

/** Does a block end with this instruction? */
export const endsBlock = (insn: Insn): boolean => isBranch(insn) || ENDS.has(insn.mnemonic);
/** Can it be part of a region? Otherwise the region ends before it. */
export const translatable = (insn: Insn): boolean => SEMANTICS[insn.mnemonic] !== undefined;

export function discover(entry: number, ports: DiscoverPorts): RegionPlan | undefined {
  const code = new Map<number, Insn>();
  const leaders = new Set<number>();
  const entries = [entry];
  let instructions = 0;

  const reach = (start: number): void => {
    const work = [start];
    while (work.length > 0) {
      const leader = work.shift()!;
      if (leaders.has(leader) || instructions >= LIMITS.instructions) continue;
      const first = code.get(leader) ?? ports.decode(leader);
      if (first === undefined || !translatable(first)) {
        if (first !== undefined && leader !== entry) resume(leader + first.length, first);
        continue;
      }
      leaders.add(leader);
      for (let offset = leader; ; ) {
        // The rest is there already: a branch into the middle of a block splits it.
        if (code.has(offset)) {
          break;
        }
        const insn = ports.decode(offset);
        if (insn === undefined) break;
        if (!translatable(insn)) {
          resume(offset + insn.length, insn);
          break;
        }
        code.set(offset, insn);
        instructions++;
        const after = offset + insn.length;
        if (isBranch(insn)) {
          const target = after + insn.operands[0]!.immLo;
          if (insn.mnemonic !== 'jmp' && insn.mnemonic !== 'call') work.push(after);
          if (target >= 0 && target < 4096 && ports.known(target)) work.push(target);
        }
        if (endsBlock(insn)) {
          if (insn.mnemonic === 'call' || insn.mnemonic === 'syscall') resume(after, insn);
          break;
        }
        offset = after;
      }
    }
  };
  /** Control comes back to `offset` after something that the region leaves to others. */
  const resume = (offset: number, _insn: Insn): void => {
    if (offset < 4096 && entries.length < LIMITS.entries && !entries.includes(offset) && ports.known(offset))
      entries.push(offset);
  };

  for (let k = 0; k < entries.length; k++) reach(entries[k]!);
  if (!leaders.has(entry)) return undefined;

  const blocks = new Map<number, Block>();
  const returns = new Set<number>();
  for (const start of leaders) {
    const insns: Insn[] = [];
    let offset = start;
    let taken = -1;
    let next = -1;
    for (;;) {
      const insn = code.get(offset);
      if (insn === undefined) break;
      insns.push(insn);
      offset += insn.length;
      if (endsBlock(insn)) {
        if (isBranch(insn)) {
          const target = offset + insn.operands[0]!.immLo;
          const isCall = insn.mnemonic === 'call';
          if (leaders.has(target)) taken = target;
          if (isCall) {
            if (taken >= 0 && leaders.has(offset)) returns.add(offset);
          } else if (insn.mnemonic !== 'jmp' && leaders.has(offset)) next = offset;
        }
        break;
      }
      if (leaders.has(offset)) {
        next = offset;
        break;
      }
    }
    blocks.set(start, { start, insns, uses: insns.map(instructionUse), end: offset, taken, next });
  }
  return { entries: entries.filter((offset) => leaders.has(offset)), blocks, returns: [...returns], instructions };
}
