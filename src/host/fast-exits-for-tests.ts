/** What tests of exits in WebAssembly have in common: a vCPU with an engine that performs them, and chance that a seed decides. */
import { buildFastExits } from '../hypervisor/fast/index.ts';
import { testDomain } from '../hypervisor/vcpu-for-tests.ts';
import { WasmEngine } from './wasm-engine.ts';

export function domainWithFastExits(): Omit<ReturnType<typeof testDomain>, 'engine'> & { readonly engine: WasmEngine } {
  let wasm: WebAssembly.Memory;
  let engine: WasmEngine;
  const domain = testDomain({
    memory(bytes) {
      wasm = new WebAssembly.Memory({ initial: bytes / 65536, maximum: bytes / 65536, shared: true });
      return wasm.buffer as SharedArrayBuffer;
    },
    engine(of) {
      engine = new WasmEngine(of, wasm, 0, () => 0, { exitPaths: buildFastExits });
      return engine;
    },
  });
  return { ...domain, engine: engine! };
}

/** `state`, which begins as the seed, can be set back to what it was. */
export class Chance {
  state: number;

  constructor(seed: number) {
    this.state = seed;
  }

  readonly random = (below: number): number => {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * below);
  };
  readonly chance = (oneIn: number): boolean => this.random(oneIn) === 0;
  readonly pick = <T>(values: readonly T[]): T => values[this.random(values.length)]!;
  readonly random64 = (): bigint => (BigInt(this.random(2 ** 32)) << 32n) | BigInt(this.random(2 ** 32));
}
