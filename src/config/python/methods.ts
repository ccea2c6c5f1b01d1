/** The methods of strings, lists and dictionaries that configuration files use. */
import { formatMethod } from './format.ts';
import {
  compare,
  equal,
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
  typeName,
} from './values.ts';

type Method<T> = (self: T, args: readonly PyValue[], keywords: Keywords) => PyValue;

export const STRING_MAX = 1 << 20;
export const ITEMS_MAX = 100_000;

const text = (value: PyValue | undefined): string => {
  if (typeof value === 'string') return value;
  throw new PyError('TypeError', `a string is wanted, not ${value === undefined ? 'nothing' : typeName(value)}`);
};
const count = (value: PyValue | undefined, otherwise: number): number => {
  if (value === undefined || value === null) return otherwise;
  const number = numeric(value);
  if (typeof number !== 'bigint') throw new PyError('TypeError', `a whole number is wanted, not ${typeName(value)}`);
  return Number(number);
};
const strings = (items: readonly string[]): PyList => new PyList([...items]);
const bounded = (value: string): string => {
  if (value.length > STRING_MAX) throw new PyError('ValueError', 'a string would be longer than a mebibyte');
  return value;
};
const escaped = (chars: string): string => chars.replace(/[\\\]^-]/g, '\\$&');
const strip = (value: string, chars: PyValue | undefined, ends: 'both' | 'left' | 'right'): string => {
  const set = chars === undefined || chars === null ? '\\s' : escaped(text(chars));
  let out = value;
  if (ends !== 'right') out = out.replace(new RegExp(`^[${set}]+`), '');
  if (ends !== 'left') out = out.replace(new RegExp(`[${set}]+$`), '');
  return out;
};
const split = (value: string, separator: PyValue | undefined, limit: number): string[] => {
  if (separator === undefined || separator === null) {
    const parts = value.trim().split(/\s+/).filter(Boolean);
    if (limit < 0 || parts.length <= limit + 1) return parts;
    const rest = new RegExp(`^\\s*(?:\\S+\\s+){${limit}}([\\s\\S]*?)\\s*$`).exec(value)?.[1] ?? '';
    return [...parts.slice(0, limit), rest];
  }
  const by = text(separator);
  if (by === '') throw new PyError('ValueError', 'empty separator');
  const parts = value.split(by);
  return limit < 0 || parts.length <= limit + 1 ? parts : [...parts.slice(0, limit), parts.slice(limit).join(by)];
};
const affix = (value: string, what: PyValue | undefined, test: (part: string) => boolean): boolean =>
  what instanceof PyTuple ? what.items.some((item) => test(text(item))) : test(text(what)) || value === undefined;
const justify = (value: string, args: readonly PyValue[], side: 'left' | 'right' | 'both'): string => {
  const width = Math.min(count(args[0], 0), STRING_MAX);
  const fill = args[1] === undefined ? ' ' : text(args[1]);
  const missing = Math.max(0, width - value.length);
  if (side === 'left') return value + fill.repeat(missing);
  if (side === 'right') return fill.repeat(missing) + value;
  return fill.repeat(missing >> 1) + value + fill.repeat(missing - (missing >> 1));
};
const partition = (value: string, at: number, by: string): PyTuple =>
  at < 0 ? new PyTuple([value, '', '']) : new PyTuple([value.slice(0, at), by, value.slice(at + by.length)]);

