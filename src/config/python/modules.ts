/**
 * The modules that a configuration file can import: a few harmless functions of os, re, string, sys, socket, platform, math,
 * random and hashlib (hardware addresses out of names).
 * Nothing here writes, runs or connects; os.path tells whether a path exists, as real files ask.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import vm from 'node:vm';
import type { HostFacts } from './builtins.ts';
import {
  iterate,
  type Keywords,
  numeric,
  PyDict,
  PyError,
  PyFunction,
  PyList,
  PyObject,
  PyTuple,
  type PyValue,
  repr,
  str,
} from './values.ts';

const MATCH_INPUT_MAX = 1 << 16;
/** A pattern can take for ever: (a+)+ does on a long word. */
const MATCH_TIME_MS = 1000;
const clock = { context: vm.createContext({ work: (): unknown => undefined }), script: new vm.Script('work()') };

/** Runs a search with a limit on its time, which only a context of one's own can have. */
function timed<T>(work: () => T): T {
  clock.context.work = work;
  try {
    return clock.script.runInContext(clock.context, { timeout: MATCH_TIME_MS }) as T;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new PyError('Limit', 'a regular expression takes too long');
    throw error;
  }
}

const call = (name: string, run: (...args: PyValue[]) => PyValue): [string, PyFunction] => [
  name,
  new PyFunction(name, (args) => run(...args)),
];
const module = (name: string, entries: [string, PyValue][]): PyObject =>
  new PyObject(`module ${name}`, Object.fromEntries(entries));

function osModule(host: HostFacts): PyObject {
  const environ = new PyDict(
    Object.entries(host.env).flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])),
  );
  const [system, node, release, version, machine] = host.uname;
  const osPath = module('os.path', [
    call('abspath', (file) => path.resolve(host.cwd, str(file))),
    call('basename', (file) => str(file).slice(str(file).lastIndexOf('/') + 1)),
    call('dirname', (file) => (str(file).includes('/') ? path.dirname(str(file)) : '')),
    call('exists', (file) => host.exists(path.resolve(host.cwd, str(file))) !== undefined),
    call('isfile', (file) => host.exists(path.resolve(host.cwd, str(file))) === 'file'),
    call('isdir', (file) => host.exists(path.resolve(host.cwd, str(file))) === 'folder'),
    call('isabs', (file) => str(file).startsWith('/')),
    call('join', (...parts) => {
      const all = parts.map(str);
      return all
        .slice(all.findLastIndex((part, i) => i === 0 || part.startsWith('/')))
        .reduce((a, b) => (a === '' || a.endsWith('/') ? a + b : `${a}/${b}`));
    }),
    call(
      'splitext',
      (file) =>
        new PyTuple([str(file).slice(0, str(file).length - path.extname(str(file)).length), path.extname(str(file))]),
    ),
  ]);
  return module('os', [
    ['environ', environ],
    ['path', osPath],
    ['sep', '/'],
    ['name', 'posix'],
    call('getenv', (name, otherwise = null) => environ.get(name!) ?? otherwise),
    call('getcwd', () => host.cwd),
    call('uname', () => new PyTuple([system, node, release, version, machine])),
  ]);
}

/** A Python pattern as a JavaScript one: named groups are spelt differently, a few escapes and flags are not known. */
function pattern(text: PyValue, flags: PyValue | undefined, extra = ''): RegExp {
  if (text instanceof PyObject && text.attributes.get('pattern') !== undefined)
    return pattern(text.attributes.get('pattern')!, text.attributes.get('flags'), extra);
  const bits = flags === undefined ? 0n : (numeric(flags) ?? 0n);
  let source = str(text)
    .replaceAll('(?P<', '(?<')
    .replace(/\(\?P=(\w+)\)/g, '\\k<$1>')
    .replaceAll('\\A', '^')
    .replaceAll('\\Z', '$');
  let letters = extra;
  const inline = /^\(\?([imsx]+)\)/.exec(source);
  if (inline) source = source.slice(inline[0].length);
  for (const [bit, letter] of [
    [2n, 'i'],
    [8n, 'm'],
    [16n, 's'],
  ] as const) {
    if ((BigInt(bits) & bit) !== 0n || inline?.[1]?.includes(letter)) letters += letter;
  }
  try {
    return new RegExp(source, letters);
  } catch (error) {
    throw new PyError('ValueError', `bad pattern ${repr(str(text))}: ${(error as Error).message}`);
  }
}

