/**
 * VAR=VALUE words of a command line, xm-xend 1.6: a value is text as it stands, without one pair of quotes around it (a shell
 * that was given too many). Words in xl's grammar, quoted or in brackets, may have several variables separated by ";".
 */
import { PyList, str } from './python/values.ts';
import { readXlGrammar } from './xl-grammar.ts';

const ASSIGNMENT = /^([A-Za-z_]\w*)\s*=\s*(.*)$/s;

/** The variables that a word sets, a list's items one by one; undefined when it sets none. */
export function assignments(word: string): [name: string, value: string][] | undefined {
  const [, name, value] = ASSIGNMENT.exec(word.trim()) ?? [];
  if (name === undefined) return undefined;
  // Numbers alone stay text: vmid=01 is not octal.
  const grammar = /["'[]/.test(value!) ? readXlGrammar(word) : undefined;
  if (!grammar) {
    const parts = word.split(/;\s*(?=[A-Za-z_]\w*=)/).map((part) => ASSIGNMENT.exec(part.trim())!);
    return parts.map(([, key, text]) => [key!, text!.trim().replace(/^(["'])(.*)\1$/s, '$2')]);
  }
  return [...grammar.values].flatMap(([key, one]): [string, string][] => {
    if (!(one instanceof PyList)) return [[key, str(one)]];
    return one.items.length === 0 ? [[key, '']] : one.items.map((item) => [key, str(item)]);
  });
}
