/** Control flow. SDM volume 2. Near branches have 64-bit operands whatever the prefixes, as on Intel's processors. */
import { type Row, row } from '../rows.ts';
import { perCondition } from './condition.ts';

// biome-ignore format: a table
export const CONTROL: readonly Row[] = [
  ...perCondition((cc, n) => row(`7${n} cb`,    `j${cc}`, 'Jb', 'f64')),
  ...perCondition((cc, n) => row(`0F 8${n} cz`, `j${cc}`, 'Jz', 'f64')),
  row('EB cb',    'jmp',      'Jb', 'f64'),
  row('E9 cz',    'jmp',      'Jz', 'f64'),
  row('FF /4',    'jmp',      'Ev', 'f64'),
  row('E8 cz',    'call',     'Jz', 'f64'),
  row('FF /2',    'call',     'Ev', 'f64'),
  row('C3',       'ret',      '',   'f64'),
  row('C2 iw',    'ret',      'Iw', 'f64'),
  row('E0 cb',    'loopne',   'Jb', 'f64'),
  row('E1 cb',    'loope',    'Jb', 'f64'),
  row('E2 cb',    'loop',     'Jb', 'f64'),
  row('E3 cb',    'jrcxz',    'Jb', 'f64'),

  row('CC',       'int3'),
  row('CD ib',    'int',      'Ib'),
  row('F1',       'icebp',    '',   'priv'),
  row('0F 05',    'syscall'),
  row('0F 0B',    'ud2',      '',   'priv'),
  row('0F B9 /r', 'ud1',      'Gv,Ev'),
  row('0F FF /r', 'ud0',      'Gv,Ev'),

  row('FF /3',    'far_call', 'Mp', 'priv'),
  row('FF /5',    'far_jmp',  'Mp', 'priv'),
  row('CB',       'far_ret',  '',   'priv'),
  row('CA iw',    'far_ret',  'Iw', 'priv'),
  row('CF',       'iret',     '',   'priv'),
];
