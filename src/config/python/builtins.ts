/** The built-in functions of configuration files, and the names that xm puts there (xm-xend 2.1). */

import { formatSpec } from './format.ts';
import { ITEMS_MAX, sorted } from './methods.ts';
import {
  compare,
  EXCEPTIONS,
  iterate,
  type Keywords,
  numeric,
  PyDict,
  PyError,
  PyException,
  PyFunction,
  PyList,
  PySet,
  PyTuple,
  type PyValue,
  repr,
  str,
  truth,
  typeName,
} from './values.ts';

/** What the machine tells to a configuration file. Tests pass their own. */
export interface HostFacts {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uname: readonly [system: string, node: string, release: string, version: string, machine: string];
  readonly cwd: string;
  exists(path: string): 'file' | 'folder' | 'other' | undefined;
  interfaceAddress(device: string): { address: string; netmask: string } | undefined;
  gateway(): string | undefined;
  print(text: string): void;
}

type Call = (args: readonly PyValue[], keywords: Keywords) => PyValue;

const whole = (value: PyValue | undefined, what: string): bigint => {
  const number = value === undefined ? undefined : numeric(value);
  if (typeof number === 'bigint') return number;
  throw new PyError('TypeError', `${what}: a whole number is wanted`);
};

/** int(x[, base]). */
function toInt(value: PyValue, base: number): bigint {
  const number = numeric(value);
  if (typeof number === 'bigint') return number;
  if (typeof number === 'number' && Number.isFinite(number)) return BigInt(Math.trunc(number));
  if (typeof value !== 'string') {
    throw new PyError('TypeError', `int() argument must be a string or a number, not '${typeName(value)}'`);
  }
  const match = /^\s*([+-]?)(0[xX]|0[oO]|0[bB])?([0-9a-zA-Z]+)\s*$/.exec(value);
  const radix = match?.[2] ? { x: 16, o: 8, b: 2 }[match[2][1]!.toLowerCase()]! : base === 0 ? 10 : base;
  let result = 0n;
  let valid = match !== null && match[3]!.length < 1000 && (!match[2] || base === 0 || base === radix);
  for (const char of valid ? match![3]! : '') {
    const digit = Number.parseInt(char, 36);
    if (digit >= radix) valid = false;
    else result = result * BigInt(radix) + BigInt(digit);
  }
  if (!valid) throw new PyError('ValueError', `invalid literal for int() with base ${base}: ${repr(value)}`);
  return match![1] === '-' ? -result : result;
}

function toFloat(value: PyValue): number {
  const number = numeric(value);
  if (number !== undefined) return Number(number);
  const text = typeof value === 'string' ? value.trim() : '';
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text);
  throw new PyError('ValueError', `could not convert to float: ${repr(value)}`);
}

function range(args: readonly PyValue[]): PyList {
  const [first, second, third] = args.map((arg) => whole(arg, 'range'));
  const [from, to, by] = second === undefined ? [0n, first ?? 0n, 1n] : [first!, second, third ?? 1n];
  if (by === 0n) throw new PyError('ValueError', 'range() arg 3 must not be zero');
  const items: bigint[] = [];
  for (let at = from; by > 0n ? at < to : at > to; at += by) {
    if (items.push(at) > ITEMS_MAX) throw new PyError('ValueError', 'a range is too long');
  }
  return new PyList(items);
}

function best(args: readonly PyValue[], keywords: Keywords, sign: number): PyValue {
  const items = args.length === 1 ? iterate(args[0]!) : args;
  if (items.length === 0) throw new PyError('ValueError', 'min() or max() of nothing');
  const key = keywords.get('key');
  const by = (item: PyValue) => (key instanceof PyFunction ? key.call([item], new Map()) : item);
  return items.reduce((a, b) => (compare(by(a), by(b)) * sign >= 0 ? a : b));
}

const length = (value: PyValue): bigint => BigInt(value instanceof PyDict ? value.map.size : iterate(value).length);
const callable = (value: PyValue | undefined): Call => {
  if (value instanceof PyFunction) return value.call;
  throw new PyError('TypeError', 'a function is wanted');
};
const NONE: Keywords = new Map();

function round(value: PyValue, digits: PyValue | undefined): PyValue {
  const number = numeric(value);
  if (number === undefined) throw new PyError('TypeError', `a number is wanted, not ${typeName(value)}`);
  if (typeof number === 'bigint') return number;
  if (digits !== undefined) return Number(number.toFixed(Math.max(0, Math.min(50, Number(whole(digits, 'round'))))));
  const down = Math.floor(number);
  const half = number - down;
  return BigInt(half < 0.5 || (half === 0.5 && down % 2 === 0) ? down : down + 1);
}

