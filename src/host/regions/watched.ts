/**
 * What a developer wants to see of regions: which code of the guest they are, what it became, and how often each was entered.
 * Only of regions that are made while somebody watches: nothing is kept, and nothing is counted, at other times.
 */
import { REGION_PARAMETERS, type RegionPlan } from '../../translate/region/index.ts';
import { I32, i32 } from '../../wasm/expr.ts';
import { ModuleBuilder } from '../../wasm/module.ts';
import { printFunction } from '../../wasm/print.ts';
import { disassemble } from '../../x86/disassemble.ts';

/** A region as it is told: plain data. */
export interface RegionView {
  /** Of its first entry, sixteen hexadecimal digits. */
  readonly address: string;
  readonly instructions: number;
  readonly blocks: number;
  readonly entries: number;
  /** How often control came to it from outside. */
  readonly executions: number;
  /** Bytes of WebAssembly of its module, which it may share with others. */
  readonly moduleBytes: number;
  /** Its guest code: a line for each instruction, with a blank one before each block. */
  readonly guest: readonly string[];
  /** Its function, an instruction a line. */
  readonly wasm: readonly string[];
}

interface Watched {
  readonly va: bigint;
  readonly plan: RegionPlan;
  readonly module: Uint8Array;
  /** Its function's name in the module. */
  readonly exported: string;
  executions: number;
}

/** A module whose function "0" calls `entered` and then goes on in `region`, as if it were that region. */
function counter(): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const entered = m.importFunction('entered', [], []);
  const region = m.importFunction('region', [...REGION_PARAMETERS], [I32]);
  m.function(
    [...REGION_PARAMETERS],
    [I32],
    (f) => {
      f.callVoid(entered);
      f.returnCall(region, f.param(0), f.param(1));
      f.ret(i32(0));
    },
    '0',
  );
  return m.finish();
}

export class WatchedRegions {
  readonly #counter = new WebAssembly.Module(counter());
  readonly #regions: Watched[] = [];

  /** The function that is to be called instead of `code`, which `module` exports as `exported`. */
  add(va: bigint, plan: RegionPlan, module: Uint8Array, exported: string, code: unknown): unknown {
    const watched: Watched = { va, plan, module, exported, executions: 0 };
    this.#regions.push(watched);
    const entered = (): void => void watched.executions++;
    return new WebAssembly.Instance(this.#counter, { e: { entered, region: code } }).exports['0'];
  }

  /**
   * The `most` regions that `weight` finds heaviest, by their addresses; then those that were entered most often. Code that was
   * translated several times is one, in its latest form.
   */
  views(most: number, weight: (address: string) => number): RegionView[] {
    const latest = new Map<bigint, Watched>();
    for (const watched of this.#regions) {
      const executions = watched.executions + (latest.get(watched.va)?.executions ?? 0);
      latest.set(watched.va, { ...watched, executions });
    }
    const address = ({ va }: Watched): string => BigInt.asUintN(64, va).toString(16).padStart(16, '0');
    return [...latest.values()]
      .sort((a, b) => weight(address(b)) - weight(address(a)) || b.executions - a.executions)
      .slice(0, most)
      .map((watched) => ({
        address: address(watched),
        instructions: watched.plan.instructions,
        blocks: watched.plan.blocks.size,
        entries: watched.plan.entries.length,
        executions: watched.executions,
        moduleBytes: watched.module.length,
        guest: guestCode(watched),
        wasm: printFunction(watched.module, watched.exported),
      }));
  }
}

function guestCode({ va, plan }: Watched): string[] {
  const page = BigInt.asUintN(64, va) & ~0xfffn;
  const lines: string[] = [];
  for (const { start, insns } of [...plan.blocks.values()].sort((a, b) => a.start - b.start)) {
    if (lines.length > 0) lines.push('');
    let offset = start;
    for (const insn of insns) {
      const rip = BigInt.asUintN(64, page + BigInt(offset));
      const entry = plan.entries.includes(offset) ? '>' : ' ';
      lines.push(`${entry}${rip.toString(16).padStart(16, '0')}  ${disassemble(insn, rip)}`);
      offset += insn.length;
    }
  }
  return lines;
}
