/**
 * Integer arithmetic, moves, shifts and bits. Intel SDM volume 2 is the reference; each function is one mnemonic.
 * Undefined flags are left at whatever is cheapest; the differential test masks them by the manual's tables.
 */
import { type E, I64, i32, i64, select } from '../../wasm/expr.ts';
import { GPR, RFLAGS, STATE } from '../../x86/state.ts';
import { ACCESS } from '../layout.ts';
import { CONDITIONS, type Condition, type Lift, type Semantics } from '../lift.ts';

const GENERAL_PROTECTION = 13;

/** Source operand at the destination's size: immediates take the width of their partner. */
const source = (c: Lift, k: number, size: number): E => c.f.let(c.loadAs(k, size));

const add: Semantics = (c) => {
  const size = c.size(0);
  const b = source(c, 1, size);
  const d = c.update(0);
  const r = c.f.let(d.value.add(b));
  d.write(r);
  c.flagsAdd(size, d.value, b, r);
};
const adc: Semantics = (c) => {
  const size = c.size(0);
  const b = source(c, 1, size);
  const d = c.update(0);
  const r = c.f.let(d.value.add(b).add(c.bit(c.carry(), size)));
  d.write(r);
  c.flagsAdd(size, d.value, b, r);
};
const sub: Semantics = (c) => {
  const size = c.size(0);
  const b = source(c, 1, size);
  const d = c.update(0);
  const r = c.f.let(d.value.sub(b));
  d.write(r);
  c.flagsSub(size, d.value, b, r);
};
const sbb: Semantics = (c) => {
  const size = c.size(0);
  const b = source(c, 1, size);
  const d = c.update(0);
  const r = c.f.let(d.value.sub(b).sub(c.bit(c.carry(), size)));
  d.write(r);
  c.flagsSub(size, d.value, b, r);
};
const cmp: Semantics = (c) => {
  const size = c.size(0);
  const a = source(c, 0, size);
  const b = source(c, 1, size);
  c.flagsSub(size, a, b, c.f.let(a.sub(b)));
};
const logic =
  (op: (a: E, b: E) => E): Semantics =>
  (c) => {
    const size = c.size(0);
    const b = source(c, 1, size);
    const d = c.update(0);
    const r = c.f.let(op(d.value, b));
    d.write(r);
    c.flagsLogic(size, r);
  };
const test: Semantics = (c) => {
  const size = c.size(0);
  const a = source(c, 0, size);
  c.flagsLogic(size, c.f.let(a.and(source(c, 1, size))));
};
/** INC and DEC leave CF alone. */
const step =
  (delta: 1 | -1): Semantics =>
  (c) => {
    const size = c.size(0);
    const d = c.update(0);
    const r = c.f.let(d.value.add(c.constant(delta, size)));
    d.write(r);
    c.flagsStep(size, r, delta);
  };
const neg: Semantics = (c) => {
  const size = c.size(0);
  const d = c.update(0);
  const zero = c.constant(0, size);
  const r = c.f.let(zero.sub(d.value));
  d.write(r);
  c.flagsSub(size, zero, d.value, r);
};
const not: Semantics = (c) => {
  const d = c.update(0);
  d.write(d.value.not());
};

