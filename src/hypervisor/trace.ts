/**
 * The last hypercalls and exits of a vCPU, kept for the crash report. Writing one costs a few stores, so that it is always on.
 * It lies in the vCPU's memory: the paths in WebAssembly (fast/) write entries too.
 */
import { GATES } from './gates.ts';
import type { GuestMemory } from './memory.ts';

export const KEEP = 32;
const WORDS = 8;

export const TraceKind = { hypercall: 1, exit: 2, bounce: 3 } as const;
const NAMES = ['', 'hypercall', 'exit', 'bounce'];

export class Trace {
  /** kind, code, rip (2 words), first argument (2 words), result, unused. */
  private readonly words: Uint32Array;
  private readonly count: Uint32Array;

  constructor(memory: GuestMemory, base: number) {
    this.words = new Uint32Array(memory.buffer, base + GATES.trace, KEEP * WORDS);
    this.count = new Uint32Array(memory.buffer, base + GATES.traceCount, 1);
  }

  add(kind: number, code: number, ripLo: number, ripHi: number, argLo: number, argHi: number): void {
    const at = (this.count[0]! % KEEP) * WORDS;
    this.count[0]!++;
    const { words } = this;
    words[at] = kind;
    words[at + 1] = code;
    words[at + 2] = ripLo;
    words[at + 3] = ripHi;
    words[at + 4] = argLo;
    words[at + 5] = argHi;
    words[at + 6] = 0;
  }

  /** Result of the entry that was added last. */
  result(value: number): void {
    this.words[((this.count[0]! + KEEP - 1) % KEEP) * WORDS + 6] = value;
  }

  /** Oldest first. `name` explains a code of a kind. */
  lines(name: (kind: number, code: number) => string): string[] {
    const out: string[] = [];
    const next = this.count[0]!;
    for (let i = Math.max(0, next - KEEP); i < next; i++) {
      const [kind, code, ripLo, ripHi, argLo, argHi, result] = this.words.subarray((i % KEEP) * WORDS);
      const rip = hex64(ripLo!, ripHi!);
      const shown = kind === TraceKind.hypercall ? ` = ${result! | 0}` : '';
      out.push(`${NAMES[kind!]} ${name(kind!, code!)}(${hex64(argLo!, argHi!)})${shown} at ${rip}`);
    }
    return out;
  }
}

function hex64(lo: number, hi: number): string {
  return '0x' + (hi ? hi.toString(16) + lo.toString(16).padStart(8, '0') : lo.toString(16));
}
