/** The subjects by name, as `--tier` takes them. */
import { WasmEngine } from '../../src/host/wasm-engine.ts';
import { GuestMemory } from '../../src/hypervisor/memory.ts';
import { type Drive, EngineSubject, LAYOUT, type Machine } from './engine-subject.ts';
import { HostSubject } from './host-subject.ts';
import type { Subject } from './subject.ts';

let shared: Machine | undefined;

/** One machine for all subjects of this process, which run one after the other: its engine compiles each handler once. */
function machine(): Machine {
  if (shared) return shared;
  const pages = LAYOUT.bytes / 0x10000;
  const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const memory = new GuestMemory(wasmMemory.buffer as SharedArrayBuffer, LAYOUT);
  shared = { memory, engine: new WasmEngine(memory, wasmMemory, 0, () => 0) };
  return shared;
}

const wasm = (name: string, drive: Drive): Subject => new EngineSubject(name, machine(), drive);

export const SUBJECTS: Record<string, { readonly about: string; make(): Subject }> = {
  t0: { about: 'the interpreter, running until the end of the code', make: () => wasm('t0', 'run') },
  step: { about: 'the interpreter, one single step after the other', make: () => wasm('step', 'step') },
  host: { about: "the host's CPU itself: are cases repeatable?", make: () => new HostSubject() },
};
