/**
 * The x87 as one instruction sees it: control, status and tag words and the register stack of the state block. An instruction
 * works on the copies here, does what can fault in memory, and then commits. SDM volume 1, chapter 8.
 */
import type { Insn } from '../../../x86/decode.ts';
import { STATE } from '../../../x86/state.ts';
import type { Helper, HelperCpu } from '../cpu.ts';
import { Context, FLAG, Float80, INDEFINITE } from './float80.ts';

/** Status word. SDM volume 1, 8.1.3. */
export const FSW = { SF: 0x40, ES: 0x80, C0: 0x100, C1: 0x200, C2: 0x400, TOP: 0x3800, C3: 0x4000, B: 0x8000 } as const;
export const CONDITIONS = FSW.C0 | FSW.C1 | FSW.C2 | FSW.C3;
export const EXCEPTIONS = 0x3f;
/** Bits of the control word that can be set, and the one that always is. SDM volume 1, 8.1.5. */
export const CONTROL_BITS = 0x1f3f;
export const CONTROL_ONE = 0x40;
/** Exceptions that are found before anything is computed: unmasked, they leave the operands as they were. */
const BEFORE = FLAG.IE | FLAG.DE | FLAG.ZE;

const NM = 7;
const MF = 16;
const EMPTY = 3;

/** PC, the precision control, in bits of significand. */
const PRECISION = [24, 64, 53, 64] as const;

/** Tag of a register that is not empty: 0 valid, 1 zero, 2 special. */
function tagOf(value: Float80): number {
  if (value.isZero) return 1;
  return value.exp === 0 || value.exp === 0x7fff || value.isUnsupported ? 2 : 0;
}

export class Unit {
  readonly cpu: HelperCpu;
  readonly insn: Insn;
  control: number;
  status: number;
  tags: number;

  constructor(cpu: HelperCpu, insn: Insn) {
    this.cpu = cpu;
    this.insn = insn;
    this.control = cpu.u16(STATE.fcw);
    this.status = cpu.u16(STATE.fsw);
    this.tags = cpu.u16(STATE.ftw);
  }
  context(): Context {
    return new Context((this.control >> 10) & 3, PRECISION[(this.control >> 8) & 3]!, this.control & EXCEPTIONS);
  }

  get top(): number {
    return (this.status >> 11) & 7;
  }
  set top(value: number) {
    this.status = (this.status & ~FSW.TOP) | ((value & 7) << 11);
  }
  private physical(i: number): number {
    return (this.top + i) & 7;
  }
  isEmpty(i: number): boolean {
    return ((this.tags >> (2 * this.physical(i))) & 3) === EMPTY;
  }
  private setTag(i: number, tag: number): void {
    const at = 2 * this.physical(i);
    this.tags = (this.tags & ~(3 << at)) | (tag << at);
  }
  /** ST(i), whatever its tag says. */
  st(i: number): Float80 {
    const at = STATE.x87 + 16 * this.physical(i);
    const top = this.cpu.u16(at + 8);
    return new Float80(top >> 15, top & 0x7fff, this.cpu.u64(at));
  }
  set(i: number, value: Float80): void {
    const at = STATE.x87 + 16 * this.physical(i);
    this.cpu.setU64(at, value.sig);
    this.cpu.setU16(at + 8, (value.sign << 15) | value.exp);
    this.setTag(i, tagOf(value));
  }
  free(i: number): void {
    this.setTag(i, EMPTY);
  }
  pop(): void {
    this.free(0);
    this.top++;
  }
  /** What FNSTENV shows: the tags of today's contents. */
  currentTags(): number {
    let tags = 0;
    for (let i = 0; i < 8; i++) {
      const tag = this.isEmpty(i) ? EMPTY : tagOf(this.st(i));
      tags |= tag << (2 * this.physical(i));
    }
    return tags;
  }