const mov: Semantics = (c) => c.store(0, c.loadAs(1, c.size(0)));
/** Widening moves: the source is read at its own size. */
const movzx: Semantics = (c) => {
  const v = c.load(1);
  c.store(0, c.size(0) === 8 ? v.extendU() : v);
};
const movsx: Semantics = (c) => {
  const from = c.size(1);
  const v = c.load(1);
  const to = c.size(0);
  if (to === 8) c.store(0, from === 8 ? v : c.signed(v, from));
  else c.store(0, from === 1 ? v.ext8S() : from === 2 ? v.ext16S() : v);
};
const lea: Semantics = (c) => {
  const va = c.addressWithoutSegment(1);
  c.store(0, c.size(0) === 8 ? va : va.wrap());
};
const xchg: Semantics = (c) => {
  // The memory operand, if any, is written first.
  const [m, r] = c.isMem(1) ? [1, 0] : [0, 1];
  const d = c.update(m);
  const other = c.f.let(c.load(r));
  d.write(other);
  c.store(r, d.value);
};
const xadd: Semantics = (c) => {
  const size = c.size(0);
  const b = source(c, 1, size);
  const d = c.update(0);
  const r = c.f.let(d.value.add(b));
  if (c.isMem(0)) {
    d.write(r);
    c.store(1, d.value);
  } else {
    c.store(1, d.value);
    d.write(r);
  }
  c.flagsAdd(size, d.value, b, r);
};
const cmpxchg: Semantics = (c) => {
  const size = c.size(0);
  const d = c.update(0);
  const a = c.f.let(c.gpr(GPR.rax, size));
  const b = source(c, 1, size);
  const equal = c.f.let(c.clean(a, size).eq(c.clean(d.value, size)));
  // The destination is written in both cases (so that a read-only page faults); a 32-bit register only when it changes.
  if (c.isMem(0)) d.write(select(equal, b, d.value));
  else c.f.if(equal, () => d.write(b));
  c.f.if(equal.eqz(), () => c.setGpr(GPR.rax, size, d.value));
  c.flagsSub(size, a, d.value, c.f.let(a.sub(d.value)));
};
/** CMPXCHG8B and CMPXCHG16B, which change no flag but ZF. With LOCK not atomic for the device thread, whose rings have no such fields. */
const compareExchangePair =
  (half: 4 | 8): Semantics =>
  (c) => {
    const { f } = c;
    const va = f.let(c.address(0));
    if (half === 8) f.if(va.wrap().and(15), () => c.raise(GENERAL_PROTECTION));
    const at = c.linear(va, 2 * half, ACCESS.write, 0);
    const low = f.let(c.loadLinear(at, half));
    const high = f.let(c.loadLinear(at, half, half));
    const equal = f.let(low.eq(c.gpr(GPR.rax, half)).and(high.eq(c.gpr(GPR.rdx, half))));
    f.if(
      equal,
      () => {
        c.storeLinear(at, half, c.gpr(GPR.rbx, half));
        c.storeLinear(at, half, c.gpr(GPR.rcx, half), half);
        c.stored(va, at, 2 * half);
      },
      () => {
        c.setGpr(GPR.rax, half, low);
        c.setGpr(GPR.rdx, half, high);
      },
    );
    c.setStatusFlags(c.f.let(c.statusFlags().and(~RFLAGS.ZF).or(equal.shl(6))));
  };
const bswap: Semantics = (c) => {
  const size = c.size(0);
  const v = c.f.let(c.load(0));
  if (size === 8) {
    const a = c.f.let(
      v
        .and(i64(0xff00ff).or(i64(0xff00ff).shl(32)))
        .shl(8)
        .or(v.shrU(8).and(i64(0xff00ff).or(i64(0xff00ff).shl(32)))),
    );
    const b = c.f.let(
      a
        .and(i64(0xffff).or(i64(0xffff).shl(32)))
        .shl(16)
        .or(a.shrU(16).and(i64(0xffff).or(i64(0xffff).shl(32)))),
    );
    c.store(0, b.rotl(32));
  } else if (size === 4) {
    const a = v.and(0xff00ff).rotr(8);
    c.store(0, a.or(v.and(0xff00ff00 | 0).rotl(8)));
  } else c.store(0, i32(0)); // Undefined by the manual; processors clear the word.
};

/** High 64 bits of an unsigned product. */
export function mulHighU(c: Lift, a: E, b: E): E {
  const f = c.f;
  const al = f.let(a.and(i64(0xffffffff)));
  const ah = f.let(a.shrU(32));
  const bl = f.let(b.and(i64(0xffffffff)));
  const bh = f.let(b.shrU(32));
  const low = f.let(al.mul(bl).shrU(32));
  const mid = f.let(ah.mul(bl).add(low));
  const mid2 = f.let(al.mul(bh).add(mid.and(i64(0xffffffff))));
  return ah.mul(bh).add(mid.shrU(32)).add(mid2.shrU(32));
}
/** High 64 bits of a signed product. */
export function mulHighS(c: Lift, a: E, b: E): E {
  return mulHighU(c, a, b).sub(a.shrS(63).and(b)).sub(b.shrS(63).and(a));
}

