/** The syntax tree of a configuration file, by a real grammar of Python, and small helpers for walking it. */
import type { SyntaxNode } from '@lezer/common';
import { parser } from '@lezer/python';

/** The tree, or where and why the text is none. */
export function parsePython(source: string): SyntaxNode | { readonly at: number; readonly what: string } {
  const tree = parser.parse(source);
  let broken: number | undefined;
  tree.iterate({
    enter(node) {
      if (node.type.isError && broken === undefined) broken = node.from;
    },
  });
  if (broken === undefined) return tree.topNode;
  const rest = source.slice(broken).split('\n')[0]!.trim();
  const what = rest ? `syntax error at ${JSON.stringify(rest.slice(0, 30))}` : 'syntax error: the line ends too early';
  return { at: broken, what };
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
