/**
 * Which blocks run again and again, and which registers are loaded from memory or moved far there: an operand whose address comes from
 * other registers probably stays in its page from one round to the next. This is about speed alone.
 */
import { type Insn, Kind } from '../../x86/decode.ts';
import type { ProbedBlock } from './probe.ts';
import type { Structure } from './structure.ts';

/** A register that a round moves by so much leaves its page every few rounds. */
const STRIDE = 512;

/** Is a constant of at least a stride added to a register? */
function strides({ mnemonic, operands }: Insn): boolean {
  const [to, from] = operands;
  if (to?.kind !== Kind.Reg || from === undefined) return false;
  if (mnemonic === 'add' || mnemonic === 'sub') return from.kind === Kind.Imm && Math.abs(from.immLo) >= STRIDE;
  return mnemonic === 'lea' && from.base === to.reg && from.index < 0 && Math.abs(from.disp) >= STRIDE;
}

/** Bits of the general registers that `block` loads from memory or moves far, as far as the decoded instructions say. */
function loads(block: ProbedBlock): number {
  let registers = 0;
  block.insns.forEach((insn, n) => {
    const { changes, leaves } = block.uses[n]!;
    if (strides(insn)) registers |= 1 << insn.operands[0]!.reg;
    if (!leaves) return;
    registers |= changes.registers;
    insn.operands.forEach(({ kind, reg }, k) => {
      if (kind === Kind.Reg && (changes.operands >> k) & 1) registers |= 1 << reg;
    });
  });
  return registers;
}

/** For each node the registers that are loaded or moved far in its innermost loop, or -1 if it is in none. */
export function loadedInLoops(shape: Structure, blocks: readonly (ProbedBlock | undefined)[]): Int32Array {
  const { graph, sequence, isLoop, isBack } = shape;
  const predecessors: number[][] = graph.edges.map(() => []);
  for (const from of sequence) for (const { via } of graph.edges[from]!) predecessors[via]!.push(from);
  const loaded = new Int32Array(graph.edges.length).fill(-1);
  const innermost = new Int32Array(graph.edges.length);
  for (const head of sequence) {
    if (!isLoop[head]) continue;
    // Back from the loop's ends to its head, which all ways into it lead through.
    const body = new Set([head]);
    const work = predecessors[head]!.filter((from) => isBack(from, head));
    for (let node = work.pop(); node !== undefined; node = work.pop()) {
      if (body.has(node)) continue;
      body.add(node);
      work.push(...predecessors[node]!);
    }
    let registers = 0;
    for (const node of body) {
      const block = blocks[node];
      if (block !== undefined) registers |= loads(block);
    }
    for (const node of body) {
      if (loaded[node]! >= 0 && innermost[node]! <= body.size) continue;
      loaded[node] = registers;
      innermost[node] = body.size;
    }
  }
  return loaded;
}
