/**
 * What a domain is to be: the values that a configuration file comes down to, checked and with absolute paths. xm makes it
 * from a file (load.ts), the SDK makes it directly, xend checks it by this schema and keeps it in the domain's record.
 */
import { type Static, Type } from '@sinclair/typebox';

export const EXIT_ACTIONS = [
  'destroy',
  'restart',
  'preserve',
  'rename-restart',
  'coredump-destroy',
  'coredump-restart',
] as const;
export type ExitAction = (typeof EXIT_ACTIONS)[number];
const Action = Type.Union(EXIT_ACTIONS.map((action) => Type.Literal(action)));

export const Disk = Type.Object(
  {
    uname: Type.String({ minLength: 1 }),
    dev: Type.String({ minLength: 1 }),
    mode: Type.Union([Type.Literal('r'), Type.Literal('w')]),
    /** `w!`: no sharing check. */
    shared: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);

export const DomainConfig = Type.Object(
  {
    /** Letters, digits and _ - . : / +, not beginning with a digit. */
    name: Type.String({ minLength: 1, maxLength: 255 }),
    uuid: Type.Optional(Type.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' })),
    kernel: Type.String({ minLength: 1 }),
    ramdisk: Type.Optional(Type.String({ minLength: 1 })),
    memoryMiB: Type.Integer({ minimum: 1 }),
    maxmemMiB: Type.Integer({ minimum: 1 }),
    vcpus: Type.Integer({ minimum: 1, maximum: 32 }),
    /** The ip= value of the kernel line, xm-xend 2.3. */
    ip: Type.Optional(Type.String()),
    /** The root= value. */
    root: Type.Optional(Type.String()),
    /** Further kernel options: `extra`, after nfsroot=. */
    args: Type.Optional(Type.String()),
    /** Options that Domus adds (boot-options.ts), already chosen. */
    bootOptions: Type.Optional(Type.String()),
    disks: Type.Array(Disk),
    /** vif strings as in the file. */
    vifs: Type.Array(Type.String()),
    onPoweroff: Action,
    onReboot: Action,
    onCrash: Action,
    /** After the guest's own watchdog found it hanging; as onCrash when not given. */
    onWatchdog: Type.Optional(Action),
  },
  { additionalProperties: false },
);
type Plain = Static<typeof DomainConfig>;
export type Disk = Static<typeof Disk>;
export interface DomainConfig extends Omit<Plain, 'onPoweroff' | 'onReboot' | 'onCrash' | 'onWatchdog'> {
  onPoweroff: ExitAction;
  onReboot: ExitAction;
  onCrash: ExitAction;
  onWatchdog?: ExitAction;
}
