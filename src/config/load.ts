/**
 * From a configuration file and VAR=VALUE words to a domain's configuration, xm-xend 2.1 to 2.3. The command line is
 * stronger than the file; what the file's variables say is checked here, with the place where each was set.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { defaultBootOptions } from './boot-options.ts';
import { DiskFormError, parseDisk } from './disk.ts';
import { type DomainConfig, EXIT_ACTIONS, type ExitAction } from './domain-config.ts';
import { ipOption } from './kernel-line.ts';
import { nameProblem } from './name.ts';
import type { HostFacts } from './python/builtins.ts';
import { ConfigError, type RunResult, runPython } from './python/interpreter.ts';
import { PyFunction, PyList, PyObject, PyTuple, type PyValue, str, typeName } from './python/values.ts';
import { findVariable, nearestVariable } from './variables.ts';
import { makeXmVars } from './xm-vars.ts';

export interface LoadOptions {
  readonly file: string;
  /** Folders to look in when the name as typed is not there. */
  readonly search: readonly string[];
  readonly variables: readonly (readonly [name: string, value: string])[];
  readonly warn: (text: string) => void;
  readonly print: (text: string) => void;
  readonly host?: HostFacts;
}

export interface Loaded {
  readonly config: DomainConfig;
  /** The file that was found. */
  readonly path: string;
}

const FILE_MAX = 1 << 20;

export function loadConfig(options: LoadOptions): Loaded {
  const { path: found, text } = readConfig(options.file, options.search);
  const config = configFromText(text, { ...options, file: found });
  return { config, path: found };
}

function readConfig(file: string, search: readonly string[]): { path: string; text: string } {
  const candidates = path.isAbsolute(file) ? [file] : [file, ...search.map((dir) => `${dir}/${file}`)];
  const found = candidates.find((one) => existsSync(one) && !statSync(one).isDirectory());
  if (!found)
    throw new ConfigError(
      `Cannot open config file "${file}": no such file${path.isAbsolute(file) ? '' : ` here or in ${search.join(':')}`}`,
    );
  const shown = found.includes('/') ? found : `./${found}`;
  try {
    if (statSync(found).size > FILE_MAX) throw new Error('it is longer than a mebibyte');
    const bytes = readFileSync(found);
    if (bytes.includes(0)) throw new Error('it is not text');
    return { path: shown, text: bytes.toString('utf8') };
  } catch (error) {
    throw new ConfigError(`Cannot open config file "${shown}": ${(error as Error).message}`);
  }
}

export function configFromText(text: string, options: LoadOptions): DomainConfig {
  const host = options.host ?? realHost(options.print);
  const names = new Map<string, PyValue>();
  // Repeated list variables on the command line add up and replace the file's list.
  const given = new Map<string, PyValue>();
  for (const [name, value] of options.variables) {
    const before = given.get(name);
    if (findVariable(name)?.kind === 'list')
      given.set(name, new PyList([...(before instanceof PyList ? before.items : []), value]));
    else given.set(name, value);
  }
  for (const [name, value] of given) names.set(name, value);
  const xmVars = makeXmVars(names);
  names.set('xm_vars', xmVars.object);
  names.set('Vars', xmVars.object);
  names.set('xm_file', options.file);
  names.set('xm_help', false);
  const result = runPython(text, { file: options.file, host, names });
  const values = new Values(result, given, options);
  values.reportStrangers(new Set(xmVars.declared.map(({ name }) => name)));
  return build(values, options, host);
}

/** The file's values with their types checked and their places at hand. */
class Values {
  readonly #result: RunResult;
  readonly #given: ReadonlyMap<string, PyValue>;
  readonly #options: LoadOptions;

  constructor(result: RunResult, given: ReadonlyMap<string, PyValue>, options: LoadOptions) {
    this.#result = result;
    this.#given = given;
    this.#options = options;
  }

  fail(name: string, what: string): never {
    throw new ConfigError(`${this.#where(name)}${what}`);
  }

