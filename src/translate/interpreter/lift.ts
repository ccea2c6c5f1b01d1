/**
 * The interpreter's way to read operands: everything that differs between two instructions of the same shape is a field of
 * the 32-byte record at `record`, everything else is generated code.
 */
import { type E, I32, i32, load8u, load16u, load32, load32s64, load64 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef } from '../../wasm/module.ts';
import { type Insn, Kind } from '../../x86/decode.ts';
import { Exit } from '../../x86/exits.ts';
import { STATE } from '../../x86/state.ts';
import { ACCESS, RECORD } from '../layout.ts';
import { Lift } from '../lift.ts';
import { probe } from '../runtime/mmu.ts';
import { isAbsolute, isSimpleMemory } from './shape.ts';

/** How a handler leaves, which differs between arms of the loop and functions of their own. */
export interface Flow {
  /** Arms look the TLB up inline; functions call. */
  readonly inline: boolean;
  /** The code page's address, if it is at hand. */
  readonly page: E;
  fault(): void;
  /** Go on at STATE.rip. */
  resolve(): void;
  /** Take the direct branch of this record to a target in this page. */
  link(): void;
  exit(code: E): void;
  /** Run this record again. */
  again(): void;
  helper(): void;
}

export interface Runtime {
  readonly miss: FnRef;
  readonly scatter: FnRef;
  /** () → the domain's clock, ns (f64). */
  readonly now: FnRef;
}

export class InterpreterLift extends Lift {
  private readonly record: E;
  private readonly flow: Flow;
  private readonly runtime: Runtime;
  /** Is it a branch that may go on behind itself? */
  isConditional = false;

  constructor(f: Fn, insn: Insn, cpu: E, record: E, flow: Flow, runtime: Runtime) {
    super(f, insn, cpu);
    this.record = record;
    this.flow = flow;
    this.runtime = runtime;
  }

  private register(k: number): E {
    return this.cpu.add(load16u(this.record, RECORD.reg + 2 * k));
  }
  protected readReg(k: number): E {
    return this.loadLinear(this.register(k), this.size(k));
  }
  protected writeReg(k: number, value: E): void {
    this.storeRegister(this.register(k), this.size(k), value, 0);
  }
  private storeRegister(base: E, size: number, value: E, offset: number): void {
    // A 32-bit result clears the upper half.
    if (size === 4) this.f.store64(base, value.extendU(), offset);
    else this.storeLinear(base, size, value, offset);
  }
  gpr(index: number, size: number): E {
    return this.loadLinear(this.cpu, size, STATE.gpr + 8 * index);
  }
  setGpr(index: number, size: number, value: E): void {
    this.storeRegister(this.cpu, size, value, STATE.gpr + 8 * index);
  }
  immediate(_k: number, size: number): E {
    return size === 8 ? load64(this.record, RECORD.immLo) : load32(this.record, RECORD.immLo);
  }
  knownImmediate(k: number): number {
    return this.operand(k).immLo & 0xff;
  }
  protected vectorAddress(k: number): E {
    return this.f.let(this.register(k));
  }

  private slot(field: number): E {
    return load64(this.cpu.add(load16u(this.record, field)));
  }
  addressWithoutSegment(k: number): E {
    const op = this.operand(k);
    if (isAbsolute(this.insn, k)) return load64(this.record, RECORD.immLo);
    const displacement = load32s64(this.record, RECORD.displacement);
    const address = this.slot(RECORD.base).add(displacement);
    if (isSimpleMemory(this.insn, op)) return address;
    const full = address.add(this.slot(RECORD.index).shl(load8u(this.record, RECORD.scale).extendU()));
    return this.insn.addrSize === 4 ? full.wrap().extendU() : full;
  }
  address(k: number): E {
    const op = this.operand(k);
    const offset = this.addressWithoutSegment(k);
    if (isSimpleMemory(this.insn, op) && !isAbsolute(this.insn, k)) return offset;
    return offset.add(this.slot(RECORD.segment));
  }
  implicitAddress(register: number, offset: E): E {
    const base = this.gpr(register, this.insn.addrSize);
    const sum = (this.insn.addrSize === 4 ? base.extendU() : base).add(offset);
    return (this.insn.addrSize === 4 ? sum.wrap().extendU() : sum).add(this.slot(RECORD.segment));
  }
  private rip(): E {
    return this.flow.page.add(load16u(this.record, RECORD.position).extendU());
  }
  nextRip(): E {
    return this.flow.page.add(load16u(this.record, RECORD.position).add(load8u(this.record, RECORD.length)).extendU());
  }

