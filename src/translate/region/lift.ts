/**
 * The translator's way to read operands: general and XMM registers are locals of the region's function, everything that an
 * instruction says is a constant. MMX and x87 registers stay in the state block.
 *
 * A path that leaves in the middle of an instruction (a fault, a store to code) finds all locals as they were before it: the
 * semantics do what can fault before the first change.
 */
import { type E, F64, I32, I64, i32, i64, i64pair, lane, load32, load64, V128 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type Label } from '../../wasm/module.ts';
import { type Insn, Kind, type Operand, RIP } from '../../x86/decode.ts';
import type { Exit } from '../../x86/exits.ts';
import { GPR, SEG, STATE } from '../../x86/state.ts';
import { isAbsolute, isSimpleMemory } from '../interpreter/shape.ts';
import { ACCESS, STACK_ADDEND, STACK_PAGE, Status, TLB_ENTRIES, TLB_FOLD } from '../layout.ts';
import type { FloatFormat } from '../lift.ts';
import { type FlagContext, FlagLift } from './flag-lift.ts';
import { ALONE } from './neighbours.ts';
import type { InsnUse } from './probe.ts';

/** The page of a group of operands (neighbours.ts) while its block is translated. */
export interface SharedPage {
  /** Its address, or 1 for none; its addend as in the TLB. */
  readonly page: E;
  readonly addend: E;
  /** What it was looked up for in this block. */
  known: 'nothing' | 'reading' | 'writing';
}

/** What the lifts of one region share: its locals and its ways out. */
export interface RegionContext extends FlagContext {
  readonly cpu: E;
  /** Virtual address of the code page. */
  readonly page: E;
  readonly tlb: E;
  readonly fsBase: E;
  readonly gsBase: E;
  readonly gpr: readonly E[];
  /** The page of the last access relative to RSP, if it can be written, else 1; and its addend as in the TLB. */
  readonly stackPage: E;
  readonly stackAddend: E;
  /** XMM registers, made when they are first used. */
  readonly xmm: (E | undefined)[];
  xmmWritten: number;
  /** By their words. */
  readonly constants: Map<string, { readonly local: E; readonly value: E }>;
  /** Linear address of the buffer that page-crossing accesses pass through. */
  crossing: E | undefined;
  /** CR0.TS, and MXCSR's difference from the usual (Lift.roundingState): nothing in a region changes them. */
  taskSwitched: E | undefined;
  rounding: E | undefined;
  /** What is known while translating a block: TS is clear; elements of XMM registers without denormals, a bit each. */
  notSwitched: boolean;
  readonly normal: Uint8Array;
  /** By the number of the group. */
  readonly shared: SharedPage[];
  /** Bits of `gpr`, which are used and which are changed anywhere in the region; what else the prologue must load. */
  used: number;
  written: number;
  usesFs: boolean;
  usesGs: boolean;
  usesStack: boolean;
  /** For `stop`: 1 when the instruction is to be run by the interpreter, 0 for a fault. */
  readonly again: E;
  /** For `stop`: offset of the instruction. */
  readonly position: E;
  /** For `leave` and `jump`: the next address. For `leave`: what to return. */
  readonly target: E;
  readonly status: E;
  readonly stop: Label;
  readonly leave: Label;
  readonly jump: Label;
  /** The instruction at `position` is to be performed in TypeScript; the interpreter goes on behind it. */
  readonly help: Label;
  usesHelper: boolean;
  readonly miss: FnRef;
  readonly stackMiss: FnRef;
  readonly missAgain: FnRef;
  readonly scatter: FnRef;
  readonly flagsFunction: FnRef;
  readonly now: FnRef;
}

/** Bits of RegionContext.normal: the lowest double, the upper one, the lowest single, the others. */
const NORMAL: Record<FloatFormat, number> = { f64: 1, f64x2: 3, f32: 4, f32x4: 12 };

/** How the last instruction of a block goes on. */
export type Branch =
  | { readonly kind: 'none' }
  | { readonly kind: 'jump' }
  | { readonly kind: 'if'; readonly condition: E }
  | { readonly kind: 'computed'; readonly address: E };

export class RegionLift extends FlagLift {
  branch: Branch = { kind: 'none' };
  /** Where a lost race for a LOCKed operand begins again. */
  start: Label | undefined;
  private readonly region: RegionContext;
  private readonly offset: number;
  private readonly level: number;
  /** Group of the memory operand. */
  private readonly group: number;

