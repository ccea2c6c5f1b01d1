/** Control transfer: jumps, calls, returns, loops, system calls; reading the clock. Conditional jumps are beside the flags in integer.ts. */
import { type E, i32, i64 } from '../../wasm/expr.ts';
import { Kind } from '../../x86/decode.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR, STATE } from '../../x86/state.ts';
import { ACCESS } from '../layout.ts';
import type { Lift, Semantics } from '../lift.ts';

const GENERAL_PROTECTION = 13;

/** A computed target must be canonical: otherwise the fault is the branch's, before it has changed anything. */
const canonical = (c: Lift, target: E): E => {
  c.f.if(target.shl(16).shrS(16).ne(target), () => c.raise(GENERAL_PROTECTION));
  return target;
};

// Direct branches are not checked: only from the last 2 GiB of user addresses could one lead out, and it faults there.
const jmp: Semantics = (c) => {
  if (c.operand(0).kind === Kind.Rel) c.jump();
  else c.jumpTo(canonical(c, c.f.let(c.load(0))));
};
const call: Semantics = (c) => {
  if (c.operand(0).kind === Kind.Rel) {
    c.push(c.nextRip(), 8);
    c.jump();
    return;
  }
  const target = c.f.let(c.load(0));
  // The stack is looked at first, the target second, and only then anything is written.
  const rsp = c.f.let(c.gpr(GPR.rsp, 8).sub(8));
  const at = c.linear(rsp, 8, ACCESS.write | ACCESS.stack);
  canonical(c, target);
  c.storeLinear(at, 8, c.nextRip());
  c.stored(rsp, at, 8);
  c.setGpr(GPR.rsp, 8, rsp);
  c.jumpTo(target);
};
const ret: Semantics = (c) => {
  const target = canonical(c, c.top(8));
  const extra = c.insn.operands.length > 0 ? c.immediate(0, 4).and(0xffff).extendU() : i64(0);
  c.setGpr(GPR.rsp, 8, c.gpr(GPR.rsp, 8).add(8).add(extra));
  c.jumpTo(target);
};
/** LOOP, LOOPE, LOOPNE: rCX (by address size) counts without touching flags. */
const loop =
  (condition: (c: Lift) => ReturnType<Lift['zero']> | undefined): Semantics =>
  (c) => {
    const size = c.insn.addrSize;
    const n = c.f.let(c.gpr(GPR.rcx, size).sub(1));
    c.setGpr(GPR.rcx, size, n);
    const more = n.ne(0);
    const also = condition(c);
    c.jumpIf(also === undefined ? more : more.and(also));
  };

/** CR4.TSD: only the kernel may. */
const TSD = 4;
const rdtsc: Semantics = (c) => {
  const forbidden = c.state32(STATE.cr4).and(TSD).ne(0).and(c.state32(STATE.kernelMode).eqz());
  c.f.if(forbidden, () => c.raise(GENERAL_PROTECTION));
  const tsc = c.f.let(c.now());
  c.setGpr(GPR.rax, 4, tsc.wrap());
  c.setGpr(GPR.rdx, 4, tsc.shrU(32).wrap());
};
const rdtscp: Semantics = (c) => {
  rdtsc(c);
  c.setGpr(GPR.rcx, 4, c.state32(STATE.tscAux));
};

export const CONTROL: Record<string, Semantics> = {
  jmp,
  call,
  ret,
  loop: loop(() => undefined),
  loope: loop((c) => c.zero()),
  loopne: loop((c) => c.zero().eqz()),
  jrcxz: (c) => c.jumpIf(c.gpr(GPR.rcx, c.insn.addrSize).eqz()),
  rdtsc,
  rdtscp,
  syscall: (c) => c.exit(Exit.Syscall, true),
  int3: (c) => {
    c.f.store32(c.cpu, i32(3), STATE.exitVector);
    c.f.store32(c.cpu, i32(0), STATE.exitErrorCode);
    c.exit(Exit.Exception, true);
  },
};
