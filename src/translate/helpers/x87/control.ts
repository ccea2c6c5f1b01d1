/**
 * x87 instructions of control: environment, the state as a whole. SDM volume 1, 8.1 and 8.3.11. Loads and stores of the control and
 * status words are in semantics/x87-control.ts.
 */
import { STATE } from '../../../x86/state.ts';
import type { Helper, HelperCpu } from '../cpu.ts';
import { Float80 } from './float80.ts';
import { CONTROL_BITS, CONTROL_ONE, FSW, immediate, type Unit, waiting } from './unit.ts';

const ALL_EMPTY = 0xffff;
const MASKS = 0x3f;

const setControl = (unit: Unit, value: number): void => {
  unit.control = (value & CONTROL_BITS) | CONTROL_ONE;
};

function initialize(unit: Unit, cpu: HelperCpu): void {
  unit.control = 0x37f;
  unit.status = 0;
  unit.tags = ALL_EMPTY;
  cpu.setU16(STATE.fop, 0);
  cpu.setU64(STATE.fip, 0n);
  cpu.setU64(STATE.fdp, 0n);
}

/** The environment in the protected-mode formats, of 16-bit and of 32-bit fields. SDM volume 1, figures 8-9 and 8-11. */
function environment(unit: Unit, cpu: HelperCpu): Uint8Array {
  const narrow = unit.insn.opSize === 2;
  const bytes = new Uint8Array(narrow ? 14 : 28);
  const view = new DataView(bytes.buffer);
  const words = [unit.control, unit.status, unit.currentTags()];
  const fip = Number(cpu.u64(STATE.fip) & 0xffff_ffffn);
  const fdp = Number(cpu.u64(STATE.fdp) & 0xffff_ffffn);
  // The selectors of both pointers are 0 in 64-bit mode.
  if (narrow) {
    [...words, fip, 0, fdp, 0].forEach((word, k) => {
      view.setUint16(2 * k, word, true);
    });
  } else {
    const reserved = 0xffff_0000;
    const fields = [...words.map((word) => word | reserved), fip, cpu.u16(STATE.fop) << 16, fdp, reserved];
    fields.forEach((field, k) => {
      view.setUint32(4 * k, field, true);
    });
  }
  return bytes;
}

function loadEnvironment(unit: Unit, cpu: HelperCpu, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const narrow = unit.insn.opSize === 2;
  const step = narrow ? 2 : 4;
  const field = (k: number): number => (narrow ? view.getUint16(2 * k, true) : view.getUint32(4 * k, true));
  setControl(unit, view.getUint16(0, true));
  unit.status = view.getUint16(step, true);
  unit.tags = view.getUint16(2 * step, true);
  // Only "empty" is taken from the image; the other tags follow from the contents.
  unit.tags = unit.currentTags();
  cpu.setU64(STATE.fip, BigInt(field(3)));
  if (!narrow) cpu.setU16(STATE.fop, (field(4) >>> 16) & 0x7ff);
  cpu.setU64(STATE.fdp, BigInt(field(5)));
}

const REGISTER_BYTES = 10;

const save = immediate((unit, cpu, insn) => {
  const head = environment(unit, cpu);
  const bytes = new Uint8Array(head.length + 8 * REGISTER_BYTES);
  bytes.set(head);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 8; i++) {
    const at = head.length + REGISTER_BYTES * i;
    const value = unit.st(i);
    view.setBigUint64(at, value.sig, true);
    view.setUint16(at + 8, (value.sign << 15) | value.exp, true);
  }
  cpu.writeBytes(cpu.address(insn, 0), bytes, insn, 0);
  initialize(unit, cpu);
});

const restore = waiting((unit, cpu, insn) => {
  const size = insn.operands[0]!.size;
  const bytes = cpu.readBytes(cpu.address(insn, 0), size, insn, 0);
  const view = new DataView(bytes.buffer);
  const start = size - 8 * REGISTER_BYTES;
  // TOP comes first: the image has the registers in the order of the stack.
  unit.status = view.getUint16(insn.opSize === 2 ? 2 : 4, true);
  for (let i = 0; i < 8; i++) {
    const at = start + REGISTER_BYTES * i;
    const high = view.getUint16(at + 8, true);
    unit.set(i, new Float80(high >> 15, high & 0x7fff, view.getBigUint64(at, true)));
  }
  loadEnvironment(unit, cpu, bytes);
});

const rotate = (by: number): Helper =>
  waiting((unit) => {
    unit.top += by;
    unit.setCondition(0, FSW.C1);
  });

const waitingNop = waiting(() => {});
/** The instructions of the 8087 and the 287 that do nothing since (DB E0, E1, E4) do not wait either. */
const immediateNop = immediate(() => {});

export const CONTROL_HELPERS: Record<string, Helper> = {
  fninit: immediate(initialize),
  fnclex: immediate((unit) => {
    unit.status &= 0x7f00;
  }),
  fnstenv: immediate((unit, cpu, insn) => {
    cpu.writeBytes(cpu.address(insn, 0), environment(unit, cpu), insn, 0);
    unit.control |= MASKS;
  }),
  fldenv: waiting((unit, cpu, insn) => {
    loadEnvironment(unit, cpu, cpu.readBytes(cpu.address(insn, 0), insn.operands[0]!.size, insn, 0));
  }),
  fnsave: save,
  frstor: restore,
  fincstp: rotate(1),
  fdecstp: rotate(-1),
  ffree: waiting((unit, _, insn) => {
    unit.free(insn.operands[0]!.reg);
    unit.setCondition(0, FSW.C1);
  }),
  fnop: (cpu, insn) => (insn.row.encoding === 'D9 D0' ? waitingNop : immediateNop)(cpu, insn),
  fwait: waitingNop,
};