/** One-operand MUL and IMUL: rDX:rAX = rAX * operand. CF = OF = the high half is not just an extension. */
const mulWide =
  (signed: boolean): Semantics =>
  (c) => {
    const size = c.size(0);
    const f = c.f;
    const b = f.let(c.load(0));
    const a = f.let(c.gpr(GPR.rax, size));
    if (size === 8) {
      const high = f.let(signed ? mulHighS(c, a, b) : mulHighU(c, a, b));
      const low = f.let(a.mul(b));
      c.setGpr(GPR.rax, 8, low);
      c.setGpr(GPR.rdx, 8, high);
      const over = f.let(signed ? high.ne(low.shrS(63)) : high.ne(0));
      c.flagsShift(8, low, over, over);
      return;
    }
    if (size === 4) {
      const wide = f.let(signed ? a.extendS().mul(b.extendS()) : a.extendU().mul(b.extendU()));
      c.setGpr(GPR.rax, 4, wide.wrap());
      c.setGpr(GPR.rdx, 4, wide.shrU(32).wrap());
      const over = f.let(signed ? wide.ne(wide.ext32S()) : wide.shrU(32).ne(0));
      c.flagsShift(4, wide.wrap(), over, over);
      return;
    }
    const extend = (v: E): E => (signed ? (size === 2 ? v.ext16S() : v.ext8S()) : v);
    const wide = f.let(extend(a).mul(extend(b)));
    if (size === 2) {
      c.setGpr(GPR.rax, 2, wide);
      c.setGpr(GPR.rdx, 2, wide.shrU(16));
    } else c.setGpr(GPR.rax, 2, wide);
    const over = f.let(signed ? wide.ne(extend(wide)) : wide.shrU(size * 8).ne(0));
    c.flagsShift(size, wide, over, over);
  };
/** IMUL with two or three operands. */
const imul: Semantics = (c) => {
  if (c.insn.operands.length === 1) return mulWide(true)(c);
  const size = c.size(0);
  const f = c.f;
  const three = c.insn.operands.length > 2;
  const a = f.let(c.load(three ? 1 : 0));
  const b = source(c, three ? 2 : 1, size);
  let over: E;
  let r: E;
  if (size === 8) {
    r = f.let(a.mul(b));
    over = f.let(mulHighS(c, a, b).ne(r.shrS(63)));
  } else if (size === 4) {
    const wide = f.let(a.extendS().mul(b.extendS()));
    r = f.let(wide.wrap());
    over = f.let(wide.ne(wide.ext32S()));
  } else {
    r = f.let(a.ext16S().mul(b.ext16S()));
    over = f.let(r.ne(r.ext16S()));
  }
  c.store(0, r);
  c.flagsShift(size, r, over, over);
};

