/**
 * xl's own grammar, for files that are no Python: KEY = VALUE a line or separated by ";", += as well, lines indented as they
 * please; a value is a quoted string, a decimal, octal or hexadecimal number, or a list of values (xm-xend 2.5).
 */
import { ConfigError, type Position, positionOf } from './config-error.ts';
import type { FileValues } from './named-values.ts';
import { PyList, type PyValue } from './python/values.ts';

const TOKEN =
  /[ \t\r]+|#[^\n]*|(?<end>[\n;])|(?<name>[A-Za-z_]\w*)|(?<number>-?(?:0[xX][0-9a-fA-F]+|\d+))|(?<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?<sign>\+=|[=[\],])/gy;
type Kind = 'end' | 'name' | 'number' | 'string' | 'sign';
interface Token {
  readonly kind: Kind;
  readonly text: string;
  readonly at: number;
}

const DEPTH_MAX = 20;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', a: '\x07', b: '\b', f: '\f', v: '\v' };

/** Undefined when the text is not of this grammar either. */
export function readXlGrammar(source: string): FileValues | undefined {
  try {
    return new Reader(source).file();
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function tokens(source: string): Token[] {
  const all: Token[] = [];
  TOKEN.lastIndex = 0;
  for (let at = 0; at < source.length; at = TOKEN.lastIndex) {
    const match = TOKEN.exec(source);
    if (!match) throw new ConfigError('not a word of this grammar');
    const found = Object.entries(match.groups!).find(([, text]) => text !== undefined);
    if (found) all.push({ kind: found[0] as Kind, text: found[1]!, at });
  }
  return all;
}

class Reader {
  readonly #source: string;
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(source: string) {
    this.#source = source;
    this.#tokens = tokens(source);
  }

  file(): FileValues {
    const values = new Map<string, PyValue>();
    const places = new Map<string, Position>();
    while (this.#at < this.#tokens.length) {
      if (this.#is('end')) continue;
      const name = this.#take('name');
      const adds = this.#is('sign', '+=');
      if (!adds) this.#take('sign', '=');
      const value = this.#value(0);
      if (this.#at < this.#tokens.length) this.#take('end');
      values.set(name.text, adds ? joined(values.get(name.text), value) : value);
      places.set(name.text, positionOf(this.#source, name.at));
    }
    return { values, places };
  }

  #value(depth: number): PyValue {
    const token = this.#tokens[this.#at++];
    if (token?.kind === 'string') return token.text.slice(1, -1).replace(/\\(.)/g, (_, char) => ESCAPES[char] ?? char);
    if (token?.kind === 'number') return number(token.text);
    if (token?.text !== '[' || depth > DEPTH_MAX) throw new ConfigError('a value is wanted');
    const items: PyValue[] = [];
    for (this.#skipLines(); !this.#is('sign', ']'); this.#skipLines()) {
      items.push(this.#value(depth + 1));
      this.#skipLines();
      if (this.#tokens[this.#at]?.text !== ']') this.#take('sign', ',');
    }
    return new PyList(items);
  }

  #skipLines(): void {
    while (this.#tokens[this.#at]?.text === '\n') this.#at++;
  }

  #is(kind: Kind, text?: string): boolean {
    const token = this.#tokens[this.#at];
    const found = token?.kind === kind && (text === undefined || token.text === text);
    if (found) this.#at++;
    return found;
  }

  #take(kind: Kind, text?: string): Token {
    const token = this.#tokens[this.#at];
    if (!token || !this.#is(kind, text)) throw new ConfigError(`${text ?? kind} is wanted`);
    return token;
  }
}

/** A leading zero means octal, as in C. */
function number(text: string): bigint {
  const [, sign, digits] = /^(-?)(.*)$/.exec(text)!;
  const octal = /^0[0-7]+$/.test(digits!);
  const value = BigInt(octal ? `0o${digits!.slice(1)}` : digits!);
  return sign ? -value : value;
}

/** What += makes: longer strings and lists; of what was not there, the value itself. */
function joined(old: PyValue | undefined, more: PyValue): PyValue {
  if (old === undefined) return more;
  if (typeof old === 'string' && typeof more === 'string') return old + more;
  if (old instanceof PyList && more instanceof PyList) return new PyList([...old.items, ...more.items]);
  throw new ConfigError('these cannot be added');
}
