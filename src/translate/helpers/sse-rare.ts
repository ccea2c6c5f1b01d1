/** Integer instructions of MMX and SSE that are not worth generated code. Intel SDM volume 2. */
import type { Helper } from './cpu.ts';
import { element, enterMmx, joinElements, readOperand, vectorHelpers, writeRegister } from './sse-operands.ts';

/** The least of eight words, and which one it is. */
const phminposuw: Helper = (cpu, insn) => {
  const source = readOperand(cpu, insn, 1);
  let least = 0;
  for (let i = 1; i < 8; i++) if (element(source, 2, i) < element(source, 2, least)) least = i;
  writeRegister(cpu, insn, 0, element(source, 2, least) | (BigInt(least) << 16n));
};

/** Eight sums of absolute differences: four bytes of the source against eleven of the destination. */
const mpsadbw: Helper = (cpu, insn) => {
  const imm = insn.operands[2]!.immLo;
  const source = readOperand(cpu, insn, 1);
  const destination = readOperand(cpu, insn, 0);
  const from = (imm & 3) * 4;
  const to = ((imm >> 2) & 1) * 4;
  const sums = Array.from({ length: 8 }, (_, i) => {
    let sum = 0n;
    for (let j = 0; j < 4; j++) {
      const difference = element(destination, 1, to + i + j) - element(source, 1, from + j);
      sum += difference < 0n ? -difference : difference;
    }
    return sum;
  });
  writeRegister(cpu, insn, 0, joinElements(2, sums));
};

/** The bytes whose mask has its high bit set go to memory. */
const maskMove: Helper = (cpu, insn) => {
  const va = cpu.address(insn, 0);
  const data = readOperand(cpu, insn, 1);
  const mask = readOperand(cpu, insn, 2);
  const size = insn.operands[0]!.size;
  const chosen = Array.from({ length: size }, (_, i) => i).filter((i) => element(mask, 1, i) >= 0x80n);
  enterMmx(cpu, insn);
  // The manual leaves open which bytes are checked when few are chosen. AMD's CPUs check them all.
  cpu.checkWrite(va, size);
  for (const i of chosen) cpu.write(va + BigInt(i), 1, element(data, 1, i));
};

export const SSE_RARE: Record<string, Helper> = vectorHelpers({
  phminposuw,
  mpsadbw,
  maskmovq: maskMove,
  maskmovdqu: maskMove,
});
