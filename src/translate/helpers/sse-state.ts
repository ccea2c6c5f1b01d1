/**
 * Saving and loading of floating-point state whose image lies in two pages: FXSAVE and FXRSTOR. Image: Intel SDM volume 1, 10.5.1; the 64-bit form
 * (REX.W) has 8-byte instruction and data pointers, the other one 4-byte offsets.
 */
import { type Insn, Kind } from '../../x86/decode.ts';
import { STATE } from '../../x86/state.ts';
import type { Helper, HelperCpu } from './cpu.ts';

const NM = 7;
const GP = 13;
/** MXCSR bits that exist: all 16, DAZ among them. */
export const MXCSR_MASK = 0xffff;
export const IMAGE = {
  fcw: 0,
  fsw: 2,
  tags: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mask: 28,
  st: 32,
  xmm: 160,
  end: 416,
} as const;
export const IMAGE_SIZE = 512;

const available = (cpu: HelperCpu): void => {
  if (cpu.u32(STATE.taskSwitched) !== 0) cpu.fault(NM);
};

function imageAddress(cpu: HelperCpu, insn: Insn): bigint {
  available(cpu);
  if (insn.operands[0]!.kind !== Kind.Mem) throw new Error(`${insn.mnemonic} has its operand in memory`);
  const va = cpu.address(insn, 0);
  if ((va & 15n) !== 0n) cpu.fault(GP);
  return va;
}

/** State-block offset of ST(i). */
const stackRegister = (cpu: HelperCpu, i: number): number => STATE.x87 + 16 * (((cpu.u16(STATE.fsw) >> 11) + i) & 7);

const fxsave: Helper = (cpu, insn) => {
  const va = imageAddress(cpu, insn);
  // What the image has no place for keeps its bytes.
  const image = cpu.readBytes(va, IMAGE_SIZE, insn, 0);
  const view = new DataView(image.buffer);
  view.setUint16(IMAGE.fcw, cpu.u16(STATE.fcw), true);
  view.setUint16(IMAGE.fsw, cpu.u16(STATE.fsw), true);
  // One bit for each register that is not empty.
  const tags = cpu.u16(STATE.ftw);
  let used = 0;
  for (let n = 0; n < 8; n++) if (((tags >> (2 * n)) & 3) !== 3) used |= 1 << n;
  view.setUint16(IMAGE.tags, used, true);
  view.setUint16(IMAGE.fop, cpu.u16(STATE.fop), true);
  const pointers = (at: number, value: bigint): void => {
    view.setBigUint64(at, insn.rexW ? value : BigInt.asUintN(32, value), true);
  };
  pointers(IMAGE.fip, cpu.u64(STATE.fip));
  pointers(IMAGE.fdp, cpu.u64(STATE.fdp));
  view.setUint32(IMAGE.mxcsr, cpu.u32(STATE.mxcsr), true);
  view.setUint32(IMAGE.mask, MXCSR_MASK, true);
  const { u8 } = cpu.memory;
  for (let i = 0; i < 8; i++) {
    const from = cpu.base + stackRegister(cpu, i);
    image.fill(0, IMAGE.st + 16 * i, IMAGE.st + 16 * i + 16);
    image.set(u8.subarray(from, from + 10), IMAGE.st + 16 * i);
  }
  image.set(u8.subarray(cpu.base + STATE.xmm, cpu.base + STATE.xmm + 256), IMAGE.xmm);
  cpu.writeBytes(va, image, insn, 0);
};

/** The tag of a register in use: 0 valid, 1 zero, 2 special. */
function fullTag(view: DataView, at: number): number {
  const exponent = view.getUint16(at + 8, true) & 0x7fff;
  const high = view.getUint32(at + 4, true);
  if (exponent === 0 && high === 0 && view.getUint32(at, true) === 0) return 1;
  return exponent === 0 || exponent === 0x7fff || high < 0x8000_0000 ? 2 : 0;
}

const fxrstor: Helper = (cpu, insn) => {
  const image = cpu.readBytes(imageAddress(cpu, insn), IMAGE_SIZE, insn, 0);
  const view = new DataView(image.buffer);
  const mxcsr = view.getUint32(IMAGE.mxcsr, true);
  if ((mxcsr & ~MXCSR_MASK) !== 0) cpu.fault(GP);
  const fcw = (view.getUint16(IMAGE.fcw, true) & 0x1f7f) | 0x40;
  // The summary bits of the status word follow from its exceptions and their masks.
  const fsw = view.getUint16(IMAGE.fsw, true) & 0x7f7f;
  const pending = (fsw & ~fcw & 0x3f) !== 0 ? 0x8080 : 0;
  cpu.setU16(STATE.fcw, fcw);
  cpu.setU16(STATE.fsw, fsw | pending);
  cpu.setU16(STATE.fop, view.getUint16(IMAGE.fop, true) & 0x7ff);
  const pointer = (at: number): bigint => (insn.rexW ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
  cpu.setU64(STATE.fip, pointer(IMAGE.fip));
  cpu.setU64(STATE.fdp, pointer(IMAGE.fdp));
  cpu.setU32(STATE.mxcsr, mxcsr);
  const used = view.getUint8(IMAGE.tags);
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    const from = IMAGE.st + 16 * i;
    const to = stackRegister(cpu, i);
    cpu.memory.u8.set(image.subarray(from, from + 10), cpu.base + to);
    const physical = (to - STATE.x87) / 16;
    tags |= ((used >> physical) & 1 ? fullTag(view, from) : 3) << (2 * physical);
  }
  cpu.setU16(STATE.ftw, tags);
  cpu.memory.u8.set(image.subarray(IMAGE.xmm, IMAGE.end), cpu.base + STATE.xmm);
};

export const SSE_STATE: Record<string, Helper> = { fxsave, fxrstor };
