/** A profile of a running domain: where its guest was, and what its monitor did for it, at regular moments. Plain data. */
import type { RegionView } from '../../host/regions/watched.ts';

/** Samples at one instruction of the guest. */
export interface GuestAddress {
  /** Sixteen hexadecimal digits. */
  readonly address: string;
  readonly kernel: boolean;
  readonly samples: number;
  /** The kernel's own name for it, or the one that a program or library has it linked by; and how far behind. */
  readonly symbol?: string;
  readonly offset?: number;
}

/** Time in one function of the vCPU's thread: generated code, the engine, the hypervisor, or V8 itself. */
export interface MonitorFunction {
  readonly name: string;
  readonly where: string;
  readonly ms: number;
  /** Of a region's function, whose name has the address where it is in this domain: the kernel's symbol there. */
  readonly symbol?: string;
}

/** A region that was entered while the profile was made. */
export interface TimedRegion extends RegionView {
  /** Time in its function. */
  readonly ms: number;
}

/** The same with names, as for GuestAddress: of its beginning, and of each function that it has code of. */
export interface ProfiledRegion extends Omit<TimedRegion, 'root' | 'parts'> {
  readonly symbol?: string;
  /** In the order of addresses, with the address of the first instruction that is the region's. */
  readonly parts: readonly { readonly address: string; readonly instructions: number; readonly symbol?: string }[];
}

export interface Profile {
  readonly seconds: number;
  /** All samples; `idle` of them found the vCPU without anything to do, `missed` found no answer in time. */
  readonly samples: number;
  readonly idle: number;
  readonly guest: readonly GuestAddress[];
  readonly monitor: readonly MonitorFunction[];
  /** Regions of hot code and their modules, since the machine was built: the engine's statistics. */
  readonly engine: Readonly<Record<string, number>>;
  /** Those that most time was spent in, as many as were asked for. */
  readonly regions: readonly ProfiledRegion[];
}

/** What the vCPU's thread tells at the end. */
export interface VcpuProfile {
  /** Low and high half of RIP, frame of the process's page tables or 0 in the guest's kernel, and how often: four numbers each. */
  readonly guest: readonly number[];
  readonly monitor: readonly MonitorFunction[];
  readonly engine: Readonly<Record<string, number>>;
  readonly regions: readonly TimedRegion[];
}
