/** Instructions performed in TypeScript, by mnemonic. What is neither here nor in the semantics raises #UD. */
import type { Helper } from './cpu.ts';
import { SSE_FLOAT } from './sse-float.ts';
import { SSE_RARE } from './sse-rare.ts';
import { SSE_STATE } from './sse-state.ts';
import { SSE_STRING } from './sse-string.ts';
import { SYSTEM } from './system.ts';
import { X87 } from './x87/index.ts';

export const HELPERS: Readonly<Record<string, Helper>> = {
  ...SYSTEM,
  ...X87,
  ...SSE_FLOAT,
  ...SSE_RARE,
  ...SSE_STATE,
  ...SSE_STRING,
};