  constructor(f: Fn, insn: Insn, use: InsnUse, offset: number, context: RegionContext, needed: boolean, group: number) {
    super(f, insn, context.cpu, context, use, needed);
    this.region = context;
    this.offset = offset;
    this.level = f.nesting;
    this.group = group;
  }

  /** Here is what hardly ever happens, unless it is all that this instruction does. */
  private cold(): void {
    if (this.f.nesting > this.level) this.f.cold();
  }

  private read(index: number): E {
    this.region.used |= 1 << index;
    return this.region.gpr[index]!;
  }
  private write(index: number, value: E): void {
    this.region.used |= 1 << index;
    this.region.written |= 1 << index;
    this.f.set(this.region.gpr[index]!, value);
  }
  gpr(index: number, size: number): E {
    const value = this.read(index);
    return size === 8 ? value : this.clean(value.wrap(), size);
  }
  setGpr(index: number, size: number, value: E): void {
    if (size === 8) this.write(index, value);
    else if (size === 4) this.write(index, value.extendU());
    else {
      const kept = this.read(index).and(size === 2 ? -0x10000 : -0x100);
      this.write(index, kept.or(this.clean(value, size).extendU()));
    }
  }
  protected readReg(k: number): E {
    const op = this.operand(k);
    return op.high ? this.read(op.reg).wrap().shrU(8).and(0xff) : this.gpr(op.reg, op.size);
  }
  protected writeReg(k: number, value: E): void {
    const op = this.operand(k);
    if (op.high) this.write(op.reg, this.read(op.reg).and(-0xff01).or(value.and(0xff).shl(8).extendU()));
    else this.setGpr(op.reg, op.size, value);
  }
  immediate(k: number, size: number): E {
    const op = this.operand(k);
    return size === 8 ? i64pair(op.immLo, op.immHi) : i32(op.immLo);
  }
  knownImmediate(k: number): number {
    return this.operand(k).immLo & 0xff;
  }
  protected vectorAddress(k: number): E {
    const op = this.operand(k);
    if (op.kind !== Kind.Mmx) throw new Error(`${this.insn.mnemonic}: an XMM register has no address here`);
    return this.f.let(this.cpu.add(STATE.x87 + 16 * (op.reg & 7)));
  }
  private xmm(k: number): E {
    const { xmm } = this.region;
    const { reg } = this.operand(k);
    let local = xmm[reg];
    if (local === undefined) {
      local = this.f.lasting(V128);
      xmm[reg] = local;
    }
    return local;
  }
  private setXmm(k: number, value: E): void {
    const { reg } = this.operand(k);
    this.f.set(this.xmm(k), value);
    this.region.xmmWritten |= 1 << reg;
    this.region.normal[reg] = 0;
  }
  private isXmm(k: number): boolean {
    return this.operand(k).kind === Kind.Xmm;
  }
  override vectorPart(k: number, size: number, offset = 0): E {
    if (!this.isXmm(k)) return super.vectorPart(k, size, offset);
    if (size === 16) return this.xmm(k);
    return lane(size === 8 ? 'i64x2.extract_lane' : 'i32x4.extract_lane', offset / size, this.xmm(k));
  }
  override setVectorPart(k: number, size: number, value: E, offset = 0): void {
    if (!this.isXmm(k)) super.setVectorPart(k, size, value, offset);
    else if (size === 16) this.setXmm(k, value);
    else {
      const name = size === 8 ? 'i64x2.replace_lane' : 'i32x4.replace_lane';
      this.setXmm(k, lane(name, offset / size, this.xmm(k), value));
    }
  }
  override float(k: number, size: number): E {
    if (!this.isXmm(k)) return super.float(k, size);
    return lane(size === 8 ? 'f64x2.extract_lane' : 'f32x4.extract_lane', 0, this.xmm(k));
  }
  override setFloat(k: number, value: E): void {
    this.setXmm(k, lane(value.type === F64 ? 'f64x2.replace_lane' : 'f32x4.replace_lane', 0, this.xmm(k), value));
  }
  /** In a local: V8 makes such a constant anew wherever it stands, in up to four instructions. */
  override vectorConstant(words: readonly number[]): E {
    const { constants } = this.region;
    const key = words.join();
    let constant = constants.get(key);
    if (constant === undefined) {
      constant = { local: this.f.lasting(V128), value: super.vectorConstant(words) };
      constants.set(key, constant);
    }
    return constant.local;
  }
  override isSameVector(a: number, b: number): boolean {
    return this.isXmm(a) && this.isXmm(b) && this.operand(a).reg === this.operand(b).reg;
  }
  override hasNoDenormal(k: number, format: FloatFormat): boolean {
    return this.isXmm(k) && (this.region.normal[this.operand(k).reg]! & NORMAL[format]) === NORMAL[format];
  }
  override noteNoDenormal(k: number, format: FloatFormat): void {
    if (this.isXmm(k)) this.region.normal[this.operand(k).reg]! |= NORMAL[format];
  }
  override checkTaskSwitched(raise: () => void): void {
    const { region } = this;
    if (region.notSwitched) return;
    region.taskSwitched ??= this.f.lasting(I32);
    this.f.if(region.taskSwitched, raise);
    region.notSwitched = true;
  }
  override roundingState(): E {
    this.region.rounding ??= this.f.lasting(I32);
    return this.region.rounding;
  }

