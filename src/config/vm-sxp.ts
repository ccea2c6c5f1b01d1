/**
 * The (vm …) expression of a configuration, xm-xend 2.7: what `xm create -n` prints, `xm list -l` shows as (config …), files
 * of `xm create -F` contain and old clients send. One table of its plain elements serves printing and reading.
 */
import { BACKENDS } from './backends.ts';
import { defaultBootOptions } from './boot-options.ts';
import { ConfigError } from './config-error.ts';
import { parseCpuWeight } from './cpu-weight.ts';
import { parseCpus, printCpus } from './cpus.ts';
import type { Disk, DomainConfig, PciDevice, Vif } from './domain-config.ts';
import { EXIT_ACTIONS, type ExitAction, RESTART_MODES, restartMode } from './exit-actions.ts';
import { pciFromSxp } from './pci.ts';
import { printCompact, type Sxp } from './sxp.ts';
import { parseVif } from './vif.ts';

interface Row {
  readonly element: string;
  readonly key: keyof DomainConfig;
  readonly kind: 'text' | 'whole' | 'weight';
  /** Not printed when it has this value, which it takes when it is not there. */
  readonly usual?: (config: Partial<DomainConfig>) => unknown;
}
const row = (element: string, key: Row['key'], kind: Row['kind'], usual?: Row['usual']): Row => ({
  element,
  key,
  kind,
  ...(usual ? { usual } : {}),
});

/** In the order that they are printed. */
// biome-ignore format: a table
const VM: readonly Row[] = [
  row('name',         'name',        'text'),
  row('uuid',         'uuid',        'text'),
  row('memory',       'memoryMiB',   'whole'),
  row('maxmem',       'maxmemMiB',   'whole', ({ memoryMiB }) => memoryMiB),
  row('vcpus',        'vcpus',       'whole', () => 1),
  row('cpu',          'cpu',         'whole'),
  row('cpu_weight',   'cpuWeight',   'weight'),
  row('cpu_cap',      'cpuCap',      'whole'),
];
/** Behind what becomes of the domain after its end. */
const CONSOLE: readonly Row[] = [row('console', 'consolePort', 'whole')];
// biome-ignore format: a table
const IMAGE: readonly Row[] = [
  row('kernel',       'kernel',      'text'),
  row('ramdisk',      'ramdisk',     'text'),
  row('ip',           'ip',          'text'),
  row('root',         'root',        'text'),
  row('args',         'args',        'text'),
  row('boot_options', 'bootOptions', 'text',  ({ vcpus }) => defaultBootOptions(vcpus ?? 1)),
];
const VIF_KEYS = ['mac', 'vifname', 'bridge', 'script', 'backend', 'ip', 'rate'] as const;

export function vmSxp(config: DomainConfig): Sxp {
  return [
    'vm',
    ...printRows(VM, config),
    ...(config.backends ?? []).map((kind): Sxp => ['backend', [kind]]),
    ...exitRows(config),
    ...(config.cpus ? [['cpus', ...config.cpus.map((cpus) => printCpus(cpus, 'all'))]] : []),
    ...(config.onWatchdog ? [['on_watchdog', config.onWatchdog]] : []),
    ...printRows(CONSOLE, config),
    ['image', ['linux', ...printRows(IMAGE, config)]],
    ...config.disks.map(({ uname, dev, mode, shared }): Sxp => {
      const access = shared ? `${mode}!` : mode;
      return ['device', ['vbd', ['uname', uname], ['dev', dev], ['mode', access]]];
    }),
    ...(config.pci ?? []).map(({ domain, bus, dev, func }): Sxp => {
      const numbers = Object.entries({ ...(domain !== undefined && { domain }), bus, dev, func });
      return ['device', ['pci', ...numbers.map(([key, value]): Sxp => [key, `0x${value.toString(16)}`])]];
    }),
    ...config.vifs.map((vif): Sxp => {
      const known = VIF_KEYS.filter((key) => vif[key] !== undefined);
      return ['device', ['vif', ...known.map((key): Sxp => [key, vif[key]!])]];
    }),
  ];
}

const printRows = (rows: readonly Row[], config: DomainConfig): Sxp[] =>
  rows.flatMap(({ element, key, usual }): Sxp[] => {
    const value = config[key] as string | number | undefined;
    return value === undefined || value === usual?.(config) ? [] : [[element, value]];
  });

