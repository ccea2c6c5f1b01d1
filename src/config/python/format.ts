/** Python's two ways of formatting: the % operator and format specifications ({x:>8}, str.format). */
import { compare, floatText, numeric, PyDict, PyError, PyTuple, type PyValue, repr, str, typeName } from './values.ts';

const WIDTH_MAX = 10_000;

function pad(text: string, width: number, align: '<' | '>' | '^' | '=', fill = ' '): string {
  if (width > WIDTH_MAX) throw new PyError('ValueError', `a width of ${width} is too much`);
  const missing = width - [...text].length;
  if (missing <= 0) return text;
  if (align === '<') return text + fill.repeat(missing);
  if (align === '^') return fill.repeat(missing >> 1) + text + fill.repeat(missing - (missing >> 1));
  const sign = align === '=' ? (/^[+\- ]?(0[xXob])?/.exec(text)?.[0] ?? '') : '';
  return sign + fill.repeat(missing) + text.slice(sign.length);
}

function wholeNumber(value: PyValue, letter: string): bigint {
  const number = numeric(value);
  if (typeof number === 'bigint') return number;
  if (typeof number === 'number' && Number.isFinite(number)) return BigInt(Math.trunc(number));
  throw new PyError('TypeError', `%${letter} format: a number is required, not ${typeName(value)}`);
}

function floatNumber(value: PyValue): number {
  const number = numeric(value);
  if (number === undefined) throw new PyError('TypeError', `a number is required, not ${typeName(value)}`);
  return Number(number);
}

/** A number by conversion letter, without padding. */
function convert(value: PyValue, letter: string, precision: number | undefined, alternate: boolean): string {
  const digits = Math.min(precision ?? 6, 100);
  switch (letter) {
    case 'd':
    case 'i':
    case 'u':
      return String(wholeNumber(value, letter));
    case 'x':
    case 'X':
    case 'o':
    case 'b': {
      const whole = wholeNumber(value, letter);
      const base = letter === 'o' ? 8 : letter === 'b' ? 2 : 16;
      const text = (alternate ? `0${letter}` : '') + (whole < 0n ? -whole : whole).toString(base);
      return (whole < 0n ? '-' : '') + (letter === 'X' ? text.toUpperCase() : text);
    }
    case 'f':
    case 'F':
      return floatNumber(value).toFixed(digits);
    case 'e':
    case 'E': {
      const text = floatNumber(value)
        .toExponential(digits)
        .replace(/e([+-])(\d)$/, 'e$10$2');
      return letter === 'E' ? text.toUpperCase() : text;
    }
    default: {
      const number = floatNumber(value);
      const text = number.toPrecision(Math.max(1, digits));
      const short = text.includes('e') || !text.includes('.') ? text : text.replace(/\.?0+$/, '');
      return letter === 'G' ? short.toUpperCase() : short;
    }
  }
}

const PERCENT = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+))?[hlL]?(.?)/gs;

/** `format % argument`. */
export function percentFormat(format: string, argument: PyValue): string {
  const values = argument instanceof PyTuple ? argument.items : [argument];
  let used = 0;
  let named = false;
  const next = (): PyValue => {
    if (used >= values.length) throw new PyError('TypeError', 'not enough arguments for format string');
    return values[used++]!;
  };
  const size = (text: string | undefined): number | undefined => {
    if (text === undefined) return undefined;
    return text === '*' ? Number(wholeNumber(next(), '*')) : Number(text);
  };
  const text = format.replace(PERCENT, (_all, name, flags: string, widthText, precisionText, letter: string) => {
    const width = size(widthText) ?? 0;
    const precision = size(precisionText);
    if (letter === '%') return '%';
    if (letter === '') throw new PyError('ValueError', 'incomplete format');
    let value: PyValue;
    if (name === undefined) value = next();
    else {
      named = true;
      if (!(argument instanceof PyDict)) throw new PyError('TypeError', 'format requires a mapping');
      const found = argument.get(name);
      if (found === undefined) throw new PyError('KeyError', repr(name));
      value = found;
    }
    const left = flags.includes('-') || width < 0;
    if ('sra'.includes(letter)) {
      const shown = letter === 's' ? str(value) : repr(value);
      return pad(precision === undefined ? shown : shown.slice(0, precision), Math.abs(width), left ? '<' : '>');
    }
    if (letter === 'c') {
      const shown = typeof value === 'string' ? value : String.fromCodePoint(Number(wholeNumber(value, 'c')));
      return pad(shown, Math.abs(width), left ? '<' : '>');
    }
    if (!'diuxXofFeEgG'.includes(letter)) throw new PyError('ValueError', `unsupported format character '${letter}'`);
    let shown = convert(value, letter, precision, flags.includes('#'));
    if ('diu'.includes(letter) && precision !== undefined)
      shown = pad(shown, precision + (shown[0] === '-' ? 1 : 0), '=', '0');
    if (shown[0] !== '-') shown = (flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '') + shown;
    if (left) return pad(shown, Math.abs(width), '<');
    return flags.includes('0') ? pad(shown, width, '=', '0') : pad(shown, width, '>');
  });
  if (!named && used < values.length && !(argument instanceof PyDict)) {
    throw new PyError('TypeError', 'not all arguments converted during string formatting');
  }
  return text;
}

