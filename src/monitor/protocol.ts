/**
 * What is said on a monitor's control socket: one JSON value a line. The client sends requests, the monitor answers each by
 * its id, in any order, and sends every client a state message whenever the state changes (and one on connecting). That it
 * lives it says unasked, as often as its configuration wants: nobody has to wake a hundred idle monitors by asking.
 * Rows are only ever added: a monitor may be older than the xend that finds it.
 */
import type { ConsoleStatus } from './console/server.ts';
import type { DomainState } from './lifecycle.ts';
import type { DiskConfig, MachineConfig, MachineExit, MachineInfo, Scheduling } from './machine-types.ts';

export const PROTOCOL_VERSION = 2;
/** The first that says unasked that it lives, older ones have to be asked, and that know disconnect and relog. */
export const PROTOCOL_ALIVE = 2;

export interface MonitorStatus {
  readonly protocol: number;
  readonly pid: number;
  readonly domid: number;
  readonly uuid: string;
  readonly state: DomainState;
  /** How many times a machine was built: 1, and one more for each reboot. */
  readonly builds: number;
  /** When the present machine began to run; milliseconds since 1970. */
  readonly startedAtMs?: number;
  /** Why the guest ended, in the states shutdown and dead. */
  readonly exit?: MachineExit;
  readonly info?: MachineInfo;
  /** Its console's port and who is attached; absent from monitors older than consoles with ports. */
  readonly console?: ConsoleStatus;
  /** The agent in the guest has said hello. */
  readonly agent?: boolean;
}

/** All answer with the status after they are done. What some take is in MethodParams. */
// biome-ignore format: a table
export const METHODS = {
  status:    'tell how the domain is',
  build:     'build the machine, paused before its first instruction',
  unpause:   'run, or go on running',
  pause:     'stop executing; memory and devices stay',
  release:   'after the guest has ended: give up the machine with its memory and disks',
  rebuild:   'after the guest has ended: build it again (reboot) and run; consoles stay connected',
  keep:      'after the guest has ended: keep it to be looked at, close consoles and disks',
  destroy:   'end the machine and this process',
  openDisk:  'open and lock a further disk',
  offerDisk: 'serve an opened disk, whose nodes are in the store, to the guest',
  closeDisk: 'stop serving a disk and unlock it',
  schedule:  'set weight, cap and the CPUs to run on',
  reset:     'end the guest as if it had rebooted, without asking it',
  nmi:       'send a non-maskable interrupt to vCPU 0',
  dumpCore:  'write memory and registers to a core file',
  profile:   'watch where the time goes, and write that to a file',
  disconnect: 'close the connections of everyone at the console',
  relog:     'go on under another name: log files and the locks of disks get it',
} as const;
export type Method = keyof typeof METHODS;

export interface MethodParams {
  /** What the new machine is to be; without it, what the old one was. */
  rebuild: { readonly machine?: MachineConfig };
  openDisk: { readonly disk: DiskConfig };
  offerDisk: { readonly vdev: number };
  closeDisk: { readonly vdev: number };
  schedule: { readonly scheduling: Scheduling };
  dumpCore: { readonly file: string };
  /** Without a name, from an older xend, only the log files. */
  relog: { readonly name?: string; readonly consoleLog: string; readonly monitorLog: string };
  profile: { readonly seconds: number; readonly regions: number; readonly file: string };
}
export type ParamsOf<M extends Method> = M extends keyof MethodParams ? MethodParams[M] : Record<string, never>;

export interface Request<M extends Method = Method> {
  readonly id: number;
  readonly method: M;
  readonly params?: ParamsOf<M>;
}
/** `error.kind`: build = people can mend it; state = not possible now; internal = our mistake, details in the log. */
export interface Failure {
  readonly kind: 'build' | 'state' | 'internal';
  readonly text: string;
}
export type Message =
  | { readonly id: number; readonly result: MonitorStatus }
  | { readonly id: number; readonly error: Failure }
  | { readonly event: 'state'; readonly status: MonitorStatus }
  | { readonly event: 'alive' };

export const LINE_MAX = 1 << 20;

/** Cuts a byte stream into lines. `onLine` never sees more than LINE_MAX characters; a longer line is an error. */
export function lineSplitter(onLine: (line: string) => void): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    rest += chunk;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      if (line !== '') onLine(line);
    }
    if (rest.length > LINE_MAX) throw new Error('a control line is longer than a mebibyte');
  };
}