  #where(name: string): string {
    if (this.#given.has(name)) return `${name}=${str(this.#given.get(name)!)}: `;
    const place = this.#result.places.get(name);
    return place ? `${this.#options.file}:${place.line}:${place.column}: ` : `${this.#options.file}: `;
  }

  #raw(name: string): PyValue | undefined {
    const value = this.#given.get(name) ?? this.#result.globals.get(name);
    return value === null ? undefined : value;
  }

  text(name: string): string | undefined {
    const value = this.#raw(name);
    if (value === undefined) return undefined;
    if (typeof value === 'string' || typeof value === 'bigint' || typeof value === 'number') return str(value);
    return this.fail(name, `${name} must be a string, not a ${typeName(value)}`);
  }

  int(name: string, least: number): number | undefined {
    const value = this.#raw(name);
    if (value === undefined || value === '') return undefined;
    const text =
      typeof value === 'number'
        ? String(value)
        : typeof value === 'string' || typeof value === 'bigint'
          ? str(value).trim()
          : '';
    if (!/^[+-]?\d+$/.test(text)) this.fail(name, `Invalid value: ${str(value)}: ${name} must be a whole number`);
    if (Number(text) < least || !Number.isSafeInteger(Number(text)))
      this.fail(name, `Invalid value: ${text}: ${name} must be at least ${least}`);
    return Number(text);
  }

  flag(name: string): boolean {
    const value = this.#raw(name);
    return value !== undefined && !['', '0', 'no', 'off', 'false', 'False'].includes(str(value));
  }

  list(name: string): string[] {
    const value = this.#raw(name);
    if (value === undefined) return [];
    if (typeof value === 'string') return value === '' ? [] : [value];
    if (!(value instanceof PyList || value instanceof PyTuple))
      return this.fail(name, `${name} must be a list of strings, not a ${typeName(value)}`);
    return value.items.map((item) => {
      if (typeof item === 'string') return item;
      return this.fail(name, `${name} must be a list of strings; ${str(item)} is a ${typeName(item)}`);
    });
  }

  has(name: string): boolean {
    return this.#raw(name) !== undefined;
  }

  /** Warn of variables that nothing looks at, and of known ones that have no effect yet. */
  reportStrangers(declared: ReadonlySet<string>): void {
    const { warn } = this.#options;
    for (const name of new Set([...this.#given.keys(), ...this.#result.places.keys()])) {
      const variable = findVariable(name);
      const value = this.#raw(name);
      if (
        variable?.standing === 'later' &&
        value !== undefined &&
        str(value) !== '0' &&
        str(value) !== '[]' &&
        value !== false
      ) {
        warn(`${this.#where(name)}${name} (${variable.help}) has no effect yet`);
      }
      if (variable || this.#result.read.has(name) || declared.has(name) || name.startsWith('_')) continue;
      if (value instanceof PyFunction) continue;
      if (value instanceof PyObject) continue;
      const near = nearestVariable(name);
      warn(`${this.#where(name)}unknown variable ${name} is ignored${near ? `; is ${near} meant?` : ''}`);
    }
  }
}

function build(values: Values, options: LoadOptions, host: HostFacts): DomainConfig {
  const absolute = (file: string) => path.resolve(host.cwd, file);
  const type = values.text('type') ?? 'pv';
  if (type !== 'pv') values.fail('type', `type ${type} is not supported, only pv`);
  const builder = values.text('builder') ?? 'linux';
  if (!['linux', 'generic'].includes(builder))
    values.fail('builder', `unknown image type: ${builder} (linux is supported)`);

  const name = values.text('name') ?? path.basename(options.file);
  const problem = nameProblem(name);
  if (problem) values.fail('name', problem);
  const kernel = values.text('kernel');
  if (!kernel) values.fail('kernel', 'No kernel specified');
  const memoryMiB = values.int('memory', 1) ?? 128;
  const maxmemMiB = Math.max(values.int('maxmem', 1) ?? memoryMiB, memoryMiB);
  const vcpus = values.int('vcpus', 1) ?? 1;
  if (vcpus > 32) values.fail('vcpus', `Invalid value: ${vcpus}: a domain can have 32 vCPUs`);
  const uuid = values.text('uuid')?.toLowerCase();
  if (uuid !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid))
    values.fail('uuid', `Invalid value: ${uuid}: a uuid has 8-4-4-4-12 hexadecimal digits`);

  const disks = values
    .list('disk')
    .filter((text) => text.trim() !== '')
    .map((text) => {
      try {
        return parseDisk(text, host.cwd);
      } catch (error) {
        if (error instanceof DiskFormError) values.fail('disk', error.message);
        throw error;
      }
    });
  const vifs = values.list('vif');
  if (vifs.length > 0)
    options.warn('networks are not connected yet: the domain starts without its network interfaces (vif)');

  const kernelPath = absolute(kernel!);
  const ramdisk = values.has('ramdisk') ? values.text('ramdisk') : defaultRamdisk(kernelPath);
  return {
    name,
    ...(uuid ? { uuid } : {}),
    kernel: kernelPath,
    ...(ramdisk ? { ramdisk: absolute(ramdisk) } : {}),
    memoryMiB,
    maxmemMiB,
    vcpus,
    ...kernelLineParts(values),
    bootOptions: values.text('domus_boot_options') ?? defaultBootOptions(vcpus),
    disks,
    vifs,
    ...exitActions(values),
  };
}

/** A kernel that Domus prepared has its initramfs beside it: vmlinuz-VERSION and initrd-VERSION. */
export function defaultRamdisk(kernel: string): string | undefined {
  const version = /^vmlinu[xz]-(.+)$/.exec(path.basename(kernel))?.[1];
  const beside = version && path.join(path.dirname(kernel), `initrd-${version}`);
  return beside && existsSync(beside) ? beside : undefined;
}

function kernelLineParts(values: Values): { ip?: string; root?: string; args?: string } {
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

const RESTART: Record<string, readonly [poweroff: ExitAction, reboot: ExitAction, crash: ExitAction]> = {
  onreboot: ['destroy', 'restart', 'destroy'],
  always: ['restart', 'restart', 'restart'],
  never: ['destroy', 'destroy', 'destroy'],
};

function exitActions(values: Values): Pick<DomainConfig, 'onPoweroff' | 'onReboot' | 'onCrash'> {
  const mode = values.text('restart') || (values.flag('autorestart') ? 'always' : 'onreboot');
  const base = RESTART[mode];
  if (!base) return values.fail('restart', `invalid restart mode: ${mode} (onreboot, always or never)`);
  const action = (name: string, otherwise: ExitAction): ExitAction => {
    const text = values.text(name);
    if (text === undefined || text === '') return otherwise;
    if (!(EXIT_ACTIONS as readonly string[]).includes(text))
      values.fail(name, `Invalid value: ${text}: ${name} is one of ${EXIT_ACTIONS.join(', ')}`);
    return text as ExitAction;
  };
  return {
    onPoweroff: action('on_poweroff', base[0]),
    onReboot: action('on_reboot', base[1]),
    onCrash: action('on_crash', base[2]),
  };
}

function realHost(print: (text: string) => void): HostFacts {
  return {
    env: process.env,
    uname: [os.type(), os.hostname(), os.release(), os.version(), os.machine()],
    cwd: process.cwd(),
    exists(file) {
      const stat = statSync(file, { throwIfNoEntry: false });
      return stat && (stat.isFile() ? 'file' : stat.isDirectory() ? 'folder' : 'other');
    },
    interfaceAddress: (device) => os.networkInterfaces()[device]?.find(({ family }) => family === 'IPv4'),
    gateway() {
      try {
        const rows = readFileSync('/proc/net/route', 'latin1')
          .split('\n')
          .map((line) => line.split('\t'));
        const hex = rows.find(([, destination]) => destination === '00000000')?.[2];
        return hex
          ?.match(/../g)
          ?.reverse()
          .map((byte) => Number.parseInt(byte, 16))
          .join('.');
      } catch {
        return undefined;
      }
    },
    print,
  };
}
