/** A module like those of regions, and what its functions answer: for v8-code.test.ts and the processes that it starts. */
import { I32, i32, load32 } from '../wasm/expr.ts';
import { type Fn, ModuleBuilder } from '../wasm/module.ts';

/** It imports a shared memory, the table, through which it goes on, and a function. Each `constant` makes another module. */
export function example(constant: number): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  m.importMemory(1, 65536);
  m.importTable();
  const twice = m.importFunction('twice', [I32], [I32]);
  m.function(
    [I32],
    [I32],
    (f) => {
      const sum = f.local(I32);
      f.set(sum, i32(constant));
      f.loop((again) => {
        f.set(sum, sum.add(f.param(0)));
        f.set(f.param(0), f.param(0).sub(i32(1)));
        f.brIf(again, f.param(0));
      });
      f.store32(i32(16), sum);
      f.ret(sum);
    },
    'sum',
  );
  m.function([I32], [I32], (f) => f.ret(load32(f.param(0))), 'load');
  const type = m.typeIndex([I32], [I32]);
  m.function([I32], [I32], (f) => goOn(f, () => f.returnCall(twice, f.param(0))), 'twice');
  m.function([I32], [I32], (f) => goOn(f, () => f.returnCallIndirect(type, i32(0), f.param(0))), 'dispatch');
  return m.finish();
}

/** A tail call, and the value that nobody returns. */
function goOn(f: Fn, tailCall: () => void): void {
  tailCall();
  f.ret(i32(0));
}

type Exports = Record<'sum' | 'load' | 'twice' | 'dispatch', (n: number) => number>;

export function instantiate(module: WebAssembly.Module): Exports {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
  const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' });
  const imports = { m: memory, t: table, twice: (n: number) => 2 * n };
  const run = new WebAssembly.Instance(module, { e: imports }).exports as Exports;
  table.set(0, run.sum);
  return run;
}

export function answers(module: WebAssembly.Module | undefined): unknown[] {
  if (module === undefined) return [];
  const run = instantiate(module);
  const given: unknown[] = [run.sum(100), run.load(16), run.twice(21), run.dispatch(3)];
  try {
    run.load(1 << 30);
  } catch (error) {
    given.push((error as Error).constructor.name);
  }
  return given;
}

/** Of example(1): the sum to 100, the same in memory, twice 21, the sum to 3 through the table, a load beyond the memory. */
export const EXPECTED = [5051, 5051, 42, 7, 'RuntimeError'];