function matchObject(found: RegExpExecArray | null): PyValue {
  if (!found) return null;
  const group = (key: PyValue = 0n): PyValue => {
    const value = typeof key === 'string' ? found.groups?.[key] : found[Number(key)];
    if (typeof key === 'string' ? !(key in (found.groups ?? {})) : Number(key) >= found.length) {
      throw new PyError('IndexError', 'no such group');
    }
    return value ?? null;
  };
  return new PyObject(
    're.Match',
    Object.fromEntries([
      call('group', (...keys) => (keys.length > 1 ? new PyTuple(keys.map(group)) : group(keys[0]))),
      call('groups', () => new PyTuple(found.slice(1).map((value) => value ?? null))),
      call(
        'groupdict',
        () => new PyDict(Object.entries(found.groups ?? {}).map(([key, value]) => [key, value ?? null])),
      ),
      call('start', () => BigInt(found.index)),
      call('end', () => BigInt(found.index + found[0].length)),
    ]),
  );
}

function reModule(): PyObject {
  const input = (value: PyValue | undefined): string => {
    if (typeof value !== 'string') throw new PyError('TypeError', 'a string is wanted');
    if (value.length > MATCH_INPUT_MAX) throw new PyError('ValueError', 'the string is too long to be searched');
    return value;
  };
  const functions = (given?: PyValue): [string, PyFunction][] => {
    // A compiled pattern's methods have no pattern argument.
    const entry = (name: string, run: (source: PyValue, args: PyValue[]) => PyValue) =>
      call(name, (...args) =>
        timed(() => (given === undefined ? run(args[0] ?? null, args.slice(1)) : run(given, args))),
      );
    return [
      entry('search', (source, [text, flags]) => matchObject(pattern(source, flags).exec(input(text)))),
      entry('match', (source, [text, flags]) => matchObject(pattern(source, flags, 'y').exec(input(text)))),
      entry('fullmatch', (source, [text, flags]) => {
        const found = pattern(source, flags, 'y').exec(input(text));
        return matchObject(found && found[0].length === input(text).length ? found : null);
      }),
      entry(
        'findall',
        (source, [text, flags]) =>
          new PyList(
            [...input(text).matchAll(pattern(source, flags, 'g'))].map((found) =>
              found.length > 2 ? new PyTuple(found.slice(1)) : (found[1] ?? found[0]),
            ),
          ),
      ),
      entry('split', (source, [text]) => new PyList(input(text).split(pattern(source, undefined)))),
      entry('sub', (source, [by, text, limit]) => {
        let left = limit === undefined || limit === 0n ? Number.POSITIVE_INFINITY : Number(limit);
        return input(text).replace(pattern(source, undefined, 'g'), (...found) => {
          if (left-- <= 0) return found[0] as string;
          if (by instanceof PyFunction)
            return str(
              by.call(
                [matchObject(Object.assign([found[0]], { index: 0, input: '' }) as never)],
                new Map() as Keywords,
              ),
            );
          return str(by ?? null).replace(/\\(?:(\d)|g<(\d+)>)/g, (_, a, b) => String(found[Number(a ?? b)] ?? ''));
        });
      }),
    ];
  };
  return module('re', [
    ...functions(),
    call(
      'compile',
      (source, flags = 0n) =>
        new PyObject('re.Pattern', {
          pattern: source!,
          flags,
          ...Object.fromEntries(functions(new PyObject('re.Pattern', { pattern: source!, flags }))),
        }),
    ),
    call('escape', (text) => str(text!).replace(/[^A-Za-z0-9_]/g, '\\$&')),
    ['I', 2n],
    ['IGNORECASE', 2n],
    ['M', 8n],
    ['MULTILINE', 8n],
    ['S', 16n],
    ['DOTALL', 16n],
  ]);
}

