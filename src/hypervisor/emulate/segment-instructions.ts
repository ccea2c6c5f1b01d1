/**
 * Instructions that read descriptors or load data segment registers: MOV and POP to one, LSS, LFS, LGS, LAR, LSL, VERR, VERW,
 * and the harmless looks at system registers (SGDT, SIDT, SLDT, STR). Follows pv-abi 3.8 and 3.10.
 */
import { GPR, RFLAGS, SEG } from '../../x86/state.ts';
import { DESC, type Descriptor, limitOf, loadSegment, lookUp } from '../segments.ts';
import type { Vcpu } from '../vcpu.ts';
import {
  address,
  Done,
  hasRexW,
  instruction,
  modrmReg,
  operandSize,
  read,
  readRm16,
  segmentFault,
  ud,
  write,
  writeRegister,
  writeRm16,
} from './access.ts';

export function movToSegment(vcpu: Vcpu): Done {
  const slot = modrmReg(vcpu) & 7;
  if (slot === SEG.cs || slot > SEG.gs) return ud(vcpu);
  const selector = readRm16(vcpu);
  if (selector === undefined) return Done.placed;
  const bad = loadSegment(vcpu, slot, selector);
  return bad ? segmentFault(vcpu, bad) : Done.next;
}

/** POP FS (0F A1) and POP GS (0F A9); the operand size prefix makes it a 2-byte pop. */
export function popSegment(vcpu: Vcpu): Done {
  const bytes = instruction(vcpu);
  const size = bytes.subarray(0, -2).includes(0x66) ? 2 : 8;
  const rsp = vcpu.reg64(GPR.rsp);
  const value = read(vcpu, rsp, size);
  if (!value) return Done.placed;
  const slot = bytes.at(-1) === 0xa9 ? SEG.gs : SEG.fs;
  const bad = loadSegment(vcpu, slot, value.getUint16(0, true));
  if (bad) return segmentFault(vcpu, bad);
  vcpu.setReg64(GPR.rsp, BigInt.asUintN(64, rsp + BigInt(size)));
  return Done.next;
}

/** LSS, LFS, LGS: a selector behind an offset of the operand size. */
export function loadFarPointer(slot: number) {
  return (vcpu: Vcpu): Done => {
    const size = hasRexW(vcpu) ? 8 : operandSize(vcpu) === 2 ? 2 : 4;
    const pointer = read(vcpu, address(vcpu), size + 2);
    if (!pointer) return Done.placed;
    const bad = loadSegment(vcpu, slot, pointer.getUint16(size, true));
    if (bad) return segmentFault(vcpu, bad);
    if (size === 8) vcpu.setReg64(modrmReg(vcpu), pointer.getBigUint64(0, true));
    else
      writeRegister(vcpu, modrmReg(vcpu), size === 4 ? pointer.getUint32(0, true) : pointer.getUint16(0, true), size);
    return Done.next;
  };
}

function setZero(vcpu: Vcpu, zero: boolean): void {
  vcpu.flags = zero ? vcpu.flags | RFLAGS.ZF : vcpu.flags & ~RFLAGS.ZF;
}

/** The descriptor that privilege 3 may ask about, if there is one. */
function visible(vcpu: Vcpu, selector: number): Descriptor | undefined {
  if ((selector & 0xfffc) === 0) return undefined;
  const d = lookUp(vcpu, selector);
  if (!d) return undefined;
  if (!(d.hi & DESC.s)) return undefined; // System descriptors: none of the guest's are real.
  const conforming = (d.hi & (DESC.code | DESC.conforming)) === (DESC.code | DESC.conforming);
  return conforming || (d.hi & DESC.dpl) === DESC.dpl ? d : undefined;
}

/** LAR and LSL: ZF says whether there is such a descriptor, the register gets its rights or limit. */
function ask(what: (d: Descriptor) => number) {
  return (vcpu: Vcpu): Done => {
    const selector = readRm16(vcpu);
    if (selector === undefined) return Done.placed;
    const d = visible(vcpu, selector);
    setZero(vcpu, d !== undefined);
    if (d) writeRegister(vcpu, modrmReg(vcpu), what(d), operandSize(vcpu));
    return Done.next;
  };
}
export const lar = ask((d) => d.hi & 0x00f0ff00);
export const lsl = ask(limitOf);

function verify(allowed: (d: Descriptor) => boolean) {
  return (vcpu: Vcpu): Done => {
    const selector = readRm16(vcpu);
    if (selector === undefined) return Done.placed;
    const d = visible(vcpu, selector);
    setZero(vcpu, d !== undefined && allowed(d));
    return Done.next;
  };
}
export const verr = verify((d) => (d.hi & (DESC.code | DESC.rw)) !== DESC.code);
export const verw = verify((d) => (d.hi & (DESC.code | DESC.rw)) === DESC.rw);

/** SGDT and SIDT: a limit and an address in the hypervisor's range, where the guest finds nothing. */
export function storeTable(limit: number, base: bigint) {
  return (vcpu: Vcpu): Done => {
    const bytes = new Uint8Array(10);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, limit, true);
    view.setBigUint64(2, base, true);
    return write(vcpu, address(vcpu), bytes) ? Done.next : Done.placed;
  };
}
export const sgdt = storeTable(0xefff, 0xffff82d080000000n);
export const sidt = storeTable(0xfff, 0xffff82d080010000n);
/** Selectors of the hypervisor's own LDT and TSS entries. */
export const sldt = (vcpu: Vcpu): Done => writeRm16(vcpu, vcpu.ldtEntries ? 0xe048 : 0);
export const str = (vcpu: Vcpu): Done => writeRm16(vcpu, 0xe040);
