/** Instructions performed in TypeScript, by mnemonic. What is neither here nor in the semantics raises #UD. */
import type { Helper } from './cpu.ts';
import { SYSTEM } from './system.ts';
import { X87 } from './x87/index.ts';

export const HELPERS: Readonly<Record<string, Helper>> = { ...SYSTEM, ...X87 };
