/**
 * What emulated instructions share: their operands as the engine decoded them, guest memory through the tables of the running
 * mode with the page faults that hardware would raise, and the ways in which they can end.
 */
import { PTE } from '../../abi/numbers.ts';
import { STATE } from '../../x86/state.ts';
import { peek } from '../crash.ts';
import { PAGE_SIZE } from '../memory.ts';
import { inHole, isCanonical64 } from '../mmu/walk.ts';
import type { SegmentFault } from '../segments.ts';
import { deliver, generalProtection, PF, pageFault, Vector } from '../traps/exceptions.ts';
import type { Vcpu } from '../vcpu.ts';

/** How an emulated instruction ended: RIP moves past it, or it is where it shall be (fault delivered, jump taken). */
export const Done = { next: 0, placed: 1 } as const;
export type Done = (typeof Done)[keyof typeof Done];

/** One privileged instruction, RIP at it. */
export type Emulator = (vcpu: Vcpu) => Done;

export function gp(vcpu: Vcpu, error = 0): Done {
  generalProtection(vcpu, error);
  return Done.placed;
}

export function ud(vcpu: Vcpu): Done {
  deliver(vcpu, Vector.UD);
  return Done.placed;
}

export function segmentFault(vcpu: Vcpu, fault: SegmentFault): Done {
  deliver(vcpu, fault.vector, fault.error);
  return Done.placed;
}

export const length = (vcpu: Vcpu) => vcpu.u32(STATE.exitLength);
export const modrmReg = (vcpu: Vcpu) => vcpu.u32(STATE.exitReg);
export const modrmRm = (vcpu: Vcpu) => vcpu.u32(STATE.exitRm);
export const operandSize = (vcpu: Vcpu) => vcpu.u32(STATE.exitSize);
export const isMemory = (vcpu: Vcpu) => (vcpu.u32(STATE.exitFlags) & 1) !== 0;
export const hasRexW = (vcpu: Vcpu) => (vcpu.u32(STATE.exitFlags) & 2) !== 0;
export const address = (vcpu: Vcpu) => vcpu.u64(STATE.exitAddress);

/** The bytes of the running instruction. */
export function instruction(vcpu: Vcpu): Uint8Array {
  return peek(vcpu, vcpu.rip, length(vcpu));
}

/** The opcode's bytes: what follows the prefixes. */
export function opcode(vcpu: Vcpu): Uint8Array {
  const bytes = instruction(vcpu);
  let i = 0;
  while (i < bytes.length && isPrefix(bytes[i]!)) i++;
  return bytes.subarray(i);
}

function isPrefix(byte: number): boolean {
  return (byte & 0xf0) === 0x40 || [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].includes(byte);
}

function root(vcpu: Vcpu): number {
  return vcpu.kernelMode ? vcpu.kernelRoot : vcpu.userRoot;
}

function translate(vcpu: Vcpu, va: bigint, write: boolean): number {
  const lo = Number(va & 0xffff_ffffn);
  const hi = Number(va >> 32n);
  if (inHole(hi)) return vcpu.kernelMode ? vcpu.translate(lo, hi, write) : 0;
  return vcpu.walker.translate(root(vcpu), lo, hi, write);
}

/** Raise what an access to `va` raises when it cannot be made. */
function accessFault(vcpu: Vcpu, va: bigint, write: boolean): void {
  if (!isCanonical64(va)) {
    generalProtection(vcpu);
    return;
  }
  const { walker, memory } = vcpu;
  const found = walker.find(root(vcpu), Number(va & 0xffff_ffffn), Number(va >> 32n));
  const present = found && (memory.u32[walker.slot / 4]! & PTE.P) !== 0;
  pageFault(vcpu, va, (present ? PF.present : 0) | (write ? PF.write : 0));
}

/** Read a memory operand; undefined when a fault was delivered. */
export function read(vcpu: Vcpu, va: bigint, size: number): DataView | undefined {
  const out = new Uint8Array(size);
  for (let done = 0; done < size; ) {
    const at = BigInt.asUintN(64, va + BigInt(done));
    const from = translate(vcpu, at, false);
    if (from === 0) {
      accessFault(vcpu, at, false);
      return undefined;
    }
    const n = Math.min(size - done, PAGE_SIZE - Number(at & 0xfffn));
    out.set(vcpu.memory.u8.subarray(from, from + n), done);
    done += n;
  }
  return new DataView(out.buffer);
}

/** Write a memory operand; false when a fault was delivered, and then nothing was written. */
export function write(vcpu: Vcpu, va: bigint, bytes: Uint8Array): boolean {
  const targets: number[] = [];
  for (let done = 0; done < bytes.length; ) {
    const at = BigInt.asUintN(64, va + BigInt(done));
    const to = translate(vcpu, at, true);
    if (to === 0) {
      accessFault(vcpu, at, true);
      return false;
    }
    targets.push(to, done);
    done += PAGE_SIZE - Number(at & 0xfffn);
  }
  for (let i = 0; i < targets.length; i += 2) {
    const part = bytes.subarray(targets[i + 1]!, targets[i + 3] ?? bytes.length);
    vcpu.memory.u8.set(part, targets[i]!);
    vcpu.frameTouched(Math.floor((targets[i]! - vcpu.memory.layout.ramBase) / PAGE_SIZE));
  }
  return true;
}

/** The 16-bit source that ModRM.rm names: a register's low half or memory. */
export function readRm16(vcpu: Vcpu): number | undefined {
  if (!isMemory(vcpu)) return vcpu.regLo(modrmRm(vcpu)) & 0xffff;
  return read(vcpu, address(vcpu), 2)?.getUint16(0, true);
}

/** Write a general register of `size` bytes: 4 zeroes the upper half, 2 leaves the rest alone. */
export function writeRegister(vcpu: Vcpu, register: number, value: number, size: number): void {
  if (size >= 4) vcpu.setReg32(register, value >>> 0);
  else vcpu.setReg64(register, (vcpu.reg64(register) & ~0xffffn) | BigInt(value & 0xffff));
}

/** Store a small value where SLDT, STR and SMSW store theirs: a register of the operand size, or 2 bytes of memory. */
export function writeRm16(vcpu: Vcpu, value: number): Done {
  if (!isMemory(vcpu)) {
    writeRegister(vcpu, modrmRm(vcpu), value, operandSize(vcpu));
    return Done.next;
  }
  return write(vcpu, address(vcpu), Uint8Array.of(value & 0xff, (value >>> 8) & 0xff)) ? Done.next : Done.placed;
}
