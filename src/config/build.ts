/** From named variables to a domain's configuration: what each means, xm-xend 2.2, 2.3 and 2.8, and what is wrong with it. */
import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BACKENDS } from './backends.ts';
import { defaultBootOptions } from './boot-options.ts';
import { ConfigError } from './config-error.ts';
import { parseCpuWeight } from './cpu-weight.ts';
import { parseCpus } from './cpus.ts';
import { parseDisk } from './disk.ts';
import type { DomainConfig, Vif } from './domain-config.ts';
import { EXIT_ACTIONS, type ExitAction, type ExitActions, restartMode } from './exit-actions.ts';
import { ipOption, kernelLineProblem } from './kernel-line.ts';
import { nameProblem } from './name.ts';
import type { NamedValues } from './named-values.ts';
import { parsePci } from './pci.ts';
import { parseVif } from './vif.ts';

export interface BuildOptions {
  /** Relative paths are below it. */
  readonly cwd: string;
  readonly randomMac: () => string;
  readonly warn: (text: string) => void;
}

export const VCPUS_MAX = 32;
const PORT_MAX = 65535;

export function buildConfig(values: NamedValues, { cwd, randomMac, warn }: BuildOptions): DomainConfig {
  const absolute = (file: string) => path.resolve(cwd, file);
  const type = values.text('type') ?? 'pv';
  if (type !== 'pv') values.fail('type', `type ${type} is not supported, only pv`);
  const builder = values.text('builder') ?? 'linux';
  if (!['linux', 'generic'].includes(builder))
    values.fail('builder', `unknown image type: ${builder} (linux is supported)`);

  const name = values.text('name') ?? path.basename(values.file);
  const problem = nameProblem(name);
  if (problem) values.fail('name', problem);
  const kernel = values.text('kernel');
  if (!kernel) {
    const loader = values.text('bootloader');
    values.fail(
      'kernel',
      `No kernel specified${loader ? ` (${loader} would pick one: name kernel and ramdisk instead)` : ''}`,
    );
  }
  const memoryMiB = values.int('memory', 1) ?? 128;
  const maxmemMiB = Math.max(values.int('maxmem', 1) ?? memoryMiB, memoryMiB);
  const vcpus = values.int('vcpus', 1) ?? 1;
  if (vcpus > VCPUS_MAX) values.fail('vcpus', `Invalid value: ${vcpus}: a domain can have ${VCPUS_MAX} vCPUs`);
  const consolePort = values.int('console', 1);
  if ((consolePort ?? 0) > PORT_MAX) values.fail('console', `Invalid value: ${consolePort}: console is a TCP port`);
  const uuid = values.text('uuid')?.toLowerCase();
  if (uuid !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid))
    values.fail('uuid', `Invalid value: ${uuid}: a uuid has 8-4-4-4-12 hexadecimal digits`);

  const diskTexts = values.list('disk').filter((text) => text.trim() !== '');
  const disks = all(values, 'disk', diskTexts, (text) => parseDisk(text, cwd));
  const vifs = interfaces(values, randomMac);
  if (vifs.length > 0 && (values.list('vif').length > 0 || values.has('nics')))
    warn('networks are not connected yet: the domain starts without its network interfaces (vif)');

  const pciTexts = values.list('pci').filter((text) => text.trim() !== '');
  const pci = all(values, 'pci', pciTexts, parsePci);
  const backends = BACKENDS.filter((kind) => values.flag(kind));

  const kernelPath = absolute(kernel!);
  const ramdisk = values.has('ramdisk') ? values.text('ramdisk') : defaultRamdisk(kernelPath);
  const line = {
    ...kernelLineParts(values),
    bootOptions: values.text('domus_boot_options') ?? defaultBootOptions(vcpus),
  };
  const tooLong = kernelLineProblem(line);
  if (tooLong) values.fail(values.has('cmdline') ? 'cmdline' : 'extra', tooLong);
  return {
    name,
    ...(uuid ? { uuid } : {}),
    kernel: kernelPath,
    ...(ramdisk ? { ramdisk: absolute(ramdisk) } : {}),
    memoryMiB,
    maxmemMiB,
    vcpus,
    ...initialCpu(values),
    ...scheduling(values, vcpus),
    ...line,
    disks,
    vifs,
    ...(pci.length > 0 && { pci }),
    ...(backends.length > 0 && { backends }),
    ...(consolePort === undefined ? {} : { consolePort }),
    ...exitActions(values),
  };
}

/** -1 is any. */
function initialCpu(values: NamedValues): Pick<DomainConfig, 'cpu'> {
  const text = values.text('cpu');
  if (text === undefined || text === '' || text === '-1') return {};
  if (!/^\d{1,4}$/.test(text)) values.fail('cpu', `Invalid value: ${text}: cpu is the number of a CPU, or -1`);
  return { cpu: Number(text) };
}