  linear(va: E, size: number, access: number, k?: number): E {
    const f = this.f;
    const at = f.local(I32);
    const descriptor = i32(access | size);
    // An operand based on rsp or rbp faults with #SS when its address is not canonical.
    const withSegment =
      k !== undefined && this.isMem(k) ? descriptor.or(load8u(this.record, RECORD.stack).shl(14)) : descriptor;
    const miss = (): void => {
      f.set(at, call(this.runtime.miss, this.cpu, va, withSegment));
      f.if(at.eqz(), () => this.flow.fault());
    };
    if (this.flow.inline) {
      probe(f, this.cpu, va, size, (access & ACCESS.write) !== 0 ? 8 : 0, (hit) => f.set(at, hit), miss);
    } else {
      probe(f, this.cpu, va, size, (access & ACCESS.write) !== 0 ? 8 : 0, (hit) => f.set(at, hit), miss);
    }
    return at;
  }
  linearRange(va: E, bytes: E): E {
    const f = this.f;
    const at = f.let(call(this.runtime.miss, this.cpu, va, bytes.or(ACCESS.write)));
    f.if(at.eqz(), () => this.flow.fault());
    return at;
  }
  stored(va: E, linear: E, size: number): void {
    if (size === 1) return;
    this.f.if(linear.eq(this.cpu.add(STATE.crossing)), () =>
      this.f.callVoid(this.runtime.scatter, this.cpu, va, i32(size)),
    );
  }

  writeFlags(result: E, aux: E): void {
    this.f.store64(this.cpu, result, STATE.flagResult);
    this.f.store32(this.cpu, aux, STATE.flagAux);
  }
  flagResult(): E {
    return load64(this.cpu, STATE.flagResult);
  }
  flagAux(): E {
    return load32(this.cpu, STATE.flagAux);
  }
  writeAux(aux: E): void {
    this.f.store32(this.cpu, aux, STATE.flagAux);
  }

  raise(vector: number, errorCode = 0): void {
    this.f.store32(this.cpu, i32(vector), STATE.exitVector);
    this.f.store32(this.cpu, i32(errorCode), STATE.exitErrorCode);
    this.flow.fault();
  }
  protected retry(): void {
    this.flow.again();
  }
  now(): E {
    return call(this.runtime.now).satI64();
  }
  jump(): void {
    const op = this.operand(0);
    if (op.kind !== Kind.Rel) throw new Error('not a direct jump');
    this.flow.link();
  }
  jumpIf(condition: E): void {
    this.isConditional = true;
    this.f.if(condition, () => this.jump());
  }
  jumpTo(address: E): void {
    this.f.store64(this.cpu, address, STATE.rip);
    this.flow.resolve();
  }
  exit(code: Exit, behind: boolean): void {
    this.f.store64(this.cpu, behind ? this.nextRip() : this.rip(), STATE.rip);
    this.flow.exit(i32(code));
  }
  spend(branches: E): void {
    if (this.flow.inline) throw new Error('the interpreter has the budget in a local');
    this.f.store32(this.cpu, load32(this.cpu, STATE.budget).sub(branches), STATE.budget);
  }
  helper(): void {
    this.flow.helper();
  }
  afterFlags(flags: E): void {
    this.f.if(flags.and(0x100), () => this.exit(Exit.Slice, true));
  }
}
