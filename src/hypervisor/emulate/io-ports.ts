/**
 * IN, OUT, INS, OUTS, CLI, STI: who may use them, and the ports of a machine without devices. Follows pv-abi 3.8.
 */
import { GPR, RFLAGS } from '../../x86/state.ts';
import type { Vcpu } from '../vcpu.ts';
import { Done, gp, instruction, opcode, read, write } from './access.ts';

const PCI_ADDRESS = 0xcf8;
/** The timer's counter 2 and its gate: zeros end Linux's calibration loop at once. */
const READS_ZERO: ReadonlySet<number> = new Set([0x42, 0x61]);
/** Elements of one INS or OUTS between two looks at the clock. */
const STRING_CHUNK = 1024;

/** The guest kernel runs at level 1 (0 with architectural_iopl), user mode at 3: is that enough for I/O? */
function ioplAllows(vcpu: Vcpu): boolean {
  const level = vcpu.kernelMode ? (vcpu.architecturalIopl ? 0 : 1) : 3;
  return level <= vcpu.viopl;
}

/** May the guest use `size` ports from `port`? Either by its level or by the bitmap that set_iobitmap named. */
function portAllowed(vcpu: Vcpu, port: number, size: number): boolean {
  if (ioplAllows(vcpu)) return true;
  const { va, ports } = vcpu.ioBitmap;
  if (port + size > ports) return false;
  const bytes = vcpu.readGuest(BigInt.asUintN(64, va + BigInt(port >>> 3)), ((port & 7) + size + 7) >>> 3);
  if (!bytes) return false;
  for (let i = 0; i < size; i++) {
    const bit = (port & 7) + i;
    if ((bytes[bit >>> 3]! >>> (bit & 7)) & 1) return false;
  }
  return true;
}

function input(vcpu: Vcpu, port: number, size: number): number {
  if (port === PCI_ADDRESS && size === 4) return vcpu.pciAddress;
  if (READS_ZERO.has(port)) return 0;
  return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
}

function output(vcpu: Vcpu, port: number, size: number, value: number): void {
  if (port === PCI_ADDRESS && size === 4) vcpu.pciAddress = value >>> 0;
}

/** Width of the access: the opcode's lowest bit, and the operand size prefix. */
function width(vcpu: Vcpu, code: number): number {
  if (!(code & 1)) return 1;
  const bytes = instruction(vcpu);
  return bytes.subarray(0, bytes.indexOf(code)).includes(0x66) ? 2 : 4;
}

/** IN and OUT: E4–E7 with the port as a byte, EC–EF with it in DX. Bit 1 of the opcode tells OUT from IN. */
export function inOut(vcpu: Vcpu): Done {
  const bytes = opcode(vcpu);
  const code = bytes[0] ?? 0xec;
  const port = code & 8 ? vcpu.regLo(GPR.rdx) & 0xffff : (bytes[1] ?? 0);
  const size = width(vcpu, code);
  if (!portAllowed(vcpu, port, size)) return gp(vcpu);
  const rax = vcpu.regLo(GPR.rax);
  if (code & 2) {
    output(vcpu, port, size, rax);
    return Done.next;
  }
  const value = input(vcpu, port, size);
  if (size === 4) vcpu.setReg32(GPR.rax, value);
  else {
    const mask = size === 2 ? 0xffffn : 0xffn;
    vcpu.setReg64(GPR.rax, (vcpu.reg64(GPR.rax) & ~mask) | BigInt(value));
  }
  return Done.next;
}

/** INS and OUTS, one chunk of a repeated one at a time: RIP stays at the instruction until the count is zero. */
export function stringIo(vcpu: Vcpu): Done {
  const bytes = instruction(vcpu);
  const code = opcode(vcpu)[0] ?? 0x6c;
  const prefixes = bytes.subarray(0, bytes.indexOf(code));
  const size = width(vcpu, code);
  const port = vcpu.regLo(GPR.rdx) & 0xffff;
  if (!portAllowed(vcpu, port, size)) return gp(vcpu);
  const repeated = prefixes.includes(0xf3) || prefixes.includes(0xf2);
  const addressMask = prefixes.includes(0x67) ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
  const index = code & 2 ? GPR.rsi : GPR.rdi;
  const step = vcpu.flags & RFLAGS.DF ? -BigInt(size) : BigInt(size);
  for (let i = 0; i < STRING_CHUNK; i++) {
    if (repeated && (vcpu.reg64(GPR.rcx) & addressMask) === 0n) return Done.next;
    const at = vcpu.reg64(index) & addressMask;
    if (code & 2) {
      if (!read(vcpu, at, size)) return Done.placed;
    } else {
      const value = input(vcpu, port, size);
      const out = Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24);
      if (!write(vcpu, at, out.subarray(0, size))) return Done.placed;
    }
    vcpu.setReg64(index, BigInt.asUintN(64, at + step) & addressMask);
    if (!repeated) return Done.next;
    vcpu.setReg64(GPR.rcx, BigInt.asUintN(64, (vcpu.reg64(GPR.rcx) & addressMask) - 1n) & addressMask);
  }
  return Done.placed;
}

/** CLI and STI have no effect when they are allowed: the upcall mask is what PV kernels use. */
export function cliSti(vcpu: Vcpu): Done {
  return ioplAllows(vcpu) ? Done.next : gp(vcpu);
}