/** (restart MODE) where one says it all, otherwise the actions that differ from the usual ones. */
function exitRows({ onPoweroff, onReboot, onCrash }: DomainConfig): Sxp[] {
  const same = (mode: string) => {
    const actions = RESTART_MODES[mode]!;
    return actions.onPoweroff === onPoweroff && actions.onReboot === onReboot && actions.onCrash === onCrash;
  };
  const usual = RESTART_MODES.onreboot!;
  if (same('onreboot')) return [];
  const mode = Object.keys(RESTART_MODES).find(same);
  if (mode) return [['restart', mode]];
  return [
    ...(onPoweroff === usual.onPoweroff ? [] : [['on_poweroff', onPoweroff]]),
    ...(onReboot === usual.onReboot ? [] : [['on_reboot', onReboot]]),
    ...(onCrash === usual.onCrash ? [] : [['on_crash', onCrash]]),
  ];
}

export interface FromSxp {
  /** Not checked by the schema yet. */
  readonly config: DomainConfig;
  /** Elements that mean nothing here. */
  readonly ignored: readonly string[];
}

/** Read (vm …), or the (domain … (config (vm …))) that `xm list -l` prints. Throws a ConfigError. */
export function configFromSxp(sxp: Sxp, randomMac: () => string): FromSxp {
  const vm = findVm(sxp);
  const ignored: string[] = [];
  const config: Partial<DomainConfig> & { disks: Disk[]; vifs: Vif[]; pci?: PciDevice[] } = {
    memoryMiB: 128,
    disks: [],
    vifs: [],
    ...RESTART_MODES.onreboot!,
  };
  for (const [head, ...rest] of elements(vm, 'vm')) {
    const [first] = rest;
    if (readRow(VM, head, rest, config) || readRow(CONSOLE, head, rest, config)) continue;
    if (head === 'restart') Object.assign(config, actionsOf(atom(head, rest)));
    else if (head === 'on_poweroff') config.onPoweroff = action(head, rest);
    else if (head === 'on_reboot') config.onReboot = action(head, rest);
    else if (head === 'on_crash') config.onCrash = action(head, rest);
    else if (head === 'cpus') config.cpus = rest.map((cpus) => parseCpus(String(cpus), []));
    else if (head === 'on_watchdog') config.onWatchdog = action(head, rest);
    else if (head === 'image') readImage(first, config, ignored);
    else if (head === 'device') readDevice(first, config, randomMac);
    else if (head === 'backend') config.backends = [...(config.backends ?? []), backend(first)];
    else ignored.push(head);
  }
  if (config.backends) ignored.push('backend');
  if (config.pci) ignored.push('device pci');
  if (config.name === undefined) throw new ConfigError('missing vm name');
  if (config.kernel === undefined) throw new ConfigError('missing image: (image (linux (kernel PATH))) is wanted');
  config.vcpus ??= 1;
  config.maxmemMiB = Math.max(config.maxmemMiB ?? 0, config.memoryMiB!);
  config.bootOptions ??= defaultBootOptions(config.vcpus);
  return { config: config as DomainConfig, ignored };
}

function findVm(sxp: Sxp): Sxp {
  if (!Array.isArray(sxp)) throw new ConfigError('(vm ...) is wanted, not a word');
  if (sxp[0] === 'domain') {
    const config = sxp.find((item) => Array.isArray(item) && item[0] === 'config');
    if (Array.isArray(config) && config[1] !== undefined) return findVm(config[1]);
  }
  if (sxp[0] !== 'vm') throw new ConfigError(`(vm ...) is wanted, not (${brief(sxp[0] ?? '')} ...)`);
  return sxp;
}

/** The lists in a list, each with a word at its head. */
function elements(sxp: Sxp, where: string): [head: string, ...rest: Sxp[]][] {
  if (!Array.isArray(sxp)) throw new ConfigError(`in (${where} ...): a list is wanted, not ${brief(sxp)}`);
  return sxp.slice(1).map((item) => {
    if (!Array.isArray(item) || typeof item[0] !== 'string')
      throw new ConfigError(`in (${where} ...): (NAME VALUE) is wanted, not ${brief(item)}`);
    return item as [string, ...Sxp[]];
  });
}

