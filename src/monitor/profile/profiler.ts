/**
 * The device thread's side of a profile: asks the vCPU's thread to look around at regular moments, counts when it had nothing to
 * do, and gives the addresses the names that the guest's kernel has for them.
 */
import { findKernelSymbols, type KernelSymbols, symbolAt } from '../../guest/kallsyms.ts';
import { UserSpace } from '../../guest/user-symbols.ts';
import type { GuestAddress, MonitorFunction, Profile, VcpuProfile } from './types.ts';

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
    const symbols = findKernelSymbols(this.#vcpu.ram);
    const guest = namedAddresses(found?.guest ?? [], symbols, this.#vcpu.ram);
    const samples = this.#idle + guest.reduce((sum, { samples }) => sum + samples, 0);
    const monitor = (found?.monitor ?? []).map((one) => namedFunction(one, symbols));
    const regions = (found?.regions ?? []).map((one) => ({ ...one, ...symbolOf(one.address, symbols) }));
    this.#resolve({ seconds, samples, idle: this.#idle, guest, monitor, engine: found?.engine ?? {}, regions });
  }
}

function namedAddresses(flat: readonly number[], symbols: KernelSymbols | undefined, ram: Uint8Array): GuestAddress[] {
  const guest: GuestAddress[] = [];
  const spaces = new Map<number, UserSpace>();
  for (let k = 0; k + 4 <= flat.length; k += 4) {
    const [lo, hi, root, samples] = flat.slice(k, k + 4) as [number, number, number, number];
    const value = (BigInt(hi) << 32n) | BigInt(lo);
    let space = spaces.get(root);
    if (root !== 0 && space === undefined) spaces.set(root, (space = new UserSpace(ram, root)));
    const found = space ? space.symbolAt(value) : symbols && symbolAt(symbols, value);
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

function namedFunction(one: MonitorFunction, symbols: KernelSymbols | undefined): MonitorFunction {
  const entry = REGION.exec(one.name)?.[1];
  return entry === undefined ? one : { ...one, ...symbolOf(entry, symbols) };
}

/** `address`: hexadecimal digits. Below the kernel's half the kernel has no functions, only offsets in its per-CPU data. */
function symbolOf(address: string, symbols: KernelSymbols | undefined): { symbol?: string } {
  const va = BigInt(`0x${address}`);
  const found = symbols && va >> 63n === 1n ? symbolAt(symbols, va) : undefined;
  return found ? { symbol: `${found.name}+0x${found.offset.toString(16)}` } : {};
}
