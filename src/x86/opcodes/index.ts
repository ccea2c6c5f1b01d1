/** All rows, in the order of their `index`. The files are imported and listed in the same order, which makes it so. */
import type { Row } from '../rows.ts';
import { ARITHMETIC } from './arithmetic.ts';
import { CONTROL } from './control.ts';
import { MOVE } from './move.ts';
import { STRING } from './string.ts';
import { SYSTEM } from './system.ts';

export const ROWS: readonly Row[] = [...ARITHMETIC, ...CONTROL, ...MOVE, ...STRING, ...SYSTEM];
