/**
 * What a region is made of: blocks of instructions, and where control goes at the end of each. Offsets count from the beginning of the page with
 * the first entry; those in the pages before it are negative.
 */
import { type Insn, Kind, RIP } from '../../x86/decode.ts';

/** No offset of a block. */
export const NOWHERE = -(2 ** 31);

export interface Block {
  readonly start: number;
  readonly insns: readonly Insn[];
  /** Offset behind the last instruction. */
  readonly end: number;
  /**
   * Offsets of the blocks that follow: NOWHERE when control does not leave that way, or leaves the region there. A call's target
   * is `taken`; what comes after the call is found when it returns. So is what a computed jump or call probably leads to.
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
  /** Is it probably left again after a few instructions? */
  readonly isBrief: boolean;
  /** See Lift.isExact. */
  readonly isExact: boolean;
  /**
   * The pages that it has code from, first those with entries, each ascending: 0 is the first entry's, -1 the one before. They need
   * not be neighbours.
   */
  readonly pages: readonly number[];
}

/** After these the next instruction in memory does not follow, as far as the region can tell. */
const ENDS = new Set(['jmp', 'call', 'ret', 'syscall', 'int3']);

/** Does it name where it goes, from its own place? */
export const isBranch = (insn: Insn): boolean => insn.operands[0]?.kind === Kind.Rel;

/** Does a block end with this instruction? */
export const endsBlock = (insn: Insn): boolean => isBranch(insn) || ENDS.has(insn.mnemonic);
/** Does it go where a register or memory says? */
export const isComputed = (insn: Insn): boolean =>
  insn.mnemonic === 'ret' || ((insn.mnemonic === 'jmp' || insn.mnemonic === 'call') && !isBranch(insn));
/** … and not to one place only, like RET and the jumps of a procedure linkage table? */
export const isDispatch = (insn: Insn): boolean =>
  isComputed(insn) && insn.mnemonic !== 'ret' && !(insn.mnemonic === 'jmp' && insn.operands[0]!.base === RIP);
