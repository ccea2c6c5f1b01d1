/**
 * One domain in this process, as scripts/boot.ts has it, around a kernel that a test has assembled: the real builder, engine
 * and hypervisor, a clock that counts the looks at it, and patterns in all memory that the guest must not reach.
 * What the kernels have in common is in runtime.ts.
 */
import assert from 'node:assert/strict';
import { XEN_ELFNOTE as NOTE } from '../../src/abi/elf.ts';
import { type EngineOptions, WasmEngine } from '../../src/host/wasm-engine.ts';
import { startBootVcpu } from '../../src/hypervisor/boot.ts';
import { makeKernel } from '../../src/hypervisor/builder/elf-for-tests.ts';
import { type BuiltDomain, buildDomain } from '../../src/hypervisor/builder/index.ts';
import { parseKernel } from '../../src/hypervisor/builder/kernel-image.ts';
import { planDomain } from '../../src/hypervisor/builder/plan.ts';
import { CONTROL } from '../../src/hypervisor/control.ts';
import { Domain } from '../../src/hypervisor/domain.ts';
import { EventChannels } from '../../src/hypervisor/event-channels.ts';
import { buildFastExits } from '../../src/hypervisor/fast/index.ts';
import { GrantTable } from '../../src/hypervisor/grant-table.ts';
import { GuestMemory, type MemoryLayout, planLayout, SPECIAL, VCPUS_BASE } from '../../src/hypervisor/memory.ts';
import { Pace } from '../../src/hypervisor/pace.ts';
import { runVcpu } from '../../src/hypervisor/run.ts';
import { Vcpu } from '../../src/hypervisor/vcpu.ts';
import { STATE } from '../../src/x86/state.ts';
import { type Assembled, assemble } from './assembler.ts';
import { runtime } from './runtime.ts';

export const VIRT_BASE = 0xffffffff80000000n;
const IMAGE_PFN = 0x100;
const IMAGE_PAGES = 0x80;
export const ORIGIN = VIRT_BASE + BigInt(IMAGE_PFN) * 4096n;
/** 8 MiB; the number of frames behind them leaves some bytes of the last 64 KiB unused: room for a pattern. */
const PAGES = 0x800;
export const DOMID = 7;
/** Guest time of a slice. */
const TICK_NS = 20_000;
/** The run loop looks at the clock when a slice has ended, and when the engine has done what it has put off until then. */
const LOOKS = 2;
/** Looks that stand for one slice where the run loop looks every few branches: as many as exits make a slice. */
const SHORT_LOOKS = 200 * LOOKS;
/** Branches of a slice. */
const BRANCHES = 40_000;

export interface MachineOptions {
  readonly engine?: EngineOptions;
  /** Taken branches between two looks at the clock, if not as many as usual; a look then takes a part of a slice's time. */
  readonly sliceBranches?: () => number;
  /** Bytes of code and data instead of a source: for kernels made of chance. */
  readonly image?: Uint8Array;
  readonly constants?: Readonly<Record<string, number | bigint>>;
  /** How long the test may take, see `run`. */
  readonly slices?: number;
  /** Pages that the domain owns at the start. */
  readonly pages?: number;
  /** The device thread is woken. */
  readonly wake?: () => void;
}

export type Outcome =
  | { readonly kind: 'shutdown'; readonly reason: number }
  | { readonly kind: 'crashed'; readonly report: readonly string[] }
  /** Waits for something that nobody will do. */
  | { readonly kind: 'stuck' }
  /** The guest's time is over. */
  | { readonly kind: 'time' };

/** What a trap handler of runtime.ts found when it was entered. */
export interface TrapRecord {
  readonly vector: number;
  readonly error: bigint;
  readonly rcx: bigint;
  readonly r11: bigint;
  readonly rip: bigint;
  /** With the saved upcall mask in bits 32–39. */
  readonly cs: bigint;
  readonly rflags: bigint;
  readonly rsp: bigint;
  readonly ss: bigint;
  /** From the registered vcpu_info. */
  readonly cr2: bigint;
  /** The stack pointer with which the handler was entered. */
  readonly frame: bigint;
  /** evtchn_upcall_mask in the handler. */
  readonly mask: number;
}
const RECORD_WORDS = 12;

