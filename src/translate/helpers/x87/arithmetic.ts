/** x87 arithmetic and comparisons as instructions: operands, stack and condition codes. SDM volume 1, 8.3.6 and 8.3.7. */
import { type Insn, Kind } from '../../../x86/decode.ts';
import { readFlags, writeFlags } from '../../../x86/flags.ts';
import { RFLAGS } from '../../../x86/state.ts';
import type { Helper, HelperCpu } from '../cpu.ts';
import {
  add,
  compare,
  divide,
  extract,
  fromInteger,
  multiply,
  Order,
  remainder,
  roundToInteger,
  scaleBy,
  squareRoot,
  subtract,
} from './arithmetic80.ts';
import { type Context, type Float80, INDEFINITE, zero } from './float80.ts';
import { fromMemory } from './formats.ts';
import { CONDITIONS, computing, FSW, type Unit } from './unit.ts';

const { C0, C1, C2, C3 } = FSW;

type Operation = (c: Context, a: Float80, b: Float80) => Float80;
const swapped =
  (f: Operation): Operation =>
  (c, a, b) =>
    f(c, b, a);

/** The operand in memory, a float or (FI...) an integer. */
function memoryOperand(cpu: HelperCpu, insn: Insn): Float80 {
  const { size } = insn.operands[0]!;
  const bits = cpu.load(insn, 0);
  return insn.mnemonic[1] === 'i' ? fromInteger(BigInt.asIntN(size * 8, bits)) : fromMemory(bits, size);
}

/** destination = f(destination, source). */
const binary = (f: Operation, pop = false): Helper =>
  computing((unit, cpu, insn) => {
    const [first, second] = insn.operands;
    let done: boolean;
    if (first!.kind === Kind.Mem) {
      const source = memoryOperand(cpu, insn);
      done = unit.compute(0, [0], (c) => f(c, unit.st(0), source));
    } else {
      const [to, from] = [first!.reg, second!.reg];
      done = unit.compute(to, [to, from], (c) => f(c, unit.st(to), unit.st(from)));
    }
    if (done && pop) unit.pop();
  });

/** ST(0) = f(ST(0)). */
const unary = (f: (c: Context, a: Float80) => Float80): Helper =>
  computing((unit) => {
    unit.compute(0, [0], (c) => f(c, unit.st(0)));
  });

const scale = computing((unit) => {
  unit.compute(0, [0, 1], (c) => scaleBy(c, unit.st(0), unit.st(1)));
});

const partialRemainder = (nearest: boolean): Helper =>
  computing((unit) => {
    unit.setCondition(0, C2);
    if (unit.isEmpty(0) || unit.isEmpty(1)) {
      if (unit.stackFault(false)) unit.set(0, INDEFINITE);
      return;
    }
    const c = unit.context();
    const { value, quotient, partial } = remainder(c, unit.st(0), unit.st(1), nearest);
    if (!unit.take(c)) return;
    unit.set(0, value);
    if (quotient === undefined) return;
    const bits = (quotient & 4 ? C0 : 0) | (quotient & 2 ? C3 : 0) | (quotient & 1 ? C1 : 0);
    unit.setCondition(partial ? C2 : bits, CONDITIONS);
  });

const extractParts = computing((unit) => {
  if (unit.isEmpty(0)) {
    if (!unit.stackFault(false)) return;
    unit.set(0, INDEFINITE);
    return unit.pushValue(INDEFINITE);
  }
  if (!unit.isEmpty(7)) {
    if (!unit.stackFault(true)) return;
    unit.set(0, INDEFINITE);
    return unit.pushValue(INDEFINITE);
  }
  const c = unit.context();
  const { exponent, significand } = extract(c, unit.st(0));
  if (!unit.take(c)) return;
  unit.set(0, exponent);
  unit.pushValue(significand);
});

/** Condition codes by Order. */
const CODES = [C0, C3, 0, C0 | C2 | C3] as const;
/** The same as CF, ZF and PF. */
const FLAGS = [RFLAGS.CF, RFLAGS.ZF, 0, RFLAGS.CF | RFLAGS.PF | RFLAGS.ZF] as const;

