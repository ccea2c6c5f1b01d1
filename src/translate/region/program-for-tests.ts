/**
 * Random programs that end: blocks of random instructions whose jumps go anywhere, with fuel in r15 that is counted down
 * without touching the flags, so that flags live across blocks.
 */
import { DATA, MISSING } from './machine-for-tests.ts';

export interface Program {
  readonly name: string;
  readonly code: Uint8Array;
  readonly registers: readonly bigint[];
  readonly flags: number;
}

/** Registers that programs compute with: not rsp, rdi (data), r14 (missing page), r15 (fuel). */
const REGISTERS = [0, 1, 2, 3, 5, 6, 8, 9, 10, 11];

interface Chance {
  random(below: number): number;
  pick<T>(list: readonly T[]): T;
}

function chance(seed: number): Chance {
  let state = seed * 2654435761 || 1;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  return { random, pick: (list) => list[random(list.length)]! };
}

function randomInstruction({ random, pick }: Chance, faults: boolean): number[] {
  /** REX, opcode, ModRM for a register operand `g` and a register or memory operand. */
  const modrm = (opcode: number[], g: number, wide: boolean, memory: boolean): number[] => {
    if (memory) return [0x40 | (wide ? 8 : 0) | (g & 8 ? 4 : 0), ...opcode, 0x47 | ((g & 7) << 3), random(15) * 8];
    const r = pick(REGISTERS);
    return [0x40 | (wide ? 8 : 0) | (g & 8 ? 4 : 0) | (r & 8 ? 1 : 0), ...opcode, 0xc0 | ((g & 7) << 3) | (r & 7)];
  };
  const g = pick(REGISTERS);
  const wide = random(2) === 1;
  const memory = random(3) === 0;
  const prefix = random(8) === 0 && !wide ? [0x66] : [];
  switch (random(faults ? 19 : 18)) {
    case 0:
    case 1:
    case 2:
      return [
        ...prefix,
        ...modrm(
          [pick([0x01, 0x03, 0x09, 0x11, 0x13, 0x19, 0x1b, 0x21, 0x29, 0x2b, 0x31, 0x39, 0x3b])],
          g,
          wide,
          memory,
        ),
      ];
    case 3:
      return modrm([pick([0x00, 0x02, 0x10, 0x18, 0x28, 0x38, 0x3a, 0x84])], g, false, memory);
    case 4:
      return [...modrm([0x83], random(8), wide, memory), random(256)];
    case 5:
      return [...prefix, ...modrm([0x85], g, wide, memory)];
    case 6:
    case 7:
      return [...prefix, ...modrm([0xff], random(2), wide, memory)];
    case 8:
      return [...modrm([0xc1], pick([0, 1, 4, 5, 7]), wide, memory), random(40)];
    case 9:
      return [...prefix, ...modrm([0xd3], pick([0, 1, 2, 3, 4, 5, 7]), wide, memory)];
    case 10:
      return modrm([0x0f, 0x90 + random(16)], 0, false, memory);
    case 11:
    case 12:
      return modrm([0x0f, 0x40 + random(16)], g, wide, memory);
    case 13:
      return modrm([pick([0x89, 0x8b])], g, wide, memory);
    case 14:
      return modrm(
        pick([
          [0x0f, 0xaf],
          [0x0f, 0xa3],
          [0x0f, 0xb6],
          [0x0f, 0xbf],
          [0x0f, 0xbc],
        ]),
        g,
        wide,
        memory,
      );
    case 15:
      return modrm([pick([0xf6, 0xf7])], pick([2, 3]), false, memory);
    case 16:
      return pick([[0x9c, 0x58], [0x9f], [0xf5], [0xf8], [0xf9], [0x98], [0x99], [0x50, 0x5b], [0x9e]]);
    case 17:
      return [0xf0, ...modrm(pick([[0x01], [0x0f, 0xc1], [0x0f, 0xb1]]), g, wide, true)];
    default:
      return random(6) === 0 ? [0x4d, 0x03, 0x0e + 8 * random(2)] : [0x90];
  }
}

export function randomProgram(seed: number, { faults = false } = {}): Program {
  const { random, pick } = chance(seed);
  const instruction = (): number[] => randomInstruction({ random, pick }, faults);
  const bytes: number[] = [];
  const fixups: { at: number; block: number }[] = [];
  const count = 3 + random(22);
  const starts: number[] = [];
  const int32 = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
  const jump = (opcode: number[], block: number): void => {
    bytes.push(...opcode);
    fixups.push({ at: bytes.length, block });
    bytes.push(0, 0, 0, 0);
  };
  // The last block ends the program; block `count` is a function in the other page.
  for (let block = 0; block < count; block++) {
    starts.push(bytes.length);
    // lea r15,[r15-1]; xchg rcx,r15; jrcxz +2; jmp +5; jmp END; xchg rcx,r15
    bytes.push(0x4d, 0x8d, 0x7f, 0xff, 0x49, 0x87, 0xcf, 0xe3, 0x02, 0xeb, 0x05);
    jump([0xe9], count);
    bytes.push(0x49, 0x87, 0xcf);
    for (let n = random(6); n > 0; n--) bytes.push(...instruction());
    const target = (): number => random(count);
    switch (random(10)) {
      case 0:
        jump([0xe9], target());
        break;
      case 8:
      case 9: {
        // lea r12,[A]; lea r13,[B]; cmovcc r12,r13; jmp r12, or a call of one of the functions
        const isCall = random(2) === 0;
        for (const register of [0x25, 0x2d]) jump([0x4c, 0x8d, register], isCall ? count + 1 + random(2) : target());
        bytes.push(0x4d, 0x0f, 0x40 + random(16), 0xe5, 0x41, 0xff, isCall ? 0xd4 : 0xe4);
        break;
      }
      case 1:
        jump([0xe8], count + 1 + random(2));
        break;
      case 2:
        break;
      default:
        jump([0x0f, 0x80 + random(16)], target());
        if (random(3) === 0) jump([0x0f, 0x80 + random(16)], target());
    }
  }
  jump([0xe9], count);
  starts.push(bytes.length);
  bytes.push(0x0f, 0x05);
  // Functions: one here, one in the second page.
  for (let k = 0; k < 2; k++) {
    if (k === 1) while (bytes.length < 0x1000) bytes.push(0xcc);
    starts.push(bytes.length);
    for (let n = random(5); n > 0; n--) bytes.push(...instruction());
    bytes.push(0xc3);
  }
  for (const { at, block } of fixups) bytes.splice(at, 4, ...int32(starts[block]! - (at + 4)));
  return { name: `seed ${seed}`, code: Uint8Array.from(bytes), ...randomState(random) };
}

