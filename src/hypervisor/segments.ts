/**
 * Descriptors and selectors: the guest's GDT frames and LDT range, the hypervisor's reserved descriptors, what loading a
 * selector does, and the hypercalls set_gdt, update_descriptor and set_segment_base. Follows pv-abi 1.7, 2.3, 2.5, 3.10.
 *
 * Everything the guest runs is at privilege 3, so the only levels that matter are "3" and "not reachable".
 */
import { Errno } from '../abi/errno.ts';
import { FLAT, GUEST_GDT_ENTRIES } from '../abi/numbers.ts';
import { SEG, STATE } from '../x86/state.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import { isCanonical } from './mmu/walk.ts';
import type { Vcpu } from './vcpu.ts';

export const LDT_ENTRIES_MAX = 8192;

export interface Descriptor {
  readonly lo: number;
  readonly hi: number;
}
/** Bits of a descriptor's high half. Intel SDM volume 3, 3.4.5. */
export const DESC = {
  present: 0x8000,
  dpl: 0x6000,
  s: 0x1000,
  code: 0x800,
  conforming: 0x400,
  rw: 0x200,
  L: 0x200000,
  D: 0x400000,
  G: 0x800000,
} as const;

/** The descriptors that a guest can use without a GDT of its own. */
const RESERVED: ReadonlyMap<number, Descriptor> = new Map([
  [FLAT.ring3Cs32 >>> 3, { lo: 0x0000ffff, hi: 0x00cffb00 }],
  [FLAT.ring3Ss >>> 3, { lo: 0x0000ffff, hi: 0x00cff300 }],
  [FLAT.ring3Cs64 >>> 3, { lo: 0x0000ffff, hi: 0x00affb00 }],
]);

/** The descriptor that a selector names; undefined beyond a table's limit or where the LDT is not mapped. */
export function lookUp(vcpu: Vcpu, selector: number): Descriptor | undefined {
  const index = (selector & 0xffff) >>> 3;
  if (selector & 4) {
    if (index >= vcpu.ldtEntries) return undefined;
    const bytes = vcpu.readGuest(BigInt.asUintN(64, vcpu.ldtBase + BigInt(index * 8)), 8);
    if (!bytes) return undefined;
    const view = new DataView(bytes.buffer);
    return { lo: view.getUint32(0, true), hi: raiseDpl(view.getUint32(4, true)) };
  }
  if (index >= vcpu.gdtEntries) return RESERVED.get(index);
  const frame = vcpu.gdtFrames[index >>> 9];
  if (frame === undefined) return undefined;
  const at = vcpu.memory.at(frame) / 4 + (index & 511) * 2;
  return { lo: vcpu.memory.u32[at]!, hi: raiseDpl(vcpu.memory.u32[at + 1]!) };
}

/** Only the high half, without making an object of it: every return to user mode asks twice. NONE when there is none. */
function highHalf(vcpu: Vcpu, selector: number): number {
  const index = (selector & 0xffff) >>> 3;
  const frame = selector & 4 || index >= vcpu.gdtEntries ? undefined : vcpu.gdtFrames[index >>> 9];
  if (frame === undefined) return lookUp(vcpu, selector)?.hi ?? NONE;
  return raiseDpl(vcpu.memory.u32[vcpu.memory.at(frame) / 4 + (index & 511) * 2 + 1]!);
}
const NONE = -1;

/** Descriptors are privilege 3 wherever the guest wrote less: it could have changed the frame since it was checked. */
function raiseDpl(hi: number): number {
  return hi & DESC.present ? (hi | DESC.dpl) >>> 0 : hi >>> 0;
}

export function baseOf(d: Descriptor): number {
  return ((d.lo >>> 16) | ((d.hi & 0xff) << 16) | (d.hi & 0xff000000)) >>> 0;
}

export function limitOf(d: Descriptor): number {
  const limit = (d.lo & 0xffff) | (d.hi & 0xf0000);
  return d.hi & DESC.G ? ((limit << 12) | 0xfff) >>> 0 : limit;
}

/** A fault that a selector load raises: a vector and an error code. */
export interface SegmentFault {
  readonly vector: number;
  readonly error: number;
}
const fault = (vector: number, selector: number): SegmentFault => ({ vector, error: selector & 0xfffc });
const GP = 13;
const NP = 11;
const SS_FAULT = 12;

/** What kind of code a CS selector leads to. */
export function checkCode(vcpu: Vcpu, selector: number): SegmentFault | 'long' | 'compat' {
  // The two that nearly every return to the guest has need no look at the tables: the flat one is ours.
  if (selector === FLAT.ring3Cs64) return 'long';
  if ((selector & 0xfffc) === 0) return fault(GP, 0);
  const hi = highHalf(vcpu, selector);
  const wanted = DESC.s | DESC.code;
  if (hi === NONE || (selector & 3) !== 3 || (hi & wanted) !== wanted) return fault(GP, selector);
  if (!(hi & DESC.present)) return fault(NP, selector);
  if (hi & DESC.L) return hi & DESC.D ? fault(GP, selector) : 'long';
  return 'compat';
}

/** May `selector` be loaded into SS? `null` may be allowed, as on a return to kernel mode. */
export function checkStack(vcpu: Vcpu, selector: number, nullAllowed: boolean): SegmentFault | undefined {
  if (selector === FLAT.ring3Ss) return undefined;
  if ((selector & 0xfffc) === 0) return nullAllowed ? undefined : fault(GP, 0);
  const hi = highHalf(vcpu, selector);
  const writable = (hi & (DESC.s | DESC.code | DESC.rw)) === (DESC.s | DESC.rw);
  if (hi === NONE || (selector & 3) !== 3 || !writable) return fault(GP, selector);
  return hi & DESC.present ? undefined : fault(SS_FAULT, selector);
}