const SPEC = /^(?:(.)?([<>^=]))?([-+ ])?(#)?(0)?(\d+)?(,|_)?(?:\.(\d+))?([a-zA-Z%])?$/su;

/** format(value, spec). */
export function formatSpec(value: PyValue, spec: string): string {
  if (spec === '') return str(value);
  const match = SPEC.exec(spec);
  if (!match) throw new PyError('ValueError', `invalid format specifier '${spec}'`);
  const [, fill, align, sign, alternate, zero, width, group, precisionText, letter] = match;
  const precision = precisionText === undefined ? undefined : Number(precisionText);
  const number = numeric(value);
  if (number === undefined || typeof value === 'boolean') {
    if (letter !== undefined && letter !== 's') {
      throw new PyError('ValueError', `format code '${letter}' does not fit a ${typeName(value)}`);
    }
    const text = precision === undefined ? str(value) : str(value).slice(0, precision);
    return pad(text, Number(width ?? 0), (align as '<') ?? '<', fill ?? (zero ? '0' : ' '));
  }
  let text: string;
  if (letter === '%') text = `${(Number(number) * 100).toFixed(precision ?? 6)}%`;
  else if (letter === 'c') text = String.fromCodePoint(Number(number));
  else if (letter !== undefined) text = convert(number, letter, precision, alternate !== undefined);
  else if (typeof number === 'bigint') text = String(number);
  else text = precision === undefined ? floatText(number) : convert(number, 'g', precision, false);
  if (group) text = text.replace(/^(-?)(\d+)/, (_, minus, whole) => minus + whole.replace(/\B(?=(\d{3})+$)/g, group));
  if (sign && sign !== '-' && compare(number, 0n) >= 0) text = sign + text;
  return pad(text, Number(width ?? 0), (align as '<') ?? (zero ? '=' : '>'), fill ?? (zero ? '0' : ' '));
}

/** text.format(...). `look` finds the value of a field name such as 0, name, a.b or a[0]. */
export function formatMethod(text: string, look: (field: string) => PyValue): string {
  let auto = 0;
  const pattern = /\{\{|\}\}|\{([^{}!:]*)(?:!([rs]))?(?::([^{}]*(?:\{[^{}]*\}[^{}]*)*))?\}|[{}]/g;
  return text.replace(
    pattern,
    (all, field: string | undefined, conversion: string | undefined, spec: string | undefined) => {
      if (all === '{{') return '{';
      if (all === '}}') return '}';
      if (field === undefined) throw new PyError('ValueError', `a single '${all}' in a format string`);
      const name = /^(?=$|[.[])/.test(field) ? `${auto++}${field}` : field;
      const value = look(name);
      const shown = conversion === 'r' ? repr(value) : conversion === 's' ? str(value) : value;
      return formatSpec(
        shown,
        (spec ?? '').replace(/\{([^{}]*)\}/g, (_, inner: string) => str(look(inner || String(auto++)))),
      );
    },
  );
}