/** Where things are in a domain of these tests, as constants of the assembler. */
function placesOf(layout: MemoryLayout): Record<string, number | bigint> {
  const plan = planDomain(parseKernel(elf(Uint8Array.of(0))), PAGES, 0);
  const va = (pfn: number) => VIRT_BASE + BigInt(pfn) * 4096n;
  const root = plan.tables.first;
  const { l3, l2 } = { l3: root + 1, l2: root + 2 };
  return {
    VIRT_BASE,
    L4_PFN: root,
    L3_PFN: l3,
    L2_PFN: l2,
    /** Maps the first 2 MiB from VIRT_BASE on. */
    L1_PFN: l2 + 1,
    L4_VA: va(root),
    L3_VA: va(l3),
    L2_VA: va(l2),
    L1_VA: va(l2 + 1),
    L4_MADDR: root * 4096,
    L3_MADDR: l3 * 4096,
    L2_MADDR: l2 * 4096,
    L1_MADDR: (l2 + 1) * 4096,
    SHARED_INFO_MFN: layout.pages + SPECIAL.sharedInfo,
    SHARED_INFO_MADDR: (layout.pages + SPECIAL.sharedInfo) * 4096,
    CONSOLE_PFN: plan.console,
    CONSOLE_VA: va(plan.console),
    STORE_VA: va(plan.store),
    START_INFO_VA: va(plan.startInfo),
    /** Mapped pages that nobody uses, from here to 4 MiB. */
    FREE_PFN: plan.stack + 1,
    FREE_VA: va(plan.stack + 1),
    MAPPED_END: va(plan.mapped),
    FRAMES: layout.frames,
    PAGES: layout.pages,
    HYPERCALL_PAGE: va(IMAGE_PFN + IMAGE_PAGES - 1),
    DOMID_SELF: 0x7ff0,
    MY_DOMID: DOMID,
  };
}

function elf(image: Uint8Array): Uint8Array {
  return makeKernel([{ paddr: IMAGE_PFN * 4096, bytes: image, memsz: IMAGE_PAGES * 4096 }], {
    [NOTE.ENTRY]: ORIGIN,
    [NOTE.VIRT_BASE]: VIRT_BASE,
    [NOTE.XEN_VERSION]: 'xen-3.0',
    [NOTE.LOADER]: 'generic',
    [NOTE.HYPERCALL_PAGE]: VIRT_BASE + BigInt(IMAGE_PFN + IMAGE_PAGES - 1) * 4096n,
  });
}

/** `source` with the runtime behind it; words whose names begin with out_ are made when they are used. */
function assembleKernel(source: string, constants: Record<string, number | bigint>): Assembled {
  const outputs = new Set([...source.matchAll(/\bout_\w+/g)].map(([name]) => name));
  const words = [...outputs].filter((name) => !new RegExp(`^\\s*${name}:`, 'm').test(source));
  const text = `${runtime.head}\n${source}\n${runtime.tail}\n.align 8\n${words.map((name) => `${name}: .quad 0`).join('\n')}`;
  const program = assemble(text, ORIGIN, constants);
  assert.ok(program.bytes.length < (IMAGE_PAGES - 1) * 4096, 'the kernel is too large for its image');
  return program;
}

export class Machine {
  readonly memory: GuestMemory;
  readonly domain: Domain;
  readonly events: EventChannels;
  readonly grants: GrantTable;
  readonly vcpu: Vcpu;
  readonly engine: WasmEngine;
  readonly built: BuiltDomain;
  readonly places: Readonly<Record<string, number | bigint>>;
  readonly labels: ReadonlyMap<string, bigint>;
  readonly log: string[] = [];
  /** What the guest wrote with console_io. */
  console = '';
  ns = 0;
  /** Looks at the clock that are left. */
  looks = 0;
  readonly #canaries: readonly { name: string; at: number; bytes: Uint8Array }[];