  private segment(op: Operand, offset: E): E {
    if (op.seg < 0) return offset;
    if (op.seg === SEG.fs) this.region.usesFs = true;
    else this.region.usesGs = true;
    return offset.add(op.seg === SEG.fs ? this.region.fsBase : this.region.gsBase);
  }
  addressWithoutSegment(k: number): E {
    const op = this.operand(k);
    if (isAbsolute(this.insn, k)) return i64pair(op.disp, op.immHi);
    let address: E;
    if (op.base === RIP) address = this.region.page.add(i64(this.offset + this.insn.length + op.disp));
    else if (op.base >= 0) address = this.read(op.base).add(i64(op.disp));
    else if (op.index < 0) address = i64(op.disp);
    else {
      const index = this.read(op.index).shl(op.scale);
      address = op.disp === 0 ? index : index.add(i64(op.disp));
    }
    if (op.index >= 0 && (op.base === RIP || op.base >= 0)) address = address.add(this.read(op.index).shl(op.scale));
    return this.insn.addrSize === 4 ? address.wrap().extendU() : address;
  }
  address(k: number): E {
    const op = this.operand(k);
    const offset = this.addressWithoutSegment(k);
    return isSimpleMemory(this.insn, op) && !isAbsolute(this.insn, k) ? offset : this.segment(op, offset);
  }
  implicitAddress(register: number, offset: E): E {
    const base = this.gpr(register, this.insn.addrSize).extendU().add(offset);
    const sum = this.insn.addrSize === 4 ? base.wrap().extendU() : base;
    const memory = this.insn.operands.find((op) => op.kind === Kind.Mem && op.seg >= 0);
    return memory === undefined ? sum : this.segment(memory, sum);
  }
  nextRip(): E {
    return this.region.page.add(i64(this.offset + this.insn.length));
  }

