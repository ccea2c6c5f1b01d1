/** Instructions that end in the hypervisor, and irregular ones of the integer set. Intel SDM volume 2. */

import { type Insn, Kind } from '../../x86/decode.ts';
import { Exit, PRIVILEGED } from '../../x86/exits.ts';
import { readFlags, writeFlags } from '../../x86/flags.ts';
import { GPR, RFLAGS, STATE } from '../../x86/state.ts';
import type { Helper, HelperCpu } from './cpu.ts';

const UD = 6;

/** Leave an instruction to the hypervisor, with its decoded operands in the state block. */
export const leave: Helper = (cpu, insn) => {
  const memory = insn.operands.findIndex((op) => op.kind === Kind.Mem);
  cpu.setU32(STATE.exitOp, (PRIVILEGED as readonly string[]).indexOf(insn.mnemonic));
  cpu.setU32(STATE.exitLength, insn.length);
  const immediate = insn.operands.find((op) => op.kind === Kind.Imm);
  cpu.setU32(STATE.exitReg, immediate !== undefined ? immediate.immLo & 0xffff : insn.modrmReg);
  cpu.setU32(STATE.exitRm, insn.modrmRm);
  cpu.setU32(STATE.exitSize, portSize(insn));
  cpu.setU32(STATE.exitFlags, (memory >= 0 ? 1 : 0) | (insn.rexW ? 2 : 0) | (immediate !== undefined ? 4 : 0));
  if (memory >= 0) cpu.setU64(STATE.exitAddress, cpu.address(insn, memory));
  return cpu.exit(insn, Exit.Instruction, false);
};
/** IN and OUT are as wide as their accumulator; all others as their operand size. */
function portSize(insn: Insn): number {
  if (insn.mnemonic !== 'in' && insn.mnemonic !== 'out') return insn.opSize;
  return insn.operands[insn.mnemonic === 'in' ? 0 : 1]!.size;
}

const undefinedOpcode: Helper = (cpu) => cpu.fault(UD);

const int: Helper = (cpu, insn) => {
  cpu.setU32(STATE.exitVector, insn.operands[0]!.immLo & 0xff);
  cpu.setU32(STATE.exitLength, insn.length);
  return cpu.exit(insn, Exit.SoftwareInterrupt, true);
};

/** RDRAND and RDSEED, which always have something: CF tells so, the other flags are 0. */
const random: Helper = (cpu, insn) => {
  const op = insn.operands[0]!;
  cpu.setRegister(op, BigInt.asUintN(8 * op.size, cpu.random()));
  const { CF, PF, AF, ZF, SF, OF } = RFLAGS;
  writeFlags(cpu.view, cpu.base, (readFlags(cpu.view, cpu.base) & ~(PF | AF | ZF | SF | OF)) | CF);
};

const enter: Helper = (cpu, insn) => {
  const size = insn.opSize === 2 ? 2 : 8;
  const step = BigInt(size);
  const bytes = BigInt(insn.operands[0]!.immLo & 0xffff);
  const level = insn.operands[1]!.immLo & 31;
  const mask = (1n << BigInt(size * 8)) - 1n;
  let rsp = cpu.gpr(GPR.rsp);
  let rbp = cpu.gpr(GPR.rbp);
  const wrap = (v: bigint): bigint => BigInt.asUintN(64, v);
  rsp = wrap(rsp - step);
  cpu.write(rsp, size, rbp & mask);
  const frame = rsp;
  for (let i = 1; i < level; i++) {
    rbp = wrap(rbp - step);
    rsp = wrap(rsp - step);
    cpu.write(rsp, size, cpu.read(rbp, size));
  }
  if (level > 0) {
    rsp = wrap(rsp - step);
    cpu.write(rsp, size, frame & mask);
  }
  rsp = wrap(rsp - bytes);
  // The manual checks that the final stack pointer could be written.
  cpu.checkWrite(rsp, size);
  cpu.setGpr(GPR.rbp, size === 2 ? (cpu.gpr(GPR.rbp) & ~mask) | (frame & mask) : frame);
  cpu.setGpr(GPR.rsp, rsp);
};

const selector = (cpu: HelperCpu, index: number): bigint => BigInt(cpu.u32(STATE.selector + 4 * index) & 0xffff);
const pushSegment: Helper = (cpu, insn) => {
  const size = insn.opSize === 2 ? 2 : 8;
  const rsp = BigInt.asUintN(64, cpu.gpr(GPR.rsp) - BigInt(size));
  cpu.write(rsp, size, selector(cpu, insn.operands[0]!.reg));
  cpu.setGpr(GPR.rsp, rsp);
};

/** A plain store: the cache hint means nothing here. */
const movnti: Helper = (cpu, insn) => cpu.store(insn, 0, cpu.load(insn, 1));

export const SYSTEM: Record<string, Helper> = {
  ...Object.fromEntries(PRIVILEGED.map((name) => [name, leave])),
  ud0: undefinedOpcode,
  ud1: undefinedOpcode,
  int,
  rdrand: random,
  rdseed: random,
  enter,
  push_seg: pushSegment,
  movnti,
};