export function builtins(host: HostFacts): Map<string, PyValue> {
  const calls: Record<string, Call> = {
    abs: ([value]) => {
      const number = numeric(value ?? null);
      if (number === undefined) throw new PyError('TypeError', 'bad operand type for abs()');
      return number < 0 ? -number : number;
    },
    all: ([items]) => iterate(items ?? null).every(truth),
    any: ([items]) => iterate(items ?? null).some(truth),
    bool: ([value]) => truth(value ?? null),
    chr: ([code]) => String.fromCodePoint(Number(whole(code, 'chr'))),
    dict: ([items], keywords) => {
      const entries =
        items instanceof PyDict
          ? [...items.map.values()]
          : items === undefined
            ? []
            : iterate(items).map((item) => iterate(item) as [PyValue, PyValue]);
      return new PyDict([...entries, ...keywords]);
    },
    enumerate: ([items, start]) =>
      new PyList(
        iterate(items ?? null).map(
          (item, i) => new PyTuple([BigInt(i) + (start === undefined ? 0n : whole(start, 'enumerate')), item]),
        ),
      ),
    filter: ([test, items]) =>
      new PyList(iterate(items ?? null).filter((item) => truth(test === null ? item : callable(test)([item], NONE)))),
    float: ([value]) => (value === undefined ? 0 : toFloat(value)),
    format: ([value, spec]) => formatSpec(value ?? null, spec === undefined ? '' : str(spec)),
    hex: ([value]) => hex(whole(value, 'hex'), '0x', 16),
    int: ([value, base]) =>
      value === undefined ? 0n : toInt(value, base === undefined ? 10 : Number(whole(base, 'int'))),
    isinstance: ([value, type]) => isInstance(value ?? null, type ?? null),
    len: ([value]) => length(value ?? null),
    list: ([items]) => new PyList(items === undefined ? [] : iterate(items)),
    map: ([work, items]) => new PyList(iterate(items ?? null).map((item) => callable(work)([item], NONE))),
    max: (args, keywords) => best(args, keywords, 1),
    min: (args, keywords) => best(args, keywords, -1),
    oct: ([value]) => hex(whole(value, 'oct'), '0o', 8),
    ord: ([value]) => BigInt(String(value).codePointAt(0) ?? 0),
    print: (args, keywords) => {
      host.print(args.map(str).join(keywords.has('sep') ? str(keywords.get('sep')!) : ' '));
      return null;
    },
    range,
    repr: ([value]) => repr(value ?? null),
    reversed: ([items]) => new PyList(iterate(items ?? null).reverse()),
    round: ([value, digits]) => round(value ?? null, digits),
    set: ([items]) => new PySet(items === undefined ? [] : iterate(items)),
    sorted: ([items], keywords) => new PyList(sorted(iterate(items ?? null), keywords)),
    str: ([value]) => (value === undefined ? '' : str(value)),
    sum: ([items, start]) =>
      iterate(items ?? null).reduce((sum, item) => {
        const [a, b] = [numeric(sum), numeric(item)];
        if (a === undefined || b === undefined) throw new PyError('TypeError', 'sum() adds numbers');
        return typeof a === 'bigint' && typeof b === 'bigint' ? a + b : Number(a) + Number(b);
      }, start ?? 0n),
    tuple: ([items]) => new PyTuple(items === undefined ? [] : iterate(items)),
    xrange: range,
    zip: (lists) => {
      const all = lists.map(iterate);
      const shortest = Math.min(...all.map((items) => items.length), lists.length === 0 ? 0 : ITEMS_MAX);
      return new PyList(Array.from({ length: shortest }, (_, i) => new PyTuple(all.map((items) => items[i]!))));
    },
    ...networkHelpers(host),
  };
  for (const name of [
    'eval',
    'exec',
    'execfile',
    'open',
    'file',
    'compile',
    'input',
    'raw_input',
    '__import__',
    'globals',
    'getattr',
    'setattr',
  ]) {
    calls[name] = () => {
      throw new PyError('RuntimeError', `${name}() is not available in configuration files`);
    };
  }
  const names = new Map<string, PyValue>(
    Object.entries(calls).map(([name, call]) => [name, new PyFunction(name, call)]),
  );
  for (const type of EXCEPTIONS) names.set(type, new PyFunction(type, (args) => new PyException(type, args)));
  return names;
}

function hex(value: bigint, prefix: string, base: number): string {
  return `${value < 0n ? '-' : ''}${prefix}${(value < 0n ? -value : value).toString(base)}`;
}

function isInstance(value: PyValue, type: PyValue): boolean {
  if (type instanceof PyTuple) return type.items.some((one) => isInstance(value, one));
  if (!(type instanceof PyFunction)) throw new PyError('TypeError', 'isinstance() arg 2 must be a type');
  return (
    typeName(value) === type.name ||
    (type.name === 'int' && typeof value === 'boolean') ||
    (type.name === 'Exception' && value instanceof PyException)
  );
}

/** get_current_ipaddr and its family. */
function networkHelpers(host: HostFacts): Record<string, Call> {
  const device = ([name]: readonly PyValue[]) =>
    host.interfaceAddress(name === undefined ? 'eth0' : str(name)) ?? host.interfaceAddress('xen-br0');
  const toNumber = (text: string): bigint => {
    const parts = text.split('.').map(Number);
    if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) {
      throw new PyError('ValueError', `no IP address: ${repr(text)}`);
    }
    return parts.reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  };
  const toText = (value: bigint): string => [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.');
  return {
    get_current_ipaddr: (args) => device(args)?.address ?? null,
    get_current_ipmask: (args) => device(args)?.netmask ?? null,
    get_current_ipgw: () => host.gateway() ?? null,
    inet_aton: ([text]) => toNumber(str(text ?? null)),
    inet_ntoa: ([value]) => toText(whole(value, 'inet_ntoa')),
    add_offset_to_ip: ([ip, offset]) => toText(toNumber(str(ip ?? null)) + whole(offset, 'add_offset_to_ip')),
    check_subnet: ([ip, net, mask]) => {
      const bits = toNumber(str(mask ?? null));
      return (toNumber(str(ip ?? null)) & bits) === (toNumber(str(net ?? null)) & bits);
    },
  };
}
