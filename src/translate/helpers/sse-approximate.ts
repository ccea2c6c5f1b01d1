/**
 * RCPSS and RSQRTSS, PS: approximations with a relative error of at most 1.5 * 2^-12. Ours are the nearest single-precision
 * number with 12 bits of fraction, so that a domain gets the same results on every machine. They raise no exceptions, ignore MXCSR,
 * take denormals for zeros and give zeros for denormals. Intel SDM volume 2.
 */
import type { Helper } from './cpu.ts';
import { element, joinElements, readOperand, writeRegister } from './sse-operands.ts';

const scratch = new DataView(new ArrayBuffer(4));
const SIGN = 0x8000_0000;
const INFINITY = 0x7f80_0000;
const QUIET = 0x0040_0000;
const MIN_NORMAL = 0x0080_0000;

function single(bits: number, f: (x: number) => number): number {
  const magnitude = bits & 0x7fff_ffff;
  const sign = (bits & SIGN) >>> 0;
  if (magnitude > INFINITY) return (bits | QUIET) >>> 0;
  if (magnitude < MIN_NORMAL) return (sign | INFINITY) >>> 0;
  scratch.setUint32(0, bits);
  const value = f(scratch.getFloat32(0));
  // The square root of a negative number.
  if (Number.isNaN(value)) return (SIGN | INFINITY | QUIET) >>> 0;
  scratch.setFloat32(0, value);
  const result = scratch.getUint32(0);
  if ((result & 0x7fff_ffff) < MIN_NORMAL) return (result & SIGN) >>> 0;
  return (result & INFINITY) === INFINITY ? result : ((result + 0x400) & ~0x7ff) >>> 0;
}

export const approximate =
  (f: (x: number) => number): Helper =>
  (cpu, insn) => {
    const source = readOperand(cpu, insn, 1);
    const results: bigint[] = [];
    for (let i = 0; i < insn.operands[0]!.size / 4; i++) results.push(BigInt(single(Number(element(source, 4, i)), f)));
    writeRegister(cpu, insn, 0, joinElements(4, results));
  };
