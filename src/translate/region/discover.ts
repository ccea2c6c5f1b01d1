/**
 * Which code belongs to a region: the blocks that direct jumps and calls reach from an entry, in a few pages near it (of small
 * functions: anywhere), as far as the interpreter has seen them run. Code behind a call, or behind an instruction performed
 * in TypeScript, is a further entry: control comes back there from outside. So is, in a region with computed jumps, code that
 * control has often come to by branches.
 */
import { type Insn, Kind, RIP } from '../../x86/decode.ts';
import { ENTRY_PAGE_SHIFT, PLACE_PAGES } from '../layout.ts';
import { SEMANTICS } from '../semantics/index.ts';
import { type Block, endsBlock, isBranch, isComputed, isDispatch, NOWHERE, type RegionPlan } from './plan.ts';
import { visitLength } from './visits.ts';

export interface DiscoverPorts {
  /** Can code of this page belong to the region? */
  mapped(page: number): boolean;
  /** The instruction at `offset`, or undefined when it cannot be decoded within the mapped pages. */
  decode(offset: number): Insn | undefined;
  /** Is there a region that is entered at `offset`? */
  taken(offset: number): boolean;
  /** Where a jump or call through memory at a fixed address leads now, if that can be told: `insn` is at `offset`. */
  leads(offset: number, insn: Insn): number | undefined;
  /** Offsets, of these pages at least, to which control has come by branches: those first that are more important. */
  arrivals(pages: readonly number[]): readonly number[];
  /** Has the interpreter run the code at `offset`? */
  known(offset: number): boolean;
  /** How often it has come there by a branch, taken or not. */
  flow(offset: number): number;
  /** MXCSR.PE: has the program rounded? */
  readonly hasRounded: boolean;
  /** What it has come to less often does not belong to hot code. */
  readonly rare: number;
}

/**
 * Pages may lie anywhere. `kernel`: of code in the upper half, where paths are long and hardly any of it is a loop. V8 takes more for an instruction
 * the larger the region is, and until it is done the region runs slowly. `joined`: of regions that are made of others.
 *
 * `brief`: instructions until the region is left, on average, for it to count as brief. In a large region V8 keeps most of the registers in memory
 * anyway, and moves them to and fro where ways meet; but a kernel's switches of contexts take longer when more of its regions are brief.
 */
export const LIMITS = {
  instructions: 150,
  brief: 500,
  kernel: { instructions: 300, brief: 100 },
  entries: 32,
  pages: 8,
  /** Pages that have entries come first. */
  entryPages: 1 << (8 - ENTRY_PAGE_SHIFT),
  joined: { instructions: 600, pages: Math.min(24, PLACE_PAGES) },
} as const;
export type DiscoverLimits = Readonly<Record<'instructions' | 'pages' | 'brief', number>>;
/** Instructions of a function that is copied to where it is called although it is far away, or another region's. */
const SMALL = 32;
/** … and of the end of one that is copied to where a jump leads there. */
const TINY = 8;
/** Pages that a region reaches out to at most, either way. */
const FAR = 2 ** 17;
/**
 * And for what a pointer says: further away is another library, which with another program may lie elsewhere, so that
 * the region would be good for one of them only.
 */
const NEAR = 2 ** 10;
/** Branches of which the interpreter does not count how often they are not taken. */
const UNCOUNTED = new Set(['loop', 'loope', 'loopne', 'jrcxz']);

/** Through a pointer at a fixed address, as the procedure linkage tables and global offset tables of libraries have it? */
const isThroughTable = (insn: Insn): boolean =>
  isComputed(insn) && insn.operands[0]?.kind === Kind.Mem && insn.operands[0].base === RIP;
/** They read or change, in the state block, what a region keeps in locals: XMM registers and MXCSR, bases of segments. */
const APART = new Set(['fxsave', 'fxrstor', 'ldmxcsr', 'mov_to_seg']);
/** Can it be part of a region? Otherwise the region ends before it. */
export const translatable = (insn: Insn): boolean =>
  SEMANTICS[insn.mnemonic] !== undefined && !APART.has(insn.mnemonic);