const DIVIDE_ERROR = 0;
/** DIV and IDIV. 64-bit dividends that fit in 64 bits are divided here, wider ones bit by bit. */
const divide =
  (signed: boolean): Semantics =>
  (c) => {
    const size = c.size(0);
    const f = c.f;
    const b = f.let(c.load(0));
    f.if(b.eqz(), () => c.raise(DIVIDE_ERROR));
    if (size === 8) {
      const low = f.local(I64);
      const high = f.local(I64);
      const d = f.local(I64);
      f.set(low, c.gpr(GPR.rax, 8));
      f.set(high, c.gpr(GPR.rdx, 8));
      f.set(d, b);
      const negative = f.let(i32(0));
      const remainderNegative = f.let(i32(0));
      const nq = f.local(0x7f);
      const nr = f.local(0x7f);
      f.set(nq, negative);
      f.set(nr, remainderNegative);
      if (signed) {
        f.set(nr, high.shrU(63).wrap());
        f.set(nq, nr.xor(d.shrU(63).wrap()));
        f.if(nr, () => {
          f.set(high, high.not().add(low.eqz().extendU()));
          f.set(low, low.neg());
        });
        f.if(d.ltS(0), () => f.set(d, d.neg()));
      }
      f.if(high.geU(d), () => c.raise(DIVIDE_ERROR));
      const q = f.local(I64);
      const r = f.local(I64);
      f.if(
        high.eqz(),
        () => {
          f.set(q, low.divU(d));
          f.set(r, low.remU(d));
        },
        () => {
          // Schoolbook, one bit a step: rare (the dividend exceeds 64 bits).
          const n = f.local(0x7f);
          const carry = f.local(0x7f);
          f.set(n, i32(64));
          f.set(r, high);
          f.set(q, low);
          f.loop((again) => {
            f.set(carry, r.shrU(63).wrap());
            f.set(r, r.shl(1).or(q.shrU(63)));
            f.set(q, q.shl(1));
            f.if(carry.or(r.geU(d)), () => {
              f.set(r, r.sub(d));
              f.set(q, q.or(i64(1)));
            });
            f.set(n, n.sub(1));
            f.brIf(again, n);
          });
        },
      );
      if (signed) {
        // |quotient| may be 2^63 only when the result is negative.
        f.if(select(nq, q.gtU(i64(-(2 ** 63))), q.ltS(0)), () => c.raise(DIVIDE_ERROR));
        f.if(nq, () => f.set(q, q.neg()));
        f.if(nr, () => f.set(r, r.neg()));
      }
      c.setGpr(GPR.rax, 8, q);
      c.setGpr(GPR.rdx, 8, r);
      return;
    }
    const ext = (v: E, s: number): E => (signed ? c.signed(v, s) : c.clean(v, s).extendU());
    const divisor = f.let(ext(b, size));
    let dividend: E;
    if (size === 1) dividend = f.let(ext(c.gpr(GPR.rax, 2), 2));
    else if (size === 2)
      dividend = f.let(
        ext(
          c
            .gpr(GPR.rdx, 2)
            .shl(16)
            .or(c.clean(c.gpr(GPR.rax, 2), 2)),
          4,
        ),
      );
    else dividend = f.let(c.gpr(GPR.rdx, 4).extendU().shl(32).or(c.gpr(GPR.rax, 4).extendU()));
    if (signed && size === 4) {
      // -2^63 / -1 would trap in WebAssembly; it overflows 32 bits anyway.
      f.if(dividend.eq(i64(-(2 ** 63))).and(divisor.eq(-1)), () => c.raise(DIVIDE_ERROR));
    }
    const q = f.let(signed ? dividend.divS(divisor) : dividend.divU(divisor));
    const r = f.let(signed ? dividend.remS(divisor) : dividend.remU(divisor));
    const fits = signed ? c.signed(q.wrap(), size) : c.clean(q.wrap(), size).extendU();
    f.if(q.ne(fits), () => c.raise(DIVIDE_ERROR));
    if (size === 1) c.setGpr(GPR.rax, 2, q.wrap().and(0xff).or(r.wrap().shl(8)));
    else {
      c.setGpr(GPR.rax, size, q.wrap());
      c.setGpr(GPR.rdx, size, r.wrap());
    }
  };

/** Shift and rotate count: masked to 5 bits, 6 for 64-bit operands; i32. */
function count(c: Lift, k: number, size: number): E {
  const op = c.operand(k);
  const raw = op === undefined ? i32(1) : c.loadAs(k, 1);
  return c.f.let(raw.and(size === 8 ? 63 : 31));
}
const wide = (n: E, size: number): E => (size === 8 ? n.extendU() : n);
const top = (v: E, size: number): E => {
  const bits = size * 8 - 1;
  const bit = v.shrU(bits);
  return (size === 8 ? bit.wrap() : bit).and(1);
};

