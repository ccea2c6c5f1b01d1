/**
 * A small domain for tests: really built, with real page tables and vCPUs, and an engine that only counts what it is told.
 * Its low megabytes are mapped from `VIRT_BASE` on; `scratch` is a page that nobody uses.
 */
import { XEN_ELFNOTE as NOTE } from '../abi/elf.ts';
import type { Engine } from '../x86/engine.ts';
import { Exit } from '../x86/exits.ts';
import { STATE } from '../x86/state.ts';
import { startBootVcpu } from './boot.ts';
import { makeKernel } from './builder/elf-for-tests.ts';
import { type BuiltDomain, buildDomain } from './builder/index.ts';
import { Domain } from './domain.ts';
import { EventChannels } from './event-channels.ts';
import { GrantTable } from './grant-table.ts';
import { HypercallArgs } from './hypercall-args.ts';
import { GuestMemory, planLayout } from './memory.ts';
import { Vcpu } from './vcpu.ts';

export const VIRT_BASE = 0xffffffff80000000n;
const SCRATCH_PFN = 0x20;
export const SCRATCH = VIRT_BASE + BigInt(SCRATCH_PFN) * 4096n;
/** Mapped by no page table. */
export const NOWHERE = 0x1000n;

export class CountingEngine implements Engine {
  readonly sliceMost = Number.POSITIVE_INFINITY;
  flushes = 0;
  readonly framesWritten: number[] = [];
  run(): Exit {
    return Exit.Slice;
  }
  betweenSlices(): void {}
  step(): Exit {
    return Exit.Stepped;
  }
  flushTlb(): void {
    this.flushes++;
  }
  flushPage(): void {
    this.flushes++;
  }
  modeChanged(): void {}
  entryChanged(): void {}
  tableDetached(): void {}
  tableReleased(): void {}
  frameWritten(mfn: number): void {
    this.framesWritten.push(mfn);
  }
  translate(): number {
    return 0;
  }
}

export interface TestGuest {
  readonly memory: GuestMemory;
  readonly domain: Domain;
  readonly events: EventChannels;
  readonly grants: GrantTable;
  readonly vcpu: Vcpu;
  readonly engine: CountingEngine;
  readonly built: BuiltDomain;
  /** The domain's clock, in nanoseconds. */
  readonly clock: { ns: number };
  /** Times that the device thread was woken. */
  readonly wakes: { count: number };
  readonly console: number[];
  /** Write bytes to the scratch page and give their address. */
  put(bytes: Uint8Array, at?: number): bigint;
  /** The scratch page. */
  readonly view: DataView;
  call(handler: (vcpu: Vcpu, args: HypercallArgs) => number | bigint, ...args: (number | bigint)[]): number | bigint;
  /** Was vCPU `id` kicked since the last question? */
  kicked(id?: number): boolean;
}

export function newGuest(options: { pages?: number; maxPages?: number; vcpus?: number } = {}): TestGuest {
  const { pages = 0x800, vcpus = 1 } = options;
  const layout = planLayout(options.maxPages ?? pages, vcpus);
  const memory = new GuestMemory(new SharedArrayBuffer(layout.bytes), layout);
  const clock = { ns: 1000 };
  const now = { now: () => clock.ns, wallclockNs: () => 1_700_000_000_000_000_000n };
  const notes = { [NOTE.ENTRY]: VIRT_BASE + 0x100000n, [NOTE.VIRT_BASE]: VIRT_BASE, [NOTE.LOADER]: 'generic' };
  const elf = makeKernel([{ paddr: 0x100000, bytes: Uint8Array.of(0xc3), memsz: 0x1000 }], notes);
  const built = buildDomain(memory, { elf, cmdline: '', domid: 5, pages, clock: now });
  const wakes = { count: 0 };
  const output: number[] = [];
  const events = new EventChannels(memory, 5, () => wakes.count++);
  const grants = new GrantTable(memory, 5);
  const domain = new Domain(
    { domid: 5, uuid: Uint8Array.from({ length: 16 }, (_, i) => i), memory, maxPages: layout.pages, events, grants },
    { clock: now, log: () => {}, consoleSink: (bytes) => output.push(...bytes) },
  );
  const engine = new CountingEngine();
  for (let id = 0; id < vcpus; id++) new Vcpu(domain, id, engine);
  const vcpu = domain.vcpus[0]!;
  startBootVcpu(vcpu, built);
  const view = new DataView(memory.buffer, memory.at(SCRATCH_PFN), 4096);
  return {
    memory,
    domain,
    events,
    grants,
    vcpu,
    engine,
    built,
    clock,
    wakes,
    console: output,
    view,
    put(bytes, at = 0) {
      memory.u8.set(bytes, memory.at(SCRATCH_PFN) + at);
      return SCRATCH + BigInt(at);
    },
    call(handler, ...values) {
      const args = new HypercallArgs();
      for (const [i, value] of values.entries()) args.set(i, BigInt.asUintN(64, BigInt(value)));
      return handler(vcpu, args);
    },
    kicked(id = 0) {
      return Atomics.exchange(memory.i32, (memory.vcpuBase(id) + STATE.kick) >>> 2, 0) === 1;
    },
  };
}

/** Little-endian words of 4 bytes. */
export function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
