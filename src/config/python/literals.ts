/** Python's literals: numbers and the inside of strings. */
import { PyError } from './values.ts';

export function numberLiteral(source: string): bigint | number {
  const text = source.replaceAll('_', '').replace(/[lL]$/, '');
  if (/^0[xX][0-9a-fA-F]+$|^0[oO][0-7]+$|^0[bB][01]+$/.test(text)) return BigInt(text);
  if (/^0[0-7]+$/.test(text)) return BigInt(`0o${text.slice(1)}`); // Python 2's octal: mode = 0755.
  if (/^\d+$/.test(text)) {
    if (text.length > 1000) throw new PyError('ValueError', 'the number is too long');
    return BigInt(text);
  }
  const number = Number(text);
  if (Number.isNaN(number)) throw new PyError('ValueError', `not a number: ${source}`);
  return number;
}

const ESCAPES: Record<string, string> = {
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};
const ESCAPE = /\\(?:\r?\n|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|([\s\S]))/g;

/** Resolve backslashes. An unknown escape stays as it is written. */
export function resolveEscapes(text: string): string {
  return text.replace(ESCAPE, (all, x, u, big, octal, char) => {
    const code = x ?? u ?? big;
    if (code !== undefined) return String.fromCodePoint(Math.min(Number.parseInt(code, 16), 0x10ffff));
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
    if (char === undefined) return ''; // A backslash before the end of a line joins the lines.
    return ESCAPES[char] ?? all;
  });
}

export interface StringParts {
  readonly raw: boolean;
  readonly format: boolean;
  /** Offsets of the text between the quotes, within the literal. */
  readonly from: number;
  readonly to: number;
}

/** Take a string literal apart. The grammar accepts a string without an end: that is found here. */
export function stringParts(source: string): StringParts {
  const [all, prefix, quote] = /^([a-zA-Z]*)("""|'''|"|')/.exec(source) ?? [];
  if (all === undefined) throw new PyError('SyntaxError', 'this is not a string');
  const from = all.length;
  const to = source.length - quote!.length;
  if (to < from || !source.endsWith(quote!) || (quote!.length === 1 && oddBackslashes(source, to))) {
    throw new PyError('SyntaxError', 'the string has no end');
  }
  const flags = prefix!.toLowerCase();
  return { raw: flags.includes('r'), format: flags.includes('f'), from, to };
}

function oddBackslashes(text: string, end: number): boolean {
  let count = 0;
  while (text[end - 1 - count] === '\\') count++;
  return count % 2 === 1;
}
