/**
 * mmuext_op that loads the kernel's page-table root and the user's, as Linux does at each context switch: both in one call. Twins:
 * mmu/mmuext-op.ts, mmu/roots.ts, mmu/frame-types.ts. Follows pv-abi 2.11. Roots that are to be validated or whose last
 * reference goes, and all other operations, are left to them.
 */
import { DOMID, MMUEXT } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, i32, i64, load32, load64, select } from '../../wasm/expr.ts';
import type { Fn } from '../../wasm/module.ts';
import { GPR, STATE } from '../../x86/state.ts';
import { COUNT, COUNT_MAX, LEVEL } from '../mmu/frame-types.ts';
import { NO_ROOT } from '../mmu/walk.ts';
import { gpr } from './parts.ts';

/** Bytes of one operation: command at 0, mfn at 8. */
const OP = 24;

/** The body of hypercall 26; `operations` and `count` are its first two arguments. */
export function loadRoots(f: Fn, cpu: E, tools: ExitTools, operations: E, count: E, unusual: () => void): void {
  const { layout } = tools;
  const both = count.wrap().eq(2).and(gpr(cpu, GPR.rdx).eqz());
  f.if(both.and(gpr(cpu, GPR.r10).wrap().eq(DOMID.self)).eqz(), unusual);
  const at = f.let(tools.kernelAddress(f, cpu, operations, 2 * OP, false));
  f.if(at.eqz(), unusual);
  const commands = load32(at).eq(MMUEXT.new_baseptr).and(load32(at, OP).eq(MMUEXT.new_user_baseptr));
  f.if(commands.eqz(), unusual);
  // Each word once: what is checked is what is used.
  const [kernelMfn, userMfn] = [f.let(load64(at, 8)), f.let(load64(at, OP + 8))];
  const pages = i64(layout.pages);
  f.if(kernelMfn.geU(pages).or(userMfn.geU(pages)), unusual);
  const kernel = { field: STATE.kernelRoot, to: f.let(kernelMfn.wrap()), from: f.let(load32(cpu, STATE.kernelRoot)) };
  const user = {
    field: STATE.userRoot,
    to: f.let(select(userMfn.eqz(), i32(NO_ROOT | 0), userMfn.wrap())),
    from: f.let(load32(cpu, STATE.userRoot)),
  };
  // A frame that plays two parts: its references would have to be counted in order.
  const tangled = kernel.to
    .eq(user.to)
    .or(kernel.from.eq(user.from))
    .or(kernel.to.eq(user.from))
    .or(kernel.from.eq(user.to));
  f.if(tangled, unusual);

  const type = (frame: E): E => frame.shl(2).add(layout.frameTypes);
  const isRoot = (word: E): E => word.and(LEVEL).eq(4);
  for (const { to, from } of [kernel, user]) {
    f.if(to.ne(from), () => {
      f.if(to.ne(NO_ROOT | 0), () => {
        const word = f.let(load32(type(to)));
        f.if(
          isRoot(word)
            .eqz()
            .or(word.geU(COUNT_MAX | 0)),
          unusual,
        );
      });
      f.if(from.ne(NO_ROOT | 0), () => {
        const word = f.let(load32(type(from)));
        f.if(
          isRoot(word)
            .eqz()
            .or(word.ltU(2 * COUNT)),
          unusual,
        );
      });
    });
  }
  const add = (frame: E, references: number): void =>
    f.if(frame.ne(NO_ROOT | 0), () => f.store32(type(frame), load32(type(frame)).add(references * COUNT)));
  for (const { field, to, from } of [kernel, user]) {
    add(to, 1);
    add(from, -1);
    f.store32(cpu, to, field);
  }
  f.callVoid(tools.modeChanged, cpu);
}
