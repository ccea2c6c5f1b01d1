/**
 * Lazy flags inside of regions: what set them last is known while translating, its operands are in locals, and a condition is
 * computed from those: CMP and JB become one comparison.
 *
 * Where paths meet that differ, the state is one of two others: the pair of x86/flags.ts in two locals, if somebody is going
 * to read it; or `dynamic`, where a local says at run time which operation it was. That costs next to nothing and is enough
 * for those who leave the region and must take the flags along (liveness.ts tells which is needed).
 *
 * As long as a region has not changed the flags they are `outside`, in the state block, where it leaves an operation and its operands as it has
 * them (PENDING_FLAGS): mostly the next region changes all flags before anybody has asked.
 */
import { type E, F64, i32, i64 } from '../../wasm/expr.ts';
import type { Fn } from '../../wasm/module.ts';
import type { Insn } from '../../x86/decode.ts';
import { PENDING_FLAGS } from '../layout.ts';
import { type Condition, Lift } from '../lift.ts';
import { FlagOp, flagCode, storePair } from '../runtime/flags.ts';
import type { InsnUse } from './probe.ts';

export type FlagState =
  | { readonly kind: 'outside' }
  | { readonly kind: 'pair' }
  | { readonly kind: 'dynamic' }
  | { readonly kind: 'op'; readonly op: number; readonly size: number }
  /** Two numbers were compared, of which none is NaN. */
  | { readonly kind: 'order' };
const ORDER: FlagState = { kind: 'order' };
export const OUTSIDE: FlagState = { kind: 'outside' };
export const PAIR: FlagState = { kind: 'pair' };
export const DYNAMIC: FlagState = { kind: 'dynamic' };

/** The locals of a region that have to do with flags. */
export interface FlagLocals {
  readonly result: E;
  readonly aux: E;
  /** The operation when the state is dynamic, 0 for what is outside. */
  readonly code: E;
  /** Its operands and, for some, its result; i64, with anything above the operand size. */
  readonly a: E;
  readonly b: E;
  readonly r: E;
}

/** What the lifts of one region share. */
export interface FlagContext {
  /** The numbers compared, as f64; made when they are first used. */
  order: { readonly a: E; readonly b: E } | undefined;
  readonly flagLocals: FlagLocals;
  flags: FlagState;
}

/** FlagLift.leaveFlags where no operation is pending; run-time code says which it is, if the state is dynamic. */
export function leaveFlags(f: Fn, cpu: E, state: FlagState, { result, aux, code, a, b, r }: FlagLocals): void {
  if (state.kind === 'pair') storePair(f, cpu, result, aux);
  else if (state.kind === 'dynamic') {
    f.if(code, () => {
      f.store32(cpu, code, PENDING_FLAGS.code);
      f.store64(cpu, a, PENDING_FLAGS.a);
      f.store64(cpu, b, PENDING_FLAGS.b);
      f.store64(cpu, r, PENDING_FLAGS.r);
    });
  }
}

/** FlagLift.noteFlags where no operation is pending. */
export function noteFlags(f: Fn, state: FlagState, { result, aux, code, a, b }: FlagLocals): void {
  if (state.kind === 'dynamic') return;
  if (state.kind === 'outside') {
    f.set(code, i32(0));
    return;
  }
  f.set(code, i32(flagCode(FlagOp.pair, 8)));
  f.set(a, result);
  f.set(b, aux.extendU());
}

type Pending = Extract<FlagState, { readonly kind: 'op' | 'order' }>;

export abstract class FlagLift extends Lift {
  protected readonly context: FlagContext;
  /** Will anybody see the flags that this instruction leaves? */
  private readonly needed: boolean;
  /** Flags are written on some paths only: at once, into the pair. */
  private readonly eager: boolean;

  constructor(f: Fn, insn: Insn, cpu: E, context: FlagContext, use: InsnUse, needed: boolean) {
    super(f, insn, cpu);
    this.context = context;
    const partly = use.writes && !use.kills;
    this.needed = needed || (partly && use.leaves);
    this.eager = partly && this.needed;
    if (use.readsPair ? use.kills || this.needed || !use.writes : this.eager) this.toPair();
  }

  private get state(): FlagState {
    return this.context.flags;
  }

  // Writing.

