/** All rows, in the order of their `index`. The files are imported and listed in the same order, which makes it so. */
import type { Row } from '../rows.ts';
import { ARITHMETIC } from './arithmetic.ts';
import { CONTROL } from './control.ts';
import { MOVE } from './move.ts';
import { SIMD_EXTENDED } from './simd-extended.ts';
import { SIMD_FLOAT } from './simd-float.ts';
import { SIMD_INTEGER } from './simd-integer.ts';
import { STRING } from './string.ts';
import { SYSTEM } from './system.ts';
import { X87 } from './x87.ts';

export const ROWS: readonly Row[] = [
  ...ARITHMETIC,
  ...CONTROL,
  ...MOVE,
  ...SIMD_EXTENDED,
  ...SIMD_FLOAT,
  ...SIMD_INTEGER,
  ...STRING,
  ...SYSTEM,
  ...X87,
];