/** MOV or POP to a segment register other than CS. Changes nothing when it returns a fault. */
export function loadSegment(vcpu: Vcpu, slot: number, selector: number): SegmentFault | undefined {
  if (slot === SEG.ss) {
    const bad = checkStack(vcpu, selector, false);
    if (!bad) vcpu.setSelector(slot, selector);
    return bad;
  }
  let base = 0;
  if ((selector & 0xfffc) !== 0) {
    const d = lookUp(vcpu, selector);
    const readable = d && d.hi & DESC.s && (d.hi & (DESC.code | DESC.rw)) !== DESC.code;
    if (!readable) return fault(GP, selector);
    if (!(d.hi & DESC.present)) return fault(NP, selector);
    base = baseOf(d);
  }
  vcpu.setSelector(slot, selector);
  if (slot === SEG.fs) vcpu.setPair(STATE.fsBase, base, 0);
  if (slot === SEG.gs) vcpu.setPair(STATE.gsBase, base, 0);
  return undefined;
}

// Hypercalls. ----------------------------------------------------------------------------------------------------------

/** Is this a descriptor that a guest may install? Of the system types, call gates only. */
function descriptorAllowed(hi: number): boolean {
  if (!(hi & DESC.present)) return true;
  const type = (hi >>> 8) & 0xf;
  if (!(hi & DESC.s)) return type === 0 || type === 0xc;
  return !(hi & DESC.code) || (hi & (DESC.L | DESC.D)) !== (DESC.L | DESC.D);
}

/** A frame whose contents can be descriptors: RAM, and no page table. */
function descriptorFrame(vcpu: Vcpu, frame: number): boolean {
  return frame < vcpu.memory.layout.pages && vcpu.domain.types.level(frame) === 0;
}

/** set_gdt(frames, entries). */
export function setGdt(vcpu: Vcpu, args: HypercallArgs): number {
  const entries = args.lo(1);
  if (entries > GUEST_GDT_ENTRIES) return -Errno.EINVAL;
  const count = Math.ceil(entries / 512);
  const list = vcpu.readGuest(args.u64(0), count * 8);
  if (!list) return -Errno.EFAULT;
  const view = new DataView(list.buffer);
  const frames: number[] = [];
  for (let i = 0; i < count; i++) {
    const frame = view.getUint32(8 * i, true);
    if (view.getUint32(8 * i + 4, true) !== 0 || !descriptorFrame(vcpu, frame)) return -Errno.EINVAL;
    const at = vcpu.memory.at(frame) / 4;
    for (let j = 1; j < 1024; j += 2) if (!descriptorAllowed(vcpu.memory.u32[at + j]!)) return -Errno.EINVAL;
    frames.push(frame);
  }
  for (const frame of frames) {
    const at = vcpu.memory.at(frame) / 4;
    for (let j = 1; j < 1024; j += 2) {
      const hi = vcpu.memory.u32[at + j]!;
      if (raiseDpl(hi) !== hi) vcpu.memory.u32[at + j] = raiseDpl(hi);
    }
  }
  vcpu.setGdt(frames, entries);
  return 0;
}

/** update_descriptor(maddr, descriptor). */
export function updateDescriptor(vcpu: Vcpu, args: HypercallArgs): number {
  const frame = args.hi(0) === 0 ? args.lo(0) >>> 12 : 0xffff_ffff;
  const hi = args.hi(1);
  if (args.lo(0) & 7 || !descriptorFrame(vcpu, frame) || !descriptorAllowed(hi)) return -Errno.EINVAL;
  const at = (vcpu.memory.at(frame) + (args.lo(0) & 0xff8)) / 4;
  vcpu.memory.u32[at] = args.lo(1);
  vcpu.memory.u32[at + 1] = raiseDpl(hi);
  vcpu.frameTouched(frame);
  return 0;
}

export const SEGBASE = { fs: 0, gsUser: 1, gsKernel: 2, gsUserSelector: 3 } as const;

/** set_segment_base(which, base). Hypercalls come from kernel mode, so the active GS base is the kernel's. */
export function setSegmentBase(vcpu: Vcpu, args: HypercallArgs): number {
  const which = args.lo(0);
  if (which === SEGBASE.gsUserSelector) {
    const wanted = args.lo(1) & 0xffff;
    const selector = wanted > 3 ? wanted | 3 : 0;
    const d = selector ? lookUp(vcpu, selector) : undefined;
    const usable = d !== undefined && (d.hi & (DESC.present | DESC.s)) === (DESC.present | DESC.s);
    const data = usable && (d.hi & (DESC.code | DESC.rw)) !== DESC.code;
    vcpu.setSelector(SEG.gs, data ? selector : 0);
    vcpu.setPair(STATE.gsBaseUser, data ? baseOf(d) : 0, 0);
    return 0;
  }
  if (which > SEGBASE.gsUserSelector || !isCanonical(args.hi(1))) return -Errno.EINVAL;
  const field = which === SEGBASE.fs ? STATE.fsBase : which === SEGBASE.gsUser ? STATE.gsBaseUser : STATE.gsBase;
  vcpu.setPair(field, args.lo(1), args.hi(1));
  return 0;
}
