/** The x87 coprocessor's opcodes D8–DF. SDM volume 2, appendix A.5. */
import { type Row, row } from '../rows.ts';

/** One of the eight arithmetic operations: with memory of the four formats, and between ST and ST(i). */
function arithmetic(n: number, name: string): Row[] {
  const hex = (base: number, k: number) => `${(base + 8 * k).toString(16).toUpperCase()}+i`;
  // Stored to ST(i), the reversed and the plain forms of sub and div change places.
  const reversed = n >= 4 ? n ^ 1 : n;
  const compares = n === 2 || n === 3;
  // biome-ignore format: a table
  return [
    row(`D8 /${n}`, `f${name}`,  'Md', 'x87'),
    row(`DA /${n}`, `fi${name}`, 'Md', 'x87'),
    row(`DC /${n}`, `f${name}`,  'Mq', 'x87'),
    row(`DE /${n}`, `fi${name}`, 'Mw', 'x87'),
    row(`D8 ${hex(0xc0, n)}`, `f${name}`, 'ST,ST(i)', 'x87'),
    ...(compares
      ? [row(`DC ${hex(0xc0, n)}`, `f${name}`, 'ST,ST(i)', 'x87', 'alias')]
      : [
          row(`DC ${hex(0xc0, reversed)}`, `f${name}`,  'ST(i),ST', 'x87'),
          row(`DE ${hex(0xc0, reversed)}`, `f${name}p`, 'ST(i),ST', 'x87'),
        ]),
  ];
}

