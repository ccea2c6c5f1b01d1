/**
 * Lazy status flags. Instead of the six flags, the state block keeps the last result and a word of carries, from which any
 * flag follows by a few operations, without knowing which instruction made them:
 *
 *   result (i64)  the result, sign-extended from its operand size to 64 bits
 *   aux    (u32)  bit 31 CF · bit 30 carry out of the second highest bit, so OF = bit 31 xor bit 30 · bit 3 AF
 *                 bits 8–15 are xored into the low result byte before its parity is taken · bit 0 inverts SF
 *
 *   ZF = result == 0 · SF = (result < 0) xor aux.0 · PF = even parity of (result ^ aux >> 8) & 0xff
 *
 * An addition's carry word is (a & b) | ((a | b) & ~r), a subtraction's borrow word (~a & b) | ((~a | b) & r); their two
 * highest bits and bit 3 are `aux`. Logic results have aux = 0.
 */
import { RFLAGS, STATE, STATUS_FLAGS } from './state.ts';

/** The architectural status flags (CF PF AF ZF SF OF) of a lazy pair. `resultHi`/`resultLo` are the halves of the result. */
export function statusFlags(resultLo: number, resultHi: number, aux: number): number {
  let parity = (resultLo ^ (aux >>> 8)) & 0xff;
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return (
    (aux >>> 31) |
    (parity & 1 ? 0 : RFLAGS.PF) |
    (aux & 8 ? RFLAGS.AF : 0) |
    ((resultLo | resultHi) === 0 ? RFLAGS.ZF : 0) |
    (((resultHi >>> 31) ^ aux) & 1 ? RFLAGS.SF : 0) |
    (((aux >>> 31) ^ (aux >>> 30)) & 1 ? RFLAGS.OF : 0)
  );
}

/** RFLAGS of a state block. */
export function readFlags(view: DataView, cpu: number): number {
  const lo = view.getInt32(cpu + STATE.flagResult, true);
  const hi = view.getInt32(cpu + STATE.flagResult + 4, true);
  const aux = view.getInt32(cpu + STATE.flagAux, true);
  return (view.getUint32(cpu + STATE.flagsRest, true) & ~STATUS_FLAGS) | statusFlags(lo, hi, aux) | RFLAGS.fixed;
}

/** Set RFLAGS of a state block. */
export function writeFlags(view: DataView, cpu: number, flags: number): void {
  // With ZF the result is 0: its low byte has even parity. Without it, 0x100: not zero, positive, low byte even as well.
  const zero = (flags & RFLAGS.ZF) !== 0;
  const carry = flags & RFLAGS.CF;
  const overflow = (flags & RFLAGS.OF) !== 0 ? 1 : 0;
  const aux =
    (carry << 31) |
    ((carry ^ overflow) << 30) |
    (flags & RFLAGS.AF ? 8 : 0) |
    (flags & RFLAGS.PF ? 0 : 0x100) |
    (flags & RFLAGS.SF ? 1 : 0);
  view.setBigInt64(cpu + STATE.flagResult, zero ? 0n : 0x100n, true);
  view.setInt32(cpu + STATE.flagAux, aux, true);
  view.setUint32(cpu + STATE.flagsRest, (flags & ~STATUS_FLAGS) | RFLAGS.fixed, true);
}
