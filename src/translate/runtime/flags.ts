/**
 * Lazy flags of translated code (tier 1): an operation and its operands, from which the pair of x86/flags.ts is made when
 * somebody outside wants to see it. The operands' formulas are x86/flags.ts's, here on values moved to the top of 64 bits.
 */
import { type E, I32, I64, i32, i64, load32, load64 } from '../../wasm/expr.ts';
import type { Fn, FnRef, ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { PENDING_FLAGS } from '../layout.ts';

/** What made the flags, and what its operands a, b and r are. */
export const FlagOp = {
  /** a - b */
  sub: 1,
  /** a + b */
  add: 2,
  /** result a */
  logic: 3,
  /** result a, carry from before in b */
  inc: 4,
  dec: 5,
  /** a + b + carry = r */
  adc: 6,
  /** a - b - borrow = r */
  sbb: 7,
  /** The pair itself: result a, aux b */
  pair: 8,
} as const;

/** Operation and operand size as one number, which is not 0. */
export const flagCode = (op: number, size: number): number => (op << 2) | Math.log2(size);

/** The pair to the state block. */
export function storePair(f: Fn, cpu: E, result: E, aux: E): void {
  f.store64(cpu, result, STATE.flagResult);
  f.store32(cpu, aux, STATE.flagAux);
  f.store32(cpu, i32(0), PENDING_FLAGS.code);
}

/** Before anything but a region looks at the flags: `settle` is buildFlags'. */
export function settleFlags(f: Fn, cpu: E, settle: FnRef): void {
  f.if(load32(cpu, PENDING_FLAGS.code), () => f.callVoid(settle, cpu));
}

/** (cpu): the flags that are pending as the pair in the state block. */
export function buildFlags(m: ModuleBuilder): FnRef {
  return m.function(
    [I32],
    [],
    (f) => {
      const cpu = f.param(0);
      const code = f.let(load32(cpu, PENDING_FLAGS.code));
      const pendingA = f.let(load64(cpu, PENDING_FLAGS.a));
      const pendingB = f.let(load64(cpu, PENDING_FLAGS.b));
      const op = f.let(code.shrU(2));
      f.if(op.eq(FlagOp.pair), () => {
        storePair(f, cpu, pendingA, pendingB.wrap());
        f.ret();
      });
      // The operand's bits above this shift.
      const shift = f.let(
        i32(64)
          .sub(i32(8).shl(code.and(3)))
          .extendU(),
      );
      const a = f.local(I64);
      const b = f.local(I64);
      const r = f.local(I64);
      const vector = f.local(I64);
      const step = f.let(op.eq(FlagOp.inc).or(op.eq(FlagOp.dec)));
      const one = f.let(i64(1).shl(shift));
      f.set(a, pendingA.shl(shift));
      f.set(b, pendingB.shl(shift));
      f.set(r, load64(cpu, PENDING_FLAGS.r).shl(shift));
      f.set(vector, i64(0));
      f.if(
        op.eq(FlagOp.logic),
        () => f.set(r, a),
        () => {
          f.if(step, () => {
            f.set(r, a);
            f.set(b, one);
            f.if(
              op.eq(FlagOp.inc),
              () => f.set(a, a.sub(one)),
              () => f.set(a, a.add(one)),
            );
          });
          f.if(op.eq(FlagOp.sub), () => f.set(r, a.sub(b)));
          f.if(op.eq(FlagOp.add), () => f.set(r, a.add(b)));
          f.if(
            op.eq(FlagOp.sub).or(op.eq(FlagOp.sbb)).or(op.eq(FlagOp.dec)),
            () => f.set(vector, a.not().and(b).or(a.not().or(b).and(r))),
            () => f.set(vector, a.and(b).or(a.or(b).and(r.not()))),
          );
        },
      );
      const aux = f.local(I32);
      f.set(aux, vector.shrU(62).wrap().shl(30).or(vector.shrU(shift).wrap().and(8)));
      // INC and DEC keep CF; OF, the difference of the two bits, stays as computed.
      f.if(step, () => {
        const carry = f.let(pendingB.wrap().and(1));
        const overflow = f.let(aux.shrU(31).xor(aux.shrU(30)).and(1));
        f.set(aux, aux.and(8).or(carry.shl(31)).or(carry.xor(overflow).shl(30)));
      });
      storePair(f, cpu, r.shrS(shift), aux);
    },
    'settleFlags',
  );
}