  private defer(op: number, size: number, a: E, b: E | undefined, r: E | undefined): void {
    const { f } = this;
    const to = this.context.flagLocals;
    f.set(to.a, this.clean(a, size).extendU());
    if (b !== undefined) f.set(to.b, this.clean(b, size).extendU());
    if (r !== undefined) f.set(to.r, r.extendU());
    this.context.flags = { kind: 'op', op, size };
  }
  override flagsAdd(size: number, a: E, b: E, r: E): void {
    if (this.eager) super.flagsAdd(size, a, b, r);
    else if (!this.needed) return;
    else if (this.insn.mnemonic === 'adc') this.defer(FlagOp.adc, size, a, b, r);
    else this.defer(FlagOp.add, size, a, b, undefined);
  }
  override flagsSub(size: number, a: E, b: E, r: E): void {
    if (this.eager) super.flagsSub(size, a, b, r);
    else if (!this.needed) return;
    else if (this.insn.mnemonic === 'sbb') this.defer(FlagOp.sbb, size, a, b, r);
    else this.defer(FlagOp.sub, size, a, b, undefined);
  }
  override flagsLogic(size: number, r: E): void {
    if (this.eager) super.flagsLogic(size, r);
    else if (this.needed) this.defer(FlagOp.logic, size, r, undefined, undefined);
  }
  override flagsStep(size: number, r: E, delta: 1 | -1): void {
    if (this.eager) super.flagsStep(size, r, delta);
    else if (this.needed) {
      const carry = this.f.let(this.carry().extendU());
      this.defer(delta === 1 ? FlagOp.inc : FlagOp.dec, size, r, carry, undefined);
    }
  }
  override flagsShift(size: number, r: E, carry: E, overflow: E): void {
    if (this.needed) super.flagsShift(size, r, carry, overflow);
  }
  override flagsOrder(a: E, b: E): void {
    const { f, context } = this;
    if (this.eager) super.flagsOrder(a, b);
    else if (this.needed) {
      context.order ??= { a: f.lasting(F64), b: f.lasting(F64) };
      f.set(context.order.a, a.type === F64 ? a : a.promote());
      f.set(context.order.b, b.type === F64 ? b : b.promote());
      context.flags = ORDER;
    }
  }
  override setStatusFlags(flags: E): void {
    if (this.needed) super.setStatusFlags(flags);
  }
  writeFlags(result: E, aux: E): void {
    if (!this.needed) return;
    const to = this.context.flagLocals;
    this.f.set(to.result, result);
    this.f.set(to.aux, aux);
    this.context.flags = PAIR;
  }
  writeAux(aux: E): void {
    if (!this.needed) return;
    this.f.set(this.context.flagLocals.aux, aux);
  }

  // Reading.

  flagResult(): E {
    return this.context.flagLocals.result;
  }
  flagAux(): E {
    return this.context.flagLocals.aux;
  }

  /** An operand of the pending operation, at its size. */
  private operandOf(local: E, size: number): E {
    return size === 8 ? local : local.wrap();
  }
  private a(size: number): E {
    return this.operandOf(this.context.flagLocals.a, size);
  }
  private b(size: number): E {
    return this.operandOf(this.context.flagLocals.b, size);
  }
  private r(size: number): E {
    return this.operandOf(this.context.flagLocals.r, size);
  }
  /** Result of the pending operation, with anything above its size. */
  private pendingResult(op: number, size: number): E {
    if (op === FlagOp.add) return this.a(size).add(this.b(size));
    if (op === FlagOp.sub) return this.a(size).sub(this.b(size));
    return op === FlagOp.adc || op === FlagOp.sbb ? this.r(size) : this.a(size);
  }
  private highBit(value: E, size: number): E {
    const bit = value.shrU(size * 8 - 1);
    return (size === 8 ? bit.wrap() : bit).and(1);
  }
  /** Where carries (or borrows) came out of each bit of the pending operation with two operands. */
  private pendingCarries(op: number, size: number): E {
    const [a, b, r] = [this.a(size), this.b(size), this.pendingResult(op, size)];
    return op === FlagOp.add || op === FlagOp.adc
      ? a.and(b).or(a.or(b).and(r.not()))
      : a.not().and(b).or(a.not().or(b).and(r));
  }

  /** Write the pair from what is pending. */
  toPair(): void {
    const state = this.state;
    if (state.kind === 'pair') return;
    this.pendingPair(this.pending(state), this.setPair);
    this.context.flags = PAIR;
  }
  private pending(state: FlagState): Pending {
    if (state.kind === 'op' || state.kind === 'order') return state;
    throw new Error(`${this.insn.mnemonic} reads flags that liveness thinks dead`);
  }
  /** Nothing that is pending is computed from the pair. */
  private readonly setPair = (result: E, aux: E): void => {
    const to = this.context.flagLocals;
    this.f.set(to.result, result);
    this.f.set(to.aux, aux);
  };

