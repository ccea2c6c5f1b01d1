/**
 * Python's values in a configuration file. Whole numbers are bigint and floats number, so that 1 and 1.0 stay different;
 * None is null; lists, tuples, dictionaries and sets are small classes because they print differently.
 */
export type PyValue =
  | null
  | boolean
  | bigint
  | number
  | string
  | PyList
  | PyTuple
  | PyDict
  | PySet
  | PyFunction
  | PyObject
  | PyException;

export class PyList {
  readonly items: PyValue[];
  constructor(items: PyValue[]) {
    this.items = items;
  }
}

export class PyTuple {
  readonly items: readonly PyValue[];
  constructor(items: readonly PyValue[]) {
    this.items = items;
  }
}

type Key = string;
/** Equal keys must be found whatever they are, so the map is keyed by their printed form. */
const keyOf = (value: PyValue): Key => {
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (typeof value === 'number' && Number.isInteger(value)) return String(value);
  if (value instanceof PyList || value instanceof PyDict || value instanceof PySet) {
    throw new PyError('TypeError', `unhashable type: '${typeName(value)}'`);
  }
  return repr(value);
};

export class PyDict {
  readonly map = new Map<Key, [PyValue, PyValue]>();
  constructor(entries: Iterable<readonly [PyValue, PyValue]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }
  get(key: PyValue): PyValue | undefined {
    return this.map.get(keyOf(key))?.[1];
  }
  set(key: PyValue, value: PyValue): void {
    this.map.set(keyOf(key), [key, value]);
  }
  delete(key: PyValue): boolean {
    return this.map.delete(keyOf(key));
  }
  keys(): PyValue[] {
    return [...this.map.values()].map(([key]) => key);
  }
  values(): PyValue[] {
    return [...this.map.values()].map(([, value]) => value);
  }
}

export class PySet {
  readonly dict = new PyDict();
  constructor(items: Iterable<PyValue>) {
    for (const item of items) this.dict.set(item, null);
  }
}

export type Keywords = ReadonlyMap<string, PyValue>;

export class PyFunction {
  readonly name: string;
  readonly call: (args: readonly PyValue[], keywords: Keywords) => PyValue;
  constructor(name: string, call: PyFunction['call']) {
    this.name = name;
    this.call = call;
  }
}

/** A module, or a thing with attributes such as a match. Only these attributes exist. */
export class PyObject {
  readonly kind: string;
  readonly attributes: ReadonlyMap<string, PyValue>;
  constructor(kind: string, attributes: Readonly<Record<string, PyValue>>) {
    this.kind = kind;
    this.attributes = new Map(Object.entries(attributes));
  }
}

/** An exception as a value: ValueError("x"). */
export class PyException {
  readonly type: string;
  readonly args: readonly PyValue[];
  constructor(type: string, args: readonly PyValue[]) {
    this.type = type;
    this.args = args;
  }
}

/** An exception on its way. `at` is an offset in the file, filled in where it passes a place that knows one. */
export class PyError extends Error {
  readonly type: string;
  readonly text: string;
  at: number | undefined;
  constructor(type: string, text: string, at?: number) {
    super(text);
    this.type = type;
    this.text = text;
    this.at = at;
  }
}

export const EXCEPTIONS = [
  'Exception',
  'ValueError',
  'TypeError',
  'KeyError',
  'IndexError',
  'NameError',
  'AttributeError',
  'RuntimeError',
  'AssertionError',
  'ZeroDivisionError',
  'ImportError',
  'StandardError',
] as const;

export function typeName(value: PyValue): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'bigint') return 'int';
  if (typeof value === 'number') return 'float';
  if (typeof value === 'string') return 'str';
  if (value instanceof PyList) return 'list';
  if (value instanceof PyTuple) return 'tuple';
  if (value instanceof PyDict) return 'dict';
  if (value instanceof PySet) return 'set';
  if (value instanceof PyFunction) return 'function';
  if (value instanceof PyException) return value.type;
  return value.kind;
}

export function truth(value: PyValue): boolean {
  if (value === null || value === false || value === 0 || value === 0n || value === '') return false;
  if (value instanceof PyList || value instanceof PyTuple) return value.items.length > 0;
  if (value instanceof PyDict) return value.map.size > 0;
  if (value instanceof PySet) return value.dict.map.size > 0;
  return true;
}

export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const text = String(value);
  if (/^-?\d+$/.test(text)) return `${text}.0`;
  return text.replace(/e([+-])(\d)$/, 'e$10$2');
}

