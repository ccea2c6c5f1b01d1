/**
 * Which frames are page tables, and how many entries refer to them: references taken and given back. Twin: mmu/frame-types.ts, whose map this
 * works on, step by step. Follows pv-abi 3.3.
 */
import { PTE } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { type E, I32, I64, i32, load32, load64 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type ModuleBuilder } from '../../wasm/module.ts';
import { STATE } from '../../x86/state.ts';
import { COUNT, COUNT_MAX, LEVEL, PINNED } from '../mmu/frame-types.ts';
import { HOLE_END, HOLE_FIRST } from '../mmu/walk.ts';
import { frameOf, leafAllowed, linkAllowed } from './parts.ts';

/** Of the budget of branches, for a table whose entries are looked at: as much as by way of TypeScript. */
const TABLE_BUDGET = 32;

export interface FrameTypeFunctions {
  /** (cpu, frame, level) → 1 with a reference taken; 0 when the frame cannot be a table of this level, and nothing has changed. */
  readonly acquire: FnRef;
  /** (cpu, frame, level): a reference is given back. */
  readonly release: FnRef;
  /** (cpu, frame, level) and (cpu, frame) → 1 when the frame is pinned, or no longer; else 0, and nothing has changed. */
  readonly pin: FnRef;
  readonly unpin: FnRef;
}

/** Present entries of a table, below number `end`: in fours, as most tables are nearly empty. Each is read once when it is. */
function eachPresent(f: Fn, at: E, end: E | number, body: (index: E, entry: E) => void): void {
  const index = f.local(I32);
  const entry = f.local(I64);
  f.set(index, i32(0));
  f.block((done) => {
    f.loop((again) => {
      f.brIf(done, index.geU(end));
      const here = at.add(index.shl(3));
      const four = [0, 8, 16, 24].map((offset) => load32(here, offset));
      f.if(
        index
          .and(3)
          .eqz()
          .and(
            four
              .reduce((a, b) => a.or(b))
              .and(PTE.P)
              .eqz(),
          ),
        () => {
          f.set(index, index.add(4));
          f.br(again);
        },
      );
      f.set(entry, load64(here));
      f.if(entry.wrap().and(PTE.P), () => body(index, entry));
      f.set(index, index.add(1));
      f.br(again);
    });
  });
}

const inHole = (level: E, index: E): E => level.eq(4).and(index.sub(HOLE_FIRST).ltU(HOLE_END - HOLE_FIRST));

export function buildFrameTypes(m: ModuleBuilder, tools: ExitTools): FrameTypeFunctions {
  const { layout } = tools;
  const tableAt = (f: Fn, cpu: E, frame: E): E => {
    f.store32(cpu, load32(cpu, STATE.budget).sub(TABLE_BUDGET), STATE.budget);
    return f.let(frame.shl(12).add(layout.ramBase));
  };
  const wordAt = (f: Fn, frame: E): E => f.let(frame.shl(2).add(layout.frameTypes));

  /** (cpu, frame, level, end): the references that the first `end` entries hold are given back. */
  const releaseEntries = m.function([I32, I32, I32, I32], [], (f) => {
    const [cpu, frame, level, end] = [f.param(0), f.param(1), f.param(2), f.param(3)];
    f.if(level.eq(1), () => f.ret());
    eachPresent(f, tableAt(f, cpu, frame), end, (index, entry) => {
      f.if(inHole(level, index).eqz().and(linkAllowed(entry)), () => {
        f.callVoid(release, cpu, frameOf(entry).wrap(), level.sub(1));
      });
    });
  });

  const release: FnRef = m.function([I32, I32, I32], [], (f) => {
    const [cpu, frame, level] = [f.param(0), f.param(1), f.param(2)];
    f.if(frame.geU(layout.pages), () => f.ret());
    const at = wordAt(f, frame);
    const word = f.let(load32(at));
    f.if(word.and(LEVEL).ne(level).or(word.ltU(COUNT)), () => f.ret());
    const left = f.let(word.sub(COUNT));
    f.if(left.geU(COUNT), () => {
      f.store32(at, left);
      f.ret();
    });
    f.store32(at, i32(0));
    f.callVoid(tools.tableReleased, cpu, frame, level);
    f.callVoid(releaseEntries, cpu, frame, level, i32(512));
  });

  const acquire: FnRef = m.function([I32, I32, I32], [I32], (f) => {
    const [cpu, frame, level] = [f.param(0), f.param(1), f.param(2)];
    f.if(frame.geU(layout.pages), () => f.ret(i32(0)));
    const at = wordAt(f, frame);
    const word = f.let(load32(at));
    f.if(word.and(LEVEL), () => {
      f.if(
        word
          .and(LEVEL)
          .ne(level)
          .or(word.geU(COUNT_MAX | 0)),
        () => f.ret(i32(0)),
      );
      f.store32(at, word.add(COUNT));
      f.ret(i32(1));
    });
    // Typed before its entries are looked at: a table that refers to itself meets the wrong level.
    f.store32(at, level.or(COUNT));
    eachPresent(f, tableAt(f, cpu, frame), 512, (index, entry) => {
      const isGood = f.local(I32);
      f.if(
        level.eq(1),
        () => f.set(isGood, leafAllowed(layout, entry)),
        () => {
          f.set(isGood, inHole(level, index));
          f.if(isGood.eqz().and(linkAllowed(entry)), () => {
            f.set(isGood, call(acquire, cpu, frameOf(entry).wrap(), level.sub(1)));
          });
        },
      );
      f.if(isGood.eqz(), () => {
        f.callVoid(releaseEntries, cpu, frame, level, index);
        f.store32(at, i32(0));
        f.ret(i32(0));
      });
    });
    f.ret(i32(1));
    f.unreachable();
  });

  const pin = m.function([I32, I32, I32], [I32], (f) => {
    const [cpu, frame, level] = [f.param(0), f.param(1), f.param(2)];
    f.if(frame.geU(layout.pages), () => f.ret(i32(0)));
    const at = wordAt(f, frame);
    f.if(load32(at).and(PINNED).ne(0), () => f.ret(i32(0)));
    f.if(call(acquire, cpu, frame, level).eqz(), () => f.ret(i32(0)));
    f.store32(at, load32(at).or(PINNED));
    f.ret(i32(1));
    f.unreachable();
  });

  const unpin = m.function([I32, I32], [I32], (f) => {
    const [cpu, frame] = [f.param(0), f.param(1)];
    f.if(frame.geU(layout.pages), () => f.ret(i32(0)));
    const at = wordAt(f, frame);
    const word = f.let(load32(at));
    f.if(word.and(PINNED).eqz(), () => f.ret(i32(0)));
    f.store32(at, word.and(~PINNED));
    f.callVoid(release, cpu, frame, word.and(LEVEL));
    f.ret(i32(1));
    f.unreachable();
  });
  return { acquire, release, pin, unpin };
}
