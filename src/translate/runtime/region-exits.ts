/**
 * Exits of regions that are performed on the spot (exit-paths.ts) and lead straight into the next region. By way of the interpreter's loop
 * each cost a return, a look-up of the record by way of the TLB and the hash, and a call: two for each system call of a program.
 */
import { I32, I64, i32, i64, load32, load64 } from '../../wasm/expr.ts';
import { call, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { STACK_PAGE, STEP, Status, TRAIL_LEFT } from '../layout.ts';
import { settleFlags } from './flags.ts';
import { linkSlot, lookUpLink, noteStep } from './region-links.ts';
import { forgetPage } from './tlb.ts';

/** What an exit that was performed on the spot takes of the budget of branches. */
export const EXIT_BUDGET = 20;

interface ExitRuntime {
  /** BuildExitPaths' function, if there is one. */
  readonly exitPaths: FnRef | undefined;
  /** buildRegionLinks' and buildFlags'. */
  readonly findLink: FnRef;
  readonly settle: FnRef;
}

/**
 * (cpu, exit) → Status, what a region returns that ends with `exit` and has left everything in the state block: that of the region which
 * the guest goes on in, if it was performed; Jump, when it goes on by way of the interpreter; `exit`, when the hypervisor has to see it.
 */
export function buildRegionExits(m: ModuleBuilder, { exitPaths, findLink, settle }: ExitRuntime): FnRef {
  return m.function(
    [I32, I32],
    [I32],
    (f) => {
      const cpu = f.param(0);
      const exit = f.param(1);
      if (exitPaths === undefined) {
        f.ret(exit.add(Status.Exit));
        return;
      }
      settleFlags(f, cpu, settle);
      f.if(call(exitPaths, cpu, exit).eqz(), () => f.ret(exit.add(Status.Exit)));
      // Mappings may have changed, or which of them are in use.
      forgetPage(f, cpu, STACK_PAGE);
      const budget = f.let(load32(cpu, STATE.budget).sub(EXIT_BUDGET));
      f.store32(cpu, budget, STATE.budget);
      f.if(budget.leS(0).or(load32(cpu, STATE.kick)), () => f.ret(i32(Status.Jump)));
      // What comes next is not what the region leads to.
      const left = f.let(load32(cpu, TRAIL_LEFT));
      f.if(left, () => noteStep(f, cpu, left, i64(0), i32(0), STEP.byOthers));
      const target = f.let(load64(cpu, STATE.rip));
      const found = { link: f.local(I32), page: f.local(I64) };
      lookUpLink(f, cpu, f.let(load32(cpu, STATE.tlb)), target, found, (...args) => call(findLink, ...args));
      f.if(found.link.eqz(), () => f.ret(i32(Status.Jump)));
      f.returnCallIndirect(m.typeIndex([I64, I32], [I32]), linkSlot(found.link), found.page, found.link);
    },
    'regionExit',
  );
}
