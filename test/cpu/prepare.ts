/**
 * What single instructions need so that a random state is a meaningful one: a stack, a small count, a divisor that fits, a
 * comparison that succeeds half of the time. Everything here only raises the odds; nothing is needed for correctness, except
 * where a state would do harm (single-stepping, alignment checks).
 */
import { type Insn, Kind } from '../../src/x86/decode.ts';
import { GPR } from '../../src/x86/state.ts';
import { chooseBranchTarget, chooseTarget, type Draft } from './generate.ts';
import { CASE, CODE_OFFSET, FX } from './layout.ts';

/** Where the bytes of the patch that begins at `target` are in the record, or 0. */
function patchAt(draft: Draft, target: number | undefined): number {
  for (let p = 0; p < CASE.patches; p++) {
    const at = CASE.patch + p * CASE.patchSize;
    if (draft.view.getUint32(at + 4, true) > 0 && draft.view.getUint32(at, true) === target) return at + 8;
  }
  return 0;
}

/** Point rsp at data memory and fill what is there; returns where in the record, or 0. */
function stack(draft: Draft, size = 8): number {
  const target = chooseTarget(draft.random, size, false);
  if (!usesRegister(draft.insn!, GPR.rsp)) draft.setGpr(GPR.rsp, draft.addressOf(target));
  const rsp = Number(draft.gpr(GPR.rsp) - draft.addressOf(0));
  return patchAt(draft, rsp) || draft.patch(rsp, 16, 'integer');
}

function usesRegister(insn: Insn, reg: number): boolean {
  return insn.operands.some((op) => op.kind === Kind.Mem && (op.base === reg || op.index === reg));
}

function codeAddress(draft: Draft, rip: number): bigint {
  if (draft.random.chance(40)) return 0x1234_0000_0000_0000n; // Not canonical: a fault of the branch or of what follows?
  return BigInt(chooseBranchTarget(draft, rip - draft.base - CODE_OFFSET, draft.insn!.length));
}

function indirectTarget(draft: Draft, insn: Insn, rip: number): void {
  const op = insn.operands[0]!;
  const address = codeAddress(draft, rip);
  if (op.kind === Kind.Reg) draft.setGpr(op.reg, address);
  else if (op.kind === Kind.Mem) {
    const at = patchAt(draft, draft.targets[0]);
    if (at) draft.view.setBigUint64(at, address, true);
  }
}

function smallCount(draft: Draft): void {
  const { random } = draft;
  const count = random.chance(4)
    ? random.below(200)
    : random.chance(40)
      ? 0x10000 + random.below(100)
      : random.below(12);
  if (!usesRegister(draft.insn!, GPR.rcx)) draft.setGpr32(GPR.rcx, count, draft.insn!.addrSize === 4);
}

/** Quotients fit when the upper half of the dividend is small. */
function dividend(draft: Draft, insn: Insn): void {
  const { random, view } = draft;
  if (random.chance(8)) return;
  const size = insn.operands[0]!.size;
  const rax = CASE.gpr;
  const rdx = CASE.gpr + 8 * GPR.rdx;
  const uses = (reg: number): boolean => usesRegister(insn, reg);
  if (size === 1) {
    if (!uses(GPR.rax))
      view.setUint8(
        rax + 1,
        random.chance(2) ? 0 : insn.mnemonic === 'idiv' && view.getInt8(rax) < 0 ? 255 : random.below(4),
      );
    return;
  }
  if (uses(GPR.rdx)) return;
  const negative = insn.mnemonic === 'idiv' && (view.getUint8(rax + size - 1) & 0x80) !== 0;
  const value = negative ? -1n : random.chance(4) ? BigInt(random.below(8)) : 0n;
  if (size === 2) view.setUint16(rdx, Number(value & 0xffffn), true);
  else if (size === 4) view.setUint32(rdx, Number(value & 0xffff_ffffn), true);
  else draft.setGpr(GPR.rdx, value);
}

/** Make the comparison of CMPXCHG equal, half of the time. */
function compareExchange(draft: Draft, insn: Insn): void {
  const { random, view } = draft;
  if (random.chance(2)) return;
  const op = insn.operands[0]!;
  const at = op.kind === Kind.Reg ? CASE.gpr + 8 * op.reg + (op.high ? 1 : 0) : patchAt(draft, draft.targets[0]);
  if (at === 0) return;
  const wide = insn.mnemonic !== 'cmpxchg';
  const half = wide ? op.size / 2 : op.size;
  for (let i = 0; i < half; i++) {
    view.setUint8(at + i, view.getUint8(CASE.gpr + i));
    if (wide) view.setUint8(at + half + i, view.getUint8(CASE.gpr + 8 * GPR.rdx + i));
  }
}

/** Bit offsets in registers reach far: keep most of them near the operand, and all of them away from other memory. */
function bitOffset(draft: Draft, insn: Insn): void {
  const [base, offset] = insn.operands;
  if (base?.kind !== Kind.Mem || offset?.kind !== Kind.Reg) return;
  const { random } = draft;
  const far = random.chance(32);
  const value = far ? BigInt(random.u32() - 0x8000_0000) : BigInt(random.below(4096) - 2048);
  const mask = (1n << BigInt(8 * offset.size)) - 1n;
  // With 32-bit addresses the sum wraps at 4 GiB: multiples of 2^35 bits do not count.
  const wrap =
    insn.addrSize === 4 && offset.size === 8 && random.chance(2) ? BigInt(random.u32() & 0x1fff_ffff) << 35n : 0n;
  draft.setGpr(offset.reg, (draft.gpr(offset.reg) & ~mask) | ((value + wrap) & mask));
}

