/** x87 transcendental instructions: stack and condition codes around functions80.ts. SDM volume 1, 8.3.8 and 8.3.9. */
import type { Helper } from '../cpu.ts';
import { type Context, type Float80, INDEFINITE, ONE } from './float80.ts';
import { atan2, cos, isOutOfRange, sin, tan, twoToMinusOne, yLog2, yLog2PlusOne } from './functions80.ts';
import { computing, FSW, type Unit } from './unit.ts';

const { C1, C2 } = FSW;

type Unary = (c: Context, a: Float80) => Float80;

/** ST(0) = f(ST(0)). */
const replaceTop = (unit: Unit, f: Unary): boolean => unit.compute(0, [0], (c) => f(c, unit.st(0)));

const unary = (f: Unary): Helper =>
  computing((unit) => {
    replaceTop(unit, f);
  });

/** ST(1) = f(ST(0), ST(1)), and pop. */
const binary = (f: (c: Context, x: Float80, y: Float80) => Float80): Helper =>
  computing((unit) => {
    if (unit.compute(1, [0, 1], (c) => f(c, unit.st(0), unit.st(1)))) unit.pop();
  });

/** A function of an angle: out of range, only C2 is set. */
const angular = (pushes: boolean, perform: (unit: Unit) => unknown): Helper =>
  computing((unit) => {
    unit.setCondition(0, C2);
    const room = !unit.isEmpty(0) && (!pushes || unit.isEmpty(7));
    if (room && isOutOfRange(unit.st(0))) unit.setCondition(C2, C1 | C2);
    else perform(unit);
  });

const angle = (f: Unary): Helper => angular(false, (unit) => replaceTop(unit, f));

/** Functions with two results: the first replaces ST(0), the second is pushed. */
const angleAndPush = (f: (c: Context, a: Float80) => [Float80, Float80]): Helper =>
  angular(true, (unit) => {
    let results: [Float80, Float80] = [INDEFINITE, INDEFINITE];
    if (unit.isEmpty(0) || !unit.isEmpty(7)) {
      if (!unit.stackFault(!unit.isEmpty(0))) return;
    } else {
      const c = unit.context();
      results = f(c, unit.st(0));
      if (!unit.take(c)) return;
    }
    unit.set(0, results[0]);
    unit.pushValue(results[1]);
  });

export const FUNCTIONS: Record<string, Helper> = {
  fsin: angle(sin),
  fcos: angle(cos),
  fsincos: angleAndPush((c, a) => [sin(c, a), cos(c, a)]),
  fptan: angleAndPush((c, a) => {
    const value = tan(c, a);
    return [value, value.isNaN ? value : ONE];
  }),
  f2xm1: unary(twoToMinusOne),
  fyl2x: binary(yLog2),
  fyl2xp1: binary(yLog2PlusOne),
  fpatan: binary(atan2),
};
