/** Integer arithmetic, logic, shifts and bits. SDM volume 2, chapters 3–4; appendix A for the order. */
import { type Row, row } from '../rows.ts';

const hex = (byte: number) => byte.toString(16).toUpperCase().padStart(2, '0');

/** The eight operations that share one layout: nine encodings from `8 * n` on, and the groups 80, 81, 83. */
function alu(n: number, name: string, ...lock: string[]): Row[] {
  // biome-ignore format: a table
  return [
    row(`${hex(8 * n)} /r`,     name, 'Eb,Gb',   ...lock),
    row(`${hex(8 * n + 1)} /r`, name, 'Ev,Gv',   ...lock),
    row(`${hex(8 * n + 2)} /r`, name, 'Gb,Eb'),
    row(`${hex(8 * n + 3)} /r`, name, 'Gv,Ev'),
    row(`${hex(8 * n + 4)} ib`, name, 'AL,Ib'),
    row(`${hex(8 * n + 5)} iz`, name, 'rAX,sIz'),
    row(`80 /${n} ib`,          name, 'Eb,Ib',   ...lock),
    row(`81 /${n} iz`,          name, 'Ev,sIz',  ...lock),
    row(`83 /${n} ib`,          name, 'Ev,sIb',  ...lock),
  ];
}

/** Rotates and shifts: by an immediate, by one, by CL. */
function shift(n: number, name: string, ...flags: string[]): Row[] {
  // biome-ignore format: a table
  return [
    row(`C0 /${n} ib`, name, 'Eb,Ib', ...flags),
    row(`C1 /${n} ib`, name, 'Ev,Ib', ...flags),
    row(`D0 /${n}`,    name, 'Eb,1',  ...flags),
    row(`D1 /${n}`,    name, 'Ev,1',  ...flags),
    row(`D2 /${n}`,    name, 'Eb,CL', ...flags),
    row(`D3 /${n}`,    name, 'Ev,CL', ...flags),
  ];
}

// biome-ignore format: a table
export const ARITHMETIC: readonly Row[] = [
  ...alu(0, 'add', 'lock'),
  ...alu(1, 'or',  'lock'),
  ...alu(2, 'adc', 'lock'),
  ...alu(3, 'sbb', 'lock'),
  ...alu(4, 'and', 'lock'),
  ...alu(5, 'sub', 'lock'),
  ...alu(6, 'xor', 'lock'),
  ...alu(7, 'cmp'),

  row('FE /0',       'inc',  'Eb',      'lock'),
  row('FF /0',       'inc',  'Ev',      'lock'),
  row('FE /1',       'dec',  'Eb',      'lock'),
  row('FF /1',       'dec',  'Ev',      'lock'),
  row('F6 /2',       'not',  'Eb',      'lock'),
  row('F7 /2',       'not',  'Ev',      'lock'),
  row('F6 /3',       'neg',  'Eb',      'lock'),
  row('F7 /3',       'neg',  'Ev',      'lock'),

  row('84 /r',       'test', 'Eb,Gb'),
  row('85 /r',       'test', 'Ev,Gv'),
  row('A8 ib',       'test', 'AL,Ib'),
  row('A9 iz',       'test', 'rAX,sIz'),
  row('F6 /0 ib',    'test', 'Eb,Ib'),
  row('F7 /0 iz',    'test', 'Ev,sIz'),
  row('F6 /1 ib',    'test', 'Eb,Ib',   'alias'),
  row('F7 /1 iz',    'test', 'Ev,sIz',  'alias'),

  row('F6 /4',       'mul',  'Eb'),
  row('F7 /4',       'mul',  'Ev'),
  row('F6 /5',       'imul', 'Eb'),
  row('F7 /5',       'imul', 'Ev'),
  row('69 /r iz',    'imul', 'Gv,Ev,sIz'),
  row('6B /r ib',    'imul', 'Gv,Ev,sIb'),
  row('0F AF /r',    'imul', 'Gv,Ev'),
  row('F6 /6',       'div',  'Eb'),
  row('F7 /6',       'div',  'Ev'),
  row('F6 /7',       'idiv', 'Eb'),
  row('F7 /7',       'idiv', 'Ev'),

  ...shift(0, 'rol'),
  ...shift(1, 'ror'),
  ...shift(2, 'rcl'),
  ...shift(3, 'rcr'),
  ...shift(4, 'shl'),
  ...shift(5, 'shr'),
  ...shift(6, 'shl', 'alias'),
  ...shift(7, 'sar'),
  row('0F A4 /r ib', 'shld', 'Ev,Gv,Ib'),
  row('0F A5 /r',    'shld', 'Ev,Gv,CL'),
  row('0F AC /r ib', 'shrd', 'Ev,Gv,Ib'),
  row('0F AD /r',    'shrd', 'Ev,Gv,CL'),

  row('0F A3 /r',    'bt',   'Ev,Gv'),
  row('0F AB /r',    'bts',  'Ev,Gv',   'lock'),
  row('0F B3 /r',    'btr',  'Ev,Gv',   'lock'),
  row('0F BB /r',    'btc',  'Ev,Gv',   'lock'),
  row('0F BA /4 ib', 'bt',   'Ev,Ib'),
  row('0F BA /5 ib', 'bts',  'Ev,Ib',   'lock'),
  row('0F BA /6 ib', 'btr',  'Ev,Ib',   'lock'),
  row('0F BA /7 ib', 'btc',  'Ev,Ib',   'lock'),
  // Without BMI1 and LZCNT, F3 before these two is ignored.
  row('0F BC /r',    'bsf',  'Gv,Ev'),
  row('0F BD /r',    'bsr',  'Gv,Ev'),
  row('F3 0F B8 /r', 'popcnt', 'Gv,Ev', 'popcnt'),

  row('0F B0 /r',       'cmpxchg',    'Eb,Gb', 'lock'),
  row('0F B1 /r',       'cmpxchg',    'Ev,Gv', 'lock'),
  row('0F C7 /1',       'cmpxchg8b',  'Mq',    'lock'),
  row('rex.w 0F C7 /1', 'cmpxchg16b', 'Mdq',   'lock', 'cx16'),
  row('0F C7 /6',       'rdrand',     'Rv',    'rdrand'),
  row('0F C7 /7',       'rdseed',     'Rv',    'rdseed'),
  row('0F C0 /r',       'xadd',       'Eb,Gb', 'lock'),
  row('0F C1 /r',       'xadd',       'Ev,Gv', 'lock'),

  // cbw cwde cdqe, and cwd cdq cqo, by operand size.
  row('98',          'cbw'),
  row('99',          'cwd'),
  row('F5',          'cmc'),
  row('F8',          'clc'),
  row('F9',          'stc'),
  row('9E',          'sahf'),
  row('9F',          'lahf'),
];