  setCondition(bits: number, mask: number): void {
    this.status = (this.status & ~mask) | bits;
  }
  /** Stack fault: C1 tells overflow from underflow. True when the masked response is to follow. */
  stackFault(overflow: boolean): boolean {
    this.setCondition(overflow ? FSW.C1 : 0, FSW.C1);
    this.status |= FSW.SF | FLAG.IE;
    return (this.control & FLAG.IE) !== 0;
  }
  /** Take over what an operation raised and how it rounded. False when an unmasked exception forbids to write the result. */
  take(c: Context): boolean {
    const prevented = c.flags & ~this.control & BEFORE;
    this.status |= prevented ? c.flags & BEFORE : c.flags;
    this.setCondition(c.up && !prevented ? FSW.C1 : 0, FSW.C1);
    return prevented === 0;
  }
  /**
   * ST(destination) = what `make` gives from `sources`, or the indefinite when one of them is empty. False when an unmasked
   * exception forbids that, and the pop after it.
   */
  compute(destination: number, sources: readonly number[], make: (c: Context) => Float80): boolean {
    let value = INDEFINITE;
    if (sources.some((i) => this.isEmpty(i))) {
      if (!this.stackFault(false)) return false;
    } else {
      const c = this.context();
      value = make(c);
      if (!this.take(c)) return false;
    }
    this.set(destination, value);
    return true;
  }
  /** Push what `make` gives, unless an exception forbids it; a denormal in memory is loaded even then. */
  push(make: (c: Context) => Float80): void {
    if (!this.isEmpty(7)) {
      if (this.stackFault(true)) this.pushValue(INDEFINITE);
      return;
    }
    const c = this.context();
    const value = make(c);
    if (this.take(c) || (c.flags & FLAG.IE) === 0) this.pushValue(value);
  }
  pushValue(value: Float80): void {
    this.top--;
    this.set(0, value);
  }

  commit(): void {
    this.summarize();
    this.cpu.setU16(STATE.fcw, this.control);
    this.cpu.setU16(STATE.fsw, this.status);
    this.cpu.setU16(STATE.ftw, this.tags);
  }
  /** ES, and B with it, follow from flags and masks. */
  summarize(): void {
    if (this.status & ~this.control & EXCEPTIONS) this.status |= FSW.ES | FSW.B;
    else this.status &= ~(FSW.ES | FSW.B);
  }
}

type Body = (unit: Unit, cpu: HelperCpu, insn: Insn) => void;

function perform(cpu: HelperCpu, insn: Insn, body: Body): Unit {
  const unit = new Unit(cpu, insn);
  body(unit, cpu, insn);
  unit.commit();
  return unit;
}
const checkPresent = (cpu: HelperCpu): void => {
  if (cpu.u32(STATE.taskSwitched) !== 0) cpu.fault(NM);
};
const checkPending = (cpu: HelperCpu): void => {
  checkPresent(cpu);
  if (cpu.u16(STATE.fsw) & FSW.ES) cpu.fault(MF);
};

/** An instruction of control that does not look for pending exceptions (FN...). */
export const immediate =
  (body: Body): Helper =>
  (cpu, insn) => {
    checkPresent(cpu);
    perform(cpu, insn, body);
  };
/** An instruction of control that a pending exception prevents. */
export const waiting =
  (body: Body): Helper =>
  (cpu, insn) => {
    checkPending(cpu);
    perform(cpu, insn, body);
  };
/** An instruction that computes or moves: it also leaves its address, and its operand's, for handlers of exceptions. */
export const computing =
  (body: Body): Helper =>
  (cpu, insn) => {
    checkPending(cpu);
    const unit = perform(cpu, insn, body);
    cpu.setU64(STATE.fip, cpu.currentRip);
    if (insn.hasMem) cpu.setU64(STATE.fdp, cpu.address(insn, 0));
    if (unit.status & FSW.ES) cpu.setU16(STATE.fop, opcodeOf(cpu, insn));
  };

/** FOP: the low bits of the first opcode byte and the ModRM byte. Kept for unmasked exceptions only, as since the Pentium 4. */
function opcodeOf(cpu: HelperCpu, insn: Insn): number {
  const bytes = cpu.readBytes(cpu.currentRip, insn.length);
  const at = bytes.findIndex((byte) => byte >= 0xd8 && byte <= 0xdf);
  return at < 0 ? 0 : ((bytes[at]! & 7) << 8) | bytes[at + 1]!;
}
