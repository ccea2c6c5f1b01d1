/**
 * String instructions. One element is done inline; repeated MOVS and STOS go page by page with memory.copy and memory.fill.
 * A repeated instruction commits its registers after every piece, so a fault finds them as the manual says. A long one leaves
 * the engine now and then and begins again where it was: a guest can map one page at all addresses and repeat for hours.
 */
import { type E, I32, i32, i64, select } from '../../wasm/expr.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR, STATE } from '../../x86/state.ts';
import type { Lift, Semantics } from '../lift.ts';

/** Work until a repeated instruction leaves: elements one by one, or pieces of a page that cost as much as so many elements. */
const TURN = 16384;
const PIECE = 64;
/** So many elements take as long as a branch. */
const PER_BRANCH = 4;
/** The work that is left, an i32 local. */
const beginTurn = (c: Lift): E => {
  const left = c.f.local(I32);
  c.f.set(left, i32(TURN));
  return left;
};
/** `work` is done, and more is to do: leave if it was enough. Registers and flags are as the manual says between elements. */
const goOn = (c: Lift, left: E, work: number): void => {
  c.f.set(left, left.sub(work));
  c.f.if(left.leS(0), () => {
    c.spend(i32(TURN / PER_BRANCH));
    c.exit(Exit.Slice, false);
  });
};
/** All is done, in less than a turn: a loop around it must not take thousands of them in a slice. */
const endTurn = (c: Lift, left: E): void =>
  c.f.if(left.ne(TURN), () => c.spend(i32(TURN).sub(left).shrU(Math.log2(PER_BRANCH))));

/** rSI or rDI by address size, as an address. */
const pointer = (c: Lift, register: number): E => {
  const v = c.gpr(register, c.insn.addrSize);
  return c.insn.addrSize === 4 ? v.extendU() : v;
};
const advance = (c: Lift, register: number, by: E): void => {
  const size = c.insn.addrSize;
  const v = c.gpr(register, size);
  c.setGpr(register, size, size === 4 ? v.add(by.wrap()) : v.add(by));
};
const countRegister = (c: Lift): E => {
  const v = c.gpr(GPR.rcx, c.insn.addrSize);
  return c.insn.addrSize === 4 ? v.extendU() : v;
};

/** Run `body` once, or rCX times; `body` returns a condition to stop early (checked after the count went down). */
function repeat(c: Lift, body: () => E | undefined): void {
  if (c.insn.rep === 0) {
    body();
    return;
  }
  const f = c.f;
  const turn = beginTurn(c);
  f.block((done) => {
    f.loop((again) => {
      const n = f.let(countRegister(c));
      f.brIf(done, n.eqz());
      const stop = body();
      const size = c.insn.addrSize;
      c.setGpr(GPR.rcx, size, size === 4 ? n.sub(1).wrap() : n.sub(1));
      if (stop !== undefined) f.brIf(done, stop);
      f.brIf(done, n.eq(1));
      goOn(c, turn, 1);
      f.br(again);
    });
  });
  endTurn(c, turn);
}

/** Bytes from `linearOffset` to the end of its page. */
const roomUp = (va: E): E => i32(4096).sub(va.wrap().and(4095));

const movs: Semantics = (c) => {
  const size = c.insn.opSize;
  const f = c.f;
  const one = (): undefined => {
    const from = f.let(c.implicitAddress(GPR.rsi, i64(0)));
    const to = f.let(pointer(c, GPR.rdi));
    const v = c.loadAt(from, size);
    c.storeAt(to, size, v);
    const by = f.let(c.direction(size));
    advance(c, GPR.rsi, by);
    advance(c, GPR.rdi, by);
  };
  if (c.insn.rep === 0) {
    one();
    return;
  }
  const shift = Math.log2(size);
  const turn = beginTurn(c);
  f.block((done) => {
    f.loop((again) => {
      const n = f.let(countRegister(c));
      f.brIf(done, n.eqz());
      const from = f.let(c.implicitAddress(GPR.rsi, i64(0)));
      const to = f.let(pointer(c, GPR.rdi));
      const roomFrom = f.let(roomUp(from));
      const roomTo = f.let(roomUp(to));
      const room = f.let(select(roomFrom.ltU(roomTo), roomFrom, roomTo).shrU(shift));
      const pieces = f.local(I32);
      f.set(pieces, select(n.ltU(room.extendU()), n.wrap(), room));
      // Elementwise: backwards, crossing a page, or overlapping so that earlier stores feed later loads.
      const distance = f.let(to.sub(from));
      f.if(
        c
          .state32(STATE.flagsRest)
          .and(0x400)
          .or(pieces.ltU(2))
          .or(distance.ltU(i64(4096)))
          .eqz(),
        () => {
          const bytes = f.let(pieces.shl(shift));
          // Checked byte-wise at the piece's start only: a page is present or not as a whole.
          const source = c.linear(from, 1, 0);
          const target = f.let(c.linearRange(to, bytes));
          // Two addresses of one frame: let the element loop decide.
          f.if(target.sub(source).geU(bytes).or(i32(0)), () => {
            f.memoryCopy(target, source, bytes);
            const by = f.let(bytes.extendU());
            advance(c, GPR.rsi, by);
            advance(c, GPR.rdi, by);
            const left = n.sub(pieces.extendU());
            c.setGpr(GPR.rcx, c.insn.addrSize, c.insn.addrSize === 4 ? left.wrap() : left);
            f.brIf(done, n.eq(pieces.extendU()));
            goOn(c, turn, PIECE);
            f.br(again);
          });
        },
      );
      one();
      const left = n.sub(1);
      c.setGpr(GPR.rcx, c.insn.addrSize, c.insn.addrSize === 4 ? left.wrap() : left);
      f.brIf(done, n.eq(1));
      goOn(c, turn, 1);
      f.br(again);
    });
  });
  endTurn(c, turn);
};