  constructor(source: string, options: MachineOptions = {}) {
    this.#looksPerSlice = options.sliceBranches === undefined ? LOOKS : SHORT_LOOKS;
    const layout = planLayout(PAGES, 2);
    const pages = layout.bytes / 65536;
    const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.memory = new GuestMemory(wasm.buffer as SharedArrayBuffer, layout);
    this.places = { ...placesOf(layout), ...options.constants };
    let image = options.image;
    let labels: ReadonlyMap<string, bigint> = new Map();
    if (!image) ({ bytes: image, labels } = assembleKernel(source, this.places));
    this.labels = labels;
    const clock = {
      now: () => {
        if (this.looks > 0) this.looks--;
        else if (this.#running) this.domain.shutdown ??= { reason: -1 };
        this.ns += TICK_NS / this.#looksPerSlice;
        return this.ns;
      },
      wallclockNs: () => 1_700_000_000_000_000_000n,
    };
    const built = buildDomain(this.memory, {
      elf: elf(image),
      cmdline: 'test',
      domid: DOMID,
      clock,
      ...(options.pages ? { pages: options.pages } : {}),
    });
    this.built = built;
    this.events = new EventChannels(this.memory, DOMID, () => options.wake?.());
    this.grants = new GrantTable(this.memory, DOMID);
    this.domain = new Domain(
      {
        domid: DOMID,
        uuid: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
        memory: this.memory,
        maxPages: layout.pages,
        events: this.events,
        grants: this.grants,
      },
      {
        clock,
        log: (level, text) => this.log.push(`${level} ${text}`),
        consoleSink: (bytes) => {
          // A guest of chance may write without end.
          if (this.console.length < 1 << 20) this.console += String.fromCharCode(...bytes);
        },
      },
    );
    this.engine = new WasmEngine(this.memory, wasm, 0, () => this.ns, options.engine ?? { exitPaths: buildFastExits });
    this.vcpu = new Vcpu(this.domain, 0, this.engine);
    this.vcpu.pace = new Pace(options.sliceBranches ?? (() => BRANCHES));
    startBootVcpu(this.vcpu, built);
    this.#canaries = canaries(this.memory);
  }

  #running = false;
  readonly #looksPerSlice: number;

  /** Run until the guest ends or waits for ever, at most for `slices` slices of about half a millisecond. */
  run(slices = 300): Outcome {
    this.looks = slices * this.#looksPerSlice;
    this.#running = true;
    try {
      for (;;) {
        const result = runVcpu(this.vcpu);
        if (result.kind === 'crashed') return result;
        if (result.kind === 'shutdown') return result.reason === -1 ? { kind: 'time' } : result;
        if (result.kind === 'paused' || result.kind === 'preempted') return { kind: 'stuck' };
        if (result.deadline === Number.POSITIVE_INFINITY) {
          const kicked = this.memory.u32[(this.vcpu.base + STATE.kick) >>> 2] !== 0;
          if (!kicked) return { kind: 'stuck' };
        } else if (result.deadline > this.ns) this.ns = result.deadline;
      }
    } finally {
      this.#running = false;
    }
  }

  /** Run a kernel that has to end with SHUTDOWN_poweroff. */
  runToEnd(slices?: number): void {
    const outcome = this.run(slices);
    const shown = outcome.kind === 'crashed' ? outcome.report.join('\n') : JSON.stringify(outcome);
    const traps = this.traps().map((trap) => `vector ${trap.vector} at ${trap.rip.toString(16)}`);
    assert.deepEqual(
      outcome,
      { kind: 'shutdown', reason: 0 },
      `${shown}\ntraps: ${traps.join(', ')}\n${this.log.join('\n')}`,
    );
    this.checkCanaries();
  }

  /** Did anything write where no guest may? */
  checkCanaries(): void {
    for (const { name, at, bytes } of this.#canaries) {
      const now = this.memory.u8.subarray(at, at + bytes.length);
      for (let i = 0; i < bytes.length; i++) {
        if (now[i] !== bytes[i]) assert.fail(`${name} was written, first at byte ${i}`);
      }
    }
  }

  /** Kernel address of a label. */
  address(name: string): bigint {
    const place = this.labels.get(name) ?? this.places[name];
    assert.notEqual(place, undefined, `the kernel has no ${name}`);
    return BigInt.asUintN(64, BigInt(place!));
  }

  /** Linear address of a label's bytes. */
  at(name: string): number {
    return this.memory.at(0) + Number(this.address(name) - VIRT_BASE);
  }

  u64(name: string, index = 0): bigint {
    return this.memory.view.getBigUint64(this.at(name) + 8 * index, true);
  }

  s64(name: string, index = 0): number {
    return Number(this.memory.view.getBigInt64(this.at(name) + 8 * index, true));
  }

  u32(name: string, index = 0): number {
    return this.memory.view.getUint32(this.at(name) + 4 * index, true);
  }

  bytes(name: string, length: number): Uint8Array {
    return this.memory.u8.slice(this.at(name), this.at(name) + length);
  }

  /** What the handlers of runtime.ts have noted, in order. */
  traps(): TrapRecord[] {
    if (!this.labels.has('trap_log')) return [];
    const count = Number(this.u64('trap_count'));
    const words = (i: number) => (k: number) => this.u64('trap_log', RECORD_WORDS * i + k);
    return Array.from({ length: count }, (_, i) => {
      const word = words(i);
      return {
        vector: Number(word(0)),
        error: word(1),
        rcx: word(2),
        r11: word(3),
        rip: word(4),
        cs: word(5),
        rflags: word(6),
        rsp: word(7),
        ss: word(8),
        cr2: word(9),
        frame: word(10),
        mask: Number(word(11)),
      };
    });
  }
}

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 89 + (i >>> 8) * 7 + 0x5a) & 0xff);
}

/** Fill what neither guest nor hypervisor has a use for here. */
function canaries(memory: GuestMemory): { name: string; at: number; bytes: Uint8Array }[] {
  const { layout } = memory;
  const end = layout.ramBase + layout.frames * 4096;
  const typesEnd = layout.frameTypes + layout.frames * 4;
  const ranges: [string, number, number][] = [
    ['the page at 0', 0, 0x1000],
    ['the unused end of the CONTROL region', CONTROL.free, Math.min(CONTROL.free + 0x20000, CONTROL.end)],
    ['the space before the vCPUs', CONTROL.end, VCPUS_BASE],
    ['the other vCPU’s state block', memory.vcpuBase(1), memory.vcpuBase(1) + 0x20000],
    ['the space before the frames', typesEnd, Math.min(typesEnd + 0x20000, layout.ramBase)],
    ['the space right before frame 0', layout.ramBase - 0x1000, layout.ramBase],
    ['the space behind the last frame', end, layout.bytes],
  ];
  return ranges.map(([name, at, to]) => {
    assert.ok(to > at, `there is no room for a pattern in ${name}`);
    const bytes = pattern(to - at);
    memory.u8.set(bytes, at);
    return { name, at, bytes };
  });
}
