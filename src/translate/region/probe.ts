/**
 * What the translator must know of an instruction before it translates a block, learnt by running its semantics once with a
 * `Lift` that only watches: how it uses the flags and whether it can leave. So the semantics stay the only description.
 */
import { type E, I32, I64 } from '../../wasm/expr.ts';
import { Fn } from '../../wasm/module.ts';
import { type Insn, Kind } from '../../x86/decode.ts';
import { ACCESS } from '../layout.ts';
import { Lift } from '../lift.ts';
import { SEMANTICS } from '../semantics/index.ts';
import type { Block } from './plan.ts';

export interface InsnUse {
  /** Reads a flag. */
  readonly reads: boolean;
  /** Reads the flags as a whole, so they must be at hand as a pair. */
  readonly readsPair: boolean;
  /** Writes flags. */
  readonly writes: boolean;
  /** … and all of them, on every path. */
  readonly kills: boolean;
  /** Can fault or leave at this instruction; whoever is outside then sees the flags from before it. */
  readonly leaves: boolean;
  /** Can leave after it has written the flags. */
  readonly leavesAfter: boolean;
  /** Writes to its memory operand. */
  readonly stores: boolean;
  /** Bits of the general registers that it changes by name, and of the operands that it writes. */
  readonly changes: { readonly registers: number; readonly operands: number };
}

class ProbeLift extends Lift {
  reads = false;
  readsPair = false;
  writes = false;
  kills = false;
  leaves = false;
  leavesAfter = false;
  stores = false;
  readonly changes = { registers: 0, operands: 0 };
  private readonly level: number;
  private readonly v32: E;
  private readonly v64: E;

  constructor(f: Fn, insn: Insn, cpu: E) {
    super(f, insn, cpu);
    this.level = f.nesting;
    this.v32 = f.local(I32);
    this.v64 = f.local(I64);
  }

  private value(size: number): E {
    return size === 8 ? this.v64 : this.v32;
  }
  protected readReg(k: number): E {
    return this.value(this.size(k));
  }
  protected writeReg(k: number, _value: E): void {
    this.changes.operands |= 1 << k;
  }
  gpr(_index: number, size: number): E {
    return this.value(size);
  }
  setGpr(index: number, _size: number, _value: E): void {
    this.changes.registers |= 1 << index;
  }
  immediate(k: number, size: number): E {
    return this.constant(this.operand(k).immLo, size);
  }
  knownImmediate(k: number): number {
    return this.operand(k).immLo & 0xff;
  }
  protected vectorAddress(_k: number): E {
    return this.v32;
  }
  address(_k: number): E {
    return this.v64;
  }
  addressWithoutSegment(_k: number): E {
    return this.v64;
  }
  implicitAddress(_register: number, _offset: E): E {
    return this.v64;
  }
  nextRip(): E {
    return this.v64;
  }
  linear(_va: E, _size: number, access: number, k?: number): E {
    this.leaves = true;
    if (k !== undefined && (access & ACCESS.write) !== 0) this.stores = true;
    return this.v32;
  }
  linearRange(_va: E, _bytes: E): E {
    this.leaves = true;
    return this.v32;
  }
  stored(_va: E, _linear: E, _size: number): void {}
  writeFlags(_result: E, _aux: E): void {
    this.writes = true;
    if (this.f.nesting === this.level) this.kills = true;
  }
  flagResult(): E {
    this.readsPair = true;
    return this.v64;
  }
  flagAux(): E {
    this.readsPair = true;
    return this.v32;
  }
  writeAux(_aux: E): void {
    this.writes = true;
    this.readsPair = true;
  }
  override carry(): E {
    this.reads = true;
    return this.v32;
  }
  override overflow(): E {
    return this.carry();
  }
  override zero(): E {
    return this.carry();
  }
  override sign(): E {
    return this.carry();
  }
  override parity(): E {
    return this.carry();
  }
  override adjust(): E {
    return this.carry();
  }
  raise(_vector: number, _errorCode?: number): void {
    this.leaves = true;
  }
  now(): E {
    return this.v64;
  }
  jump(): void {}
  jumpIf(_condition: E): void {}
  jumpTo(_address: E): void {}
  exit(): void {
    this.leaves = true;
  }
  spend(): void {}
  helper(): void {
    this.leaves = true;
  }
  protected retry(): void {}
  afterFlags(_flags: E): void {
    this.leavesAfter = true;
  }
}

/** A block with what must be known of each of its instructions. */
export interface ProbedBlock extends Block {
  readonly uses: readonly InsnUse[];
}
export const probed = (block: Block): ProbedBlock => ({ ...block, uses: block.insns.map(instructionUse) });

const known = new Map<number, InsnUse>();
const REPEATS = { 0: 0, 242: 1, 243: 2 } as const;

/** Everything that the use can depend on, as a number: as little as possible, for this is asked for every instruction. */
function useKey(insn: Insn): number {
  const last = insn.operands[insn.operands.length - 1];
  // The count of a shift says whether it changes flags at all.
  const count = last !== undefined && last.kind === Kind.Imm && last.size === 1 ? (last.immLo & 0xff) | 0x100 : 0;
  const bits = (insn.lock ? 1 : 0) | (insn.hasMem ? 2 : 0) | (insn.addrSize & 4) | (REPEATS[insn.rep] << 3);
  return (insn.row.index * 32 + bits) * 0x2000 + insn.opSize * 0x200 + count;
}

export function instructionUse(insn: Insn): InsnUse {
  const key = useKey(insn);
  let use = known.get(key);
  if (use === undefined) {
    const f = new Fn([I32]);
    const lift = new ProbeLift(f, insn, f.param(0));
    SEMANTICS[insn.mnemonic]!(lift);
    const { reads, readsPair, writes, kills, leaves, leavesAfter, stores, changes } = lift;
    use = {
      reads: reads || readsPair,
      readsPair,
      writes,
      kills: kills && !readsPair,
      leaves,
      leavesAfter,
      stores,
      changes,
    };
    known.set(key, use);
  }
  return use;
}
