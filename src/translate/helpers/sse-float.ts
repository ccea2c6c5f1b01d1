/**
 * Floating-point instructions of SSE … SSE4.1, exactly: what semantics/sse-float.ts does not do itself comes here.
 * Intel SDM volume 2.
 */
import type { Insn } from '../../x86/decode.ts';
import { writeFlags } from '../../x86/flags.ts';
import { RFLAGS, STATE, STATUS_FLAGS } from '../../x86/state.ts';
import type { Helper, HelperCpu } from './cpu.ts';
import { approximate } from './sse-approximate.ts';
import { element, joinElements, raise, readOperand, vectorHelpers, writeRegister } from './sse-operands.ts';
import { DOUBLE, type Format, type Ordering, Rounding, SINGLE, SoftFloat } from './sse-soft-float.ts';

const start = (cpu: HelperCpu): SoftFloat => new SoftFloat(cpu.u32(STATE.mxcsr));
/** The format that the mnemonic's last letter names. */
const formatOf = (insn: Insn): Format => (insn.mnemonic.endsWith('d') ? DOUBLE : SINGLE);
const immediate = (insn: Insn): number => insn.operands[2]!.immLo & 0xff;

/** destination = op(destination, source), for as many elements as the destination has. */
type Operation = (soft: SoftFloat, f: Format, a: bigint, b: bigint, index: number) => bigint;
const elementwise =
  (operation: (insn: Insn) => Operation): Helper =>
  (cpu, insn) => {
    const f = formatOf(insn);
    const source = readOperand(cpu, insn, 1);
    const destination = readOperand(cpu, insn, 0);
    const soft = start(cpu);
    const op = operation(insn);
    const results: bigint[] = [];
    for (let i = 0; i < insn.operands[0]!.size / f.size; i++) {
      results.push(op(soft, f, element(destination, f.size, i), element(source, f.size, i), i));
    }
    raise(cpu, insn, soft);
    writeRegister(cpu, insn, 0, joinElements(f.size, results));
  };
const fixed = (op: Operation): Helper => elementwise(() => op);

/** Pairs of neighbours: the destination's, then the source's. */
const horizontal =
  (op: Operation): Helper =>
  (cpu, insn) => {
    const f = formatOf(insn);
    const count = 16 / f.size;
    const pair = readOperand(cpu, insn, 0) | (readOperand(cpu, insn, 1) << 128n);
    const soft = start(cpu);
    const results: bigint[] = [];
    for (let i = 0; i < count; i++)
      results.push(op(soft, f, element(pair, f.size, 2 * i), element(pair, f.size, 2 * i + 1), i));
    raise(cpu, insn, soft);
    writeRegister(cpu, insn, 0, joinElements(f.size, results));
  };

/** Predicates 0–3; 4–7 are their opposites. 1 and 2 (with 5 and 6) are invalid for quiet NaNs as well. */
const PREDICATES: readonly ((order: Ordering) => boolean)[] = [
  (order) => order === 'equal',
  (order) => order === 'less',
  (order) => order === 'less' || order === 'equal',
  (order) => order === 'unordered',
];
const compare = elementwise((insn) => {
  const predicate = immediate(insn) & 7;
  const test = PREDICATES[predicate & 3]!;
  const quiet = (predicate & 3) === 0 || (predicate & 3) === 3;
  return (soft, f, a, b) =>
    test(soft.compare(f, a, b, quiet)) !== predicate > 3 ? (1n << BigInt(8 * f.size)) - 1n : 0n;
});

const ORDER_FLAGS: Record<Ordering, number> = {
  less: RFLAGS.CF,
  equal: RFLAGS.ZF,
  greater: 0,
  unordered: RFLAGS.ZF | RFLAGS.PF | RFLAGS.CF,
};
const compareToFlags =
  (quiet: boolean): Helper =>
  (cpu, insn) => {
    const b = readOperand(cpu, insn, 1);
    const a = readOperand(cpu, insn, 0);
    const soft = start(cpu);
    const order = soft.compare(formatOf(insn), a, b, quiet);
    raise(cpu, insn, soft);
    writeFlags(cpu.view, cpu.base, (cpu.u32(STATE.flagsRest) & ~STATUS_FLAGS) | ORDER_FLAGS[order]);
  };

