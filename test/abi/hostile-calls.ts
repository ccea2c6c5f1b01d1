/**
 * Hypercalls of chance: every number and sub-operation with arguments that are borders, addresses of mapped and unmapped memory
 * and frame numbers, against scratch memory full of the same. The guest may do itself any harm; the hypervisor must answer each
 * call in bounded time, throw nothing and write nowhere else (the patterns of machine.ts).
 */
import assert from 'node:assert/strict';
import { HYPERCALL, HYPERVISOR_VIRT_START } from '../../src/abi/numbers.ts';
import { buildFastExits } from '../../src/hypervisor/fast/index.ts';
import { setKernelRoot } from '../../src/hypervisor/mmu/roots.ts';
import { handle } from '../../src/hypervisor/run.ts';
import { Exit } from '../../src/x86/exits.ts';
import { GPR } from '../../src/x86/state.ts';
import { integer32, type Random } from '../cpu/random.ts';
import { Machine, VIRT_BASE } from './machine.ts';

const NUMBERS = Object.values(HYPERCALL);
/** Kinds of arguments. `word` is anything; the others are mostly what they should be. */
type Argument =
  | 'word'
  | 'op'
  | 'count'
  | 'self'
  | 'address'
  | 'entry'
  | 'bits'
  | 'vcpu'
  | 'out'
  | 'in'
  | 'updates'
  | 'extended'
  | 'calls'
  | 'reservation';
/** What a call takes: chance alone hardly gets beyond the first check. */
// biome-ignore format: a table
const SHAPES: Partial<Record<keyof typeof HYPERCALL, readonly Argument[]>> = {
  set_trap_table:    ['in'],
  mmu_update:        ['updates', 'count', 'out', 'self'],
  set_gdt:           ['in', 'count'],
  stack_switch:      ['word', 'address'],
  set_debugreg:      ['op', 'word'],
  update_descriptor: ['word', 'word'],
  memory_op:         ['op', 'reservation'],
  multicall:         ['calls', 'count'],
  update_va_mapping: ['address', 'entry', 'bits'],
  set_timer_op:      ['word'],
  xen_version:       ['op', 'out'],
  console_io:        ['op', 'count', 'in'],
  grant_table_op:    ['op', 'in', 'count'],
  vm_assist:         ['bits', 'op'],
  vcpu_op:           ['op', 'vcpu', 'in'],
  set_segment_base:  ['bits', 'address'],
  mmuext_op:         ['extended', 'count', 'out', 'self'],
  sched_op:          ['op', 'in'],
  callback_op:       ['bits', 'in'],
  event_channel_op:  ['op', 'in'],
  physdev_op:        ['op', 'in'],
  iret:              [],
};
const NAMES = Object.keys(SHAPES) as (keyof typeof SHAPES)[];
const SELF = 0x7ff0n;
const ARGUMENTS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9];
/** Scratch pages, with one behind them that is not mapped. */
const SCRATCH_PAGES = 6;
/** L4, L3, L2 and the L1s of the first 4 MiB. */
const TABLES = 5;
/** One call may take this long on a machine that does other things as well. */
export const CALL_LIMIT_MS = 1500;

export class HostileCaller {
  readonly machine: Machine;
  readonly #random: Random;
  readonly #scratch: bigint;
  readonly #scratchPfn: number;
  readonly #tables: Uint8Array;
  /** By number: calls, and those with a result that is no error. */
  readonly calls: Record<number, number> = {};
  readonly successes: Record<number, number> = {};
  /** The call that took longest. */
  slowest = { ms: 0, what: '' };

