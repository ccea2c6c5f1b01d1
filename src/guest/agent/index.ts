/** The agent's executable, for images: compiled from files/agent/agent.b. */
import { readFileSync } from 'node:fs';
import { compile } from './compile.ts';

export const agentProgram = (): Uint8Array =>
  compile(readFileSync(new URL('../files/agent/agent.b', import.meta.url), 'utf8'));
