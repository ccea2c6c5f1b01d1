/** All instruction semantics by mnemonic. A mnemonic that is missing here is performed in TypeScript (helpers). */
import type { Semantics } from '../lift.ts';
import { CONTROL } from './control.ts';
import { INTEGER } from './integer.ts';
import { SEGMENT } from './segment.ts';
import { SSE_CONVERT } from './sse-convert.ts';
import { SSE_FLOAT } from './sse-float.ts';
import { SSE_INTEGER } from './sse-integer.ts';
import { SSE_MOVE } from './sse-move.ts';
import { SSE_STATE } from './sse-state.ts';
import { SSE_STRING } from './sse-string.ts';
import { STRINGS } from './strings.ts';
import { X87_CONTROL } from './x87-control.ts';

export const SEMANTICS: Readonly<Record<string, Semantics>> = {
  ...INTEGER,
  ...STRINGS,
  ...CONTROL,
  ...SEGMENT,
  ...SSE_MOVE,
  ...SSE_STATE,
  ...SSE_INTEGER,
  ...SSE_FLOAT,
  ...SSE_CONVERT,
  ...SSE_STRING,
  ...X87_CONTROL,
};
