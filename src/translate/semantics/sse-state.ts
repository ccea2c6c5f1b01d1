/**
 * FXSAVE, FXRSTOR, LDMXCSR and STMXCSR, which kernels run at every context switch. An image across two pages is left to the
 * helper (helpers/sse-state.ts), which says how it is laid out. Intel SDM volume 1, 10.5.1.
 */
import { type E, I32, i32, load16u, load32, load64, load128, select } from '../../wasm/expr.ts';
import { STATE } from '../../x86/state.ts';
import { IMAGE, IMAGE_SIZE, MXCSR_MASK } from '../helpers/sse-state.ts';
import { ACCESS } from '../layout.ts';
import type { Lift, Semantics } from '../lift.ts';

const NM = 7;
const GP = 13;
const REGISTERS = 8;
const EMPTY = 3;

const available = (c: Lift): void => c.f.if(c.state32(STATE.taskSwitched), () => c.raise(NM));

/** Linear address of the image; one that does not lie in one page goes to the helper. */
function image(c: Lift, access: number): E {
  available(c);
  const va = c.f.let(c.address(0));
  c.f.if(va.wrap().and(15), () => c.raise(GP));
  c.f.if(
    va
      .wrap()
      .and(4095)
      .gtU(4096 - IMAGE_SIZE),
    () => c.helper(),
  );
  return c.linear(va, IMAGE_SIZE, access, 0);
}

/** Where ST(i) is: its physical register, and the address of that from which STATE.x87 counts. */
function stackRegister(c: Lift, fsw: E, i: number): { physical: E; at: E } {
  const physical = c.f.let(fsw.shrU(11).add(i).and(7));
  return { physical, at: c.f.let(c.cpu.add(physical.shl(4))) };
}

/** With REX.W the instruction and data pointers are 8 bytes long, else 4. */
const pointer = (c: Lift, value: E): E => (c.insn.rexW ? value : value.wrap().extendU());

const fxsave: Semantics = (c) => {
  const { f, cpu } = c;
  const at = image(c, ACCESS.write);
  const fsw = f.let(load16u(cpu, STATE.fsw));
  f.store16(at, load16u(cpu, STATE.fcw), IMAGE.fcw);
  f.store16(at, fsw, IMAGE.fsw);
  // One bit for each register that is not empty: of the two bits of a tag, the even one of those that are not both set.
  const tags = f.let(load16u(cpu, STATE.ftw));
  let used = f.let(tags.and(tags.shrU(1)).not().and(0x5555));
  for (const [shift, mask] of [
    [1, 0x3333],
    [2, 0x0f0f],
    [4, 0x00ff],
  ] as const) {
    used = f.let(used.or(used.shrU(shift)).and(mask));
  }
  f.store16(at, used, IMAGE.tags);
  f.store16(at, load16u(cpu, STATE.fop), IMAGE.fop);
  f.store64(at, pointer(c, load64(cpu, STATE.fip)), IMAGE.fip);
  f.store64(at, pointer(c, load64(cpu, STATE.fdp)), IMAGE.fdp);
  f.store32(at, load32(cpu, STATE.mxcsr), IMAGE.mxcsr);
  f.store32(at, i32(MXCSR_MASK), IMAGE.mask);
  for (let i = 0; i < REGISTERS; i++) {
    f.scope(() => {
      const { at: from } = stackRegister(c, fsw, i);
      f.store64(at, load64(from, STATE.x87), IMAGE.st + 16 * i);
      f.store64(at, load16u(from, STATE.x87 + 8).extendU(), IMAGE.st + 16 * i + 8);
    });
  }
  for (let i = 0; i < 16; i++) f.store128(at, load128(cpu, STATE.xmm + 16 * i), IMAGE.xmm + 16 * i);
};

/** The tag of a register in use: 0 valid, 1 zero, 2 special. */
function fullTag(significand: E, high: E): E {
  const exponent = high.and(0x7fff);
  const special = exponent.eqz().or(exponent.eq(0x7fff)).or(significand.geS(0));
  return select(exponent.eqz().and(significand.eqz()), i32(1), special.shl(1));
}

const fxrstor: Semantics = (c) => {
  const { f, cpu } = c;
  const at = image(c, 0);
  const mxcsr = f.let(load32(at, IMAGE.mxcsr));
  f.if(mxcsr.and(~MXCSR_MASK), () => c.raise(GP));
  const fcw = f.let(load16u(at, IMAGE.fcw).and(0x1f7f).or(0x40));
  // The summary bits of the status word follow from its exceptions and their masks.
  const fsw = f.let(load16u(at, IMAGE.fsw).and(0x7f7f));
  f.store16(cpu, fcw, STATE.fcw);
  f.store16(cpu, fsw.or(select(fsw.and(fcw.not()).and(0x3f), i32(0x8080), i32(0))), STATE.fsw);
  f.store16(cpu, load16u(at, IMAGE.fop).and(0x7ff), STATE.fop);
  f.store64(cpu, pointer(c, load64(at, IMAGE.fip)), STATE.fip);
  f.store64(cpu, pointer(c, load64(at, IMAGE.fdp)), STATE.fdp);
  f.store32(cpu, mxcsr, STATE.mxcsr);
  const used = f.let(load16u(at, IMAGE.tags));
  const tags = f.local(I32);
  f.set(tags, i32(0));
  for (let i = 0; i < REGISTERS; i++) {
    f.scope(() => {
      const { physical, at: to } = stackRegister(c, fsw, i);
      const significand = f.let(load64(at, IMAGE.st + 16 * i));
      const high = f.let(load16u(at, IMAGE.st + 16 * i + 8));
      f.store64(to, significand, STATE.x87);
      f.store16(to, high, STATE.x87 + 8);
      const tag = select(used.shrU(physical).and(1), fullTag(significand, high), i32(EMPTY));
      f.set(tags, tags.or(tag.shl(physical.shl(1))));
    });
  }
  f.store16(cpu, tags, STATE.ftw);
  for (let i = 0; i < 16; i++) f.store128(cpu, load128(at, IMAGE.xmm + 16 * i), STATE.xmm + 16 * i);
};

const ldmxcsr: Semantics = (c) => {
  available(c);
  const value = c.f.let(c.load(0));
  c.f.if(value.and(~MXCSR_MASK), () => c.raise(GP));
  c.setState32(STATE.mxcsr, value);
};

const stmxcsr: Semantics = (c) => {
  available(c);
  c.store(0, c.state32(STATE.mxcsr));
};

export const SSE_STATE: Record<string, Semantics> = { fxsave, fxrstor, ldmxcsr, stmxcsr };
