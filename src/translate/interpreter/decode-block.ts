/**
 * Decoding in WebAssembly: the instructions of a block as records, one after the other, until one comes that only TypeScript knows
 * (code-cache.ts goes on there). What opcodes mean comes from the tables of decode-tables.ts; this file does what
 * x86/decode.ts and writeRecord (shape.ts) do, in a tenth of the time: a booting kernel decodes 370,000 instructions.
 */
import { type E, I32, i32, load8s, load8u, load16s, load16u, load32, select } from '../../wasm/expr.ts';
import type { Fn, FnRef, ModuleBuilder } from '../../wasm/module.ts';
import { INSN_MAX } from '../../x86/decode.ts';
import { STATE } from '../../x86/state.ts';
import { DECODER, HINTS, INDEX_NEXT, INDEX_UNITS, RECORD, RECORD_BYTES } from '../layout.ts';
import {
  FLAG,
  FORM,
  FORM_BYTES,
  FROM,
  GROUP_FORMS,
  HAS_MODRM,
  MEMORY,
  OPERAND,
  PREFIX,
  TABLES,
  VARIANT,
} from './decode-tables.ts';
import { entryHintOf } from './entry-hint.ts';
import { LINE_BYTES, UNIT_BYTES } from './record-index.ts';

/** An instruction that begins nearer to its page's end is TypeScript's: all that is read of others lies in the page. */
const NEAR_END = 32;

const RSP = 4;
const RBP = 5;

const bit = (value: E, mask: number): E => value.and(mask).ne(0);

/**
 * (cpu, at, page, unit, record, most) → twice the number of records written, plus 1 when the last one is of an instruction that ends its block.
 * Decodes from linear address `at` on, in the page at linear address `page`, whose unit of the index is `unit`, `most` instructions at most, to
 * `record` and what follows it, and enters them in the index. Ends before an instruction that has a record, or that HINTS has, but for the first.
 * TABLES.wanted is then the variant whose handler was missing, or 0.
 */
export function buildDecoder(m: ModuleBuilder): FnRef {
  return m.function([I32, I32, I32, I32, I32, I32], [I32], emitDecoder, 'decodeBlock');
}

