/** The x87 instructions, by mnemonic. */
import type { Helper } from '../cpu.ts';
import { ARITHMETIC } from './arithmetic.ts';
import { CONTROL_HELPERS } from './control.ts';
import { FUNCTIONS } from './functions.ts';
import { MOVES } from './move.ts';

export const X87: Record<string, Helper> = { ...CONTROL_HELPERS, ...MOVES, ...ARITHMETIC, ...FUNCTIONS };
