/**
 * The translator's way to read operands: general and XMM registers are locals of the region's function (of a brief one, general
 * registers are in the state block), everything that an instruction says is a constant. MMX and x87 registers stay in the state block.
 *
 * A path that leaves in the middle of an instruction (a fault, a store to code) finds all locals as they were before it: the
 * semantics do what can fault before the first change.
 */
import { type E, F32, F64, I32, I64, i32, i64, i64pair, lane, load32, load64, V128 } from '../../wasm/expr.ts';
import { call, type Fn, type FnRef, type Label } from '../../wasm/module.ts';
import { type Insn, Kind, type Operand, RIP } from '../../x86/decode.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR, SEG, STATE } from '../../x86/state.ts';
import { isAbsolute, isSimpleMemory } from '../interpreter/shape.ts';
import { ACCESS, MISSED_TAG, NO_PAGE, STACK_ADDEND, STACK_PAGE, Status } from '../layout.ts';
import type { FloatFormat } from '../lift.ts';
import { tlbEntry } from '../runtime/tlb.ts';
import { type FlagContext, FlagLift } from './flag-lift.ts';
import type { InsnUse } from './probe.ts';

/** The page that a group of operands (neighbours.ts) was in last. */
export type SharedPage =
  /** From one round of a loop to the next, in the state block at `offset`; one that can be written if the group writes. */
  | { readonly kind: 'kept'; readonly offset: number; readonly writes: boolean }
  /** From a block to those that only it leads to, in locals: NO_PAGE or an address, and its addend. */
  | { readonly kind: 'local'; readonly page: E; readonly addend: E };

/** Code for what is at a linear address. */
type Access = (at: E) => void;

/** What the lifts of one region share: its locals and its ways out. */
export interface RegionContext extends FlagContext {
  /** A constant. */
  readonly cpu: E;
  /** Virtual address of the code page. */
  readonly page: E;
  readonly tlb: E;
  readonly fsBase: E;
  readonly gsBase: E;
  readonly gpr: readonly E[];
  /**
   * Are the registers in the state block, and in `gpr` only what of them a block has loaded or stored so far? That is for a region
   * that is left soon: it would load and store all registers for a few instructions. `tlb`, `stackPage` and `stackAddend` are no locals
   * then, but what the state block has.
   */
  readonly isBrief: boolean;
  /** The budget that is left, unless the region is brief: then it is in the state block. */
  readonly budget: E;
  /** See Lift.isExact. */
  readonly isExact: boolean;
  /** Bits of `gpr` that are valid where code is being made, if it is brief. */
  cached: number;
  /** What pages in locals were looked up for so far. */
  looked: ReadonlyMap<SharedPage, 'reading' | 'writing'>;
  /** The page of the last access relative to RSP, if it can be written, else NO_PAGE; and its addend as in the TLB, or 0. */
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
  /** Lift.ordinaryLimit and vectorLimit, by type. */
  readonly limits: { [F32]?: E; [F64]?: E; f32x4?: E; f64x2?: E };
  /** Lift.mustBeExact */
  mustBeExact: E | undefined;
  /** What is known where code is being made: TS is clear; elements of XMM registers without denormals, or NaN, a bit each. */
  notSwitched: boolean;
  readonly normal: Uint8Array;
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
  /** SYSCALL is executed, with all but the registers as `target` says. */
  readonly call: Label;
  usesCall: boolean;
  readonly miss: FnRef;
  readonly stackMiss: FnRef;
  readonly missAgain: FnRef;
  /** RegionImports.regionLink */
  readonly findLink: FnRef;
  readonly scatter: FnRef;
  readonly now: FnRef;
}

