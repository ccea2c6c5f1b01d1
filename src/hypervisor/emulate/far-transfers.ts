/**
 * Far calls, jumps and returns, and the native IRET: at privilege 3 they stay at privilege 3. Linux returns to itself with
 * IRETQ to make the CPU serialise, after each change of its own text. Follows pv-abi 3.8 and 3.10.
 */
import { FLAT } from '../../abi/numbers.ts';
import { GPR, RFLAGS, SEG, STATE } from '../../x86/state.ts';
import { PAGE_SIZE } from '../memory.ts';
import { isCanonical, isCanonical64 } from '../mmu/walk.ts';
import { checkCode, checkStack } from '../segments.ts';
import { refuseCompat } from '../traps/iret.ts';
import type { Vcpu } from '../vcpu.ts';
import { address, Done, gp, hasRexW, length, opcode, operandSize, read, segmentFault, write } from './access.ts';

/** Bytes of an offset or stack slot: far transfers default to 4 bytes even in 64-bit mode. */
function slotSize(vcpu: Vcpu): 2 | 4 | 8 {
  if (hasRexW(vcpu)) return 8;
  return operandSize(vcpu) === 2 ? 2 : 4;
}

function take(view: DataView, at: number, size: number): bigint {
  if (size === 8) return view.getBigUint64(at, true);
  return BigInt(size === 4 ? view.getUint32(at, true) : view.getUint16(at, true));
}

/** Go to cs:rip; a fault leaves everything as it was. `before` does what has to happen between the checks and the jump. */
function enter(vcpu: Vcpu, cs: number, rip: bigint, before: () => boolean): Done {
  const code = checkCode(vcpu, cs);
  if (typeof code === 'object') return segmentFault(vcpu, code);
  if (code === 'compat') {
    refuseCompat(vcpu);
    return Done.placed;
  }
  if (!isCanonical64(rip)) return gp(vcpu);
  if (!before()) return Done.placed;
  vcpu.setSelector(SEG.cs, cs);
  vcpu.rip = rip;
  return Done.placed;
}

export function farJump(vcpu: Vcpu): Done {
  const size = slotSize(vcpu);
  const pointer = read(vcpu, address(vcpu), size + 2);
  if (!pointer) return Done.placed;
  return enter(vcpu, pointer.getUint16(size, true), take(pointer, 0, size), () => true);
}

export function farCall(vcpu: Vcpu): Done {
  const size = slotSize(vcpu);
  const pointer = read(vcpu, address(vcpu), size + 2);
  if (!pointer) return Done.placed;
  return enter(vcpu, pointer.getUint16(size, true), take(pointer, 0, size), () => {
    const frame = new DataView(new ArrayBuffer(16));
    frame.setBigUint64(0, BigInt.asUintN(64, vcpu.rip + BigInt(length(vcpu))), true);
    frame.setUint16(size, vcpu.selector(SEG.cs), true);
    if (size < 8) frame.setUint16(size + 2, 0, true);
    const rsp = BigInt.asUintN(64, vcpu.reg64(GPR.rsp) - BigInt(2 * size));
    if (!write(vcpu, rsp, new Uint8Array(frame.buffer, 0, 2 * size))) return false;
    vcpu.setReg64(GPR.rsp, rsp);
    return true;
  });
}

/** RETF (CB) and RETF imm16 (CA). */
export function farReturn(vcpu: Vcpu): Done {
  const size = slotSize(vcpu);
  const rsp = vcpu.reg64(GPR.rsp);
  const frame = read(vcpu, rsp, 2 * size);
  if (!frame) return Done.placed;
  const bytes = opcode(vcpu);
  const extra = bytes[0] === 0xca ? (bytes[1] ?? 0) | ((bytes[2] ?? 0) << 8) : 0;
  return enter(vcpu, frame.getUint16(size, true), take(frame, 0, size), () => {
    vcpu.setReg64(GPR.rsp, BigInt.asUintN(64, rsp + BigInt(2 * size + extra)));
    return true;
  });
}

/** Flags that IRET at privilege 3 cannot change. */
const KEPT = RFLAGS.IF | RFLAGS.IOPL | RFLAGS.VM;

/**
 * IRETQ of the kernel to itself: Linux makes the CPU serialise so after each piece of its text that it patches, 45 000 times in
 * a boot. Flat selectors, the frame on one page; false when it is anything else.
 */
function serialisingIret(vcpu: Vcpu): boolean {
  const lo = vcpu.regLo(GPR.rsp);
  if (!vcpu.kernelMode || !hasRexW(vcpu) || lo & 7 || (lo & 0xfff) > PAGE_SIZE - 40) return false;
  const from = vcpu.translate(lo, vcpu.regHi(GPR.rsp), false) / 4;
  if (from === 0) return false;
  const { u32 } = vcpu.memory;
  const ripHi = u32[from + 1]!;
  const cs = u32[from + 2]! & 0xffff;
  const ss = u32[from + 8]! & 0xffff;
  if (cs !== FLAT.ring3Cs64 || ss !== FLAT.ring3Ss || !isCanonical(ripHi)) return false;
  const flags = (u32[from + 4]! & ~KEPT) | (vcpu.flags & KEPT);
  const rspLo = u32[from + 6]!;
  const rspHi = u32[from + 7]!;
  vcpu.setPair(STATE.rip, u32[from]!, ripHi);
  vcpu.setPair(STATE.gpr + 8 * GPR.rsp, rspLo, rspHi);
  vcpu.flags = flags;
  vcpu.setSelector(SEG.cs, cs);
  vcpu.setSelector(SEG.ss, ss);
  return true;
}

/** The native IRET: rip, cs, rflags, rsp, ss from the stack. */
export function nativeIret(vcpu: Vcpu): Done {
  if (serialisingIret(vcpu)) return Done.placed;
  const size = slotSize(vcpu);
  const frame = read(vcpu, vcpu.reg64(GPR.rsp), 5 * size);
  if (!frame) return Done.placed;
  const cs = frame.getUint16(size, true);
  const ss = frame.getUint16(4 * size, true);
  const rsp = take(frame, 3 * size, size);
  const wanted = Number(take(frame, 2 * size, size) & 0xffff_ffffn);
  const bad = checkStack(vcpu, ss, false);
  return enter(vcpu, cs, take(frame, 0, size), () => {
    if (bad) {
      segmentFault(vcpu, bad);
      return false;
    }
    vcpu.flags = (wanted & ~KEPT) | (vcpu.flags & KEPT);
    vcpu.setReg64(GPR.rsp, rsp);
    vcpu.setSelector(SEG.ss, ss);
    return true;
  });
}
