/**
 * The common exits as WebAssembly, beside their plain twins: the ways into the guest's kernel and out of it, and the small
 * hypercalls of a context switch. Each path looks at everything before it changes anything, and leaves what is unusual to
 * its twin; src/host/fast-exits.test.ts compares the two on states of chance.
 *
 * What it pays for: a system call has two exits, and each took about 0.8 µs by way of TypeScript.
 */
import type { BuildExitPaths } from '../../translate/exit-paths.ts';
import { I32, i32, i64, load32 } from '../../wasm/expr.ts';
import { call } from '../../wasm/module.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR, STATE } from '../../x86/state.ts';
import { GATES } from '../gates.ts';
import { Vector } from '../traps/exceptions.ts';
import { buildPageFault, buildUserSyscall } from './entries.ts';
import { buildHypercalls } from './hypercalls.ts';
import { buildIret, IRET } from './iret.ts';
import { gpr } from './parts.ts';

export const buildFastExits: BuildExitPaths = (m, tools) => {
  const userSyscall = buildUserSyscall(m, tools);
  const pageFault = buildPageFault(m, tools);
  const iret = buildIret(m, tools);
  const hypercalls = buildHypercalls(m, tools);
  return m.function([I32, I32], [I32], (f) => {
    const cpu = f.param(0);
    const exit = f.param(1);
    f.if(load32(cpu, GATES.special), () => f.ret(i32(0)));
    f.if(exit.eq(Exit.Syscall), () => {
      f.if(load32(cpu, STATE.kernelMode).eqz(), () => f.ret(call(userSyscall, cpu)));
      f.if(gpr(cpu, GPR.rax).eq(i64(IRET)), () => f.ret(call(iret, cpu)));
      f.ret(call(hypercalls, cpu));
    });
    f.if(exit.eq(Exit.Exception).and(load32(cpu, STATE.exitVector).eq(Vector.PF)), () => f.ret(call(pageFault, cpu)));
    f.ret(i32(0));
    f.unreachable();
  });
};
