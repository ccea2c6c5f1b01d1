/**
 * The variables that a configuration file and a command line came to: typed access, with the place where each was set for
 * whoever has to complain of it. The command line is stronger than the file.
 */
import { ConfigError, type Position } from './config-error.ts';
import { PyList, PyTuple, type PyValue, str, typeName } from './python/values.ts';

export interface FileValues {
  readonly values: ReadonlyMap<string, PyValue>;
  /** Where each was set. */
  readonly places: ReadonlyMap<string, Position>;
}

const OFF = ['', '0', 'no', 'off', 'false', 'False', 'None'];

export class NamedValues {
  readonly file: string;
  readonly #file: FileValues;
  readonly #given: ReadonlyMap<string, PyValue>;

  constructor(file: string, values: FileValues, given: ReadonlyMap<string, PyValue>) {
    this.file = file;
    this.#file = values;
    this.#given = given;
  }

  fail(name: string, what: string): never {
    throw new ConfigError(`${this.where(name)}${what}`);
  }

  /** `FILE:LINE:COLUMN: ` or `NAME=VALUE: `, to stand before a complaint. */
  where(name: string): string {
    if (this.#given.has(name)) return `${name}=${str(this.#given.get(name)!)}: `;
    const place = this.#file.places.get(name);
    return place ? `${this.file}:${place.line}:${place.column}: ` : `${this.file}: `;
  }

  /** Undefined when it was not set, or set to None. */
  raw(name: string): PyValue | undefined {
    const value = this.#given.get(name) ?? this.#file.values.get(name);
    return value === null ? undefined : value;
  }

  has(name: string): boolean {
    return this.raw(name) !== undefined;
  }

  text(name: string): string | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value === 'string' || typeof value === 'bigint' || typeof value === 'number') return str(value);
    return this.fail(name, `${name} must be a string, not ${aType(value)}`);
  }

  int(name: string, least: number): number | undefined {
    const value = this.raw(name);
    if (value === undefined || value === '') return undefined;
    const plain = typeof value === 'number' || typeof value === 'string' || typeof value === 'bigint';
    const text = plain ? (typeof value === 'number' ? String(value) : str(value).trim()) : '';
    if (!/^[+-]?\d+$/.test(text)) this.fail(name, `Invalid value: ${str(value)}: ${name} must be a whole number`);
    if (Number(text) < least || !Number.isSafeInteger(Number(text)))
      this.fail(name, `Invalid value: ${text}: ${name} must be at least ${least}`);
    return Number(text);
  }

  flag(name: string): boolean {
    const value = this.raw(name);
    return value !== undefined && !OFF.includes(str(value)) && str(value) !== '[]';
  }

  /** A text or number, or a list of them. */
  words(name: string): string[] {
    const value = this.raw(name);
    const items =
      value instanceof PyList || value instanceof PyTuple ? value.items : value === undefined ? [] : [value];
    return items.map((item) => {
      if (typeof item === 'string' || typeof item === 'bigint' || typeof item === 'number') return str(item);
      return this.fail(name, `${name} must be text, numbers or a list of them; ${str(item)} is ${aType(item)}`);
    });
  }

  list(name: string): string[] {
    const value = this.raw(name);
    if (value === undefined) return [];
    if (typeof value === 'string') return value === '' ? [] : [value];
    if (!(value instanceof PyList || value instanceof PyTuple))
      return this.fail(name, `${name} must be a list of strings, not ${aType(value)}`);
    return value.items.map((item) => {
      if (typeof item === 'string') return item;
      return this.fail(name, `${name} must be a list of strings; ${str(item)} is ${aType(item)}`);
    });
  }
}

/** Among the names of types only `int` begins with a vowel. */
const aType = (value: PyValue): string => `${typeName(value) === 'int' ? 'an' : 'a'} ${typeName(value)}`;
