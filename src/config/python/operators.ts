/**
 * What operators do with values: arithmetic, comparison, membership, indexing and slicing. Every result has a limit, so that
 * a file cannot ask for more than a machine has. Errors are placed by whoever met the operator.
 */
import { percentFormat } from './format.ts';
import { ITEMS_MAX, STRING_MAX } from './methods.ts';
import {
  compare,
  equal,
  iterate,
  numeric,
  PyDict,
  PyError,
  PyList,
  PyTuple,
  type PyValue,
  truth,
  typeName,
} from './values.ts';

const NUMBER_BITS_MAX = 4096;

const fail = (type: string, text: string): never => {
  throw new PyError(type, text);
};

const COMPARISONS = new Set(['==', '!=', '<>', '<', '<=', '>', '>=', 'in', 'not in', 'is', 'is not']);
export const isComparison = (operator: string): boolean => COMPARISONS.has(operator);

export function compares(operator: string, a: PyValue, b: PyValue): boolean {
  switch (operator) {
    case '==':
      return equal(a, b);
    case '!=':
    case '<>':
      return !equal(a, b);
    case 'is':
      return a === b;
    case 'is not':
      return a !== b;
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
    case '<':
      return compare(a, b) < 0;
    case '<=':
      return compare(a, b) <= 0;
    case '>':
      return compare(a, b) > 0;
    default:
      return compare(a, b) >= 0;
  }
}

function contains(whole: PyValue, part: PyValue): boolean {
  if (typeof whole === 'string') {
    if (typeof part !== 'string') fail('TypeError', `'in <string>' requires a string, not ${typeName(part)}`);
    return whole.includes(part as string);
  }
  if (whole instanceof PyDict) return whole.get(part) !== undefined;
  return iterate(whole).some((item) => equal(item, part));
}

export function unary(sign: string, value: PyValue): PyValue {
  if (sign === 'not') return !truth(value);
  const number = numeric(value) ?? fail('TypeError', `bad operand type for ${sign}: '${typeName(value)}'`);
  if (sign === '~') return typeof number === 'bigint' ? ~number : fail('TypeError', 'bad operand type for ~');
  return sign === '-' ? -number : number;
}

export function binary(operator: string, a: PyValue, b: PyValue): PyValue {
  if (operator === '%' && typeof a === 'string') return percentFormat(a, b);
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== undefined && y !== undefined) return arithmetic(operator, x, y);
  if (operator === '+') {
    if (typeof a === 'string' && typeof b === 'string') return sized(a + b);
    if (a instanceof PyList && b instanceof PyList) return new PyList(counted([...a.items, ...b.items]));
    if (a instanceof PyTuple && b instanceof PyTuple) return new PyTuple(counted([...a.items, ...b.items]));
  }
  if (operator === '*') {
    const [many, times] = typeof x === 'bigint' ? [b, x] : [a, y];
    if (typeof times === 'bigint') {
      const n = Number(times < 0n ? 0n : times);
      if (typeof many === 'string' && n * many.length <= STRING_MAX) return many.repeat(n);
      if ((many instanceof PyList || many instanceof PyTuple) && n * many.items.length <= ITEMS_MAX) {
        const items = Array.from({ length: n }, () => many.items).flat();
        return many instanceof PyList ? new PyList(items) : new PyTuple(items);
      }
      if (typeof many === 'string' || many instanceof PyList || many instanceof PyTuple) {
        fail('Limit', 'the result would be too long');
      }
    }
  }
  const hint =
    operator === '+' && (typeof a === 'string' || typeof b === 'string') ? ': write str(...) around the number' : '';
  return fail('TypeError', `unsupported operand types for ${operator}: '${typeName(a)}' and '${typeName(b)}'${hint}`);
}

function arithmetic(operator: string, x: number | bigint, y: number | bigint): PyValue {
  const zero = (operator === '/' || operator === '//' || operator === '%') && (y === 0n || y === 0);
  if (zero) fail('ZeroDivisionError', 'division by zero');
  if (typeof x === 'bigint' && typeof y === 'bigint') {
    switch (operator) {
      case '+':
        return x + y;
      case '-':
        return x - y;
      case '*':
        return bounded(x * y);
      case '/':
        // The files were written for Python 2, where whole numbers divide to whole numbers; today's give a fraction
        // where there is one.
        return x % y === 0n ? x / y : Number(x) / Number(y);
      case '//':
        return floorDivide(x, y);
      case '%':
        return x - floorDivide(x, y) * y;
      case '**':
        if (y < 0n) return Number(x) ** Number(y);
        if (y > 1024n) fail('Limit', 'the number would be too long');
        return bounded(x ** y);
      case '<<':
        if (y < 0n || y > BigInt(NUMBER_BITS_MAX)) fail('Limit', 'the number would be too long');
        return bounded(x << y);
      case '>>':
        return x >> y;
      case '&':
        return x & y;
      case '|':
        return x | y;
      case '^':
        return x ^ y;
    }
  }
  const [a, b] = [Number(x), Number(y)];
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return a / b;
    case '//':
      return Math.floor(a / b);
    case '%':
      return a - Math.floor(a / b) * b;
    case '**':
      return a ** b;
  }
  return fail('TypeError', `unsupported operand types for ${operator}`);
}

const floorDivide = (x: bigint, y: bigint): bigint => {
  const quotient = x / y;
  return x % y !== 0n && x < 0n !== y < 0n ? quotient - 1n : quotient;
};

function bounded(value: bigint): bigint {
  if (BigInt.asIntN(NUMBER_BITS_MAX, value) !== value) fail('Limit', 'the number is too long');
  return value;
}

function sized(value: string): string {
  if (value.length > STRING_MAX) fail('Limit', 'the string is too long');
  return value;
}

function counted(items: PyValue[]): PyValue[] {
  if (items.length > ITEMS_MAX) fail('Limit', 'the list is too long');
  return items;
}

/** The place that an index means, counted from the end when negative. */
export function indexOf(key: PyValue, length: number): number {
  const number = numeric(key);
  if (typeof number !== 'bigint') fail('TypeError', `an index must be a whole number, not ${typeName(key)}`);
  const at = Number(number) < 0 ? Number(number) + length : Number(number);
  if (at < 0 || at >= length) fail('IndexError', 'index out of range');
  return at;
}

/** object[from:to:by]. */
export function slice(
  object: PyValue,
  from: number | undefined,
  to: number | undefined,
  by: number | undefined,
): PyValue {
  const items = typeof object === 'string' ? [...object] : iterate(object);
  const stride = by ?? 1;
  if (stride === 0) fail('ValueError', 'slice step cannot be zero');
  const clamp = (at: number | undefined, otherwise: number) => {
    if (at === undefined) return otherwise;
    const place = at < 0 ? at + items.length : at;
    return stride > 0 ? Math.min(Math.max(place, 0), items.length) : Math.min(Math.max(place, -1), items.length - 1);
  };
  const picked: PyValue[] = [];
  const start = clamp(from, stride > 0 ? 0 : items.length - 1);
  const end = clamp(to, stride > 0 ? items.length : -1);
  for (let i = start; stride > 0 ? i < end : i > end; i += stride) picked.push(items[i]!);
  if (typeof object === 'string') return picked.join('');
  return object instanceof PyTuple ? new PyTuple(picked) : new PyList(picked);
}