const brief = (sxp: Sxp): string => {
  const text = printCompact(sxp);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
};

function atom(element: string, [value = '', ...more]: readonly Sxp[]): string {
  if (Array.isArray(value) || more.length > 0)
    throw new ConfigError(
      `(${element} ...): one value is wanted, not ${brief(more.length > 0 ? [value, ...more] : value)}`,
    );
  return String(value);
}

function readRow(rows: readonly Row[], head: string, rest: readonly Sxp[], into: Partial<DomainConfig>): boolean {
  const found = rows.find(({ element }) => element === head);
  if (!found) return false;
  const text = atom(head, rest);
  if (text === '' && found.key !== 'bootOptions') return true; // The original prints empty values of what was not set.
  Object.assign(into, { [found.key]: VALUES[found.kind](text, head) });
  return true;
}

const VALUES: Readonly<Record<Row['kind'], (text: string, head: string) => string | number>> = {
  text: (text) => text,
  whole(text, head) {
    if (!/^\d+$/.test(text)) throw new ConfigError(`(${head} ${brief(text)}): a number is wanted`);
    return Number(text);
  },
  weight(text) {
    const weight = parseCpuWeight(text);
    if (weight === undefined) throw new ConfigError(`invalid cpu weight: ${brief(text)}`);
    return weight;
  },
};

function readImage(image: Sxp | undefined, config: Partial<DomainConfig>, ignored: string[]): void {
  const rows = elements(image ?? '', 'image');
  const builder = Array.isArray(image) ? image[0] : '';
  if (builder !== 'linux' && builder !== 'generic') throw new ConfigError(`unknown image type: ${brief(builder)}`);
  for (const [head, ...rest] of rows) if (!readRow(IMAGE, head, rest, config)) ignored.push(`image ${head}`);
}

/** (backend (blkif)) */
function backend(sxp: Sxp | undefined): (typeof BACKENDS)[number] {
  const [word] = Array.isArray(sxp) ? sxp : [sxp];
  const kind = BACKENDS.find((one) => one === word);
  if (!kind) throw new ConfigError(`invalid backend type: ${brief(sxp ?? '')} (one of ${BACKENDS.join(', ')})`);
  return kind;
}

interface Devices {
  readonly disks: Disk[];
  readonly vifs: Vif[];
  pci?: PciDevice[];
}

function readDevice(device: Sxp | undefined, config: Devices, randomMac: () => string): void {
  const values = new Map(elements(device ?? '', 'device').map(([head, ...rest]) => [head, atom(head, rest)]));
  const kind = Array.isArray(device) ? device[0] : undefined;
  if (kind === 'vbd' || kind === 'tap') {
    const uname = values.get('uname');
    const dev = values.get('dev')?.replace(/:(disk|cdrom)$/, '');
    const mode = values.get('mode') ?? 'r';
    if (!uname) throw new ConfigError('vbd: Missing uname');
    if (!dev) throw new ConfigError('vbd: Missing dev');
    const shared = mode.endsWith('!');
    // As the original has it: any mode without a w is for reading only.
    config.disks.push({
      uname: uname.replace(/^tap2?:(aio:)?/, 'file:'),
      dev,
      mode: mode.includes('w') ? 'w' : 'r',
      ...(shared ? { shared } : {}),
    });
  } else if (kind === 'vif') {
    const items = VIF_KEYS.filter((key) => values.get(key)).map((key) => `${key}=${values.get(key)}`);
    config.vifs.push(parseVif(items.join(','), randomMac));
  } else if (kind === 'pci') {
    config.pci = [...(config.pci ?? []), pciFromSxp(values)];
  } else {
    throw new ConfigError(`unknown device type: ${brief(kind ?? '')}`);
  }
}

function actionsOf(mode: string) {
  const actions = restartMode(mode);
  if (!actions) throw new ConfigError(`invalid restart mode: ${mode}`);
  return actions;
}

function action(element: string, rest: readonly Sxp[]): ExitAction {
  const text = atom(element, rest);
  if (!(EXIT_ACTIONS as readonly string[]).includes(text))
    throw new ConfigError(`(${element} ${brief(text)}): one of ${EXIT_ACTIONS.join(', ')} is wanted`);
  return text as ExitAction;
}
