/** The x87 instructions, by mnemonic. */
import type { Helper } from '../cpu.ts';
import { CONTROL_HELPERS } from './control.ts';

export const X87: Record<string, Helper> = { ...CONTROL_HELPERS };
