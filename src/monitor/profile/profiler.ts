/**
 * The device thread's side of a profile: asks the vCPU's thread to look around at regular moments, counts when it had nothing to
 * do, and gives the addresses the names that the guest's kernel has for them.
 */
import { findKernelSymbols, type KernelSymbols, symbolAt } from '../../guest/kallsyms.ts';
import { UserSpace } from '../../guest/user-symbols.ts';
import type { GuestAddress, MonitorFunction, Profile, ProfiledRegion, TimedRegion, VcpuProfile } from './types.ts';

const INTERVAL_MS = 1;
/** Where a region's function begins is in its name. */
const REGION = /^region ([0-9a-f]+)$/;

export interface ProfiledVcpu {
  readonly isRunning: () => boolean;
  /** Its thread sees nothing until it is to go on. */
  readonly isPaused: () => boolean;
  /** Have its thread look around and note where it is. */
  readonly look: () => void;
  /** Have it begin, or end and tell. */
  readonly observe: (on: boolean) => void;
  /** Guest RAM. */
  readonly ram: Uint8Array;
}

export class Profiler {
  readonly #vcpu: ProfiledVcpu;
  readonly #timer: NodeJS.Timeout;
  readonly #end: NodeJS.Timeout;
  readonly #started = performance.now();
  #idle = 0;
  #stopped = false;
  #resolve: (profile: Profile) => void = () => {};
  readonly result = new Promise<Profile>((resolve) => {
    this.#resolve = resolve;
  });

  constructor(vcpu: ProfiledVcpu, seconds: number) {
    this.#vcpu = vcpu;
    vcpu.observe(true);
    this.#timer = setInterval(() => {
      if (vcpu.isRunning()) vcpu.look();
      else this.#idle++;
    }, INTERVAL_MS);
    this.#end = setTimeout(() => this.stop(), seconds * 1000);
  }

  /** End before time. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#end);
    this.#vcpu.observe(false);
    // The thread would tell only when it is to go on, and that may be never.
    if (this.#vcpu.isPaused()) this.finish(undefined);
  }

  /** What the vCPU's thread found; without it when the guest has ended or stands still. */
  finish(found: VcpuProfile | undefined): void {
    this.stop();
    const seconds = (performance.now() - this.#started) / 1000;
    const names = new Names(this.#vcpu.ram);
    const guest = namedAddresses(found?.guest ?? [], names);
    const samples = this.#idle + guest.reduce((sum, { samples }) => sum + samples, 0);
    const monitor = (found?.monitor ?? []).map((one) => namedFunction(one, names));
    const regions = (found?.regions ?? []).map((one) => namedRegion(one, names));
    this.#resolve({ seconds, samples, idle: this.#idle, guest, monitor, engine: found?.engine ?? {}, regions });
  }
}

/** What a guest itself calls its addresses. */
class Names {
  readonly #ram: Uint8Array;
  readonly #kernel: KernelSymbols | undefined;
  /** Root frame → the process's memory. */
  readonly #spaces = new Map<number, UserSpace>();

  constructor(ram: Uint8Array) {
    this.#ram = ram;
    this.#kernel = findKernelSymbols(ram);
  }

  /** `root`: the frame of a process's page tables, 0 for the kernel. Below its half that has no functions, only offsets in its per-CPU data. */
  at(va: bigint, root: number): { readonly name: string; readonly offset: number } | undefined {
    if (root === 0) return this.#kernel && va >> 63n === 1n ? symbolAt(this.#kernel, va) : undefined;
    let space = this.#spaces.get(root);
    if (space === undefined) this.#spaces.set(root, (space = new UserSpace(this.#ram, root)));
    return space.symbolAt(va);
  }
}

function namedAddresses(flat: readonly number[], names: Names): GuestAddress[] {
  const guest: GuestAddress[] = [];
  for (let k = 0; k + 4 <= flat.length; k += 4) {
    const [lo, hi, root, samples] = flat.slice(k, k + 4) as [number, number, number, number];
    const value = (BigInt(hi) << 32n) | BigInt(lo);
    const found = names.at(value, root);
    const address = value.toString(16).padStart(16, '0');
    guest.push({
      address,
      kernel: root === 0,
      samples,
      ...(found && { symbol: found.name, offset: found.offset }),
    });
  }
  return guest.sort((a, b) => b.samples - a.samples);
}

function namedFunction(one: MonitorFunction, names: Names): MonitorFunction {
  const entry = REGION.exec(one.name)?.[1];
  return entry === undefined ? one : { ...one, ...symbolOf(entry, 0, names) };
}

function namedRegion({ root, parts, ...one }: TimedRegion, names: Names): ProfiledRegion {
  const named: { address: string; instructions: number; symbol?: string }[] = [];
  let before: string | undefined;
  for (const { address, instructions } of parts) {
    const name = names.at(BigInt(`0x${address}`), root)?.name;
    // Pieces of one function lie apart where a region leaves out what is rare.
    if (name !== undefined && name === before) named.at(-1)!.instructions += instructions;
    else named.push({ address, instructions, ...symbolOf(address, root, names) });
    before = name;
  }
  return { ...one, ...symbolOf(one.address, root, names), parts: named };
}

/** `address`: hexadecimal digits. */
function symbolOf(address: string, root: number, names: Names): { symbol?: string } {
  const found = names.at(BigInt(`0x${address}`), root);
  return found ? { symbol: `${found.name}+0x${found.offset.toString(16)}` } : {};
}
