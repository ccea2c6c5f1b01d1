/** The syntax tree of a configuration file, by a real grammar of Python, and small helpers for walking it. */
import type { SyntaxNode } from '@lezer/common';
import { parser } from '@lezer/python';

/** `source` is what was parsed: places in it are, as line and column, those of the file. */
interface Parsed {
  readonly source: string;
  readonly tree: SyntaxNode;
}
interface Broken {
  readonly source: string;
  readonly at: number;
  readonly what: string;
}

/** Forms of Python 2 that a file may have, before it is called broken. */
const OLD_FORMS_MAX = 100;

/** The tree, or where and why the text is none. */
export function parsePython(source: string): Parsed | Broken {
  let text = source;
  for (let forms = 0; ; forms++) {
    const tree = parser.parse(text);
    let broken: number | undefined;
    tree.iterate({
      enter(node) {
        if (node.type.isError && broken === undefined) broken = node.from;
      },
    });
    if (broken === undefined) return { tree: tree.topNode, source: text };
    const today = forms < OLD_FORMS_MAX ? asOfToday(text, broken) : undefined;
    if (today === undefined) return describeBreak(text, broken);
    text = today;
  }
}

function describeBreak(source: string, at: number): Broken {
  const rest = source.slice(at).split('\n')[0]!.trim();
  const what = rest ? `syntax error at ${JSON.stringify(rest.slice(0, 30))}` : 'syntax error: the line ends too early';
  return { source, at, what };
}

/**
 * The text with what Python 2 allowed at the place where the grammar, which is Python 3's, breaks off: `print a, b` and 64L. What
 * comes before it on its line stays where it is.
 */
function asOfToday(text: string, at: number): string | undefined {
  if (text[at] === 'L' && /\d/.test(text[at - 1] ?? '')) return `${text.slice(0, at)} ${text.slice(at + 1)}`;
  const begin = text.lastIndexOf('\n', at - 1) + 1;
  const end = text.indexOf('\n', at);
  const line = text.slice(begin, end < 0 ? text.length : end);
  const [, print, what] = text[at] === ',' ? (/^([ \t]*print)[ \t](.*)$/.exec(line) ?? []) : [];
  return print === undefined ? undefined : `${text.slice(0, begin)}${print}(${what})${text.slice(begin + line.length)}`;
}

/** Children without comments. */
export const kids = (node: SyntaxNode): SyntaxNode[] => {
  const all: SyntaxNode[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling) if (child.name !== 'Comment') all.push(child);
  return all;
};

/** Cut children at the separators; empty pieces are dropped. */
export const splitAt = (nodes: readonly SyntaxNode[], separator: string): SyntaxNode[][] => {
  const parts: SyntaxNode[][] = [[]];
  for (const node of nodes) {
    if (node.name === separator) parts.push([]);
    else parts.at(-1)!.push(node);
  }
  return parts;
};

/** What to call a statement that is left out. */
export function statementName(node: SyntaxNode, text: string): string {
  const word = /^@?\w*/.exec(text)?.[0];
  return node.name.endsWith('Definition') || node.name.endsWith('Statement') ? `"${word}"` : `this (${node.name})`;
}
