/**
 * The floating-point state of a vCPU: reset, loading an FXSAVE image, and the fpu_taskswitch hypercall. Follows pv-abi 1.6, 2.5.
 */
import { STATE } from '../x86/state.ts';
import type { HypercallArgs } from './hypercall-args.ts';
import type { Vcpu } from './vcpu.ts';

/** MXCSR bits that exist. */
const MXCSR_MASK = 0xffff;

/** After FNINIT, or from the 512-byte FXSAVE image at the start of `image`. */
export function resetFpu(vcpu: Vcpu, image?: DataView): void {
  const { memory, base } = vcpu;
  const { view } = memory;
  memory.u8.fill(0, base + STATE.x87, base + STATE.x87 + 128);
  memory.u8.fill(0, base + STATE.xmm, base + STATE.xmm + 256);
  view.setUint16(base + STATE.fcw, image ? image.getUint16(0, true) : 0x37f, true);
  const fsw = image ? image.getUint16(2, true) : 0;
  view.setUint16(base + STATE.fsw, fsw, true);
  vcpu.setU32(STATE.mxcsr, image ? image.getUint32(24, true) & MXCSR_MASK : 0x1f80);
  view.setUint16(base + STATE.fop, image ? image.getUint16(6, true) & 0x7ff : 0, true);
  vcpu.setU64(STATE.fip, image ? image.getBigUint64(8, true) : 0n);
  vcpu.setU64(STATE.fdp, image ? image.getBigUint64(16, true) : 0n);
  const top = (fsw >>> 11) & 7;
  let tags = 0;
  for (let physical = 0; physical < 8; physical++) {
    // The image has registers in stack order and one tag bit for each physical one.
    const from = 32 + 16 * ((physical - top) & 7);
    let tag = 3;
    if (image) {
      for (let i = 0; i < 10; i++) memory.u8[base + STATE.x87 + 16 * physical + i] = image.getUint8(from + i);
      if ((image.getUint8(4) >>> physical) & 1) tag = tagOf(image, from);
    }
    tags |= tag << (2 * physical);
  }
  view.setUint16(base + STATE.ftw, tags, true);
  if (image) for (let i = 0; i < 256; i++) memory.u8[base + STATE.xmm + i] = image.getUint8(160 + i);
}

/** Full tag of a non-empty register: 0 valid, 1 zero, 2 special. */
function tagOf(image: DataView, at: number): number {
  const exponent = image.getUint16(at + 8, true) & 0x7fff;
  const significand = image.getBigUint64(at, true);
  if (exponent === 0 && significand === 0n) return 1;
  return exponent === 0 || exponent === 0x7fff || significand >> 63n === 0n ? 2 : 0;
}

/** fpu_taskswitch(set): virtual CR0.TS. */
export function fpuTaskswitch(vcpu: Vcpu, args: HypercallArgs): number {
  vcpu.setU32(STATE.taskSwitched, args.lo(0) ? 1 : 0);
  return 0;
}
