/** VAR=VALUE words for a configuration that is complete already (JSON, SXP): each replaces one of its fields. */
import { ConfigError } from './config-error.ts';
import { parseCpuWeight } from './cpu-weight.ts';
import { parseDisk } from './disk.ts';
import type { DomainConfig } from './domain-config.ts';
import { parseVif } from './vif.ts';

type Fields = Partial<Record<keyof DomainConfig, unknown>>;
type Set = (text: string, config: Fields, how: { cwd: string; randomMac: () => string }) => void;

const text =
  (key: keyof DomainConfig): Set =>
  (value, config) => {
    config[key] = value;
  };
const whole =
  (key: keyof DomainConfig): Set =>
  (value, config) => {
    if (!/^\d+$/.test(value)) throw new ConfigError(`Invalid value: ${value}: a whole number is wanted`);
    config[key] = Number(value);
  };

const weight: Set = (value, config) => {
  const parsed = parseCpuWeight(value);
  if (parsed === undefined) throw new ConfigError(`invalid cpu weight: ${value}`);
  config.cpuWeight = parsed;
};

// biome-ignore format: a table
const SETTERS: Readonly<Record<string, Set>> = {
  name:               text('name'),
  uuid:               text('uuid'),
  kernel:             text('kernel'),
  ramdisk:            text('ramdisk'),
  root:               text('root'),
  extra:              text('args'),
  domus_boot_options: text('bootOptions'),
  on_poweroff:        text('onPoweroff'),
  on_reboot:          text('onReboot'),
  on_crash:           text('onCrash'),
  memory:             whole('memoryMiB'),
  maxmem:             whole('maxmemMiB'),
  vcpus:              whole('vcpus'),
  cpu_weight:         weight,
  cpu_cap:            whole('cpuCap'),
  cap:                whole('cpuCap'),
  on_watchdog:        text('onWatchdog'),
  console:            whole('consolePort'),
};

/** Changes `config`, whose values are still to be checked. Lists on the command line replace the file's. */
export function override(
  config: Fields,
  variables: readonly (readonly [name: string, value: string])[],
  how: { cwd: string; randomMac: () => string },
): void {
  const lists = { disk: [] as unknown[], vif: [] as unknown[] };
  for (const [name, value] of variables) {
    try {
      if (name === 'disk') lists.disk.push(parseDisk(value, how.cwd));
      else if (name === 'vif') lists.vif.push(parseVif(value, how.randomMac));
      else if (Object.hasOwn(SETTERS, name)) SETTERS[name]!(value, config, how);
      else throw new ConfigError('only a file in Python can have other variables set on the command line');
    } catch (error) {
      if (error instanceof ConfigError) throw new ConfigError(`${name}=${value}: ${error.message}`);
      throw error;
    }
  }
  if (lists.disk.length > 0) config.disks = lists.disk;
  if (lists.vif.length > 0) config.vifs = lists.vif;
  if (Number(config.maxmemMiB ?? 0) < Number(config.memoryMiB)) config.maxmemMiB = config.memoryMiB;
}