const shl: Semantics = (c) => {
  const size = c.size(0);
  const n = count(c, 1, size);
  const d = c.update(0);
  const f = c.f;
  if (size >= 4) {
    const r = f.let(d.value.shl(wide(n, size)));
    d.write(r);
    f.if(n, () => {
      // The last bit shifted out is bit `size - count` of the operand.
      const out = f.let(d.value.shrU(wide(i32(size * 8).sub(n), size)));
      const carry = f.let((size === 8 ? out.wrap() : out).and(1));
      c.flagsShift(size, r, carry, carry.xor(top(r, size)));
    });
    return;
  }
  const r = f.let(d.value.shl(n));
  d.write(r);
  f.if(n, () => {
    const carry = f.let(r.shrU(size * 8).and(1));
    c.flagsShift(size, r, carry, carry.xor(top(r, size)));
  });
};
const shr: Semantics = (c) => {
  const size = c.size(0);
  const n = count(c, 1, size);
  const d = c.update(0);
  const f = c.f;
  const r = f.let(d.value.shrU(wide(n, size)));
  d.write(r);
  f.if(n, () => {
    const out = f.let(d.value.shrU(wide(n.sub(1), size)));
    const carry = (size === 8 ? out.wrap() : out).and(1);
    c.flagsShift(size, r, carry, top(d.value, size));
  });
};
const sar: Semantics = (c) => {
  const size = c.size(0);
  const n = count(c, 1, size);
  const d = c.update(0);
  const f = c.f;
  const v = f.let(size === 1 ? d.value.ext8S() : size === 2 ? d.value.ext16S() : d.value);
  const r = f.let(v.shrS(wide(n, size)));
  d.write(r);
  f.if(n, () => {
    const out = f.let(v.shrS(wide(n.sub(1), size)));
    const carry = (size === 8 ? out.wrap() : out).and(1);
    c.flagsShift(size, r, carry, i32(0));
  });
};
const rotate =
  (left: boolean): Semantics =>
  (c) => {
    const size = c.size(0);
    const f = c.f;
    const bits = size * 8;
    const n = count(c, 1, size);
    const d = c.update(0);
    let r: E;
    if (size >= 4) r = f.let(left ? d.value.rotl(wide(n, size)) : d.value.rotr(wide(n, size)));
    else {
      const m = f.let(n.and(bits - 1));
      const v = f.let(c.clean(d.value, size));
      const back = i32(bits)
        .sub(m)
        .and(bits - 1);
      r = f.let(left ? v.shl(m).or(v.shrU(back)) : v.shrU(m).or(v.shl(back)));
    }
    d.write(r);
    f.if(n, () => {
      const low = f.let((size === 8 ? r.wrap() : r).and(1));
      const high = f.let(top(r, size));
      if (left) c.setCarryOverflow(low, low.xor(high));
      else {
        const second = f.let(size === 8 ? r.shrU(62).wrap().and(1) : r.shrU(bits - 2).and(1));
        c.setCarryOverflow(high, high.xor(second));
      }
    });
  };
/** RCL and RCR: the carry is one more bit. Bit by bit for narrow operands' sake; they are rare. */
const rotateCarry =
  (left: boolean): Semantics =>
  (c) => {
    const size = c.size(0);
    const f = c.f;
    const bits = size * 8;
    const n = count(c, 1, size);
    const d = c.update(0);
    const m = f.local(0x7f);
    f.set(m, size >= 4 ? n : n.remU(bits + 1));
    const v = f.local(d.value.type);
    f.set(v, c.clean(d.value, size));
    const carry = f.local(0x7f);
    f.set(carry, c.carry());
    const next = f.local(0x7f);
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, m.eqz());
        if (left) {
          f.set(next, top(v, size));
          f.set(v, v.shl(c.constant(1, size)).or(c.bit(carry, size)));
        } else {
          f.set(next, (size === 8 ? v.wrap() : v).and(1));
          f.set(
            v,
            c
              .clean(v, size)
              .shrU(c.constant(1, size))
              .or(c.bit(carry, size).shl(c.constant(bits - 1, size))),
          );
        }
        f.set(carry, next);
        f.set(m, m.sub(1));
        f.br(again);
      });
    });
    d.write(v);
    f.if(n, () => {
      const high = f.let(top(v, size));
      if (left) c.setCarryOverflow(carry, carry.xor(high));
      else {
        const second = f.let(size === 8 ? v.shrU(62).wrap().and(1) : v.shrU(bits - 2).and(1));
        c.setCarryOverflow(carry, high.xor(second));
      }
    });
  };
