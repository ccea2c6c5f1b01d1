/** What the API tells about a domain. Types only: clients import this file for its types. */
import type { DomainConfig } from '../config/domain-config.ts';
import type { DomainState } from '../monitor/lifecycle.ts';
import type { MachineExit } from '../monitor/machine-types.ts';

export interface DomainView {
  readonly domid: number;
  readonly uuid: string;
  readonly name: string;
  readonly memoryMiB: number;
  readonly maxmemMiB: number;
  readonly vcpus: number;
  readonly state: DomainState;
  /** r b p s c, `-` where not. */
  readonly letters: string;
  /** The CPU it last ran on. */
  readonly cpu: number;
  readonly cpuTimeS: number;
  readonly upTimeS: number;
  /** Seconds since 1970. */
  readonly startTime: number;
  /** How many times its machine was built: goes up with each reboot. */
  readonly builds: number;
  readonly shutdownReason?: MachineExit['kind'];
  readonly consolePort?: number;
  /** Absent for Domain-0. */
  readonly config?: DomainConfig;
}

/** How a domain ended that is no longer there. */
export interface ExitView {
  readonly uuid: string;
  readonly name: string;
  readonly domid: number;
  readonly kind: MachineExit['kind'] | 'destroyed';
  readonly report: readonly string[];
  readonly atMs: number;
}
