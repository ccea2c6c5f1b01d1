/** What the API tells about domains: schemas, and the types that clients import. */
import { type Static, Type } from '@sinclair/typebox';
import { DomainConfig } from '../config/domain-config.ts';
import type { DomainState } from '../monitor/lifecycle.ts';
import type { MachineExit } from '../monitor/machine-types.ts';
import type { Profile as MonitorProfile } from '../monitor/profile/types.ts';

const text = (description: string) => Type.String({ description });
const number = (description: string) => Type.Number({ description });
const integer = (description: string) => Type.Integer({ description });
const oneOf = <T extends string>(description: string, values: Record<T, true>) =>
  Type.Unsafe<T>({ type: 'string', enum: Object.keys(values), description });

const State = oneOf<DomainState>('where it is in its life', {
  building: true,
  paused: true,
  running: true,
  shutdown: true,
  dead: true,
});
type ExitKind = MachineExit['kind'];
const EXIT_KINDS: Record<ExitKind, true> = { poweroff: true, reboot: true, crash: true, watchdog: true, suspend: true };

export const OperationView = Type.Object(
  {
    id: integer('its number, as its events have it'),
    name: text('what is being done: create, destroy, pause, ...'),
    step: Type.Optional(text('the latest step')),
    at: Type.Optional(integer('which step that is, from 1')),
    of: Type.Optional(integer('how many there are')),
    startedAtMs: integer('milliseconds since 1970'),
    waiting: integer('how much more work waits for it'),
  },
  { $id: 'OperationView' },
);
export type OperationView = Static<typeof OperationView>;

export const ConsoleView = Type.Object(
  {
    id: integer("a number of its own in the old daemon; here the domain's"),
    status: oneOf<'new' | 'listening' | 'connected'>('new until its port is open, connected while somebody types', {
      new: true,
      listening: true,
      connected: true,
    }),
    attached: integer('how many are attached, watchers included'),
    writer: Type.Optional(text('who types: HOST:PORT, or what a client calls itself')),
    bytesOut: integer('bytes that the guest printed'),
    bytesIn: integer('bytes that were typed'),
  },
  { $id: 'ConsoleView' },
);
export type ConsoleView = Static<typeof ConsoleView>;

export const DiskIo = Type.Object({
  dev: text("the guest's name for the disk"),
  reads: integer('read requests'),
  writes: integer('write requests'),
  readBytes: integer('bytes read'),
  writtenBytes: integer('bytes written'),
});
export type DiskIo = Static<typeof DiskIo>;

export const DomainView = Type.Object(
  {
    domid: integer('its number on this machine'),
    uuid: text('its name for ever'),
    name: text('its name'),
    memoryMiB: integer('memory it has'),
    maxmemMiB: integer('memory it may have'),
    vcpus: integer('virtual CPUs online'),
    state: State,
    letters: text('r running, b blocked, p paused, s shut down, c crashed; - where not'),
    cpu: integer('the CPU it last ran on'),
    cpuTimeS: number('CPU seconds used'),
    upTimeS: number('seconds since it began to run'),
    startTime: number('when it began to run, seconds since 1970'),
    builds: integer('how many times its machine was built: goes up with each reboot'),
    shutdownReason: Type.Optional(oneOf<ExitKind>('how its guest ended', EXIT_KINDS)),
    consolePort: Type.Optional(integer('TCP port of its console')),
    console: Type.Optional(ConsoleView),
    operation: Type.Optional(OperationView),
    diskIo: Type.Optional(Type.Array(DiskIo, { description: 'what its disks have done since its machine was built' })),
    config: Type.Optional(Type.Unsafe<DomainConfig>(DomainConfig)),
  },
  { $id: 'DomainView', description: 'A domain. Domain-0, this machine, has no config.' },
);
export type DomainView = Static<typeof DomainView>;

export const ExitView = Type.Object(
  {
    uuid: text('its uuid'),
    name: text('its name'),
    domid: integer('its number'),
    kind: oneOf<ExitKind | 'destroyed'>('how it ended', { ...EXIT_KINDS, destroyed: true }),
    report: Type.Unsafe<readonly string[]>(
      Type.Array(Type.String(), { description: 'lines for people, the shortest story first' }),
    ),
    atMs: integer('milliseconds since 1970'),
  },
  { $id: 'ExitView', description: 'How a domain ended that is no longer there.' },
);
export type ExitView = Static<typeof ExitView>;

export const DiskView = Type.Object(
  {
    idx: integer('its place in this list, which 2.0 names it by'),
    vdev: integer('its number in the guest'),
    dev: text('its name as the configuration has it'),
    name: text('its name in the guest'),
    mode: oneOf<'r' | 'w'>('whether the guest may write it', { r: true, w: true }),
    uname: text('what is behind it'),
    state: integer('where its backend is in the handshake: 4 is connected'),
    ringRef: Type.Optional(integer('grant reference of its ring')),
    eventChannel: Type.Optional(integer('its event channel')),
    backend: text('its folder in the store'),
  },
  { $id: 'DiskView' },
);
export type DiskView = Static<typeof DiskView>;

export const ChannelView = Type.Object(
  {
    id: integer('its number among the consoles of the domain'),
    name: text('its name, which the guest finds it by'),
    state: integer('where its backend is in the handshake: 4 is connected'),
    ringRef: Type.Optional(integer('grant reference of its ring')),
    eventChannel: Type.Optional(integer('its event channel')),
    socket: text("this machine's end"),
  },
  { $id: 'ChannelView', description: 'A console with a name.' },
);
export type ChannelView = Static<typeof ChannelView>;

export const VcpuView = Type.Object(
  {
    vcpu: integer('its number in the domain'),
    cpu: Type.Optional(integer('the CPU it runs on, or last ran on')),
    state: oneOf<'running' | 'blocked' | 'paused' | 'offline'>('what it does', {
      running: true,
      blocked: true,
      paused: true,
      offline: true,
    }),
    cpuTimeS: number('CPU seconds used'),
    affinity: Type.Array(Type.Integer(), { description: 'the CPUs it may run on; none: any' }),
  },
  { $id: 'VcpuView' },
);
export type VcpuView = Static<typeof VcpuView>;

export const SchedulingView = Type.Object(
  {
    weight: integer("share of contended CPUs; 256 is everybody's"),
    cap: integer('limit in percent of one CPU; 0 is none'),
  },
  { $id: 'SchedulingView' },
);
export type SchedulingView = Static<typeof SchedulingView>;

export const Profile = Type.Unsafe<MonitorProfile>({
  type: 'object',
  description: 'where a domain spent its time: samples of the guest by address, time of the monitor by function',
});
export type Profile = MonitorProfile;