  /** The pair of the pending operation: Lift's formulas, with `write` in place of this class's own. */
  private pendingPair(state: Pending, write: (result: E, aux: E) => void): void {
    const pair = new PairOf(this, this.f, this.insn, this.cpu, write);
    if (state.kind === 'order') {
      const { a, b } = this.context.order!;
      pair.flagsOrder(a, b);
      return;
    }
    const { op, size } = state;
    const a = this.a(size);
    const b = this.b(size);
    if (op === FlagOp.logic) pair.flagsLogic(size, a);
    else if (op === FlagOp.inc || op === FlagOp.dec) pair.flagsStep(size, a, op === FlagOp.inc ? 1 : -1);
    else if (op === FlagOp.add || op === FlagOp.adc)
      pair.flagsAdd(size, a, b, this.f.let(this.pendingResult(op, size)));
    else pair.flagsSub(size, a, b, this.f.let(this.pendingResult(op, size)));
  }

  /** The flags to the state block, before leaving. Changes no state. */
  leaveFlags(): void {
    const { f, cpu, state } = this;
    const locals = this.context.flagLocals;
    if (state.kind === 'order') {
      f.scope(() => this.pendingPair(state, (result, aux) => storePair(f, cpu, result, aux)));
    } else if (state.kind === 'op') {
      f.store32(cpu, i32(flagCode(state.op, state.size)), PENDING_FLAGS.code);
      f.store64(cpu, locals.a, PENDING_FLAGS.a);
      if (state.op !== FlagOp.logic) f.store64(cpu, locals.b, PENDING_FLAGS.b);
      if (state.op === FlagOp.adc || state.op === FlagOp.sbb) f.store64(cpu, locals.r, PENDING_FLAGS.r);
    } else leaveFlags(f, cpu, state, locals);
  }
  /** Make the run-time code say what is known here. Changes no state: for paths that leave, and for edges. */
  noteFlags(): void {
    const { f, state } = this;
    const locals = this.context.flagLocals;
    if (state.kind === 'order') f.scope(() => this.pendingPair(state, this.setPair));
    if (state.kind === 'op') f.set(locals.code, i32(flagCode(state.op, state.size)));
    else noteFlags(f, state, locals);
  }