/** Bits of RegionContext.normal: the lowest double, the upper one, the lowest single, the others. */
const NORMAL: Record<FloatFormat, number> = { f64: 1, f64x2: 3, f32: 4, f32x4: 12 };
/** The same bits so much further on: they are no NaN either. */
const NUMBER_SHIFT = 4;

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
  /** Of the memory operand. */
  private readonly shared: SharedPage | undefined;

  constructor(
    f: Fn,
    insn: Insn,
    use: InsnUse,
    offset: number,
    context: RegionContext,
    needed: boolean,
    shared: SharedPage | undefined,
  ) {
    super(f, insn, context.cpu, context, use, needed);
    this.region = context;
    this.offset = offset;
    this.level = f.nesting;
    this.shared = shared;
  }

  /** Here is what hardly ever happens, unless it is all that this instruction does. */
  private cold(): void {
    if (this.f.nesting > this.level) this.f.cold();
  }

  private read(index: number): E {
    const { f, region } = this;
    const local = region.gpr[index]!;
    const bit = 1 << index;
    if (!region.isBrief) region.used |= bit;
    else if ((region.cached & bit) === 0) {
      const value = load64(region.cpu, STATE.gpr + 8 * index);
      if (f.nesting > this.level) return value;
      f.set(local, value);
      region.cached |= bit;
    }
    return local;
  }
  private write(index: number, value: E): void {
    const { f, region } = this;
    const local = region.gpr[index]!;
    const bit = 1 << index;
    if (!region.isBrief) {
      region.used |= bit;
      region.written |= bit;
      f.set(local, value);
      return;
    }
    if (f.nesting === this.level) region.cached |= bit;
    if ((region.cached & bit) === 0) f.store64(region.cpu, value, STATE.gpr + 8 * index);
    else {
      f.set(local, value);
      f.store64(region.cpu, local, STATE.gpr + 8 * index);
    }
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
  override hasNumber(k: number, format: FloatFormat): boolean {
    const bits = NORMAL[format] << NUMBER_SHIFT;
    return this.isXmm(k) && (this.region.normal[this.operand(k).reg]! & bits) === bits;
  }
  override noteNumber(k: number, format: FloatFormat): void {
    this.noteNoDenormal(k, format);
    if (this.isXmm(k)) this.region.normal[this.operand(k).reg]! |= NORMAL[format] << NUMBER_SHIFT;
  }
  override checkTaskSwitched(raise: () => void): void {
    const { region } = this;
    if (region.notSwitched) return;
    region.taskSwitched ??= this.f.lasting(I32);
    this.f.if(region.taskSwitched, raise);
    region.notSwitched = true;
  }
  override ordinaryLimit(type: typeof F32 | typeof F64): E {
    this.roundingState();
    return (this.region.limits[type] ??= this.f.lasting(type === F64 ? I64 : I32));
  }
  override get isExact(): boolean {
    return this.region.isExact;
  }
  override mustBeExact(): E {
    this.roundingState();
    return (this.region.mustBeExact ??= this.f.lasting(V128));
  }
  override roundingState(): E {
    this.region.rounding ??= this.f.lasting(I32);
    return this.region.rounding;
  }
  override vectorLimit(t: 'f32x4' | 'f64x2'): E {
    this.roundingState();
    return (this.region.limits[t] ??= this.f.lasting(V128));
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
    const at = this.f.local(I32);
    const note: Access = (linear) => this.f.set(at, linear);
    this.translate(va, size, access, k, note, note);
    return at;
  }
  override loadAt(va: E, size: number, k?: number, access = 0): E {
    const value = this.f.local(size === 16 ? V128 : size === 8 ? I64 : I32);
    const load: Access = (linear) => this.f.set(value, this.loadLinear(linear, size));
    this.translate(va, size, access, k, load, load);
    return value;
  }
  override storeAt(va: E, size: number, value: E, k?: number, access = 0): void {
    const store: Access = (linear) => this.storeLinear(linear, size, value);
    // Only what missed can have crossed a page.
    const storeAnywhere: Access = (at) => {
      store(at);
      this.stored(va, at, size);
    };
    this.translate(va, size, access | ACCESS.write, k, store, storeAnywhere);
  }

  /** `hit` with an address within the page, or `missed` with a local that may be the buffer for page-crossing accesses. */
  private translate(va: E, size: number, access: number, k: number | undefined, hit: Access, missed: Access): void {
    const { f, cpu, region } = this;
    const op = k === undefined ? undefined : this.operand(k);
    const onStack = op?.kind === Kind.Mem && (op.base === GPR.rsp || op.base === GPR.rbp) && op.seg < 0;
    const how = i32(access | size | (onStack ? ACCESS.stack : 0));
    const by = (addend: E): void => hit(va.wrap().add(addend));
    // It begins in the page and ends there, and so it is neither in the page before nor in the one behind.
    const within = (page: E): E => va.sub(page).leU(i64(4096 - size));
    const missBy = (miss: FnRef, then?: () => void): void =>
      f.scope(() => {
        const at = this.miss(miss, va, how);
        then?.();
        missed(at);
      });
    // Frames are small: their accesses stay in one page, most of the time.
    if (op === undefined ? (access & ACCESS.stack) !== 0 : onStack && op.base === GPR.rsp && op.index < 0) {
      const { stackPage, stackAddend, stackMiss } = region;
      region.usesStack = true;
      // A brief region reads them where they have changed.
      const renew = (): void => {
        if (region.isBrief) return;
        f.set(stackPage, load64(cpu, STACK_PAGE));
        f.set(stackAddend, load32(cpu, STACK_ADDEND));
      };
      f.if(
        within(stackPage),
        () => by(stackAddend),
        () => missBy(stackMiss, renew),
      );
      return;
    }
    const isWrite = (access & ACCESS.write) !== 0;
    const shared = op === undefined ? undefined : this.shared;
    if (shared?.kind === 'kept') {
      const distance = f.let(va.sub(load64(cpu, shared.offset)));
      f.if(
        distance.leU(i64(4096 - size)),
        () => hit(distance.wrap().add(load32(cpu, shared.offset + 8))),
        () => {
          this.cold();
          this.lookUp(
            va,
            size,
            shared.writes,
            (addend) => {
              const page = f.let(va.and(-4096));
              f.store64(cpu, page, shared.offset);
              f.store32(cpu, page.wrap().add(addend), shared.offset + 8);
              by(addend);
            },
            () => missBy(region.missAgain),
          );
        },
      );
    } else if (shared === undefined || f.nesting !== this.level) {
      // What may be skipped says nothing about what comes behind it in the block.
      this.lookUp(va, size, isWrite, by, () => missBy(region.miss));
    } else if (region.looked.get(shared) === 'writing' || (region.looked.has(shared) && !isWrite)) {
      f.if(
        within(shared.page),
        () => by(shared.addend),
        () => missBy(region.missAgain),
      );
    } else {
      this.lookUp(
        va,
        size,
        isWrite,
        (addend) => {
          f.set(shared.addend, addend);
          f.set(shared.page, va.and(-4096));
          by(shared.addend);
        },
        () =>
          missBy(region.miss, () => {
            f.set(shared.page, load64(cpu, NO_PAGE));
            f.set(shared.addend, i32(0));
          }),
      );
      region.looked = new Map(region.looked).set(shared, isWrite ? 'writing' : 'reading');
    }
  }
  /** As runtime/mmu.ts `probe`: the compare includes the test for the end of the page. */
  private lookUp(va: E, size: number, forWriting: boolean, hit: (addend: E) => void, miss: () => void): void {
    const { f } = this;
    f.scope(() => {
      const entry = f.let(tlbEntry(this.region.tlb, va));
      const last = (size === 1 ? va : va.add(size - 1)).and(-4096);
      const tag = f.let(load64(entry, forWriting ? 8 : 0));
      f.if(
        tag.eq(last),
        () => hit(f.let(load32(entry, 24))),
        () => {
          // V8 makes a load twice that may trap and is for a compare alone: so it is for this store, too.
          f.store64(this.cpu, tag, MISSED_TAG);
          miss();
        },
      );
    });
  }
  linearRange(va: E, bytes: E): E {
    return this.f.let(this.miss(this.region.miss, va, bytes.or(ACCESS.write)));
  }
  /** 0: a fault; 1: the store has dropped code, maybe this; else the linear address. */
  private miss(by: FnRef, va: E, access: E): E {
    const { f } = this;
    const { again, position, stop } = this.region;
    this.cold();
    // What is set here is for `stop` alone: a branch without a block of its own is less work for V8.
    this.noteFlags();
    f.set(position, i32(this.offset));
    f.set(again, call(by, this.cpu, va, access));
    f.brIf(stop, again.leU(1));
    return again;
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
    if (code === Exit.Syscall) {
      this.region.usesCall = true;
      f.br(this.region.call);
      return;
    }
    f.set(this.region.status, i32(Status.Exit + code));
    f.br(this.region.leave);
  }
  spend(branches: E): void {
    const { cpu, isBrief, budget } = this.region;
    if (isBrief) this.f.store32(cpu, load32(cpu, STATE.budget).sub(branches), STATE.budget);
    else this.f.set(budget, budget.sub(branches));
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
  f.set(region.target, address);
  lift.leaveFlags();
  f.br(region.jump);
}