const shiftCount = (draft: Draft, insn: Insn): void => {
  const last = insn.operands[insn.operands.length - 1]!;
  if (last.kind === Kind.Reg && !usesRegister(insn, GPR.rcx) && !draft.random.chance(4)) {
    draft.view.setUint8(CASE.gpr + 8 * GPR.rcx, draft.random.below(70));
  }
};

/** Counts of vector shifts are whole quadwords. */
function vectorCount(draft: Draft, insn: Insn): void {
  const op = insn.operands[1];
  if (!op || draft.random.chance(4)) return;
  const at =
    op.kind === Kind.Xmm ? CASE.fx + FX.xmm + 16 * op.reg
    : op.kind === Kind.Mmx ? CASE.fx + FX.st + 16 * op.reg
    : patchAt(draft, draft.targets[0]); // biome-ignore format: a choice
  if (op.kind !== Kind.Imm && at) draft.view.setBigUint64(at, BigInt(draft.random.below(70)), true);
}

/** Lengths of explicit-length string comparisons. */
function lengths(draft: Draft): void {
  for (const reg of [GPR.rax, GPR.rdx]) {
    if (!usesRegister(draft.insn!, reg) && !draft.random.chance(8))
      draft.setGpr(reg, BigInt(draft.random.below(40) - 20));
  }
}

/** Status flags, DF and ID; never TF, AC, NT, VM or RF, with which the oracle would not come back the usual way. */
const POPF_BITS = 0x200ed5n;

function frame(draft: Draft): void {
  const target = chooseTarget(draft.random, 8, false);
  draft.setGpr(GPR.rbp, draft.addressOf(target));
  draft.patch(target, 16, 'integer');
}

/** A valid decimal, most of the time. */
function decimal(draft: Draft): void {
  const at = patchAt(draft, draft.targets[0]);
  if (!at || draft.random.chance(8)) return;
  for (let i = 0; i < 9; i++) draft.view.setUint8(at + i, (draft.random.below(10) << 4) | draft.random.below(10));
  draft.view.setUint8(at + 9, draft.random.below(2) << 7);
}

/** Reserved MXCSR bits are #GP: keep most values clean, and all without bit 17, which AMD's CPUs have. */
function mxcsrImage(draft: Draft, offset: number): void {
  const at = patchAt(draft, draft.targets[0]);
  if (!at) return;
  const kept = draft.random.chance(8) ? ~0x2_0000 : 0xffff;
  draft.view.setUint32(at + offset, draft.view.getUint32(at + offset, true) & kept, true);
}

/** F2XM1 and FYL2XP1 are defined for small arguments only: give ST such an exponent, except to NaNs and zeros. */
function smallArgument(draft: Draft, limit: number): void {
  const at = CASE.fx + FX.st;
  const word = draft.view.getUint16(at + 8, true);
  const significand = draft.view.getBigUint64(at, true);
  const exponent = word & 0x7fff;
  if (significand === 0n || (exponent === 0x7fff && (significand & 0x7fff_ffff_ffff_ffffn) !== 0n)) return;
  if (exponent > limit) draft.view.setUint16(at + 8, (word & 0x8000) | (limit - draft.random.below(40)), true);
}

export function prepare(draft: Draft, insn: Insn, rip: number): void {
  const { random, view } = draft;
  const { mnemonic } = insn;
  if (insn.rep) smallCount(draft);
  switch (mnemonic) {
    case 'push': case 'pop': case 'pushf': case 'push_seg':
      stack(draft);
      break;
    case 'popf': {
      const at = stack(draft);
      // Where the stack is not in a patch, flags would come from anywhere: point it at nothing instead.
      if (at) view.setBigUint64(at, view.getBigUint64(at, true) & POPF_BITS, true);
      else draft.setGpr(GPR.rsp, draft.addressOf(0x3800));
      break;
    }
    case 'call':
      stack(draft);
      indirectTarget(draft, insn, rip);
      break;
    case 'jmp':
      indirectTarget(draft, insn, rip);
      break;
    case 'ret': {
      const at = stack(draft);
      if (at) view.setBigUint64(at, codeAddress(draft, rip), true);
      else draft.setGpr(GPR.rsp, draft.addressOf(0x3800));
      break;
    }
    case 'enter':
      stack(draft);
      frame(draft);
      break;
    case 'leave':
      frame(draft);
      break;
    case 'loop': case 'loope': case 'loopne': case 'jrcxz':
      if (!random.chance(3)) draft.setGpr32(GPR.rcx, random.below(3), insn.addrSize === 4);
      break;
    case 'div': case 'idiv':
      dividend(draft, insn);
      break;
    case 'cmpxchg': case 'cmpxchg8b': case 'cmpxchg16b':
      compareExchange(draft, insn);
      break;
    case 'bt': case 'bts': case 'btr': case 'btc':
      bitOffset(draft, insn);
      break;
    case 'rol': case 'ror': case 'rcl': case 'rcr': case 'shl': case 'shr': case 'sar': case 'shld': case 'shrd':
      shiftCount(draft, insn);
      break;
    case 'psllw': case 'pslld': case 'psllq': case 'psrlw': case 'psrld': case 'psrlq': case 'psraw': case 'psrad':
      vectorCount(draft, insn);
      break;
    case 'pcmpestri': case 'pcmpestrm':
      lengths(draft);
      break;
    case 'fbld':
      decimal(draft);
      break;
    case 'f2xm1':
      smallArgument(draft, 16382);
      break;
    case 'fyl2xp1':
      smallArgument(draft, 16380);
      break;
    case 'ldmxcsr':
      mxcsrImage(draft, 0);
      break;
    case 'fxrstor':
      mxcsrImage(draft, 24);
      break;
  } // biome-ignore format: cases that share a line belong together
}
