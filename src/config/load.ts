/**
 * From a configuration file and VAR=VALUE words to a domain's configuration, xm-xend 2.1. A file is Python (or xl's grammar,
 * where that is what it is), JSON by the schema of domain-config.ts when it begins with a brace, or SXP for `-F`.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { buildConfig } from './build.ts';
import { ConfigError } from './config-error.ts';
import type { DomainConfig } from './domain-config.ts';
import { hostFacts } from './host-facts.ts';
import { type FileValues, NamedValues } from './named-values.ts';
import { override } from './overrides.ts';
import type { HostFacts } from './python/builtins.ts';
import { runPython } from './python/interpreter.ts';
import { PyList, type PyValue } from './python/values.ts';
import { warnOfStrangers } from './strangers.ts';
import { parseSxp, SxpError } from './sxp.ts';
import { findVariable } from './variables.ts';
import { randomMacOf } from './vif.ts';
import { configFromSxp } from './vm-sxp.ts';
import { readXlGrammar } from './xl-grammar.ts';
import { type DeclaredVariable, makeXmVars } from './xm-vars.ts';

export type Variables = readonly (readonly [name: string, value: string])[];

export interface LoadOptions {
  readonly file: string;
  /** A ready SXP configuration. */
  readonly sxp?: boolean;
  /** Folders to look in when the name as typed is not there. */
  readonly search: readonly string[];
  readonly variables: Variables;
  /** Names that a file in Python finds besides Xen 2.0's. */
  readonly constants?: Readonly<Record<string, string>>;
  readonly warn: (text: string) => void;
  readonly print: (text: string) => void;
  readonly host?: HostFacts;
  readonly randomMac?: () => string;
}

export interface Loaded {
  readonly config: DomainConfig;
  /** The file that was found. */
  readonly path: string;
}

const FILE_MAX = 1 << 20;

export async function loadConfig(options: LoadOptions): Promise<Loaded> {
  const { path: found, text } = readConfig(options.file, options.search);
  const json = !options.sxp && /^\s*\{/.test(text);
  const from = { ...options, file: found };
  const config = json || options.sxp ? await completeConfig(text, from) : configFromText(text, from);
  return { config, path: found };
}

/** The name as typed first, then in each folder. */
export function readConfig(file: string, search: readonly string[]): { path: string; text: string } {
  const candidates = path.isAbsolute(file) ? [file] : [file, ...search.map((dir) => path.join(dir, file))];
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

/** Python, or xl's grammar. */
export function configFromText(text: string, options: LoadOptions): DomainConfig {
  const host = options.host ?? hostFacts(options.print);
  const given = givenValues(options.variables);
  const { file, used } = evaluate(text, options, host, given);
  const values = new NamedValues(options.file, file, given);
  warnOfStrangers(values, { given: given.keys(), file: file.places.keys(), used }, options.warn);
  return buildConfig(values, { cwd: host.cwd, randomMac: randomMac(options), warn: options.warn });
}

const randomMac = (options: LoadOptions) => options.randomMac ?? (() => randomMacOf(Math.random));

/** Repeated list variables on the command line add up and replace the file's list. */
function givenValues(variables: Variables): Map<string, PyValue> {
  const given = new Map<string, PyValue>();
  for (const [name, value] of variables) {
    const before = given.get(name);
    if (findVariable(name)?.kind === 'list')
      given.set(name, new PyList([...(before instanceof PyList ? before.items : []), value]));
    else given.set(name, value);
  }
  return given;
}

interface Evaluated {
  readonly file: FileValues;
  /** Names that the file looks at or declares. */
  readonly used: ReadonlySet<string>;
}

function evaluate(text: string, options: LoadOptions, host: HostFacts, given: ReadonlyMap<string, PyValue>): Evaluated {
  try {
    const { names, declared } = nameSpace(options, given, false);
    const result = runPython(text, { file: options.file, host, names });
    const used = new Set([...result.read, ...declared.map(({ name }) => name)]);
    return { file: { values: result.globals, places: result.places }, used };
  } catch (error) {
    // Python's complaint is the better one when the file is neither.
    const file = error instanceof ConfigError ? readXlGrammar(text) : undefined;
    if (!file) throw error;
    return { file, used: new Set() };
  }
}

/** The names that a file finds when it begins, xm-xend 2.1. */
function nameSpace({ file, constants = {} }: LoadOptions, given: ReadonlyMap<string, PyValue>, help: boolean) {
  const names = new Map<string, PyValue>([...Object.entries(constants), ...given]);
  const { object, declared } = makeXmVars(names, help);
  for (const name of ['xm_vars', 'Vars']) names.set(name, object);
  names.set('xm_file', file);
  names.set('xm_help', help);
  return { names, declared };
}

/** `--help_config`: the variables that a file declares for itself, as far as it comes without them being set. */
export function declaredVariables(text: string, options: LoadOptions): readonly DeclaredVariable[] {
  const { names, declared } = nameSpace(options, givenValues(options.variables), true);
  try {
    runPython(text, { file: options.file, host: options.host ?? hostFacts(options.print), names });
  } catch (error) {
    if (!(error instanceof ConfigError) || declared.length === 0) throw error;
  }
  return declared;
}

/** JSON or SXP: complete but for what the command line says. */
async function completeConfig(text: string, options: LoadOptions): Promise<DomainConfig> {
  const how = { cwd: options.host?.cwd ?? process.cwd(), randomMac: randomMac(options) };
  const { checkConfig } = await import('./check.ts');
  try {
    const config = options.sxp ? fromSxp(text, options, how.randomMac) : fromJson(text);
    override(config, options.variables, how);
    for (const key of ['kernel', 'ramdisk'] as const)
      if (typeof config[key] === 'string') config[key] = path.resolve(how.cwd, config[key]);
    return checkConfig(config);
  } catch (error) {
    if (error instanceof ConfigError && !/^\w+=/.test(error.message))
      throw new ConfigError(`${options.file}: ${error.message}`);
    throw error;
  }
}

function fromJson(text: string): Partial<Record<keyof DomainConfig, unknown>> {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ConfigError((error as Error).message.split('\n')[0]!);
  }
}

function fromSxp(text: string, options: LoadOptions, mac: () => string): Partial<Record<keyof DomainConfig, unknown>> {
  try {
    const [sxp] = parseSxp(text);
    const { config, ignored } = configFromSxp(sxp ?? '', mac);
    if (ignored.length > 0) options.warn(`${options.file}: not used by Domus: ${ignored.join(', ')}`);
    return config;
  } catch (error) {
    throw error instanceof SxpError ? new ConfigError(error.message) : error;
  }
}