/** SHLD and SHRD. 16-bit counts above 16 are undefined by the manual; here as processors do it (a 48-bit value). */
const doubleShift =
  (left: boolean): Semantics =>
  (c) => {
    const size = c.size(0);
    const f = c.f;
    const bits = size * 8;
    const n = count(c, 2, size);
    const s = f.let(c.load(1));
    const d = c.update(0);
    const r = f.local(d.value.type);
    const carry = f.local(0x7f);
    f.set(r, d.value);
    f.if(n, () => {
      if (size === 2) {
        // dest:src:dest shifted as one value.
        const a = f.let(d.value.and(0xffff).extendU());
        const b = f.let(s.and(0xffff).extendU());
        if (left) {
          const v = f.let(a.shl(32).or(b.shl(16)).or(a));
          const shifted = f.let(v.shl(n.extendU()));
          f.set(r, shifted.shrU(32).wrap());
          f.set(carry, shifted.shrU(48).wrap().and(1));
        } else {
          const v = f.let(a.shl(32).or(b.shl(16)).or(a));
          f.set(r, v.shrU(n.extendU()).wrap());
          f.set(carry, v.shrU(n.sub(1).extendU()).wrap().and(1));
        }
      } else {
        const w = wide(n, size);
        const rest = wide(i32(bits).sub(n), size);
        f.set(r, left ? d.value.shl(w).or(s.shrU(rest)) : d.value.shrU(w).or(s.shl(rest)));
        const out = left ? d.value.shrU(rest) : d.value.shrU(wide(n.sub(1), size));
        f.set(carry, (size === 8 ? out.wrap() : out).and(1));
      }
    });
    d.write(r);
    f.if(n, () => c.flagsShift(size, r, carry, f.let(top(r, size).xor(top(d.value, size)))));
  };

/**
 * BT, BTS, BTR, BTC. A register bit offset reaches beyond a memory operand: the address moves by whole operands.
 */
const bitTest =
  (change: ((v: E, mask: E) => E) | undefined): Semantics =>
  (c) => {
    const size = c.size(0);
    const f = c.f;
    const bits = size * 8;
    const index = source(c, 1, size);
    const within = f.let(index.and(c.constant(bits - 1, size)));
    if (c.isMem(0) && c.operand(1).kind === 1) {
      const signed = f.let(c.signed(index, size));
      const distance = signed.shrS(Math.log2(bits)).shl(Math.log2(size));
      let va: E;
      if (c.insn.addrSize === 4) {
        // The sum wraps at 4 GiB, before a segment's base is added.
        const offset = f.let(c.addressWithoutSegment(0));
        va = f.let(c.address(0).sub(offset).add(offset.add(distance).wrap().extendU()));
      } else va = f.let(c.address(0).add(distance));
      if (change === undefined) {
        const bit = c.loadAt(va, size, 0).shrU(within);
        c.setCarry(f.let((size === 8 ? bit.wrap() : bit).and(1)));
        return;
      }
      const d = c.updateAt(va, size, 0);
      d.write(f.let(change(d.value, c.constant(1, size).shl(within))));
      const v = d.value;
      const bit = v.shrU(within);
      c.setCarry(f.let((size === 8 ? bit.wrap() : bit).and(1)));
      return;
    }
    if (change === undefined) {
      const bit = f.let(c.load(0)).shrU(within);
      c.setCarry(f.let((size === 8 ? bit.wrap() : bit).and(1)));
      return;
    }
    const d = c.update(0);
    const bit = f.let(d.value.shrU(within));
    d.write(change(d.value, c.constant(1, size).shl(within)));
    c.setCarry(f.let((size === 8 ? bit.wrap() : bit).and(1)));
  };