type Show = (unit: Unit, cpu: HelperCpu, order: Order) => void;
const inStatus: Show = (unit, _, order) => unit.setCondition(CODES[order], C0 | C2 | C3);
const inFlags: Show = (_, cpu, order) => {
  const cleared = RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF;
  writeFlags(cpu.view, cpu.base, (readFlags(cpu.view, cpu.base) & ~cleared) | FLAGS[order]);
};

/** The other operand: memory, the register named, ST(1) where none is. */
function comparison(quiet: boolean, pops: number, show: Show = inStatus): Helper {
  return computing((unit, cpu, insn) => {
    const [first, second] = insn.operands;
    const inMemory = first?.kind === Kind.Mem;
    const source = inMemory ? memoryOperand(cpu, insn) : undefined;
    const other = second?.reg ?? 1;
    // The answer is given even when an unmasked exception keeps the stack as it is.
    let done: boolean;
    if (unit.isEmpty(0) || (!inMemory && unit.isEmpty(other))) {
      done = unit.stackFault(false);
      show(unit, cpu, Order.unordered);
    } else {
      const c = unit.context();
      const order = compare(c, unit.st(0), source ?? unit.st(other), quiet);
      const { status } = unit;
      done = unit.take(c);
      // Only the status word's comparisons touch C1.
      if (show === inFlags) unit.setCondition(status & C1, C1);
      show(unit, cpu, order);
    }
    if (done) for (let i = 0; i < pops; i++) unit.pop();
  });
}

const test = computing((unit, cpu) => {
  if (unit.isEmpty(0)) {
    unit.stackFault(false);
    return inStatus(unit, cpu, Order.unordered);
  }
  const c = unit.context();
  const order = compare(c, unit.st(0), zero(0), false);
  unit.take(c);
  inStatus(unit, cpu, order);
});

function classOf(value: Float80): number {
  if (value.isUnsupported) return 0;
  if (value.isNaN) return C0;
  if (value.isInfinite) return C0 | C2;
  if (value.isZero) return C3;
  return value.exp === 0 ? C2 | C3 : C2;
}
const examine = computing((unit) => {
  const value = unit.st(0);
  const bits = unit.isEmpty(0) ? C0 | C3 : classOf(value);
  unit.setCondition(bits | (value.sign ? C1 : 0), CONDITIONS);
});

export const ARITHMETIC: Record<string, Helper> = {
  fadd: binary(add),
  fiadd: binary(add),
  faddp: binary(add, true),
  fmul: binary(multiply),
  fimul: binary(multiply),
  fmulp: binary(multiply, true),
  fsub: binary(subtract),
  fisub: binary(subtract),
  fsubp: binary(subtract, true),
  fsubr: binary(swapped(subtract)),
  fisubr: binary(swapped(subtract)),
  fsubrp: binary(swapped(subtract), true),
  fdiv: binary(divide),
  fidiv: binary(divide),
  fdivp: binary(divide, true),
  fdivr: binary(swapped(divide)),
  fidivr: binary(swapped(divide)),
  fdivrp: binary(swapped(divide), true),
  fsqrt: unary(squareRoot),
  frndint: unary(roundToInteger),
  fabs: unary((_, a) => a.withSign(0)),
  fchs: unary((_, a) => a.negated()),
  fscale: scale,
  fprem: partialRemainder(false),
  fprem1: partialRemainder(true),
  fxtract: extractParts,
  fcom: comparison(false, 0),
  fcomp: comparison(false, 1),
  fcompp: comparison(false, 2),
  ficom: comparison(false, 0),
  ficomp: comparison(false, 1),
  fucom: comparison(true, 0),
  fucomp: comparison(true, 1),
  fucompp: comparison(true, 2),
  fcomi: comparison(false, 0, inFlags),
  fcomip: comparison(false, 1, inFlags),
  fucomi: comparison(true, 0, inFlags),
  fucomip: comparison(true, 1, inFlags),
  ftst: test,
  fxam: examine,
};
