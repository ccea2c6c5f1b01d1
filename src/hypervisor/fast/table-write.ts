/**
 * A store of the kernel to the read-only mapping of a level 1 table, by the instructions with which Linux takes an entry away
 * (XCHG), writes one (MOV) and write-protects one (LOCK AND). Twin: mmu/ptwr.ts, which lets the engine perform any
 * instruction. Follows pv-abi 3.3. An entry that is refused, and every other instruction, is left to it.
 */
import { PTE } from '../../abi/numbers.ts';
import type { ExitTools } from '../../translate/exit-paths.ts';
import { atomic, type E, I32, I64, i32, i64, load8u, load32, load64, select } from '../../wasm/expr.ts';
import type { Fn, FnRef, ModuleBuilder } from '../../wasm/module.ts';
import { Exit } from '../../x86/exits.ts';
import { STATE } from '../../x86/state.ts';
import { LEVEL } from '../mmu/frame-types.ts';
import { TraceKind } from '../trace.ts';
import { Vector } from '../traps/exceptions.ts';
import { leafAllowed, trace } from './parts.ts';

/** Of the longest instruction that is looked at there are no more, nor do they matter if there are. */
const INSTRUCTION_BYTES = 16;
const LOCK = 0xf0;
const REX = { mask: 0xf0, any: 0x40, w: 8, r: 4 } as const;
const OPCODE = { andByte: 0x80, xchg: 0x87, mov: 0x89 } as const;
/** The digit /4 of 80 in the ModRM byte, moved down. */
const AND_DIGIT = 4;

/** What an instruction says; where its operand is, the fault has told. i32 locals. */
interface Instruction {
  readonly locked: E;
  readonly wide: E;
  readonly opcode: E;
  /** Bits 3–5 of ModRM, and the register they name. */
  readonly digit: E;
  readonly register: E;
  /** Without an immediate. */
  readonly length: E;
}

/** Take apart the bytes at linear address `at`: [LOCK] [REX] opcode ModRM [SIB] [displacement], with an operand in memory. */
function decode(f: Fn, at: E, unusual: () => void): Instruction {
  const bytes = f.local(I64);
  f.set(bytes, load64(at));
  const locked = f.let(bytes.wrap().and(0xff).eq(LOCK));
  f.set(bytes, bytes.shrU(locked.shl(3).extendU()));
  const hasRex = f.let(bytes.wrap().and(REX.mask).eq(REX.any));
  const rex = f.let(select(hasRex, bytes.wrap().and(0xff), i32(0)));
  f.set(bytes, bytes.shrU(hasRex.shl(3).extendU()));
  const low = f.let(bytes.wrap());
  const mod = f.let(low.shrU(14).and(3));
  f.if(mod.eq(3), unusual);
  const digit = f.let(low.shrU(11).and(7));
  const rm = f.let(low.shrU(8).and(7));
  const hasSib = f.let(rm.eq(4));
  const base = f.let(select(hasSib, low.shrU(16).and(7), rm));
  const long = mod.eq(2).or(mod.eqz().and(base.eq(5)));
  const displacement = select(long, i32(4), mod.eq(1));
  return {
    locked,
    wide: f.let(rex.and(REX.w).ne(0)),
    opcode: f.let(low.and(0xff)),
    digit,
    register: f.let(digit.or(rex.and(REX.r).shl(1))),
    length: f.let(locked.add(hasRex).add(2).add(hasSib).add(displacement)),
  };
}

/** (cpu) → 1 when the store that faulted, in kernel mode on a page that is there, was one to a level 1 table and is done. */
export function buildTableWrite(m: ModuleBuilder, tools: ExitTools): FnRef {
  const { layout } = tools;
  return m.function([I32], [I32], (f) => {
    const cpu = f.param(0);
    const unusual = (): void => f.ret(i32(0));
    const cr2 = f.let(load64(cpu, STATE.cr2));
    // An operand that began in the page before would show the same address.
    f.if(cr2.wrap().and(4095).eqz(), unusual);
    const slot = f.let(tools.kernelAddress(f, cpu, f.let(cr2.and(-8)), 8, false));
    f.if(slot.eqz(), unusual);
    const frame = f.let(slot.sub(layout.ramBase).shrU(12));
    const level = load32(frame.shl(2).add(layout.frameTypes)).and(LEVEL);
    // Decoded code in a page table: the engine's own business.
    f.if(level.ne(1).or(load8u(frame.add(layout.frameFlags))), unusual);
    const rip = f.let(load64(cpu, STATE.rip));
    const at = f.let(tools.kernelAddress(f, cpu, rip, INSTRUCTION_BYTES, false));
    f.if(at.eqz(), unusual);
    const { locked, wide, opcode, digit, register, length } = decode(f, at, unusual);

    const before = f.let(load64(slot));
    const entry = f.local(I64);
    const immediate = f.local(I32);
    const result = f.local(I64);
    const source = cpu.add(register.shl(3));
    const isXchg = f.let(opcode.eq(OPCODE.xchg).and(wide));
    const isMov = opcode.eq(OPCODE.mov).and(wide).and(locked.eqz());
    f.if(
      isXchg.or(isMov),
      () => {
        f.if(cr2.wrap().and(7), unusual);
        f.set(entry, load64(source, STATE.gpr));
        f.set(immediate, i32(0));
      },
      () => {
        f.if(opcode.ne(OPCODE.andByte).or(digit.ne(AND_DIGIT)), unusual);
        const shift = f.let(cr2.and(7).shl(3));
        f.set(result, before.shrU(shift).and(load8u(at.add(length)).extendU()));
        f.set(entry, before.and(i64(0xff).shl(shift).not()).or(result.shl(shift)));
        f.set(immediate, i32(1));
      },
    );
    f.if(entry.wrap().and(PTE.P).and(leafAllowed(layout, entry).eqz()), unusual);
    f.if(atomic.cas(8, slot, before, entry).ne(before), unusual);

    const code = i32(Exit.Exception | (Vector.PF << 8));
    trace(f, cpu, TraceKind.exit, code, cr2);
    f.if(isXchg, () => f.store64(source, before, STATE.gpr));
    f.if(immediate, () => {
      // As a logical operation leaves them: x86/flags.ts.
      f.store64(cpu, result.shl(56).shrS(56), STATE.flagResult);
      f.store32(cpu, i32(0), STATE.flagAux);
    });
    f.store64(cpu, rip.add(length.add(immediate).extendU()), STATE.rip);
    f.if(before.wrap().and(PTE.P).and(before.ne(entry)), () => {
      f.callVoid(tools.entryChanged, cpu, frame, slot.shrU(3).and(511));
    });
    f.ret(i32(1));
    f.unreachable();
  });
}
