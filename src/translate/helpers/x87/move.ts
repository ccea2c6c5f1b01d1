/** x87 loads, stores, exchanges and conditional moves. SDM volume 1, 8.3.3 to 8.3.5. */
import { type Insn, Kind } from '../../../x86/decode.ts';
import { readFlags } from '../../../x86/flags.ts';
import { RFLAGS } from '../../../x86/state.ts';
import type { Helper, HelperCpu } from '../cpu.ts';
import { fromInteger } from './arithmetic80.ts';
import { BIAS, type Context, Float80, INDEFINITE, ONE, RC, zero } from './float80.ts';
import {
  DECIMAL_INDEFINITE,
  floatIndefinite,
  fromDecimal,
  fromMemory,
  integerIndefinite,
  loaded,
  toDecimal,
  toMemory,
  toSigned,
} from './formats.ts';
import { computing, FSW, type Unit } from './unit.ts';

const { CF, ZF, PF } = RFLAGS;
const { C1 } = FSW;

const extended = (bits: bigint): Float80 => {
  const high = Number(bits >> 64n);
  return new Float80(high >> 15, high & 0x7fff, BigInt.asUintN(64, bits));
};
const extendedBits = (v: Float80): bigint => (BigInt((v.sign << 15) | v.exp) << 64n) | v.sig;

const load = computing((unit, cpu, insn) => {
  const op = insn.operands[0]!;
  if (op.kind === Kind.St) {
    if (unit.isEmpty(op.reg)) {
      if (unit.stackFault(false)) unit.pushValue(INDEFINITE);
      return;
    }
    const value = unit.st(op.reg);
    return unit.push(() => value);
  }
  const bits = cpu.load(insn, 0);
  // Ten bytes come in as they are; the shorter formats are converted.
  unit.push((c) => (op.size === 10 ? extended(bits) : loaded(c, fromMemory(bits, op.size))));
});
const loadInteger = computing((unit, cpu, insn) => {
  const value = BigInt.asIntN(insn.operands[0]!.size * 8, cpu.load(insn, 0));
  unit.push(() => fromInteger(value));
});
const loadDecimal = computing((unit, cpu, insn) => {
  const bits = cpu.load(insn, 0);
  unit.push(() => fromDecimal(bits));
});

/** A store of ST(0) to memory: `indefinite` from an empty register, otherwise what `convert` gives, unless that is nothing. */
function storeTo(
  unit: Unit,
  cpu: HelperCpu,
  insn: Insn,
  convert: (c: Context, value: Float80) => bigint | undefined,
  indefinite: bigint,
): boolean {
  let bits: bigint | undefined;
  if (unit.isEmpty(0)) {
    if (unit.stackFault(false)) bits = indefinite;
  } else {
    const c = unit.context();
    bits = convert(c, unit.st(0));
    if (!unit.take(c)) bits = undefined;
  }
  if (bits === undefined) cpu.checkWrite(cpu.address(insn, 0), insn.operands[0]!.size, insn, 0);
  else cpu.store(insn, 0, bits);
  return bits !== undefined;
}

const store = (pop: boolean): Helper =>
  computing((unit, cpu, insn) => {
    const { kind, size, reg } = insn.operands[0]!;
    if (kind === Kind.St) {
      if (unit.isEmpty(0)) {
        // D9 D8+i, undocumented, moves emptiness as if it were a value.
        if (insn.row.encoding.startsWith('D9')) unit.free(reg);
        else if (unit.stackFault(false)) unit.set(reg, INDEFINITE);
        else return;
      } else {
        unit.setCondition(0, C1);
        unit.set(reg, unit.st(0));
      }
      if (pop) unit.pop();
      return;
    }
    const done =
      size === 10
        ? storeTo(unit, cpu, insn, (_, value) => extendedBits(value), extendedBits(INDEFINITE))
        : storeTo(unit, cpu, insn, (c, value) => toMemory(c, value, size), floatIndefinite(unit.context(), size));
    if (done && pop) unit.pop();
  });

const storeInteger = (pop: boolean, truncate: boolean): Helper =>
  computing((unit, cpu, insn) => {
    const { size } = insn.operands[0]!;
    const done = storeTo(unit, cpu, insn, (c, value) => toSigned(c, value, size, truncate), integerIndefinite(size));
    if (done && pop) unit.pop();
  });
const storeDecimal = computing((unit, cpu, insn) => {
  if (storeTo(unit, cpu, insn, toDecimal, DECIMAL_INDEFINITE)) unit.pop();
});

const exchange = computing((unit, _, insn) => {
  const { reg } = insn.operands[0]!;
  const emptyTop = unit.isEmpty(0);
  const emptyOther = unit.isEmpty(reg);
  if (emptyTop || emptyOther) {
    if (!unit.stackFault(false)) return;
  } else unit.setCondition(0, C1);
  const top = emptyTop ? INDEFINITE : unit.st(0);
  unit.set(0, emptyOther ? INDEFINITE : unit.st(reg));
  unit.set(reg, top);
});

const freeAndPop = computing((unit, _, insn) => {
  unit.setCondition(0, C1);
  unit.free(insn.operands[0]!.reg);
  unit.pop();
});

const moveIf = (flags: number, wanted: boolean): Helper =>
  computing((unit, cpu, insn) => {
    const { reg } = insn.operands[1]!;
    if (unit.isEmpty(0) || unit.isEmpty(reg)) {
      if (unit.stackFault(false)) unit.set(0, INDEFINITE);
      return;
    }
    if (((readFlags(cpu.view, cpu.base) & flags) !== 0) === wanted) unit.set(0, unit.st(reg));
  });

/** A constant, known to 67 bits: rounding control decides whether it is the significand `low` or one more. */
const constant = (exponent: number, low: bigint, roundsUp: boolean): Helper =>
  computing((unit) =>
    unit.push(({ rounding }) => {
      const up = rounding === RC.up || (rounding === RC.nearest && roundsUp);
      return new Float80(0, BIAS + exponent, up ? low + 1n : low);
    }),
  );

// biome-ignore format: a table
export const MOVES: Record<string, Helper> = {
  fld: load,
  fild: loadInteger,
  fbld: loadDecimal,
  fst: store(false),
  fstp: store(true),
  fist: storeInteger(false, false),
  fistp: storeInteger(true, false),
  fisttp: storeInteger(true, true),
  fbstp: storeDecimal,
  fxch: exchange,
  ffreep: freeAndPop,
  fcmovb: moveIf(CF, true),
  fcmove: moveIf(ZF, true),
  fcmovbe: moveIf(CF | ZF, true),
  fcmovu: moveIf(PF, true),
  fcmovnb: moveIf(CF, false),
  fcmovne: moveIf(ZF, false),
  fcmovnbe: moveIf(CF | ZF, false),
  fcmovnu: moveIf(PF, false),
  fld1: computing((unit) => unit.push(() => ONE)),
  fldz: computing((unit) => unit.push(() => zero(0))),
  fldl2t: constant(1,  0xd49a784bcd1b8afen, false),
  fldl2e: constant(0,  0xb8aa3b295c17f0bbn, true),
  fldpi:  constant(1,  0xc90fdaa22168c234n, true),
  fldlg2: constant(-2, 0x9a209a84fbcff798n, true),
  fldln2: constant(-1, 0xb17217f7d1cf79abn, true),
};
