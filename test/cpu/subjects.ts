/** The subjects by name, as `--tier` takes them. */
import { type EngineOptions, WasmEngine } from '../../src/host/wasm-engine.ts';
import { GuestMemory } from '../../src/hypervisor/memory.ts';
import { type Drive, EngineSubject, LAYOUT, type Machine } from './engine-subject.ts';
import { HostSubject } from './host-subject.ts';
import type { Subject } from './subject.ts';

const machines = new Map<number, Machine>();

/** One machine for all subjects of this process with one threshold: its engine compiles each handler once. */
function machine(threshold: number): Machine {
  let known = machines.get(threshold);
  if (known === undefined) {
    const pages = LAYOUT.bytes / 0x10000;
    const wasmMemory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const memory = new GuestMemory(wasmMemory.buffer as SharedArrayBuffer, LAYOUT);
    const options: EngineOptions = { tier1: threshold === 0 ? false : { threshold, unseen: true } };
    known = { memory, engine: new WasmEngine(memory, wasmMemory, 0, () => 0, options) };
    machines.set(threshold, known);
  }
  return known;
}

const wasm = (name: string, drive: Drive, threshold = 0): Subject => new EngineSubject(name, machine(threshold), drive);

export const SUBJECTS: Record<string, { readonly about: string; make(): Subject }> = {
  t0: { about: 'the interpreter, running until the end of the code', make: () => wasm('t0', 'run') },
  step: { about: 'the interpreter, one single step after the other', make: () => wasm('step', 'step') },
  t1: { about: 'the translator, which makes a region of everything at once', make: () => wasm('t1', 'run', 1) },
  host: { about: "the host's CPU itself: are cases repeatable?", make: () => new HostSubject() },
};