/** str(value). */
export function str(value: PyValue): string {
  if (typeof value === 'string') return value;
  if (value instanceof PyException)
    return value.args.length === 1 ? str(value.args[0]!) : value.args.map(repr).join(', ');
  return repr(value);
}

/** Lists in lists that share their parts can be endless to walk: so many values a walk looks at. */
class Walk {
  #left = 200_000;
  step(): void {
    if (this.#left-- <= 0) throw new PyError('Limit', 'a value is too big to be looked at as a whole');
  }
}

/** repr(value). */
export function repr(value: PyValue): string {
  return reprOf(value, 0, new Walk());
}

function reprOf(value: PyValue, depth: number, walk: Walk): string {
  walk.step();
  if (depth > 50) return '...';
  const one = (item: PyValue) => reprOf(item, depth + 1, walk);
  const inner = (items: Iterable<PyValue>) => [...items].map(one).join(', ');
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return floatText(value);
  if (typeof value === 'string') return quote(value);
  if (value instanceof PyList) return `[${inner(value.items)}]`;
  if (value instanceof PyTuple)
    return value.items.length === 1 ? `(${inner(value.items)},)` : `(${inner(value.items)})`;
  if (value instanceof PyDict) return `{${[...value.map.values()].map(([k, v]) => `${one(k)}: ${one(v)}`).join(', ')}}`;
  if (value instanceof PySet) return value.dict.map.size === 0 ? 'set()' : `{${inner(value.dict.keys())}}`;
  if (value instanceof PyFunction) return `<function ${value.name}>`;
  if (value instanceof PyException) return `${value.type}(${inner(value.args)})`;
  return `<${value.kind}>`;
}

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = '';
  for (const char of text) {
    if (char === mark || char === '\\') out += `\\${char}`;
    else if (char === '\n') out += '\\n';
    else if (char === '\r') out += '\\r';
    else if (char === '\t') out += '\\t';
    else if (char < ' ' || char === '\x7f') out += `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
    else out += char;
  }
  return mark + out + mark;
}

const isNumber = (value: PyValue): value is number | bigint | boolean =>
  typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean';

/** A number for arithmetic: True counts as 1. */
export const numeric = (value: PyValue): number | bigint | undefined =>
  typeof value === 'boolean' ? (value ? 1n : 0n) : isNumber(value) ? (value as number | bigint) : undefined;

export function equal(a: PyValue, b: PyValue, walk = new Walk()): boolean {
  walk.step();
  const [x, y] = [numeric(a), numeric(b)];
  // biome-ignore lint/suspicious/noDoubleEquals: bigint and number compare by value this way
  if (x !== undefined && y !== undefined) return x == y;
  if (a instanceof PyList && b instanceof PyList) return sameItems(a.items, b.items, walk);
  if (a instanceof PyTuple && b instanceof PyTuple) return sameItems(a.items, b.items, walk);
  if (a instanceof PyDict && b instanceof PyDict) {
    return (
      a.map.size === b.map.size &&
      a.keys().every((key) => {
        const other = b.get(key);
        return other !== undefined && equal(a.get(key)!, other, walk);
      })
    );
  }
  if (a instanceof PySet && b instanceof PySet) {
    return a.dict.map.size === b.dict.map.size && [...a.dict.map.keys()].every((key) => b.dict.map.has(key));
  }
  return a === b;
}

const sameItems = (a: readonly PyValue[], b: readonly PyValue[], walk: Walk): boolean =>
  a.length === b.length && a.every((item, i) => equal(item, b[i]!, walk));

/** Negative, zero or positive. Different kinds do not compare. */
export function compare(a: PyValue, b: PyValue, walk = new Walk()): number {
  walk.step();
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined) return x < y ? -1 : x > y ? 1 : 0;
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0;
  if ((a instanceof PyList && b instanceof PyList) || (a instanceof PyTuple && b instanceof PyTuple)) {
    for (let i = 0; i < Math.min(a.items.length, b.items.length); i++) {
      const order = compare(a.items[i]!, b.items[i]!, walk);
      if (order !== 0) return order;
    }
    return a.items.length - b.items.length;
  }
  throw new PyError('TypeError', `'${typeName(a)}' and '${typeName(b)}' cannot be ordered`);
}

export function iterate(value: PyValue): PyValue[] {
  if (value instanceof PyList || value instanceof PyTuple) return [...value.items];
  if (value instanceof PyDict) return value.keys();
  if (value instanceof PySet) return value.dict.keys();
  if (typeof value === 'string') return [...value];
  throw new PyError('TypeError', `'${typeName(value)}' object is not iterable`);
}