/** BSF and BSR: the destination stays when the source is zero, as on every 64-bit processor. */
const scan =
  (forward: boolean): Semantics =>
  (c) => {
    const size = c.size(0);
    const f = c.f;
    const v = f.let(c.clean(c.load(1), size));
    f.if(size === 8 ? v.ne(0) : v, () => {
      const r = forward ? v.ctz() : c.constant(size === 8 ? 63 : 31, size).sub(v.clz());
      c.store(0, r);
    });
    // ZF from the source; the other flags are undefined.
    c.writeFlags(c.signed(v, size), i32(0));
  };
const popcnt: Semantics = (c) => {
  const size = c.size(0);
  const v = c.f.let(c.clean(c.load(1), size));
  c.store(0, v.popcnt());
  // ZF from the source; all other flags are cleared: a positive result of odd... parity is corrected to "odd".
  c.writeFlags(select(size === 8 ? v.eqz() : v.eqz(), i64(0), i64(1)), select(v.eqz(), i32(0x100), i32(0)));
};

const signExtendA: Semantics = (c) => {
  // CBW, CWDE, CDQE by operand size.
  const size = c.insn.opSize;
  if (size === 2) c.setGpr(GPR.rax, 2, c.gpr(GPR.rax, 1).ext8S());
  else if (size === 4) c.setGpr(GPR.rax, 4, c.gpr(GPR.rax, 2).ext16S());
  else c.setGpr(GPR.rax, 8, c.gpr(GPR.rax, 4).extendS());
};
const signExtendD: Semantics = (c) => {
  // CWD, CDQ, CQO.
  const size = c.insn.opSize;
  const a = c.gpr(GPR.rax, size);
  c.setGpr(GPR.rdx, size, size === 2 ? a.ext16S().shrS(15) : a.shrS(size === 8 ? 63 : 31));
};

const push: Semantics = (c) => {
  const size = c.insn.opSize === 2 ? 2 : 8;
  c.push(c.loadAs(0, size), size);
};
const pop: Semantics = (c) => {
  const size = c.insn.opSize === 2 ? 2 : 8;
  const f = c.f;
  if (!c.isMem(0)) {
    const v = c.top(size);
    c.setGpr(GPR.rsp, 8, c.gpr(GPR.rsp, 8).add(size));
    c.store(0, v);
    return;
  }
  // The address of a memory destination counts with the incremented rsp; a fault must leave rsp as it was.
  const rsp = f.let(c.gpr(GPR.rsp, 8));
  const v = c.loadAt(rsp, size, undefined, ACCESS.stack);
  c.popToMemory(v, size, rsp);
};
const pushf: Semantics = (c) => {
  const size = c.insn.opSize === 2 ? 2 : 8;
  // RF and VM are not pushed.
  const flags = c.f.let(c.statusFlags().or(c.state32(STATE.flagsRest).and(~0x30000)).or(2));
  c.push(size === 8 ? flags.extendU() : flags, size);
};
/** POPF at CPL 3: TF DF NT AC ID and the status flags; IF and IOPL do not change. */
const popf: Semantics = (c) => {
  const size = c.insn.opSize === 2 ? 2 : 8;
  const f = c.f;
  const raw = c.top(size);
  const v = f.let(size === 8 ? raw.wrap() : raw);
  c.setGpr(GPR.rsp, 8, c.gpr(GPR.rsp, 8).add(size));
  const changeable = size === 2 ? 0x4500 : 0x244500;
  c.setState32(
    STATE.flagsRest,
    c
      .state32(STATE.flagsRest)
      .and(~changeable & ~0x10000)
      .or(v.and(changeable))
      .or(2),
  );
  c.setStatusFlags(v);
  c.afterFlags(v);
};
const lahf: Semantics = (c) => {
  const flags = c.f.let(c.statusFlags().and(0xd5).or(2));
  c.setGpr(GPR.rax, 2, c.gpr(GPR.rax, 2).and(0xff).or(flags.shl(8)));
};
const sahf: Semantics = (c) => {
  const ah = c.f.let(c.gpr(GPR.rax, 2).shrU(8));
  const overflow = c.f.let(c.overflow());
  c.setStatusFlags(ah.and(0xd5).or(overflow.shl(11)));
};
const flagRest =
  (set: number, clear: number): Semantics =>
  (c) =>
    c.setState32(STATE.flagsRest, c.state32(STATE.flagsRest).and(~clear).or(set));