/** ROUNDxx: the rounding of the immediate, or with bit 2 MXCSR's; bit 3 suppresses PE. */
const roundTo = elementwise((insn) => {
  const imm = immediate(insn);
  return (soft, f, _, b) => soft.toIntegral(f, b, imm & 4 ? soft.rounding : ((imm & 3) as Rounding), (imm & 8) !== 0);
});

/** Elements from one type to another; the result is zero-extended to the destination. */
const conversion =
  (from: number, count: (insn: Insn) => number, to: number, convert: (soft: SoftFloat, v: bigint) => bigint): Helper =>
  (cpu, insn) => {
    const source = readOperand(cpu, insn, 1);
    const soft = start(cpu);
    const results: bigint[] = [];
    for (let i = 0; i < count(insn); i++) results.push(convert(soft, element(source, from, i)));
    raise(cpu, insn, soft);
    writeRegister(cpu, insn, 0, joinElements(to, results));
  };
const one = (): number => 1;
const two = (): number => 2;
const four = (): number => 4;
const fromInteger =
  (f: Format) =>
  (soft: SoftFloat, v: bigint): bigint =>
    soft.fromInteger(f, BigInt.asIntN(32, v));
const toInteger =
  (f: Format, rounding?: Rounding) =>
  (soft: SoftFloat, v: bigint): bigint =>
    soft.toInteger(f, v, 32, rounding);
const toFormat =
  (from: Format, to: Format) =>
  (soft: SoftFloat, v: bigint): bigint =>
    soft.convert(from, to, v);

/** One number of 4 or 8 bytes from or to a general register. */
const scalarFromInteger =
  (f: Format): Helper =>
  (cpu, insn) => {
    const v = readOperand(cpu, insn, 1);
    const soft = start(cpu);
    const result = soft.fromInteger(f, BigInt.asIntN(8 * insn.operands[1]!.size, v));
    raise(cpu, insn, soft);
    writeRegister(cpu, insn, 0, result);
  };
const scalarToInteger =
  (f: Format, rounding?: Rounding): Helper =>
  (cpu, insn) => {
    const v = readOperand(cpu, insn, 1);
    const soft = start(cpu);
    const result = soft.toInteger(f, v, insn.operands[0]!.size === 8 ? 64 : 32, rounding);
    raise(cpu, insn, soft);
    writeRegister(cpu, insn, 0, result);
  };

/** Dot product: bits 4–7 of the immediate choose the products, bits 0–3 where the sum goes. */
const dotProduct: Helper = (cpu, insn) => {
  const f = formatOf(insn);
  const count = 16 / f.size;
  const imm = immediate(insn);
  const source = readOperand(cpu, insn, 1);
  const destination = readOperand(cpu, insn, 0);
  const soft = start(cpu);
  const products: bigint[] = [];
  for (let i = 0; i < count; i++) {
    const chosen = (imm >> (4 + i)) & 1;
    products.push(chosen ? soft.mul(f, element(destination, f.size, i), element(source, f.size, i)) : 0n);
  }
  // Exceptions that are not masked end the instruction after each of its steps.
  raise(cpu, insn, soft);
  const pairs: bigint[] = [];
  for (let i = 0; i < count; i += 2) pairs.push(soft.add(f, products[i]!, products[i + 1]!));
  raise(cpu, insn, soft);
  const sum = count === 2 ? pairs[0]! : soft.add(f, pairs[0]!, pairs[1]!);
  raise(cpu, insn, soft);
  const results = products.map((_, i) => ((imm >> i) & 1 ? sum : 0n));
  writeRegister(cpu, insn, 0, joinElements(f.size, results));
};