export const STRING_METHODS: Readonly<Record<string, Method<string>>> = {
  capitalize: (s) => s.slice(0, 1).toUpperCase() + s.slice(1).toLowerCase(),
  center: (s, args) => justify(s, args, 'both'),
  count: (s, [part]) => BigInt(s.split(text(part)).length - 1),
  endswith: (s, [what]) => affix(s, what, (part) => s.endsWith(part)),
  find: (s, [what, from]) => BigInt(s.indexOf(text(what), count(from, 0))),
  format: (s, args, keywords) => formatMethod(s, (field) => formatField(field, args, keywords)),
  index: (s, [what]) => {
    const at = s.indexOf(text(what));
    if (at < 0) throw new PyError('ValueError', 'substring not found');
    return BigInt(at);
  },
  isalnum: (s) => /^[\p{L}\p{N}]+$/u.test(s),
  isalpha: (s) => /^\p{L}+$/u.test(s),
  isdigit: (s) => /^\d+$/.test(s),
  islower: (s) => s === s.toLowerCase() && s !== s.toUpperCase(),
  isspace: (s) => /^\s+$/.test(s),
  isupper: (s) => s === s.toUpperCase() && s !== s.toLowerCase(),
  join: (s, [items]) =>
    bounded(
      iterate(items ?? null)
        .map(text)
        .join(s),
    ),
  ljust: (s, args) => justify(s, args, 'left'),
  lower: (s) => s.toLowerCase(),
  lstrip: (s, [chars]) => strip(s, chars, 'left'),
  partition: (s, [by]) => partition(s, s.indexOf(text(by)), text(by)),
  replace: (s, [from, to]) => bounded(s.replaceAll(text(from), () => text(to))),
  rfind: (s, [what]) => BigInt(s.lastIndexOf(text(what))),
  rjust: (s, args) => justify(s, args, 'right'),
  rpartition: (s, [by]) => {
    const at = s.lastIndexOf(text(by));
    return at < 0 ? new PyTuple(['', '', s]) : partition(s, at, text(by));
  },
  rsplit: (s, [by, limit]) => {
    const all = split(s, by, -1);
    const most = count(limit, -1);
    if (most < 0 || all.length <= most + 1) return strings(all);
    const kept = all.length - most;
    return strings([all.slice(0, kept).join(by === undefined || by === null ? ' ' : text(by)), ...all.slice(kept)]);
  },
  rstrip: (s, [chars]) => strip(s, chars, 'right'),
  split: (s, [by, limit]) => strings(split(s, by, count(limit, -1))),
  splitlines: (s) => strings(s.replace(/\r?\n$/, '').split(/\r?\n/)),
  startswith: (s, [what]) => affix(s, what, (part) => s.startsWith(part)),
  strip: (s, [chars]) => strip(s, chars, 'both'),
  swapcase: (s) => [...s].map((c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase())).join(''),
  title: (s) => s.toLowerCase().replace(/\b\p{L}/gu, (c) => c.toUpperCase()),
  upper: (s) => s.toUpperCase(),
  zfill: (s, [width]) => {
    const sign = /^[+-]/.exec(s)?.[0] ?? '';
    return sign + justify(s.slice(sign.length), [BigInt(count(width, 0) - sign.length), '0'], 'right');
  },
};

/** The value of a format field such as 0, name, 0.attr or 0[key]. */
function formatField(field: string, args: readonly PyValue[], keywords: Keywords): PyValue {
  const [, head, rest] = /^([^.[]*)(.*)$/s.exec(field)!;
  let value = /^\d+$/.test(head!) ? args[Number(head)] : keywords.get(head!);
  if (value === undefined) throw new PyError(/^\d+$/.test(head!) ? 'IndexError' : 'KeyError', repr(head!));
  for (const [, name, key] of rest!.matchAll(/\.(\w+)|\[([^\]]*)\]/g)) {
    if (name !== undefined) value = attribute(value, name);
    else if (value instanceof PyDict) value = value.get(key!) ?? null;
    else value = iterate(value)[Number(key)] ?? null;
  }
  return value;
}

const at = (list: PyList, index: PyValue | undefined, otherwise: number): number => {
  const number = count(index, otherwise);
  return number < 0 ? number + list.items.length : number;
};