  override carry(): E {
    const state = this.state;
    if (state.kind === 'order') return this.context.order!.a.lt(this.context.order!.b);
    if (state.kind !== 'op') return super.carry();
    const { op, size } = state;
    const { b } = this.context.flagLocals;
    switch (op) {
      case FlagOp.sub:
        return this.a(size).ltU(this.b(size));
      case FlagOp.add:
        return this.clean(this.pendingResult(op, size), size).ltU(this.a(size));
      case FlagOp.logic:
        return i32(0);
      case FlagOp.inc:
      case FlagOp.dec:
        return b.wrap();
      default:
        return this.highBit(this.pendingCarries(op, size), size);
    }
  }
  override zero(): E {
    const state = this.state;
    if (state.kind === 'order') return this.context.order!.a.eq(this.context.order!.b);
    if (state.kind !== 'op') return super.zero();
    const { op, size } = state;
    if (op === FlagOp.sub) return this.a(size).eq(this.b(size));
    return this.clean(this.pendingResult(op, size), size).eqz();
  }
  override sign(): E {
    const state = this.state;
    if (state.kind === 'order') return i32(0);
    if (state.kind !== 'op') return super.sign();
    return this.highBit(this.pendingResult(state.op, state.size), state.size);
  }
  override overflow(): E {
    const state = this.state;
    if (state.kind === 'order') return i32(0);
    if (state.kind !== 'op') return super.overflow();
    const { op, size } = state;
    if (op === FlagOp.logic) return i32(0);
    if (op === FlagOp.inc || op === FlagOp.dec) {
      const r = this.a(size);
      const least = size === 8 ? i64(-(2 ** 63)) : size === 4 ? i32(-(2 ** 31)) : i32(size === 2 ? 0x8000 : 0x80);
      return op === FlagOp.inc ? r.eq(least) : this.clean(r.add(this.constant(1, size)), size).eq(least);
    }
    const [a, b, r] = [this.a(size), this.b(size), this.pendingResult(op, size)];
    const signs = op === FlagOp.add || op === FlagOp.adc ? a.xor(r).and(b.xor(r)) : a.xor(b).and(a.xor(r));
    return this.highBit(signs, size);
  }
  override parity(): E {
    const state = this.state;
    if (state.kind === 'order') return i32(0);
    if (state.kind !== 'op') return super.parity();
    const r = this.pendingResult(state.op, state.size);
    return (state.size === 8 ? r.wrap() : r).and(0xff).popcnt().and(1).eqz();
  }
  override adjust(): E {
    const state = this.state;
    if (state.kind === 'order') return i32(0);
    if (state.kind !== 'op') return super.adjust();
    const { op, size } = state;
    if (op === FlagOp.logic) return i32(0);
    const low = (value: E): E => (size === 8 ? value.wrap() : value);
    if (op === FlagOp.inc || op === FlagOp.dec)
      return low(this.a(size))
        .and(15)
        .eq(op === FlagOp.inc ? 0 : 15);
    return low(this.a(size))
      .xor(low(this.b(size)))
      .xor(low(this.pendingResult(op, size)))
      .shrU(4)
      .and(1);
  }
  private extended(value: E, size: number): E {
    return size === 1 ? value.ext8S() : size === 2 ? value.ext16S() : value;
  }
  override condition(code: Condition): E {
    const state = this.state;
    if (state.kind !== 'pair') this.pending(state);
    if (state.kind === 'order') {
      const { a, b } = this.context.order!;
      if (code === 'be') return a.le(b);
      if (code === 'a') return a.gt(b);
      if (code === 'ae') return a.ge(b);
      if (code === 'ne') return a.ne(b);
    }
    if (state.kind === 'op') {
      const { op, size } = state;
      if (op === FlagOp.sub) {
        const [a, b] = [this.a(size), this.b(size)];
        const [sa, sb] = [this.extended(a, size), this.extended(b, size)];
        switch (code) {
          case 'b':
            return a.ltU(b);
          case 'ae':
            return a.geU(b);
          case 'e':
            return a.eq(b);
          case 'ne':
            return a.ne(b);
          case 'be':
            return a.leU(b);
          case 'a':
            return a.gtU(b);
          case 'l':
            return sa.ltS(sb);
          case 'ge':
            return sa.geS(sb);
          case 'le':
            return sa.leS(sb);
          case 'g':
            return sa.gtS(sb);
          case 's':
            return this.extended(a.sub(b), size).ltS(0);
          case 'ns':
            return this.extended(a.sub(b), size).geS(0);
          default:
        }
      } else {
        const zero = (): E => this.clean(this.pendingResult(op, size), size);
        const signed = (): E => this.extended(this.pendingResult(op, size), size);
        switch (code) {
          case 'ne':
            return zero().ne(0);
          case 's':
            return signed().ltS(0);
          case 'ns':
            return signed().geS(0);
          default:
        }
        if (op === FlagOp.logic) {
          switch (code) {
            case 'l':
              return signed().ltS(0);
            case 'ge':
              return signed().geS(0);
            case 'le':
              return signed().leS(0);
            case 'g':
              return signed().gtS(0);
            case 'be':
              return zero().eqz();
            case 'a':
              return zero().ne(0);
            default:
          }
        }
      }
    }
    return super.condition(code);
  }
}

/** Runs Lift's formulas for the pair and hands the result to `write`; everything else it asks of the lift it stands for. */
class PairOf extends Lift {
  private readonly from: FlagLift;
  private readonly write: (result: E, aux: E) => void;
  constructor(from: FlagLift, f: Fn, insn: Insn, cpu: E, write: (result: E, aux: E) => void) {
    super(f, insn, cpu);
    this.from = from;
    this.write = write;
  }
  writeFlags(result: E, aux: E): void {
    this.write(result, aux);
  }
  override carry(): E {
    return this.from.carry();
  }
  protected readReg = unused;
  protected writeReg = unused;
  gpr = unused;
  setGpr = unused;
  immediate = unused;
  knownImmediate = unused;
  protected vectorAddress = unused;
  address = unused;
  addressWithoutSegment = unused;
  implicitAddress = unused;
  nextRip = unused;
  linear = unused;
  linearRange = unused;
  stored = unused;
  flagResult = unused;
  flagAux = unused;
  writeAux = unused;
  raise = unused;
  jump = unused;
  jumpIf = unused;
  jumpTo = unused;
  exit = unused;
  spend = unused;
  now = unused;
  helper = unused;
  protected retry = unused;
  afterFlags = unused;
}
function unused(): never {
  throw new Error('not part of the flags');
}