const stos: Semantics = (c) => {
  const size = c.insn.opSize;
  const f = c.f;
  const value = f.let(c.gpr(GPR.rax, size));
  const one = (): undefined => {
    const to = f.let(pointer(c, GPR.rdi));
    c.storeAt(to, size, value);
    advance(c, GPR.rdi, c.direction(size));
  };
  if (c.insn.rep === 0) {
    one();
    return;
  }
  const shift = Math.log2(size);
  // memory.fill repeats a byte: wider patterns qualify when all their bytes are equal.
  const byte = f.let(size === 8 ? value.wrap().and(0xff) : value.and(0xff));
  const pattern =
    size === 1
      ? undefined
      : size === 8
        ? byte.extendU().mul(i64(0x01010101).or(i64(0x01010101).shl(32)))
        : byte.mul(size === 4 ? 0x01010101 : 0x0101);
  const uniform = f.let(pattern === undefined ? i32(1) : c.clean(value, size).eq(pattern));
  const turn = beginTurn(c);
  f.block((done) => {
    f.loop((again) => {
      const n = f.let(countRegister(c));
      f.brIf(done, n.eqz());
      const to = f.let(pointer(c, GPR.rdi));
      const room = f.let(roomUp(to).shrU(shift));
      const pieces = f.let(select(n.ltU(room.extendU()), n.wrap(), room));
      f.if(
        c.state32(STATE.flagsRest).and(0x400).eqz().and(pieces.gtU(1)).and(uniform),
        () => {
          const bytes = f.let(pieces.shl(shift));
          const target = f.let(c.linearRange(to, bytes));
          f.memoryFill(target, byte, bytes);
          advance(c, GPR.rdi, bytes.extendU());
          const left = n.sub(pieces.extendU());
          c.setGpr(GPR.rcx, c.insn.addrSize, c.insn.addrSize === 4 ? left.wrap() : left);
          f.brIf(done, n.eq(pieces.extendU()));
          goOn(c, turn, PIECE);
        },
        () => {
          one();
          const left = n.sub(1);
          c.setGpr(GPR.rcx, c.insn.addrSize, c.insn.addrSize === 4 ? left.wrap() : left);
          f.brIf(done, n.eq(1));
          goOn(c, turn, 1);
        },
      );
      f.br(again);
    });
  });
  endTurn(c, turn);
};

const lods: Semantics = (c) => {
  const size = c.insn.opSize;
  repeat(c, () => {
    const from = c.f.let(c.implicitAddress(GPR.rsi, i64(0)));
    c.setGpr(GPR.rax, size, c.loadAt(from, size));
    advance(c, GPR.rsi, c.direction(size));
    return undefined;
  });
};

/** Stop condition of REPE (0xf3) and REPNE (0xf2) after a comparison whose outcome is `equal`. */
const stops = (c: Lift, equal: E): E => (c.insn.rep === 0xf2 ? equal : equal.eqz());

const scas: Semantics = (c) => {
  const size = c.insn.opSize;
  const f = c.f;
  const a = f.let(c.clean(c.gpr(GPR.rax, size), size));
  repeat(c, () => {
    const to = f.let(pointer(c, GPR.rdi));
    const b = f.let(c.loadAt(to, size));
    advance(c, GPR.rdi, c.direction(size));
    c.flagsSub(size, a, b, f.let(a.sub(b)));
    return stops(c, a.eq(b));
  });
};
const cmps: Semantics = (c) => {
  const size = c.insn.opSize;
  const f = c.f;
  repeat(c, () => {
    const from = f.let(c.implicitAddress(GPR.rsi, i64(0)));
    const to = f.let(pointer(c, GPR.rdi));
    const a = f.let(c.loadAt(from, size));
    const b = f.let(c.loadAt(to, size));
    const by = f.let(c.direction(size));
    advance(c, GPR.rsi, by);
    advance(c, GPR.rdi, by);
    c.flagsSub(size, a, b, f.let(a.sub(b)));
    return stops(c, a.eq(b));
  });
};

export const STRINGS: Record<string, Semantics> = { movs, stos, lods, scas, cmps };