export const LIST_METHODS: Readonly<Record<string, Method<PyList>>> = {
  append: (list, [item]) => {
    if (list.items.length >= ITEMS_MAX) throw new PyError('ValueError', 'a list is too long');
    list.items.push(item ?? null);
    return null;
  },
  count: (list, [item]) => BigInt(list.items.filter((one) => equal(one, item ?? null)).length),
  extend: (list, [items]) => {
    const more = iterate(items ?? null);
    if (list.items.length + more.length > ITEMS_MAX) throw new PyError('ValueError', 'a list is too long');
    for (const item of more) list.items.push(item);
    return null;
  },
  index: (list, [item]) => {
    const found = list.items.findIndex((one) => equal(one, item ?? null));
    if (found < 0) throw new PyError('ValueError', `${repr(item ?? null)} is not in list`);
    return BigInt(found);
  },
  insert: (list, [index, item]) => {
    list.items.splice(Math.max(0, at(list, index, 0)), 0, item ?? null);
    return null;
  },
  pop: (list, [index]) => {
    const from = at(list, index, -1);
    if (from < 0 || from >= list.items.length) throw new PyError('IndexError', 'pop index out of range');
    return list.items.splice(from, 1)[0]!;
  },
  remove: (list, [item]) => {
    const found = list.items.findIndex((one) => equal(one, item ?? null));
    if (found < 0) throw new PyError('ValueError', 'list.remove(x): x not in list');
    list.items.splice(found, 1);
    return null;
  },
  reverse: (list) => {
    list.items.reverse();
    return null;
  },
  sort: (list, _args, keywords) => {
    list.items.splice(0, list.items.length, ...sorted(list.items, keywords));
    return null;
  },
};

export function sorted(items: readonly PyValue[], keywords: Keywords): PyValue[] {
  const key = keywords.get('key');
  const by = key instanceof PyFunction ? (item: PyValue) => key.call([item], new Map()) : (item: PyValue) => item;
  const out = items.map((item) => [by(item), item] as const).sort(([a], [b]) => compare(a, b));
  if (keywords.get('reverse') === true) out.reverse();
  return out.map(([, item]) => item);
}

const pair = (a: PyValue, b: PyValue): PyTuple => new PyTuple([a, b]);

export const DICT_METHODS: Readonly<Record<string, Method<PyDict>>> = {
  copy: (dict) => new PyDict(dict.map.values()),
  get: (dict, [key, otherwise]) => dict.get(key ?? null) ?? otherwise ?? null,
  has_key: (dict, [key]) => dict.get(key ?? null) !== undefined,
  items: (dict) => new PyList([...dict.map.values()].map(([key, value]) => pair(key, value))),
  keys: (dict) => new PyList(dict.keys()),
  pop: (dict, [key, otherwise]) => {
    const value = dict.get(key ?? null) ?? otherwise;
    if (value === undefined) throw new PyError('KeyError', repr(key ?? null));
    dict.delete(key ?? null);
    return value;
  },
  setdefault: (dict, [key, otherwise]) => {
    if (dict.get(key ?? null) === undefined) dict.set(key ?? null, otherwise ?? null);
    return dict.get(key ?? null)!;
  },
  update: (dict, [other], keywords) => {
    if (other instanceof PyDict) for (const [key, value] of other.map.values()) dict.set(key, value);
    for (const [key, value] of keywords) dict.set(key, value);
    return null;
  },
  values: (dict) => new PyList(dict.values()),
};

const bind = <T>(methods: Readonly<Record<string, Method<T>>>, self: T, name: string): PyFunction | undefined => {
  if (!Object.hasOwn(methods, name)) return undefined;
  return new PyFunction(name, (args, keywords) => methods[name]!(self, args, keywords));
};

/** value.name */
export function attribute(value: PyValue, name: string): PyValue {
  let found: PyValue | undefined;
  if (typeof value === 'string') found = bind(STRING_METHODS, value, name);
  else if (value instanceof PyList) found = bind(LIST_METHODS, value, name);
  else if (value instanceof PyDict) found = bind(DICT_METHODS, value, name);
  else if (value instanceof PyObject) found = value.attributes.get(name);
  if (found !== undefined) return found;
  if (value instanceof PyObject && value.kind.startsWith('module ')) {
    throw new PyError('AttributeError', `${value.kind.slice(7)}.${name} is not available in configuration files`);
  }
  throw new PyError('AttributeError', `'${typeName(value)}' object has no attribute '${name}'`);
}