function emitDecoder(f: Fn): void {
  const [cpu, at, page, unit, record, most] = [0, 1, 2, 3, 4, 5].map((k) => f.param(k)) as [E, E, E, E, E, E];
  const units = f.let(cpu.add(INDEX_UNITS));
  /** Where the index says which unit the line at `offset` of the page has. */
  const lineAt = (offset: E): E => units.add(unit).add(offset.shrU(Math.log2(LINE_BYTES)).shl(2));
  /** Where it says which record the instruction there has, in that line. */
  const recordAt = (line: E, offset: E): E => units.add(line).add(offset.and(LINE_BYTES - 1).shl(2));
  const tables = f.let(cpu.add(DECODER));
  const first = f.let(record);
  const last = f.let(record.add(most.mul(RECORD_BYTES)));
  const end = f.let(page.add(4096 - NEAR_END));
  f.store32(tables, i32(0), TABLES.wanted);
  f.block((stop) => {
    f.loop((next) => {
      f.brIf(stop, record.geU(last).or(at.gtU(end)));
      const position = f.let(at.sub(page));
      f.if(record.ne(first), () => {
        f.brIf(stop, load32(recordAt(load32(lineAt(position)), position)));
        f.brIf(stop, load8u(cpu.add(entryHintOf(at, position)), HINTS));
      });
      const p = f.local(I32);
      f.set(p, at);
      const takeByte = (): E => {
        const byte = f.let(load8u(p));
        f.set(p, p.add(1));
        return byte;
      };

      const opcode = f.local(I32);
      const prefixes = f.local(I32);
      const rex = f.local(I32);
      f.set(prefixes, i32(0));
      f.set(rex, i32(0));
      f.loop((again) => {
        f.set(opcode, load8u(p));
        f.set(p, p.add(1));
        const bits = f.let(load8u(tables.add(opcode), TABLES.prefixes));
        f.if(bits, () => {
          // REX counts only directly before the opcode.
          f.set(rex, select(bits.and(PREFIX.rex), opcode, i32(0)));
          f.set(prefixes, prefixes.or(bits));
          f.brIf(stop, p.sub(at).geU(INSN_MAX));
          f.br(again);
        });
      });
      // Of prefixes of one kind the last one counts.
      const both = (mask: number): E => prefixes.and(mask).eq(mask);
      f.brIf(stop, both(PREFIX.f2 | PREFIX.f3).or(both(PREFIX.fs | PREFIX.gs)));

      const key = f.local(I32);
      f.set(key, opcode);
      f.if(opcode.eq(0x0f), () => {
        f.set(opcode, takeByte());
        f.set(key, opcode.or(0x100));
        f.if(opcode.and(0xfd).eq(0x38), () => {
          f.set(key, select(opcode.eq(0x38), i32(0x200), i32(0x300)));
          f.set(opcode, takeByte());
          f.set(key, key.or(opcode));
        });
      });
      const data16 = f.let(prefixes.and(PREFIX.data16));
      const mandatory = select(bit(prefixes, PREFIX.f3), i32(2), select(bit(prefixes, PREFIX.f2), i32(3), data16));
      const group = f.let(load16u(tables.add(key.shl(2).or(mandatory).shl(1)), TABLES.opcodes));
      f.brIf(stop, group.eqz());
      const w = f.let(rex.shrU(3).and(1));
      const b = f.let(rex.and(1).shl(3));
      // Without ModRM, as if it named registers.
      const modrm = f.local(I32);
      const which = f.local(I32);
      f.if(
        bit(group, HAS_MODRM),
        () => {
          f.set(modrm, takeByte());
          f.set(which, modrm.shrU(2).and(14).or(modrm.geU(0xc0).shl(4)).or(w));
        },
        () => {
          f.set(modrm, i32(0xc0));
          f.set(which, rex.and(1).shl(1).or(w));
        },
      );
      const forms = group.and(HAS_MODRM - 1).mul(2 * GROUP_FORMS);
      const number = f.let(load16u(tables.add(forms).add(which.shl(1)), TABLES.groups));
      f.brIf(stop, number.eqz());
      const form = f.let(tables.add(number.mul(FORM_BYTES)));
      const flags = f.let(load32(form, TABLES.forms + FORM.flags));

      const rm = f.let(modrm.and(7).or(b));
      const [memory, base, index, scale, stack, displacement] = [0, 1, 2, 3, 4, 5].map(() => {
        const field = f.local(I32);
        f.set(field, i32(0));
        return field;
      }) as [E, E, E, E, E, E];
      const segment = f.local(I32);
      f.set(segment, i32(STATE.zero));
      f.if(modrm.ltU(0xc0).and(bit(flags, FLAG.modless).eqz()), () => {
        const mod = f.let(modrm.shrU(6));
        const bytes = f.local(I32);
        f.set(bytes, select(mod.eq(2), i32(4), mod));
        f.set(base, rm.shl(3).add(STATE.gpr));
        f.set(index, i32(STATE.zero));
        f.set(stack, i32(0));
        f.set(memory, i32(MEMORY.simple));
        f.if(
          modrm.and(7).eq(4),
          () => {
            const sib = takeByte();
            const register = f.let(sib.and(7).or(b));
            f.set(base, register.shl(3).add(STATE.gpr));
            f.set(stack, register.eq(RSP).or(register.eq(RBP)));
            f.if(sib.and(7).eq(5).and(mod.eqz()), () => {
              f.set(base, i32(STATE.zero));
              f.set(stack, i32(0));
              f.set(bytes, i32(4));
            });
            const indexRegister = f.let(sib.shrU(3).and(7).or(rex.and(2).shl(2)));
            f.if(indexRegister.ne(4), () => {
              f.set(index, indexRegister.shl(3).add(STATE.gpr));
              f.set(scale, sib.shrU(6));
              f.set(memory, i32(MEMORY.any));
            });
          },
          () => {
            f.set(stack, rm.eq(RBP));
            f.if(modrm.and(0xc7).eq(5), () => {
              f.set(base, i32(STATE.codePage));
              f.set(stack, i32(0));
              f.set(bytes, i32(4));
            });
          },
        );
        f.if(bytes, () => {
          f.if(
            bytes.eq(1),
            () => f.set(displacement, load8s(p)),
            () => f.set(displacement, load32(p)),
          );
          f.set(p, p.add(bytes));
        });
        f.if(bit(prefixes, PREFIX.fs | PREFIX.gs), () => {
          f.set(segment, select(bit(prefixes, PREFIX.fs), i32(STATE.fsBase), i32(STATE.gsBase)));
          f.set(stack, i32(0));
          f.set(memory, i32(MEMORY.any));
        });
      });

      const isLocked = f.let(bit(prefixes, PREFIX.lock));
      f.brIf(stop, isLocked.and(bit(flags, FLAG.lock).and(memory.ne(0)).eqz()));
      const variant = f.let(
        number
          .shl(VARIANT.form)
          .or(w)
          .or(data16.shl(VARIANT.data16))
          .or(isLocked.shl(VARIANT.lock))
          .or(memory.shl(VARIANT.memory)),
      );
      const handler = f.let(load16u(tables.add(variant.shl(1)), TABLES.handlers));
      f.if(handler.eqz(), () => {
        f.cold();
        f.store32(tables, variant, TABLES.wanted);
        f.br(stop);
      });

      const immLo = f.local(I32);
      const immHi = f.local(I32);
      f.set(immLo, bit(flags, FLAG.one));
      f.set(immHi, i32(0));
      const bytes = f.let(load8u(form.add(w.or(data16.shl(1))), TABLES.forms + FORM.immediate));
      f.if(bytes, () => {
        f.if(
          bytes.eq(1),
          () => f.set(immLo, load8s(p)),
          () =>
            f.if(
              bytes.eq(2),
              () => f.set(immLo, load16s(p)),
              () => f.set(immLo, load32(p)),
            ),
        );
        f.set(immHi, select(bytes.eq(8), load32(p, 4), immLo.shrS(31)));
        f.set(p, p.add(bytes));
      });
      const length = f.let(p.sub(at));
      f.brIf(stop, length.gtU(INSN_MAX));
      const behind = f.let(position.add(length));
      f.if(base.eq(STATE.codePage), () => f.set(displacement, displacement.add(behind)));
      f.if(bit(flags, FLAG.relative), () => {
        const target = f.let(behind.add(immLo));
        f.set(displacement, bit(target, ~4095));
        f.set(immHi, i32(0));
        f.if(displacement.eqz(), () => f.set(immHi, load32(recordAt(load32(lineAt(target)), target))));
      });

      const reg = f.let(modrm.shrU(3).and(7).or(rex.and(4).shl(1)));
      const low = f.let(opcode.and(7).or(b));
      const register = (k: number): E => {
        const place = f.local(I32);
        f.set(place, i32(0));
        const spec = f.let(load32(form, TABLES.forms + FORM.operands + 4 * k));
        f.if(spec, () => {
          const from = f.let(spec.and(OPERAND.source));
          f.if(from.ne(FROM.rm).or(memory.eqz()), () => {
            const n = f.let(
              select(from.eq(FROM.rm), rm, select(from.eq(FROM.reg), reg, low)).and(spec.shrU(OPERAND.mask).and(15)),
            );
            const offset = spec.shrU(OPERAND.base).add(n.shl(spec.shrU(OPERAND.shift).and(7)));
            // Any REX prefix makes 4–7 the low bytes of rsp, rbp, rsi, rdi.
            const isHigh = bit(spec, OPERAND.byte).and(rex.eqz()).and(n.gtU(3));
            f.set(place, offset.sub(select(isHigh, i32(4 * 8 - 1), i32(0))));
          });
        });
        return place;
      };
      const [reg0, reg1, reg2] = [register(0), register(1), register(2)];
      f.store32(record, handler.or(position.shl(16)), RECORD.handler);
      f.store32(record, length.or(reg0.shl(16)), RECORD.length);
      f.store32(record, reg1.or(reg2.shl(16)), RECORD.reg + 2);
      f.store32(record, base.or(index.shl(16)), RECORD.base);
      f.store32(record, segment.or(scale.shl(16)).or(stack.shl(24)), RECORD.segment);
      f.store32(record, displacement, RECORD.displacement);
      f.store32(record, immLo, RECORD.immLo);
      f.store32(record, immHi, RECORD.immHi);

      const lineWord = f.let(lineAt(position));
      const line = f.local(I32);
      f.set(line, load32(lineWord));
      f.if(line.eqz(), () => {
        f.set(line, load32(cpu, INDEX_NEXT));
        f.store32(cpu, line.add(UNIT_BYTES), INDEX_NEXT);
        f.store32(lineWord, line);
      });
      f.store32(recordAt(line, position), record);

      f.set(at, p);
      f.set(record, record.add(RECORD_BYTES));
      f.brIf(next, bit(flags, FLAG.ends).eqz());
      f.ret(
        record
          .sub(first)
          .shrU(Math.log2(RECORD_BYTES / 2))
          .or(1),
      );
    });
  });
  f.ret(record.sub(first).shrU(Math.log2(RECORD_BYTES / 2)));
  f.unreachable();
}