/** With 50 to 450 in r15. */
function randomState(random: Chance['random']): Pick<Program, 'registers' | 'flags'> {
  const registers = Array.from(
    { length: 16 },
    () => (BigInt(random(0x10000)) << BigInt(random(48))) | BigInt(random(300)),
  );
  registers[7] = BigInt(DATA);
  registers[14] = BigInt(MISSING);
  registers[15] = BigInt(50 + random(400));
  return { registers, flags: 2 | (random(2) * 0x8d5) };
}

/**
 * Loops of one block each, of random instructions with a counter in r13 behind them; between loops more of them, and what they did to the
 * flags is added to rbx. With `faults` some operands are in the missing page, in some rounds.
 */
export function randomRounds(seed: number, { faults = false } = {}): Program {
  const { random, pick } = chance(seed);
  const instruction = (): number[] => randomInstruction({ random, pick }, false);
  const bytes: number[] = [];
  for (let loops = 2 + random(4); loops > 0; loops--) {
    // mov r13d,N
    bytes.push(0x41, 0xbd, 1 + random(9), 0, 0, 0);
    if (random(2) === 0) bytes.push(...instruction());
    const body = Array.from({ length: random(12) }, instruction);
    // add reg,[r14+r13*8-N]: the page before the missing one is code
    if (faults && random(2) === 0) body.push([0x4f, 0x03, 0x44 | (random(2) << 3), 0xee, 256 - 8 * (1 + random(9))]);
    // dec r13, sub r13,1, or lea r13,[r13-1]; test r13,r13
    body.push(
      pick([
        [0x49, 0xff, 0xcd],
        [0x49, 0x83, 0xed, 0x01],
        [0x4d, 0x8d, 0x6d, 0xff, 0x4d, 0x85, 0xed],
      ]),
    );
    const round = body.flat();
    // jnz L; pushf; pop rdx; add rbx,rdx
    bytes.push(...round, 0x75, 256 - (round.length + 2), ...(random(2) === 0 ? [0x9c, 0x5a, 0x48, 0x01, 0xd3] : []));
  }
  bytes.push(0x0f, 0x05);
  return { name: `rounds, seed ${seed}`, code: Uint8Array.from(bytes), ...randomState(random) };
}

/** A function for each of `numbers`, at 0x40 from one another, which counts rcx down to 0 and adds a number of its own to rax; then SYSCALL. */
export function loops(numbers: readonly number[], at = 0): Program {
  const code = new Uint8Array(at + 0x40 * numbers.length + 2).fill(0x90);
  numbers.forEach((number, k) => {
    // mov ecx,100; L: add rax,number; dec rcx; jnz L
    code.set([0xb9, 100, 0, 0, 0, 0x48, 0x83, 0xc0, number, 0x48, 0xff, 0xc9, 0x75, 0xf7], at + 0x40 * k);
  });
  code.set([0x0f, 0x05], code.length - 2);
  return { name: 'loops', code, registers: new Array<bigint>(16).fill(0n), flags: 2 };
}

/** Where `callers` begins. */
export const CALLERS_BEGIN = 0x140;

/** Two loops, of 60 rounds and of `rounds`, that call one function of 40 additions of 1 to rax: regions that lead to one another all the time. */
export function callers(rounds: number): Program {
  const code = new Uint8Array(0x2000).fill(0x90);
  // F, too long to be copied to wherever it is called: 40 times add rax,1; ret
  for (let k = 0; k < 40; k++) code.set([0x48, 0x83, 0xc0, 1], 0x1000 + 4 * k);
  code[0x1000 + 160] = 0xc3;
  // LOOP: call F; dec ecx; jnz LOOP; syscall
  code.set([0xe8, 0xeb, 0x0e, 0, 0, 0xff, 0xc9, 0x75, 0xf7, 0x0f, 0x05], 0x110);
  // M: call F; dec edx; jnz M; jmp LOOP: most calls of F come from here.
  code.set([0xe8, 0xbb, 0x0e, 0, 0, 0xff, 0xca, 0x75, 0xf7, 0xeb, 0xc5], CALLERS_BEGIN);
  const registers = new Array<bigint>(16).fill(0n);
  registers[2] = 60n;
  registers[1] = BigInt(rounds);
  return { name: 'callers', code, registers, flags: 2 };
}