  linear(va: E, size: number, access: number, k?: number): E {
    const { f } = this;
    const at = f.local(I32);
    const op = k === undefined ? undefined : this.operand(k);
    const onStack = op?.kind === Kind.Mem && (op.base === GPR.rsp || op.base === GPR.rbp) && op.seg < 0;
    const how = i32(access | size | (onStack ? ACCESS.stack : 0));
    // As in runtime/mmu.ts `probe`: the compare includes the test for the end of the page.
    const last = (size === 1 ? va : va.add(size - 1)).and(-4096);
    // A page that is kept says nothing about the page before it: an access may end in the one and begin in the other.
    const within = (page: E): E => (size === 1 ? last.eq(page) : last.eq(page).and(va.and(-4096).eq(page)));
    // Frames are small: their accesses stay in one page, most of the time.
    if (op === undefined ? (access & ACCESS.stack) !== 0 : onStack && op.base === GPR.rsp && op.index < 0) {
      const { stackPage, stackAddend, stackMiss } = this.region;
      this.region.usesStack = true;
      f.if(
        within(stackPage),
        () => f.set(at, va.wrap().add(stackAddend)),
        () => {
          this.miss(at, stackMiss, va, how);
          f.set(stackPage, load64(this.cpu, STACK_PAGE));
          f.set(stackAddend, load32(this.cpu, STACK_ADDEND));
        },
      );
      return at;
    }
    // What may be skipped says nothing about what comes behind.
    const shared = op === undefined || this.group === ALONE || f.nesting !== this.level ? undefined : this.sharedPage();
    const isWrite = (access & ACCESS.write) !== 0;
    if (shared !== undefined && (shared.known === 'writing' || (shared.known === 'reading' && !isWrite))) {
      f.if(
        within(shared.page),
        () => f.set(at, va.wrap().add(shared.addend)),
        () => this.miss(at, this.region.missAgain, va, how),
      );
      return at;
    }
    f.scope(() => {
      const number = f.let(va.shrU(12).wrap());
      const slot = number
        .add(number.shrU(TLB_FOLD))
        .and(TLB_ENTRIES - 1)
        .shl(5);
      const entry = f.let(this.region.tlb.add(slot));
      f.if(
        load64(entry, isWrite ? 8 : 0).eq(last),
        () => {
          if (shared === undefined) f.set(at, va.wrap().add(load32(entry, 24)));
          else {
            f.set(shared.addend, load32(entry, 24));
            f.set(shared.page, last);
            f.set(at, va.wrap().add(shared.addend));
          }
        },
        () => {
          this.miss(at, this.region.miss, va, how);
          if (shared !== undefined) f.set(shared.page, i64(1));
        },
      );
    });
    if (shared !== undefined) shared.known = isWrite ? 'writing' : 'reading';
    return at;
  }
  private sharedPage(): SharedPage {
    const { shared } = this.region;
    while (shared.length <= this.group) {
      shared.push({ page: this.f.lasting(I64), addend: this.f.lasting(I32), known: 'nothing' });
    }
    return shared[this.group]!;
  }
  linearRange(va: E, bytes: E): E {
    const at = this.f.local(I32);
    this.miss(at, this.region.miss, va, bytes.or(ACCESS.write));
    return at;
  }
  /** 0: a fault; 1: the store has dropped code, maybe this; else the linear address. */
  private miss(at: E, by: FnRef, va: E, access: E): void {
    const { f } = this;
    this.cold();
    f.set(at, call(by, this.cpu, va, access));
    f.if(at.leU(1), () => this.stop(at));
  }
  /** Leave at this instruction. */
  private stop(again: E): void {
    const { f } = this;
    this.cold();
    this.noteFlags();
    f.set(this.region.again, again);
    f.set(this.region.position, i32(this.offset));
    f.br(this.region.stop);
  }
  stored(va: E, linear: E, size: number): void {
    if (size === 1) return;
    this.region.crossing ??= this.f.lasting(I32);
    this.f.if(linear.eq(this.region.crossing), () => {
      this.cold();
      this.f.callVoid(this.region.scatter, this.cpu, va, i32(size));
    });
  }

  raise(vector: number, errorCode = 0): void {
    this.f.store32(this.cpu, i32(vector), STATE.exitVector);
    this.f.store32(this.cpu, i32(errorCode), STATE.exitErrorCode);
    this.stop(i32(0));
  }
  protected retry(): void {
    if (this.start === undefined) throw new Error(`${this.insn.mnemonic}: nowhere to begin again`);
    this.f.br(this.start);
  }
  now(): E {
    return call(this.region.now).satI64();
  }
  jump(): void {
    this.branch = { kind: 'jump' };
  }
  jumpIf(condition: E): void {
    this.branch = { kind: 'if', condition };
  }
  jumpTo(address: E): void {
    this.branch = { kind: 'computed', address };
  }
  exit(code: Exit, behind: boolean): void {
    const { f } = this;
    this.noteFlags();
    f.set(this.region.target, this.region.page.add(i64(this.offset + (behind ? this.insn.length : 0))));
    f.set(this.region.status, i32(Status.Exit + code));
    f.br(this.region.leave);
  }
  helper(): void {
    const { f } = this;
    this.noteFlags();
    f.set(this.region.position, i32(this.offset));
    this.region.usesHelper = true;
    f.br(this.region.help);
  }
  afterFlags(flags: E): void {
    this.f.if(flags.and(0x100), () => this.exit(0, true));
  }
}

/** Go on at `address`, outside of the region. `lift` is any of the region: it knows the flags. */
export function leaveTo(f: Fn, region: RegionContext, lift: FlagLift, address: E): void {
  const { cpu } = region;
  f.set(region.target, address);
  const store = (result: E, aux: E): void => {
    f.store64(cpu, result, STATE.flagResult);
    f.store32(cpu, aux, STATE.flagAux);
  };
  lift.pairForLeaving(store, () => storeDynamic(f, region));
  f.br(region.jump);
}

/** Flags to the state block when only the run-time code says which operation they are of. */
export function storeDynamic(f: Fn, region: RegionContext): void {
  const { cpu, flagLocals: l } = region;
  f.if(
    l.code,
    () => f.callVoid(region.flagsFunction, cpu, l.code, l.a, l.b, l.r),
    () => {
      f.store64(cpu, l.result, STATE.flagResult);
      f.store32(cpu, l.aux, STATE.flagAux);
    },
  );
}