// biome-ignore format: a table
export const X87: readonly Row[] = [
  ...arithmetic(0, 'add'),
  ...arithmetic(1, 'mul'),
  ...arithmetic(2, 'com'),
  ...arithmetic(3, 'comp'),
  ...arithmetic(4, 'sub'),
  ...arithmetic(5, 'subr'),
  ...arithmetic(6, 'div'),
  ...arithmetic(7, 'divr'),

  row('D9 /0',    'fld',     'Md',      'x87'),
  row('D9 /2',    'fst',     'Md',      'x87'),
  row('D9 /3',    'fstp',    'Md',      'x87'),
  row('D9 /4',    'fldenv',  'Menv',    'x87'),
  row('D9 /5',    'fldcw',   'Mw',      'x87'),
  row('D9 /6',    'fnstenv', 'Menv',    'x87'),
  row('D9 /7',    'fnstcw',  'Mw',      'x87'),
  row('D9 C0+i',  'fld',     'ST(i)',   'x87'),
  row('D9 C8+i',  'fxch',    'ST(i)',   'x87'),
  row('D9 D0',    'fnop',    '',        'x87'),
  row('D9 D8+i',  'fstp',    'ST(i)',   'x87', 'alias'),
  row('D9 E0',    'fchs',    '',        'x87'),
  row('D9 E1',    'fabs',    '',        'x87'),
  row('D9 E4',    'ftst',    '',        'x87'),
  row('D9 E5',    'fxam',    '',        'x87'),
  row('D9 E8',    'fld1',    '',        'x87'),
  row('D9 E9',    'fldl2t',  '',        'x87'),
  row('D9 EA',    'fldl2e',  '',        'x87'),
  row('D9 EB',    'fldpi',   '',        'x87'),
  row('D9 EC',    'fldlg2',  '',        'x87'),
  row('D9 ED',    'fldln2',  '',        'x87'),
  row('D9 EE',    'fldz',    '',        'x87'),
  row('D9 F0',    'f2xm1',   '',        'x87'),
  row('D9 F1',    'fyl2x',   '',        'x87'),
  row('D9 F2',    'fptan',   '',        'x87'),
  row('D9 F3',    'fpatan',  '',        'x87'),
  row('D9 F4',    'fxtract', '',        'x87'),
  row('D9 F5',    'fprem1',  '',        'x87'),
  row('D9 F6',    'fdecstp', '',        'x87'),
  row('D9 F7',    'fincstp', '',        'x87'),
  row('D9 F8',    'fprem',   '',        'x87'),
  row('D9 F9',    'fyl2xp1', '',        'x87'),
  row('D9 FA',    'fsqrt',   '',        'x87'),
  row('D9 FB',    'fsincos', '',        'x87'),
  row('D9 FC',    'frndint', '',        'x87'),
  row('D9 FD',    'fscale',  '',        'x87'),
  row('D9 FE',    'fsin',    '',        'x87'),
  row('D9 FF',    'fcos',    '',        'x87'),

  row('DA C0+i',  'fcmovb',  'ST,ST(i)', 'x87'),
  row('DA C8+i',  'fcmove',  'ST,ST(i)', 'x87'),
  row('DA D0+i',  'fcmovbe', 'ST,ST(i)', 'x87'),
  row('DA D8+i',  'fcmovu',  'ST,ST(i)', 'x87'),
  row('DA E9',    'fucompp', '',        'x87'),

  row('DB /0',    'fild',    'Md',      'x87'),
  row('DB /1',    'fisttp',  'Md',      'sse3'),
  row('DB /2',    'fist',    'Md',      'x87'),
  row('DB /3',    'fistp',   'Md',      'x87'),
  row('DB /5',    'fld',     'Mt',      'x87'),
  row('DB /7',    'fstp',    'Mt',      'x87'),
  row('DB C0+i',  'fcmovnb', 'ST,ST(i)', 'x87'),
  row('DB C8+i',  'fcmovne', 'ST,ST(i)', 'x87'),
  row('DB D0+i',  'fcmovnbe', 'ST,ST(i)', 'x87'),
  row('DB D8+i',  'fcmovnu', 'ST,ST(i)', 'x87'),
  // The 8087's interrupt enables and the 287's protected mode do nothing since the 387.
  row('DB E0',    'fnop',    '',        'x87', 'alias'),
  row('DB E1',    'fnop',    '',        'x87', 'alias'),
  row('DB E2',    'fnclex',  '',        'x87'),
  row('DB E3',    'fninit',  '',        'x87'),
  row('DB E4',    'fnop',    '',        'x87', 'alias'),
  row('DB E8+i',  'fucomi',  'ST,ST(i)', 'x87'),
  row('DB F0+i',  'fcomi',   'ST,ST(i)', 'x87'),

  row('DD /0',    'fld',     'Mq',      'x87'),
  row('DD /1',    'fisttp',  'Mq',      'sse3'),
  row('DD /2',    'fst',     'Mq',      'x87'),
  row('DD /3',    'fstp',    'Mq',      'x87'),
  row('DD /4',    'frstor',  'Mstate',  'x87'),
  row('DD /6',    'fnsave',  'Mstate',  'x87'),
  row('DD /7',    'fnstsw',  'Mw',      'x87'),
  row('DD C0+i',  'ffree',   'ST(i)',   'x87'),
  row('DD C8+i',  'fxch',    'ST(i)',   'x87', 'alias'),
  row('DD D0+i',  'fst',     'ST(i)',   'x87'),
  row('DD D8+i',  'fstp',    'ST(i)',   'x87'),
  row('DD E0+i',  'fucom',   'ST,ST(i)', 'x87'),
  row('DD E8+i',  'fucomp',  'ST,ST(i)', 'x87'),

  row('DE D0+i',  'fcomp',   'ST,ST(i)', 'x87', 'alias'),
  row('DE D9',    'fcompp',  '',        'x87'),

  row('DF /0',    'fild',    'Mw',      'x87'),
  row('DF /1',    'fisttp',  'Mw',      'sse3'),
  row('DF /2',    'fist',    'Mw',      'x87'),
  row('DF /3',    'fistp',   'Mw',      'x87'),
  row('DF /4',    'fbld',    'Mt',      'x87'),
  row('DF /5',    'fild',    'Mq',      'x87'),
  row('DF /6',    'fbstp',   'Mt',      'x87'),
  row('DF /7',    'fistp',   'Mq',      'x87'),
  row('DF C0+i',  'ffreep',  'ST(i)',   'x87'),
  row('DF C8+i',  'fxch',    'ST(i)',   'x87', 'alias'),
  row('DF D0+i',  'fstp',    'ST(i)',   'x87', 'alias'),
  row('DF D8+i',  'fstp',    'ST(i)',   'x87', 'alias'),
  row('DF E0',    'fnstsw',  'AX',      'x87'),
  row('DF E8+i',  'fucomip', 'ST,ST(i)', 'x87'),
  row('DF F0+i',  'fcomip',  'ST,ST(i)', 'x87'),

  row('9B',       'fwait',   '',        'x87'),
];