  constructor(random: Random) {
    this.#random = random;
    this.machine = new Machine(`again: mov eax, 17\n mov edi, 0\n syscall\n jmp again`, {
      engine: { tier1: { threshold: 50 }, exitPaths: buildFastExits },
    });
    const { machine } = this;
    machine.run(2);
    machine.domain.shutdown = undefined;
    this.#scratchPfn = Number(machine.places.FREE_PFN) + 8;
    this.#scratch = VIRT_BASE + BigInt(this.#scratchPfn) * 4096n;
    // The page behind the scratch memory is not there.
    const entry = machine.at('L1_VA') + 8 * ((this.#scratchPfn + SCRATCH_PAGES) & 511);
    machine.memory.view.setBigUint64(entry, 0n, true);
    this.#tables = machine.memory.u8.slice(machine.at('L4_VA'), machine.at('L4_VA') + TABLES * 4096);
  }

  /** Is the guest still able to make calls whose pointers mean something? */
  get alive(): boolean {
    const { vcpu, domain } = this.machine;
    return !domain.crashReport && vcpu.up && vcpu.readGuest(this.#scratch, 8) !== undefined;
  }

  /** Give the guest its page tables back, as it could itself had it any left. False when it has gone too far. */
  revive(): boolean {
    const { vcpu, domain, memory, places } = this.machine;
    domain.crashReport = undefined;
    memory.u8.set(this.#tables, this.machine.at('L4_VA'));
    if (!setKernelRoot(vcpu, Number(places.L4_PFN))) return false;
    vcpu.engine.flushTlb();
    return this.alive;
  }

  #word(): bigint {
    const { machine } = this;
    const random = this.#random;
    const scratchAt = (aligned: number) =>
      this.#scratch + BigInt(random.below((SCRATCH_PAGES * 4096) / aligned) * aligned);
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
        return BigInt(random.below(8));
      case 3:
        return BigInt(random.below(64));
      case 4:
      case 5:
      case 6:
        return scratchAt(64);
      case 7:
        return scratchAt(1);
      case 8:
        // The end of the scratch memory: structures reach into what is not mapped.
        return this.#scratch + BigInt(SCRATCH_PAGES * 4096 - random.below(72));
      case 9:
        // A frame number: RAM, tables, the special frames, just beyond.
        return BigInt(
          random.pick([
            random.below(machine.memory.layout.pages),
            machine.memory.layout.frames - random.below(90),
            this.#tableFrame(),
          ]),
        );
      case 10:
        // A machine address, as page-table entries and mmu_update name them.
        return (
          (BigInt(random.pick([this.#tableFrame(), random.below(machine.memory.layout.frames + 2)])) << 12n) |
          BigInt(random.below(4096) & random.pick([0xfff, 0xff8, 0x67]))
        );
      case 11:
        return BigInt.asUintN(64, (BigInt(integer32(random)) << 32n) | BigInt(integer32(random)));
      case 12:
        return BigInt.asUintN(64, -BigInt(random.below(5)));
      case 13:
        return random.pick([
          0x7ff0n,
          0x7ff1n,
          7n,
          0n,
          1n << 32n,
          1n << 63n,
          (1n << 47n) - 8n,
          1n << 47n,
          0xffff800000000000n,
        ]);
      case 14:
        return random.pick([
          HYPERVISOR_VIRT_START + BigInt(random.below(0x8000)),
          machine.address('L1_VA'),
          machine.address('again'),
        ]);
      default:
        return BigInt(integer32(random));
    }
  }

  #tableFrame(): number {
    return Number(this.machine.places.L4_PFN) + this.#random.below(TABLES + 1);
  }

  /** Fill a part of the scratch memory anew. */
  #scribble(): void {
    const { view } = this.machine.memory;
    const base = this.machine.memory.at(this.#scratchPfn);
    const random = this.#random;
    const words = (SCRATCH_PAGES * 4096) / 8;
    const from = random.below(words);
    for (let i = from; i < Math.min(words, from + 64); i++) {
      if (random.chance(3)) {
        view.setUint32(base + 8 * i, Number(this.#word() & 0xffff_ffffn), true);
        view.setUint32(base + 8 * i + 4, Number(this.#word() & 0xffff_ffffn), true);
      } else view.setBigUint64(base + 8 * i, this.#word(), true);
    }
  }

  /** An argument of a kind, with what it points at. */
  #argument(kind: Argument, depth = 0): bigint {
    const random = this.#random;
    if (random.chance(12)) return this.#word();
    const { view } = this.machine.memory;
    const pointer = random.below(SCRATCH_PAGES * 64 - 12) * 64;
    const at = this.machine.memory.at(this.#scratchPfn) + pointer;
    const put = (offset: number, value: bigint) => view.setBigUint64(at + offset, value, true);
    switch (kind) {
      case 'op':
        return BigInt(random.below(24));
      case 'count':
        return BigInt(random.chance(20) ? integer32(random) : random.below(12));
      case 'self':
        return SELF;
      case 'bits':
        return BigInt(random.below(8));
      case 'vcpu':
        return BigInt(random.below(3));
      case 'address':
        return random.chance(3) ? this.#word() : VIRT_BASE + BigInt(random.below(0x400000));
      case 'entry':
        return this.#entry();
      case 'updates':
        for (let i = 0; i < 32; i++) {
          put(
            16 * i,
            (BigInt(this.#tableFrame()) << 12n) | BigInt(random.below(512) * 8 + random.pick([0, 0, 2, 2, 1, 3])),
          );
          put(16 * i + 8, this.#entry());
        }
        break;
      case 'extended':
        for (let i = 0; i < 20; i++) {
          put(24 * i, BigInt(random.below(21)));
          put(
            24 * i + 8,
            random.chance(3)
              ? this.#word()
              : BigInt(random.pick([this.#tableFrame(), random.below(this.machine.memory.layout.frames)])),
          );
          put(24 * i + 16, this.#word());
        }
        break;
      case 'calls':
        for (let i = 0; i < 10; i++) {
          const name = random.pick(NAMES);
          put(64 * i, BigInt(HYPERCALL[name]));
          const shape = depth < 1 ? (SHAPES[name] ?? []) : [];
          for (let k = 0; k < 6; k++) put(64 * i + 16 + 8 * k, this.#argument(shape[k] ?? 'word', depth + 1));
        }
        break;
      case 'reservation':
        put(0, this.#argument('in'));
        put(8, this.#argument('count'));
        put(16, BigInt(random.pick([0, 0, 0, 1, 9, 18])));
        put(24, SELF);
        break;
      case 'in':
        for (let i = 0; i < 8; i++) {
          // Two 32-bit fields, or one of 64 bits; a domid is often the low half.
          if (random.chance(2)) put(8 * i, this.#word());
          else
            put(
              8 * i,
              (BigInt(random.below(20)) << 32n) |
                random.pick([SELF, 0n, BigInt(random.below(64)), BigInt(integer32(random))]),
            );
        }
        break;
      case 'word':
        return this.#word();
    }
    return this.#scratch + BigInt(pointer);
  }

  #entry(): bigint {
    const random = this.#random;
    const frame = random.pick([
      this.#tableFrame(),
      random.below(this.machine.memory.layout.frames + 3),
      random.below(0x800),
      integer32(random),
    ]);
    return (
      (BigInt(frame) << 12n) |
      BigInt(random.pick([0, 0x21, 0x23, 0x67, 0x63, 0xe7, random.below(4096)])) |
      (random.chance(5) ? 1n << 63n : 0n)
    );
  }

  /** One call. */
  call(): void {
    const { vcpu, domain } = this.machine;
    const random = this.#random;
    this.#scribble();
    let number: number;
    if (random.chance(8)) {
      number = random.chance(4) ? integer32(random) : random.pick(NUMBERS);
      for (const register of ARGUMENTS) vcpu.setReg64(register, this.#word());
    } else {
      const name = random.pick(NAMES);
      number = HYPERCALL[name];
      const shape = SHAPES[name] ?? [];
      ARGUMENTS.forEach((register, i) => {
        vcpu.setReg64(register, BigInt.asUintN(64, this.#argument(shape[i] ?? 'word')));
      });
    }
    vcpu.setReg64(GPR.rax, random.chance(200) ? this.#word() : BigInt(number));
    // Mostly a stack that iret can read.
    if (random.chance(4)) vcpu.setReg64(GPR.rsp, BigInt.asUintN(64, this.#argument('in')));
    if (!vcpu.kernelMode) vcpu.setKernelMode(true);
    this.calls[number] = (this.calls[number] ?? 0) + 1;
    const what = `hypercall ${number} (${ARGUMENTS.map((register) => `0x${vcpu.reg64(register).toString(16)}`).join(', ')})`;
    const start = performance.now();
    try {
      handle(vcpu, Exit.Syscall);
    } catch (error) {
      throw new Error(`${what} threw`, { cause: error });
    }
    const ms = performance.now() - start;
    if (ms > this.slowest.ms) this.slowest = { ms, what };
    // Ends of the domain and of waiting are the guest's right; we go on.
    domain.shutdown = undefined;
    vcpu.blocked = false;
    vcpu.up = true;
    vcpu.pollPorts = undefined;
    if (vcpu.reg64(GPR.rax) >> 63n === 0n) this.successes[number] = (this.successes[number] ?? 0) + 1;
    this.#checkState(what);
  }

  /** What the hypervisor keeps of the guest's words must name the guest's own memory. */
  #checkState(what: string): void {
    const { vcpu, memory, domain } = this.machine;
    const { layout } = memory;
    assert.ok(vcpu.kernelRoot < layout.pages, `${what}: kernel root ${vcpu.kernelRoot}`);
    assert.ok(!vcpu.hasUserRoot || vcpu.userRoot < layout.pages, `${what}: user root ${vcpu.userRoot}`);
    const info = vcpu.infoAddress;
    assert.ok(
      info >= layout.ramBase && info + 64 <= layout.ramBase + layout.frames * 4096,
      `${what}: vcpu_info at ${info}`,
    );
    assert.ok(info % 8 === 0, `${what}: vcpu_info at ${info}`);
    for (const frame of vcpu.gdtFrames) assert.ok(frame < layout.pages, `${what}: GDT frame ${frame}`);
    assert.ok(domain.grants.frames <= 64, what);
  }

  /** Let the guest run, with whatever it has made of itself. */
  runALittle(): void {
    const { machine } = this;
    machine.run(3);
    machine.domain.shutdown = undefined;
  }
}

/** `count` calls; the text says what was seen. */
export function fuzzCalls(random: Random, count: number): { machines: number; slowest: { ms: number; what: string } } {
  let caller = new HostileCaller(random);
  let machines = 1;
  let slowest = { ms: 0, what: '' };
  for (let i = 0; i < count; i++) {
    if (!caller.alive && !caller.revive()) {
      caller.machine.checkCanaries();
      if (caller.slowest.ms > slowest.ms) slowest = caller.slowest;
      caller = new HostileCaller(random);
      machines++;
    }
    caller.call();
    if (i % 97 === 0) caller.runALittle();
  }
  caller.machine.checkCanaries();
  return { machines, slowest: caller.slowest.ms > slowest.ms ? caller.slowest : slowest };
}