/** Weight, cap and CPUs, as far as they are given. */
function scheduling(values: NamedValues, vcpus: number): Pick<DomainConfig, 'cpuWeight' | 'cpuCap' | 'cpus'> {
  const cpuWeight = weight(values);
  const capName = values.has('cpu_cap') ? 'cpu_cap' : 'cap';
  const cpuCap = values.int(capName, 0);
  const here = os.cpus().map((_, cpu) => cpu);
  // A list has the CPUs of each vCPU, a text those of all.
  const each = all(values, 'cpus', values.words('cpus'), (text) => parseCpus(text, here));
  const cpus = Array.from({ length: vcpus }, (_, vcpu) => each[each.length === 1 ? 0 : vcpu] ?? []);
  return {
    ...(cpuWeight !== undefined && { cpuWeight }),
    ...(cpuCap !== undefined && { cpuCap }),
    ...(cpus.some((one) => one.length > 0) && { cpus }),
  };
}

function weight(values: NamedValues): number | undefined {
  const text = values.text('cpu_weight');
  if (text === undefined || text === '') return undefined;
  return (
    parseCpuWeight(text) ??
    values.fail(
      'cpu_weight',
      `Invalid value: ${text}: cpu_weight is a number from 1 to 65535, or a multiple such as 1.5`,
    )
  );
}

/** Parse each; a refusal tells where the variable was set. */
function all<T>(values: NamedValues, name: string, texts: readonly string[], parse: (text: string) => T): T[] {
  return texts.map((text) => {
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof ConfigError) values.fail(name, error.message);
      throw error;
    }
  });
}

/** As many as `vif` has strings, or `nics` says if that is more: an empty string is an interface with defaults. */
function interfaces(values: NamedValues, randomMac: () => string): Vif[] {
  const given = values.list('vif');
  const missing = Math.max(0, (values.int('nics', 0) ?? 1) - given.length);
  return all(values, 'vif', [...given, ...new Array<string>(missing).fill('')], (text) => parseVif(text, randomMac));
}

/** A kernel that Domus prepared has its initramfs beside it: vmlinuz-VERSION and initrd-VERSION. */
export function defaultRamdisk(kernel: string): string | undefined {
  const version = /^vmlinu[xz]-(.+)$/.exec(path.basename(kernel))?.[1];
  const beside = version && path.join(path.dirname(kernel), `initrd-${version}`);
  return beside && existsSync(beside) ? beside : undefined;
}

function kernelLineParts(values: NamedValues): { ip?: string; root?: string; args?: string } {
  const text = (name: string) => values.text(name) ?? '';
  const dhcp = text('dhcp') || 'off';
  const nfsServer = text('nfs_server');
  const nfsRoot = text('nfs_root');
  if ((nfsServer === '') !== (nfsRoot === ''))
    values.fail(nfsServer ? 'nfs_server' : 'nfs_root', 'Must set nfs root and nfs server');
  const ip = ipOption({
    ip: text('ip'),
    netmask: text('netmask'),
    gateway: text('gateway'),
    hostname: text('hostname'),
    interface: text('interface') || 'eth0',
    dhcp,
    nfsServer,
  });
  const cmdline = values.text('cmdline');
  const root = cmdline === undefined ? text('root').replace(/^root=/, '') : '';
  const extra = cmdline ?? text('extra');
  const args = nfsServer ? `nfsroot=${nfsServer}:${nfsRoot} ${extra}`.trim() : extra;
  return { ...(ip ? { ip } : {}), ...(root ? { root } : {}), ...(args ? { args } : {}) };
}

function exitActions(values: NamedValues): ExitActions & { onWatchdog?: ExitAction } {
  const mode = values.text('restart') || (values.flag('autorestart') ? 'always' : 'onreboot');
  const usual = restartMode(mode);
  if (!usual) return values.fail('restart', `invalid restart mode: ${mode} (onreboot, always or never)`);
  const action = (name: string, otherwise: ExitAction): ExitAction => {
    const text = values.text(name);
    if (text === undefined || text === '') return otherwise;
    if (!(EXIT_ACTIONS as readonly string[]).includes(text))
      values.fail(name, `Invalid value: ${text}: ${name} is one of ${EXIT_ACTIONS.join(', ')}`);
    return text as ExitAction;
  };
  return {
    onPoweroff: action('on_poweroff', usual.onPoweroff),
    onReboot: action('on_reboot', usual.onReboot),
    onCrash: action('on_crash', usual.onCrash),
    ...(values.text('on_watchdog') ? { onWatchdog: action('on_watchdog', usual.onCrash) } : {}),
  };
}