const xlat: Semantics = (c) => {
  const va = c.f.let(c.implicitAddress(GPR.rbx, c.gpr(GPR.rax, 1).and(0xff).extendU()));
  c.setGpr(GPR.rax, 1, c.loadAt(va, 1));
};
const enterLeave: Semantics = (c) => {
  // LEAVE: rsp = rbp, pop rbp.
  const size = c.insn.opSize === 2 ? 2 : 8;
  const rbp = c.f.let(c.gpr(GPR.rbp, 8));
  const v = c.loadAt(rbp, size, undefined, ACCESS.stack);
  c.setGpr(GPR.rsp, 8, rbp.add(size));
  c.setGpr(GPR.rbp, size, v);
};

const conditional = (code: Condition): Record<string, Semantics> => ({
  [`set${code}`]: (c) => c.store(0, c.condition(code)),
  [`cmov${code}`]: (c) => {
    // The source is read (and faults) in any case; a 32-bit destination is zero-extended in any case.
    const v = c.f.let(c.load(1));
    const old = c.f.let(c.load(0));
    c.store(0, select(c.condition(code), v, old));
  },
  [`j${code}`]: (c) => c.jumpIf(c.condition(code)),
});

const nop: Semantics = () => {};

export const INTEGER: Record<string, Semantics> = {
  add,
  adc,
  sub,
  sbb,
  cmp,
  test,
  neg,
  not,
  mov,
  movzx,
  movsx,
  movsxd: movsx,
  lea,
  xchg,
  xadd,
  cmpxchg,
  cmpxchg8b: compareExchangePair(4),
  cmpxchg16b: compareExchangePair(8),
  bswap,
  imul,
  and: logic((a, b) => a.and(b)),
  or: logic((a, b) => a.or(b)),
  xor: logic((a, b) => a.xor(b)),
  inc: step(1),
  dec: step(-1),
  mul: mulWide(false),
  div: divide(false),
  idiv: divide(true),
  shl,
  sal: shl,
  shr,
  sar,
  rol: rotate(true),
  ror: rotate(false),
  rcl: rotateCarry(true),
  rcr: rotateCarry(false),
  shld: doubleShift(true),
  shrd: doubleShift(false),
  bt: bitTest(undefined),
  bts: bitTest((v, m) => v.or(m)),
  btr: bitTest((v, m) => v.and(m.not())),
  btc: bitTest((v, m) => v.xor(m)),
  bsf: scan(true),
  bsr: scan(false),
  popcnt,
  cbw: signExtendA,
  cwde: signExtendA,
  cdqe: signExtendA,
  cwd: signExtendD,
  cdq: signExtendD,
  cqo: signExtendD,
  push,
  pop,
  pushf,
  popf,
  lahf,
  sahf,
  xlat,
  leave: enterLeave,
  clc: (c) => c.setCarry(i32(0)),
  stc: (c) => c.setCarry(i32(1)),
  cmc: (c) => c.setCarry(c.f.let(c.carry().eqz())),
  cld: flagRest(0, 0x400),
  std: flagRest(0x400, 0),
  nop,
  pause: nop,
  endbr64: nop,
  lfence: nop,
  mfence: nop,
  sfence: nop,
  // Stores to code are seen at the next instruction anyway.
  serialize: nop,
  prefetch: nop,
  prefetchw: nop,
  prefetchnta: nop,
  prefetcht0: nop,
  prefetcht1: nop,
  prefetcht2: nop,
  endbr32: nop,
  // There is no cache to flush; the address is checked as a load's.
  clflush: (c) => c.f.drop(c.loadAt(c.f.let(c.address(0)), 1, 0)),
  ...Object.assign({}, ...CONDITIONS.map(conditional)),
};
