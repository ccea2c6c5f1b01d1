/**
 * Warnings for variables that nothing looks at. A misspelt one is named with what was probably meant. Others that the file
 * sets for itself or for other tools are common and harmless: all of a file's are told in one line. On the command line
 * every one counts, because somebody typed it for a purpose.
 */
import type { NamedValues } from './named-values.ts';
import { PyFunction, PyObject } from './python/values.ts';
import { findVariable, nearestVariable } from './variables.ts';

export interface Names {
  /** Set by VAR=VALUE. */
  readonly given: Iterable<string>;
  /** Set by the file. */
  readonly file: Iterable<string>;
  /** Looked at by the file itself, or declared by it. */
  readonly used: { has(name: string): boolean };
}

export function warnOfStrangers(values: NamedValues, { given, file, used }: Names, warn: (text: string) => void): void {
  const typed = new Set(given);
  const harmless: string[] = [];
  for (const name of new Set([...typed, ...file])) {
    const variable = findVariable(name);
    if (variable?.standing === 'later' && values.flag(name))
      warn(`${values.where(name)}${name} (${variable.help}) has no effect yet`);
    const value = values.raw(name);
    const helper = name.startsWith('_') || value instanceof PyFunction || value instanceof PyObject;
    if (variable || used.has(name) || helper) continue;
    const near = nearestVariable(name);
    if (near) warn(`${values.where(name)}unknown variable ${name} is ignored; is ${near} meant?`);
    else if (typed.has(name)) warn(`${values.where(name)}unknown variable ${name} is ignored`);
    else harmless.push(name);
  }
  if (harmless.length > 0) warn(`${values.file}: not used by Domus: ${harmless.join(', ')}`);
}
