/**
 * What the monitor's shell (control socket, console, life-cycle) and the machine inside it (engine, hypervisor, devices)
 * say to each other. The shell is `main.ts`; the machine is `machine.ts`, or a fake one in tests. Plain data and callbacks:
 * a `MachineConfig` is written to disk as JSON, so it holds nothing that JSON cannot.
 */

import type { StreamDisk } from '../devices/blk/stream-disk.ts';
import type { Profile } from './profile/types.ts';
import type { PluggedDisk } from './stream-disks.ts';

/** A disk as the configuration file named it: `uname,dev,mode`. */
export interface DiskConfig {
  /** `file:/absolute/path` or `phy:name`; relative `phy:` names are below /dev. */
  readonly uname: string;
  /** The name that the guest is given: sda1, hda, xvdb, or a number. */
  readonly dev: string;
  readonly mode: 'r' | 'w';
  /** `w!` or `r!`: skip the sharing check. */
  readonly shared?: boolean;
}

/** How much of the CPUs the domain may have. */
export interface Scheduling {
  /** Share of contended CPUs, 1 to 65535; 256 is everybody's. */
  readonly weight: number;
  /** Percent of one CPU that it never exceeds; 0: no limit. */
  readonly cap: number;
  /** For each vCPU the CPUs that it may run on; none: any. */
  readonly affinity: readonly (readonly number[])[];
}

export interface MachineConfig {
  readonly domid: number;
  /** 8-4-4-4-12 hexadecimal digits. */
  readonly uuid: string;
  readonly name: string;
  readonly memoryMiB: number;
  readonly maxmemMiB: number;
  readonly vcpus: number;
  /** Absolute path of a bzImage or an ELF kernel. */
  readonly kernel: string;
  readonly ramdisk?: string;
  readonly cmdline: string;
  readonly disks: readonly DiskConfig[];
  readonly scheduling?: Scheduling;
  readonly paths: {
    /** This domain's folder under run/: control.sock, console.sock. */
    readonly run: string;
    /** Folder that xend keeps state in; a domain may put files that outlive it under it. */
    readonly lib: string;
    /** Log files. */
    readonly log: string;
  };
  readonly store: {
    /** Socket of the guest's own connection: xend has decided that whoever connects is domain `domid`. */
    readonly guestSocket: string;
    /** Socket of a privileged (domain 0) connection for the backends. */
    readonly backendSocket: string;
  };
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** How a machine's life ended. `report` is for people: a crash report's lines, the shortest description first. */
export interface MachineExit {
  readonly kind: 'poweroff' | 'reboot' | 'crash' | 'watchdog' | 'suspend';
  readonly report?: readonly string[];
}

/** What a machine may call. Nothing here throws or blocks. */
export interface MachinePorts {
  /** Console output. The bytes are taken (copied if needed) before the call returns. */
  consoleOut(bytes: Uint8Array): void;
  /** What the guest sends on the agent's channel, taken before the call returns. */
  agentOut?(bytes: Uint8Array): void;
  /** The guest has connected its end of that channel, or has let go of it: what was under way is lost. */
  agentChanged?(connected: boolean): void;
  /** Bytes for the guest can be offered again after `agentIn` took less than all. */
  agentReady?(): void;
  /** One line for the domain's log file. */
  log(level: LogLevel, text: string): void;
}

/** Facts for `xm list`, asked about once per request: keep it cheap. */
export interface MachineInfo {
  /** CPU time that the guest used, all vCPUs. */
  readonly cpuTimeNs: number;
  /** At least one vCPU is executing now; otherwise all are blocked. */
  readonly running: boolean;
  readonly memoryMiB: number;
  readonly vcpusOnline: number;
  /** Where the guest finds its store and console rings: written to the store tree for those who look there. */
  readonly rings?: {
    readonly storeFrame: number;
    readonly storePort: number;
    readonly consoleFrame: number;
    readonly consolePort: number;
  };
  /** Last physical CPU, when known. */
  readonly cpu?: number;
  readonly vcpus?: readonly VcpuInfo[];
  /** Device numbers of the disks that are open. */
  readonly disks?: readonly number[];
  /** What they have done since they were opened. */
  readonly diskIo?: readonly DiskIoInfo[];
}

export interface DiskIoInfo {
  /** The guest's name for the disk. */
  readonly dev: string;
  readonly reads: number;
  readonly writes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
}

export interface VcpuInfo {
  readonly state: 'running' | 'blocked' | 'paused' | 'offline';
  readonly cpuTimeNs: number;
  /** The CPU it runs on, or last ran on, when known. */
  readonly cpu?: number;
}

export interface Machine {
  /** Begin to execute a machine that was just built. Called once. */
  start(): void;
  /** Resolves when no vCPU executes any more. */
  pause(): Promise<void>;
  unpause(): Promise<void>;
  /** Stop everything, write back and close disks, give up locks and memory. Resolves when done; safe to call twice. */
  destroy(): Promise<void>;
  /** Called at most once per machine, never after `destroy` was called. The machine stays in memory until destroyed. */
  onExit(callback: (exit: MachineExit) => void): void;
  /**
   * Typed input. Returns how many bytes were taken; the rest is offered again after `consoleReady` fires, or with the next
   * input.
   */
  consoleIn(bytes: Uint8Array): number;
  /** Bytes for the agent in the guest. Returns how many were taken: the rest is offered again after `agentReady`. */
  agentIn?(bytes: Uint8Array): number;
  /** Called when console input that was not taken can be offered again. Optional: the shell also asks from time to time. */
  onConsoleReady?(callback: () => void): void;
  info(): MachineInfo;
  /** Open and lock a further disk. Rejects with a BuildError for what people can mend. */
  openDisk(disk: DiskConfig): Promise<void>;
  /** Offer an opened disk to the guest; its nodes are in the store. */
  offerDisk(vdev: number): Promise<void>;
  /** Stop serving a disk, whatever the guest does with it; write back and unlock it. Nothing happens when there is none. */
  closeDisk(vdev: number): Promise<void>;
  /** Plug in a disk for the length of a copy; undefined when the guest does not connect it (stream-disks.ts). */
  plugStream?(disk: StreamDisk): Promise<PluggedDisk | undefined>;
  /** Close all disks of a machine whose guest has ended; its memory stays. */
  closeDisks(): Promise<void>;
  /** Hold the disks under this name of the domain, which is told to whoever cannot have them. */
  rename(name: string): Promise<void>;
  /** Throws a BuildError that says what the host does not allow. */
  schedule(scheduling: Scheduling): void;
  sendNmi(): void;
  /** Watch where the guest and its monitor spend their time; resolves after so many seconds, or when the guest ends. */
  profile(seconds: number, regions: number): Promise<Profile>;
  /** Write memory and registers to a core file; the guest does not run meanwhile. */
  dumpCore(file: string): Promise<void>;
}

/** Builds a domain ready to run, paused before its first instruction. Rejects with a `BuildError` for what people can mend. */
export type CreateMachine = (config: MachineConfig, ports: MachinePorts) => Promise<Machine>;

/**
 * A domain cannot be built for a reason outside Domus: a file is missing, is no kernel, a disk is in use. The message is one
 * line that says what and where. Any other exception is our mistake and is reported as such.
 */
export class BuildError extends Error {
  override readonly name = 'BuildError';
}
