/**
 * What a domain is to be: the values that a configuration file comes down to, checked and with absolute paths. xm makes it
 * from a file (load.ts), the SDK makes it directly, xend checks it by this schema and keeps it in the domain's record;
 * `xm schema` prints it for those who write JSON.
 */
import { type Static, Type } from '@sinclair/typebox';
import { BACKENDS } from './backends.ts';
import { EXIT_ACTIONS, type ExitAction } from './exit-actions.ts';

export { EXIT_ACTIONS, type ExitAction } from './exit-actions.ts';

const Action = (after: string, usual: ExitAction) =>
  Type.Union(
    EXIT_ACTIONS.map((action) => Type.Literal(action)),
    { description: `What becomes of the domain after ${after}`, default: usual },
  );

export const Disk = Type.Object(
  {
    uname: Type.String({ minLength: 1, description: 'What it is stored in: file:PATH, or phy:NAME below /dev' }),
    dev: Type.String({ minLength: 1, description: "The guest's name for it: sda1, hda, xvdb" }),
    mode: Type.Union([Type.Literal('r'), Type.Literal('w')], { description: 'Read-only, or read and write' }),
    shared: Type.Optional(Type.Boolean({ description: 'Others may have it open too: no sharing check ("w!")' })),
  },
  { additionalProperties: false },
);

export const Vif = Type.Object(
  {
    mac: Type.String({ pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$', description: 'Hardware address' }),
    vifname: Type.Optional(Type.String({ maxLength: 15, description: 'Name of its end on this machine' })),
    bridge: Type.Optional(Type.String({ description: 'Bridge to join' })),
    script: Type.Optional(Type.String({ description: 'Script that connects it' })),
    backend: Type.Optional(Type.String({ description: 'Driver domain' })),
    ip: Type.Optional(Type.String({ description: 'Addresses of the guest, separated by blanks' })),
    rate: Type.Optional(Type.String({ description: 'Limit of what the guest sends: 10Mb/s' })),
  },
  { additionalProperties: false },
);

export const PciDevice = Type.Object(
  {
    domain: Type.Optional(Type.Integer({ minimum: 0, maximum: 0xffff, description: 'PCI segment; 0 when not given' })),
    bus: Type.Integer({ minimum: 0, maximum: 0xff }),
    dev: Type.Integer({ minimum: 0, maximum: 0x1f }),
    func: Type.Integer({ minimum: 0, maximum: 7 }),
  },
  { additionalProperties: false },
);

export const DomainConfig = Type.Object(
  {
    name: Type.String({
      minLength: 1,
      maxLength: 255,
      description: 'Unique; letters, digits and _ - . : / +, not beginning with a digit',
    }),
    uuid: Type.Optional(
      Type.String({
        pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
        description: 'A random one when not given',
      }),
    ),
    kernel: Type.String({ minLength: 1, description: "Absolute path of the guest's kernel: a bzImage or vmlinux" }),
    ramdisk: Type.Optional(Type.String({ minLength: 1, description: 'Absolute path of the initial ramdisk' })),
    memoryMiB: Type.Integer({ minimum: 1, default: 128, description: 'Memory in MiB' }),
    maxmemMiB: Type.Integer({ minimum: 1, description: 'How far memory may grow, in MiB' }),
    vcpus: Type.Integer({ minimum: 1, maximum: 32, default: 1, description: 'CPUs of the guest' }),
    cpu: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 4095,
        description: "CPU to begin on, as Xen 2.0 asked for; this machine's kernel moves domains as it sees fit",
      }),
    ),
    cpuWeight: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65535,
        description: "Share of contended CPUs; 256, everybody's, when not given",
      }),
    ),
    cpuCap: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100_000, description: 'Limit in percent of one CPU; 0 is none' }),
    ),
    cpus: Type.Optional(
      Type.Array(Type.Array(Type.Integer({ minimum: 0, maximum: 4095 })), {
        maxItems: 32,
        description: "For each vCPU this machine's CPUs that it may run on; an empty list is any",
      }),
    ),
    ip: Type.Optional(
      Type.String({ description: 'ip= of the kernel line: ADDRESS:SERVER:GATEWAY:NETMASK:HOSTNAME:INTERFACE:DHCP' }),
    ),
    root: Type.Optional(Type.String({ description: 'root= of the kernel line' })),
    args: Type.Optional(Type.String({ description: 'Further kernel options' })),
    bootOptions: Type.Optional(
      Type.String({ description: 'Options that Domus puts first on the kernel line; "" for none' }),
    ),
    consolePort: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 65535,
        description: 'TCP port of the console; 9600 + domain id when not given',
      }),
    ),
    disks: Type.Array(Disk, { default: [], description: 'Virtual disks' }),
    vifs: Type.Array(Vif, { default: [], description: 'Virtual network interfaces' }),
    pci: Type.Optional(Type.Array(PciDevice, { description: 'PCI devices; kept, but no guest gets one' })),
    backends: Type.Optional(
      Type.Array(Type.Union(BACKENDS.map((kind) => Type.Literal(kind))), {
        description: 'Backends to be for other domains; kept, but no domain is one',
      }),
    ),
    onPoweroff: Action('poweroff', 'destroy'),
    onReboot: Action('reboot', 'restart'),
    onCrash: Action('a crash', 'destroy'),
    onWatchdog: Type.Optional(
      Type.Union(
        EXIT_ACTIONS.map((action) => Type.Literal(action)),
        {
          description: 'What becomes of the domain after its own watchdog found it hanging; as onCrash when not given',
        },
      ),
    ),
  },
  { additionalProperties: false, title: 'DomainConfig', description: 'What a domain is to be' },
);
type Plain = Static<typeof DomainConfig>;
export type Disk = Static<typeof Disk>;
export type Vif = Static<typeof Vif>;
export type PciDevice = Static<typeof PciDevice>;
export interface DomainConfig extends Omit<Plain, 'onPoweroff' | 'onReboot' | 'onCrash' | 'onWatchdog'> {
  onPoweroff: ExitAction;
  onReboot: ExitAction;
  onCrash: ExitAction;
  onWatchdog?: ExitAction;
}