const LOWER = 'abcdefghijklmnopqrstuvwxyz';

const stringModule = (): PyObject =>
  module('string', [
    ['ascii_lowercase', LOWER],
    ['ascii_uppercase', LOWER.toUpperCase()],
    ['ascii_letters', LOWER + LOWER.toUpperCase()],
    ['lowercase', LOWER],
    ['uppercase', LOWER.toUpperCase()],
    ['letters', LOWER + LOWER.toUpperCase()],
    ['digits', '0123456789'],
    ['hexdigits', '0123456789abcdefABCDEF'],
    call('join', (items, by = ' ') => iterate(items!).map(str).join(str(by))),
    call(
      'split',
      (text, by = null) => new PyList(by === null ? str(text!).trim().split(/\s+/) : str(text!).split(str(by))),
    ),
    call('replace', (text, from, to) => str(text!).replaceAll(str(from!), () => str(to!))),
    call('strip', (text) => str(text!).trim()),
    call('lower', (text) => str(text!).toLowerCase()),
    call('upper', (text) => str(text!).toUpperCase()),
    call('zfill', (text, width) => str(text!).padStart(Math.min(Number(width), 1000), '0')),
  ]);

/** md5(text), as the two spellings of two Pythons have it: an object with the digest as hexadecimal digits. */
const hash = (algorithm: string, spelling = algorithm): [string, PyFunction] =>
  call(spelling, (text = '') => {
    const hex = createHash(algorithm).update(str(text)).digest('hex');
    return new PyObject(algorithm, Object.fromEntries([call('hexdigest', () => hex)]));
  });

function randomModule(): PyObject {
  const whole = (value: PyValue | undefined): number => Number(numeric(value ?? null) ?? Number.NaN);
  const between = (low: number, high: number): bigint => {
    if (!(low <= high)) throw new PyError('ValueError', 'the range is empty');
    return BigInt(low + Math.floor(Math.random() * (high - low + 1)));
  };
  return module('random', [
    call('random', () => Math.random()),
    call('randint', (low, high) => between(whole(low), whole(high))),
    call('randrange', (low, high) =>
      high === undefined ? between(0, whole(low) - 1) : between(whole(low), whole(high) - 1),
    ),
    call('choice', (items) => {
      const all = iterate(items!);
      return all[Number(between(0, all.length - 1))]!;
    }),
    call('seed', () => null),
  ]);
}

const float = (value: PyValue | undefined): number => Number(numeric(value ?? null) ?? Number.NaN);

/** The module of this name, or undefined. */
export function importModule(name: string, host: HostFacts): PyObject | undefined {
  switch (name) {
    case 'os':
      return osModule(host);
    case 'os.path':
      return osModule(host).attributes.get('path') as PyObject;
    case 're':
      return reModule();
    case 'string':
      return stringModule();
    case 'sys':
      return module('sys', [
        ['argv', new PyList(['xm'])],
        ['platform', 'linux'],
        ['path', new PyList([])],
        ['version', '3'],
      ]);
    case 'socket':
      return module('socket', [call('gethostname', () => host.uname[1])]);
    case 'platform':
      return module('platform', [
        call('system', () => host.uname[0]),
        call('node', () => host.uname[1]),
        call('release', () => host.uname[2]),
        call('machine', () => host.uname[4]),
      ]);
    case 'random':
      return randomModule();
    case 'hashlib':
      return module('hashlib', [hash('md5'), hash('sha1'), hash('sha256')]);
    case 'md5':
      return module('md5', [hash('md5'), hash('md5', 'new')]);
    case 'math':
      return module('math', [
        ['pi', Math.PI],
        call('ceil', (x) => BigInt(Math.ceil(float(x)))),
        call('floor', (x) => BigInt(Math.floor(float(x)))),
        call('sqrt', (x) => Math.sqrt(float(x))),
      ]);
    default:
      return undefined;
  }
}

export const MODULES = ['hashlib', 'math', 'os', 'platform', 'random', 're', 'socket', 'string', 'sys'] as const;
