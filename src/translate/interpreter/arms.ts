/**
 * The shapes that get an arm of the interpreter's loop: one example instruction of each, as bytes. They are what compilers
 * emit most; every other shape is a function of its own and costs a call. Order does not matter, more arms cost start-up time.
 */

/** ModRM (and SIB, displacement) of: register operands, [base + disp], [base + index * 2 + disp]. */
const RM = { register: 'C1', simple: '41 08', indexed: '44 48 08' };
const rm = (extension: number): typeof RM => {
  const bits = (first: number): string => (first | (extension << 3)).toString(16);
  return { register: bits(0xc1), simple: `${bits(0x41)} 08`, indexed: `${bits(0x44)} 48 08` };
};

function build(): string[] {
  const code: string[] = [];
  const both = (text: string): void => {
    code.push(text, `48 ${text}`);
  };
  const hex = (n: number): string => n.toString(16).padStart(2, '0');
  const all = Object.values(RM);
  const memory = [RM.simple, RM.indexed];

  // add or and sub xor cmp: register and memory sources, register and memory destinations, immediates.
  for (const n of [0, 1, 4, 5, 6, 7]) {
    both(`${hex(8 * n + 1)} ${RM.register}`);
    for (const m of memory) both(`${hex(8 * n + 3)} ${m}`);
    for (const m of memory) both(`${hex(8 * n + 1)} ${m}`);
    both(`83 ${rm(n).register} 01`);
    both(`83 ${rm(n).simple} 01`);
  }
  for (const n of [2, 3]) {
    both(`${hex(8 * n + 1)} ${RM.register}`);
    both(`83 ${rm(n).register} 01`);
  }
  for (const m of all)
    code.push(`80 ${rm(7)[m === RM.register ? 'register' : m === RM.simple ? 'simple' : 'indexed']} 01`);
  for (const m of all) code.push(`38 ${m}`, `3a ${m}`);
  for (const n of [1, 4]) code.push(`80 ${rm(n).register} 01`, `80 ${rm(n).simple} 01`);
  code.push(`30 ${RM.register}`, `08 ${RM.register}`, `20 ${RM.register}`);

  // test
  both(`85 ${RM.register}`);
  both(`85 ${RM.simple}`);
  code.push(`84 ${RM.register}`);
  both(`f7 ${rm(0).register} 01 00 00 00`);
  both(`f7 ${rm(0).simple} 01 00 00 00`);
  code.push(`f6 ${rm(0).register} 01`, `f6 ${rm(0).simple} 01`, `f6 ${rm(0).indexed} 01`);

  // mov and its widening forms, lea
  for (const m of all) {
    both(`8b ${m}`);
    both(`89 ${m}`);
    both(`0f b6 ${m}`);
    both(`0f b7 ${m}`);
    both(`0f be ${m}`);
    both(`0f bf ${m}`);
    code.push(`48 63 ${m}`, `8a ${m}`, `88 ${m}`);
  }
  for (const m of memory) {
    both(`8d ${m}`);
    both(`c7 ${m} 01 00 00 00`);
    code.push(`c6 ${m} 01`, `66 89 ${m}`);
  }
  code.push('b8 01 00 00 00', '48 b8 01 00 00 00 00 00 00 00', 'b0 01');
  both(`c7 ${RM.register} 01 00 00 00`);
  // Segment-relative (per-CPU data, thread-local storage).
  both('65 8b 04 25 08 00 00 00');
  both('65 89 04 25 08 00 00 00');
  both('65 ff 04 25 08 00 00 00');
  both('65 ff 0c 25 08 00 00 00');
  both('65 03 04 25 08 00 00 00');
  both('65 2b 04 25 08 00 00 00');

  // Stack and control
  code.push('50', '58', '6a 01', `ff ${rm(6).simple}`, 'c9', 'c3', 'e8 00 00 00 00', 'eb 00');
  for (let cc = 0; cc < 16; cc++) code.push(`${hex(0x70 + cc)} 00`);
  code.push(`ff ${rm(4).register}`, `ff ${rm(4).simple}`, `ff ${rm(2).register}`, `ff ${rm(2).simple}`);

  // Shifts, inc, dec, neg, not, imul, bits, conditional moves
  for (const n of [4, 5, 7]) {
    both(`c1 ${rm(n).register} 02`);
    both(`d3 ${rm(n).register}`);
  }
  for (const n of [0, 1]) {
    both(`c1 ${rm(n).register} 02`);
    for (const m of [rm(n).register, rm(n).simple]) both(`ff ${m}`);
  }
  both(`f7 ${rm(3).register}`);
  both(`f7 ${rm(2).register}`);
  both(`f7 ${rm(4).register}`);
  both(`0f af ${RM.register}`);
  both(`0f af ${RM.simple}`);
  both(`6b ${RM.register} 03`);
  both(`69 ${RM.register} 01 00 00 00`);
  both(`0f a3 ${RM.register}`);
  both(`0f ba ${rm(4).register} 03`);
  both(`0f bc ${RM.register}`);
  both(`0f bd ${RM.register}`);
  both('0f c9');
  code.push('98', '48 98', '99', '48 99');
  for (const cc of [2, 3, 4, 5, 6, 7, 8, 9]) both(`0f ${hex(0x40 + cc)} ${RM.register}`);
  for (const cc of [2, 4, 5, 6, 7]) code.push(`0f ${hex(0x90 + cc)} ${RM.register}`);
  code.push('90', '0f 1f 00', '0f 1f 44 00 00');
  return code;
}

export const ARM_CODE: readonly string[] = build();