/**
 * Step by step, a block each: what the ports tell may change from one to the next. `limits`: instructions of the region, about, and pages.
 * Undefined: there is nothing to translate.
 */
export function* discover(
  entry: number,
  ports: DiscoverPorts,
  { instructions: most, pages: pagesMost, brief }: DiscoverLimits = LIMITS,
): Generator<void, RegionPlan | undefined> {
  const code = new Map<number, Insn>();
  const leaders = new Set<number>();
  const entries = [entry];
  /** Offset of a jump or call → what it leads to in the region. */
  const targets = new Map<number, number>();
  let instructions = 0;
  /** The pages that the region may have code from. */
  const pagesUsed = new Set([0]);
  /** Can the region reach out to `offset`? If so it may from now on. */
  const within = (offset: number): boolean => {
    const page = Math.floor(offset / 4096);
    if (pagesUsed.has(page)) return true;
    if (pagesUsed.size >= pagesMost || Math.abs(page) > FAR || !ports.mapped(page)) return false;
    pagesUsed.add(page);
    return true;
  };
  const seen = (offset: number): boolean => Math.abs(offset) < FAR * 4096 && ports.known(offset) && within(offset);
  const fetch = (offset: number): Insn | undefined => {
    const insn = within(offset) ? ports.decode(offset) : undefined;
    return insn !== undefined && within(offset + insn.length - 1) ? insn : undefined;
  };

  /** Where the jump or call at `offset` leads, as far as the region can tell. */
  const targetOf = (offset: number, insn: Insn): number | undefined => {
    if (isBranch(insn)) return offset + insn.length + insn.operands[0]!.immLo;
    const target = isThroughTable(insn) ? ports.leads(offset, insn) : undefined;
    return target !== undefined && Math.abs(target - offset) < NEAR * 4096 ? target : undefined;
  };

  const isRare = (offset: number): boolean => ports.flow(offset) < ports.rare;

  /** Has what begins at `start` at most so many instructions until it returns or jumps elsewhere? */
  const isSmall = (start: number, most: number): boolean => {
    const found = new Set<number>();
    const work = [start];
    while (work.length > 0) {
      for (let offset = work.pop()!; !found.has(offset); ) {
        const insn = Math.abs(offset) < FAR * 4096 && ports.known(offset) ? ports.decode(offset) : undefined;
        if (insn === undefined) break;
        if (found.add(offset).size > most) return false;
        offset += insn.length;
        if (insn.mnemonic === 'jmp' || insn.mnemonic === 'ret') {
          if (isBranch(insn)) work.push(offset + insn.operands[0]!.immLo);
          break;
        }
        if (isBranch(insn) && insn.mnemonic !== 'call') {
          const target = offset + insn.operands[0]!.immLo;
          if (!isRare(target)) work.push(target);
          if (isRare(offset)) break;
        }
      }
    }
    return true;
  };

  /** Does the region lead to another one where `offset` is? Not for what is shorter than the way there. */
  const taken = (offset: number): boolean => ports.taken(offset) && !isSmall(offset, TINY);

  /** Is it worth having what the jump or call at `offset` leads to, so many times, in this region? */
  const belongs = (offset: number, insn: Insn, target: number, times: number): boolean => {
    if (insn.mnemonic === 'call' && isSmall(target, SMALL)) return true;
    if (taken(target)) return false;
    if (insn.mnemonic !== 'call' && Math.abs((target >> 12) - (offset >> 12)) < LIMITS.pages) return true;
    // A function that others call more often is better off alone: each would have its own copy.
    return 2 * times >= ports.flow(target);
  };

  /** `times`: how often about control came to `start`, as the region sees it. */
  function* reach(start: number, times: number): Generator<void, void> {
    const work = [{ leader: start, times }];
    while (work.length > 0) {
      yield;
      const { leader, times } = work.shift()!;
      if (leaders.has(leader) || instructions >= most) continue;
      const first = code.get(leader) ?? fetch(leader);
      if (first === undefined || !translatable(first)) {
        if (first !== undefined && leader !== entry) resume(leader + first.length);
        continue;
      }
      leaders.add(leader);
      for (let offset = leader; ; ) {
        // The rest is there already: a branch into the middle of a block splits it.
        if (code.has(offset)) {
          break;
        }
        const insn = fetch(offset);
        if (insn === undefined) break;
        if (!translatable(insn)) {
          resume(offset + insn.length);
          break;
        }
        code.set(offset, insn);
        instructions++;
        const after = offset + insn.length;
        const isCounted = insn.mnemonic !== 'jmp' && !UNCOUNTED.has(insn.mnemonic);
        if (isBranch(insn) && insn.mnemonic !== 'jmp' && insn.mnemonic !== 'call' && !taken(after)) {
          if (!isCounted || !isRare(after)) work.push({ leader: after, times });
        }
        const target = targetOf(offset, insn);
        if (target !== undefined && !(isCounted && isRare(target))) {
          const there = insn.mnemonic === 'call' ? ports.flow(after) : times;
          if (belongs(offset, insn, target, there) && seen(target)) {
            work.push({ leader: target, times: there });
            targets.set(offset, target);
          }
        }
        if (endsBlock(insn)) {
          if ((insn.mnemonic === 'call' || insn.mnemonic === 'syscall') && !isRare(after)) resume(after);
          break;
        }
        offset = after;
        if ((after & 4095) < insn.length && !seen(after)) break;
        if (taken(after)) break;
      }
    }
  }
  /** Control comes back to `offset` after something that the region leaves to others. */
  const resume = (offset: number): void => {
    if (entries.length < LIMITS.entries && !entries.includes(offset) && seen(offset) && !ports.taken(offset))
      entries.push(offset);
  };

  function* reachAll(): Generator<void, void> {
    for (; reached < entries.length; reached++) yield* reach(entries[reached]!, ports.flow(entries[reached]!));
  }
  let reached = 0;
  yield* reachAll();
  // Where jumps and calls through registers and memory probably lead.
  if ([...code.values()].some((insn) => isDispatch(insn))) {
    const pages = new Set([...code.keys()].map((offset) => offset >> 12));
    for (const offset of ports.arrivals([...pages])) {
      if (instructions >= most) break;
      resume(offset);
      yield* reachAll();
    }
  }
  if (!leaders.has(entry)) return undefined;

  const blocks = new Map<number, Block>();
  const returns = new Set<number>();
  for (const start of leaders) {
    const insns: Insn[] = [];
    let offset = start;
    let taken = NOWHERE;
    let next = NOWHERE;
    for (;;) {
      const insn = code.get(offset);
      if (insn === undefined) break;
      insns.push(insn);
      const target = targets.get(offset) ?? (isBranch(insn) ? targetOf(offset, insn) : undefined);
      offset += insn.length;
      if (endsBlock(insn)) {
        if (target !== undefined && leaders.has(target)) taken = target;
        if (insn.mnemonic === 'call') {
          if ((taken !== NOWHERE || isDispatch(insn)) && leaders.has(offset)) returns.add(offset);
        } else if (isBranch(insn) && insn.mnemonic !== 'jmp' && leaders.has(offset)) next = offset;
        break;
      }
      if (leaders.has(offset)) {
        next = offset;
        break;
      }
    }
    blocks.set(start, { start, insns, end: offset, taken, next });
  }
  const pages = new Set<number>();
  for (const { start, end } of blocks.values()) for (let at = start >> 12; at <= (end - 1) >> 12; at++) pages.add(at);
  const enterable = new Set<number>();
  const entered = entries.filter((offset) => {
    if (!leaders.has(offset)) return false;
    if (enterable.size < LIMITS.entryPages) enterable.add(offset >> 12);
    return enterable.has(offset >> 12);
  });
  const isLater = (page: number): number => (enterable.has(page) ? 0 : 1);
  return {
    entries: entered,
    blocks,
    returns: [...returns],
    instructions,
    // Without counts, as when everything is translated at once: each way for some.
    isBrief:
      ports.rare === 0 ? (entry & 16) !== 0 : visitLength(blocks, [...returns], entered.length, ports.flow) < brief,
    isExact: !ports.hasRounded,
    pages: [...pages].sort((a, b) => isLater(a) - isLater(b) || a - b),
  };
}
