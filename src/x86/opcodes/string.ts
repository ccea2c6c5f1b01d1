/** String instructions. The width is the operand size; `ins` and `outs` are the hypervisor's. SDM volume 2. */
import { type Row, row } from '../rows.ts';

// biome-ignore format: a table
export const STRING: readonly Row[] = [
  row('A4', 'movs', 'Yb,Xb',  'rep'),
  row('A5', 'movs', 'Yv,Xv',  'rep'),
  row('A6', 'cmps', 'Xb,Yb',  'repz'),
  row('A7', 'cmps', 'Xv,Yv',  'repz'),
  row('AA', 'stos', 'Yb,AL',  'rep'),
  row('AB', 'stos', 'Yv,rAX', 'rep'),
  row('AC', 'lods', 'AL,Xb',  'rep'),
  row('AD', 'lods', 'rAX,Xv', 'rep'),
  row('AE', 'scas', 'AL,Yb',  'repz'),
  row('AF', 'scas', 'rAX,Yv', 'repz'),
  row('6C', 'ins',  'Yb,DX',  'rep', 'priv'),
  row('6D', 'ins',  'Yz,DX',  'rep', 'priv'),
  row('6E', 'outs', 'DX,Xb',  'rep', 'priv'),
  row('6F', 'outs', 'DX,Xz',  'rep', 'priv'),
  row('FC', 'cld'),
  row('FD', 'std'),
];
