/** S-expressions as xend 2.0 reads and prints them, xm-xend 5.6. All atoms are text; numbers are only printed. */
export type Sxp = string | number | readonly Sxp[];

export class SxpError extends Error {
  override readonly name = 'SxpError';
}

const BARE = /^[A-Za-z0-9.\-_:/~]+$/;
const PRINTED_ESCAPES: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };

/** One atom, quoted when it must be. The empty string is '' (the original printed nothing). */
export function printAtom(value: string | number): string {
  if (typeof value === 'number') return String(Number.isSafeInteger(value) ? value : Number(value.toPrecision(12)));
  if (BARE.test(value) || value === '@') return value;
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  let text = '';
  for (const char of value) {
    if (PRINTED_ESCAPES[char]) text += PRINTED_ESCAPES[char];
    else if (char === quote) text += `\\${char}`;
    else if (char >= ' ' && char <= '~') text += char;
    else for (const byte of new TextEncoder().encode(char)) text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return quote + text + quote;
}

export function printCompact(value: Sxp): string {
  return isList(value) ? `(${value.map(printCompact).join(' ')})` : printAtom(value);
}

const WIDTH = 80;
const INDENT = 4;

/** Pretty printing: a list that does not fit in the rest of the line has each element after its head on its own line. */
export function printPretty(value: Sxp): string {
  return `${pretty(value, 0)}\n`;
}

function pretty(value: Sxp, indent: number): string {
  const compact = printCompact(value);
  if (!isList(value) || value.length === 0 || indent + compact.length <= WIDTH) return compact;
  const [head, ...rest] = value;
  const inner = indent + INDENT;
  const lines = rest.map((item) => `\n${' '.repeat(inner)}${pretty(item, inner)}`);
  return `(${pretty(head!, inner)}${lines.join('')}\n${' '.repeat(indent)})`;
}

const isList = (value: Sxp): value is readonly Sxp[] => Array.isArray(value);

const BLANK = ' \t\n\v\f\r';
const ATOM_END = `${BLANK}(){}<>[]!;`;
const ESCAPES: Record<string, string> = { a: '\x07', b: '\b', t: '\t', n: '\n', v: '\v', f: '\f', r: '\r' };
const DEPTH_MAX = 200;

/** All expressions of a text. */
export function parseSxp(text: string): Sxp[] {
  let at = 0;
  const fail = (what: string): never => {
    const before = text.slice(0, at).split('\n');
    throw new SxpError(`${before.length}:${before.at(-1)!.length + 1}: ${what}`);
  };
  const skip = () => {
    for (; at < text.length; at++) {
      if (text[at] === '#') while (at + 1 < text.length && text[at + 1] !== '\n') at++;
      else if (!BLANK.includes(text[at]!)) return;
    }
  };
  const quoted = (quote: string): string => {
    const bytes: number[] = [];
    for (at++; text[at] !== quote; at++) {
      if (at >= text.length) fail('a string has no end');
      if (text[at] !== '\\') {
        bytes.push(...new TextEncoder().encode(String.fromCodePoint(text.codePointAt(at)!)));
        if (text.codePointAt(at)! > 0xffff) at++;
        continue;
      }
      const number = /^(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3}))/.exec(text.slice(at + 1, at + 4));
      if (number) {
        bytes.push(number[1] ? Number.parseInt(number[1], 16) : Number.parseInt(number[2]!, 8) & 0xff);
        at += number[0].length;
      } else {
        at++;
        bytes.push(...new TextEncoder().encode(ESCAPES[text[at] ?? ''] ?? text[at] ?? ''));
      }
    }
    at++;
    return new TextDecoder().decode(Uint8Array.from(bytes));
  };
  const value = (depth: number): Sxp => {
    if (depth > DEPTH_MAX) fail('lists are nested too deeply');
    const char = text[at]!;
    if (char === '"' || char === "'") return quoted(char);
    if (char !== '(') {
      const from = at++;
      while (at < text.length && !ATOM_END.includes(text[at]!)) at++;
      return text.slice(from, at);
    }
    const items: Sxp[] = [];
    for (at++, skip(); text[at] !== ')'; skip()) {
      if (at >= text.length) fail('a list has no end');
      items.push(value(depth + 1));
    }
    at++;
    return items;
  };
  const all: Sxp[] = [];
  for (skip(); at < text.length && text[at] !== '\x04'; skip()) {
    if (text[at] === ')') fail('a ")" too many');
    all.push(value(0));
  }
  return all;
}