const ARITHMETIC: Record<string, Helper> = {
  add: fixed((soft, f, a, b) => soft.add(f, a, b)),
  sub: fixed((soft, f, a, b) => soft.sub(f, a, b)),
  mul: fixed((soft, f, a, b) => soft.mul(f, a, b)),
  div: fixed((soft, f, a, b) => soft.div(f, a, b)),
  sqrt: fixed((soft, f, _, b) => soft.sqrt(f, b)),
  min: fixed((soft, f, a, b) => soft.least(f, a, b, 'less')),
  max: fixed((soft, f, a, b) => soft.least(f, a, b, 'greater')),
  cmp: compare,
  round: roundTo,
};
const addsub = fixed((soft, f, a, b, i) => (i & 1 ? soft.add(f, a, b) : soft.sub(f, a, b)));
const hadd = horizontal((soft, f, a, b) => soft.add(f, a, b));
const hsub = horizontal((soft, f, a, b) => soft.sub(f, a, b));

// biome-ignore format: a table
export const SSE_FLOAT: Record<string, Helper> = vectorHelpers({
  ...Object.fromEntries(
    Object.entries(ARITHMETIC).flatMap(([name, helper]) => ['ss', 'sd', 'ps', 'pd'].map((type) => [name + type, helper])),
  ),
  addsubps: addsub, addsubpd: addsub, haddps: hadd, haddpd: hadd, hsubps: hsub, hsubpd: hsub, dpps: dotProduct, dppd: dotProduct,
  ucomiss: compareToFlags(true), ucomisd: compareToFlags(true), comiss: compareToFlags(false), comisd: compareToFlags(false),
  cvtsi2ss: scalarFromInteger(SINGLE), cvtsi2sd: scalarFromInteger(DOUBLE),
  cvtss2si: scalarToInteger(SINGLE), cvtsd2si: scalarToInteger(DOUBLE),
  cvttss2si: scalarToInteger(SINGLE, Rounding.zero), cvttsd2si: scalarToInteger(DOUBLE, Rounding.zero),
  cvtpi2ps: conversion(4, two, 4, fromInteger(SINGLE)), cvtpi2pd: conversion(4, two, 8, fromInteger(DOUBLE)),
  cvtdq2ps: conversion(4, four, 4, fromInteger(SINGLE)), cvtdq2pd: conversion(4, two, 8, fromInteger(DOUBLE)),
  cvtps2pi: conversion(4, two, 4, toInteger(SINGLE)), cvttps2pi: conversion(4, two, 4, toInteger(SINGLE, Rounding.zero)),
  cvtpd2pi: conversion(8, two, 4, toInteger(DOUBLE)), cvttpd2pi: conversion(8, two, 4, toInteger(DOUBLE, Rounding.zero)),
  cvtps2dq: conversion(4, four, 4, toInteger(SINGLE)), cvttps2dq: conversion(4, four, 4, toInteger(SINGLE, Rounding.zero)),
  cvtpd2dq: conversion(8, two, 4, toInteger(DOUBLE)), cvttpd2dq: conversion(8, two, 4, toInteger(DOUBLE, Rounding.zero)),
  cvtss2sd: conversion(4, one, 8, toFormat(SINGLE, DOUBLE)), cvtps2pd: conversion(4, two, 8, toFormat(SINGLE, DOUBLE)),
  cvtsd2ss: conversion(8, one, 4, toFormat(DOUBLE, SINGLE)), cvtpd2ps: conversion(8, two, 4, toFormat(DOUBLE, SINGLE)),
  rcpss: approximate((x) => 1 / x), rcpps: approximate((x) => 1 / x),
  rsqrtss: approximate((x) => 1 / Math.sqrt(x)), rsqrtps: approximate((x) => 1 / Math.sqrt(x)),
});
