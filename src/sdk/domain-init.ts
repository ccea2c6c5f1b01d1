/** What a program says of the domain that it wants, made into a whole configuration. */
import { defaultBootOptions } from '../config/boot-options.ts';
import { parseDisk } from '../config/disk.ts';
import type { Disk, DomainConfig, Vif } from '../config/domain-config.ts';
import { loadConfig } from '../config/load.ts';
import { parseVif, randomMacOf } from '../config/vif.ts';

/** Only the kernel must be said. Everything else is as in DomainConfig, or has xm's default. */
export interface DomainValues extends Partial<Omit<DomainConfig, 'disks' | 'vifs'>> {
  readonly kernel: string;
  /** `file:/path/to/image,sda1,w`, or its parts. */
  readonly disks?: readonly (string | Disk)[];
  /** `bridge=xen-br0, mac=...`, or its parts. */
  readonly vifs?: readonly (string | Vif)[];
}

/** A configuration file of xm's, with variables for it. */
export interface DomainFile {
  readonly file: string;
  readonly variables?: Readonly<Record<string, string | number>>;
  /** Told of what is odd in the file. */
  readonly warn?: (text: string) => void;
}

export interface CreateOptions {
  /** Leave it paused before its first instruction. */
  readonly paused?: boolean;
  /** Called after the domain was disposed of, to give back what was made for it. */
  readonly release?: () => Promise<void>;
}

export type DomainInit = (DomainValues | DomainFile) & CreateOptions;

export const diskOf = (disk: string | Disk): Disk => (typeof disk === 'string' ? parseDisk(disk, process.cwd()) : disk);

const randomMac = () => randomMacOf(Math.random);
const vifOf = (vif: string | Vif): Vif => (typeof vif === 'string' ? parseVif(vif, randomMac) : vif);

let made = 0;

/** Rejects with one clear line when a file or a value cannot be understood; xend checks the rest. */
export async function configOf(init: DomainInit): Promise<DomainConfig> {
  const { paused: _paused, release: _release, ...wanted } = init;
  if ('file' in wanted) {
    const { file, variables = {}, warn = () => {} } = wanted;
    const words = Object.entries(variables).map(([key, value]) => [key, String(value)] as const);
    return (await loadConfig({ file, search: [], variables: words, warn, print: warn, randomMac })).config;
  }
  const { memoryMiB = 128, vcpus = 1, disks = [], vifs = [] } = wanted;
  return {
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'destroy',
    bootOptions: defaultBootOptions(vcpus),
    ...wanted,
    name: wanted.name ?? `vm-${process.pid}-${++made}`,
    memoryMiB,
    maxmemMiB: wanted.maxmemMiB ?? memoryMiB,
    vcpus,
    disks: disks.map(diskOf),
    vifs: vifs.map(vifOf),
  };
}
