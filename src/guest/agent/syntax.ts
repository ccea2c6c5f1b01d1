/**
 * The language that programs for guests are written in, read into a tree: after B, with one type, the 64-bit signed word. It
 * exists because nobody's machine must have a compiler for a guest that is not the host, and because 10 KB of program must
 * start in a guest at once.
 *
 *   const LIMIT = 4 * 16;      a number, known when compiling
 *   var count;                 a word of memory, zero at the start
 *   bytes buffer[LIMIT];       as many bytes; the name stands for their address
 *   fn sum(list, length) {     arguments and locals are words; 0 is returned where nothing is
 *     let total = 0;
 *     while (length > 0) { length = length - 1; total = total + word[list + 8 * length]; }
 *     return total;
 *   }
 *
 * Memory is read and written as byte[address], half[...] (16 bits, both unsigned), int[...] (32 bits, signed) and word[...].
 * syscall(number, ...) and copy(to, from, length) are built in. "text" is the address of its bytes and a 0 after them.
 */

export type Width = 'byte' | 'half' | 'int' | 'word';

export type Expression =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'text'; readonly value: string }
  | { readonly kind: 'name'; readonly name: string; readonly line: number }
  | { readonly kind: 'memory'; readonly width: Width; readonly address: Expression }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Expression[]; readonly line: number }
  | { readonly kind: 'unary'; readonly op: '-' | '!' | '~'; readonly of: Expression }
  | { readonly kind: 'binary'; readonly op: string; readonly left: Expression; readonly right: Expression };

export type Statement =
  | { readonly kind: 'let'; readonly name: string; readonly value: Expression; readonly line: number }
  | { readonly kind: 'assign'; readonly to: Expression; readonly value: Expression }
  | { readonly kind: 'do'; readonly value: Expression }
  | { readonly kind: 'if'; readonly test: Expression; readonly then: Statement; readonly otherwise?: Statement }
  | { readonly kind: 'while'; readonly test: Expression; readonly body: Statement }
  | { readonly kind: 'return'; readonly value: Expression }
  | { readonly kind: 'break' | 'continue'; readonly line: number }
  | { readonly kind: 'block'; readonly body: readonly Statement[] };

export interface Fn {
  readonly name: string;
  readonly params: readonly string[];
  readonly body: Statement;
}

export interface Program {
  /** Bytes of memory by name; 8 for a `var`, which stands for its value, not for its address. */
  readonly memory: ReadonlyMap<string, { readonly size: number; readonly word: boolean }>;
  readonly functions: readonly Fn[];
}

const TOKEN =
  /\s+|\/\/[^\n]*|(?<number>0x[\da-fA-F]+|\d+)|(?<name>[A-Za-z_]\w*)|'(?<char>\\.|[^'\\])'|"(?<text>(?:\\.|[^"\\])*)"|(?<sign>&&|\|\||<<|>>|[<>=!]=|[-+*/%&|^~!<>=(){}[\];,])/gy;
const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  0: '\0',
  '\\': '\\',
  "'": "'",
  '"': '"',
};
/** Binary operators, the loosest first. */
const LEVELS = [
  ['||'],
  ['&&'],
  ['|'],
  ['^'],
  ['&'],
  ['==', '!='],
  ['<', '<=', '>', '>='],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];
const WIDTHS: readonly string[] = ['byte', 'half', 'int', 'word'] satisfies Width[];

interface Token {
  readonly kind: 'number' | 'name' | 'text' | 'sign' | 'end';
  readonly text: string;
  readonly line: number;
}

export class SourceError extends Error {
  override readonly name = 'SourceError';
  constructor(line: number, text: string) {
    super(`line ${line}: ${text}`);
  }
}

const unescaped = (text: string): string => text.replace(/\\(.)/g, (all, char: string) => ESCAPES[char] ?? all);

function tokens(source: string): Token[] {
  const found: Token[] = [];
  let line = 1;
  let at = 0;
  while (at < source.length) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(source);
    if (!match) throw new SourceError(line, `what is ${JSON.stringify(source.slice(at, at + 10))}?`);
    const { number, name, char, text, sign } = match.groups!;
    if (number !== undefined) found.push({ kind: 'number', text: number, line });
    else if (char !== undefined) found.push({ kind: 'number', text: String(unescaped(char).charCodeAt(0)), line });
    else if (name !== undefined) found.push({ kind: 'name', text: name, line });
    else if (text !== undefined) found.push({ kind: 'text', text: unescaped(text), line });
    else if (sign !== undefined) found.push({ kind: 'sign', text: sign, line });
    line += match[0].split('\n').length - 1;
    at = TOKEN.lastIndex;
  }
  found.push({ kind: 'end', text: 'the end', line });
  return found;
}

export function parseProgram(source: string): Program {
  return new Parser(tokens(source)).program();
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #constants = new Map<string, number>();
  #at = 0;

  constructor(list: readonly Token[]) {
    this.#tokens = list;
  }

  program(): Program {
    const memory = new Map<string, { size: number; word: boolean }>();
    const functions: Fn[] = [];
    while (this.#next.kind !== 'end') {
      const kind = this.#take();
      const name = this.#name();
      if (memory.has(name) || this.#constants.has(name) || functions.some((fn) => fn.name === name))
        throw new SourceError(kind.line, `${name} is there twice`);
      if (kind.text === 'const') {
        this.#expect('=');
        this.#constants.set(name, this.#constant());
        this.#expect(';');
      } else if (kind.text === 'var') {
        memory.set(name, { size: 8, word: true });
        this.#expect(';');
      } else if (kind.text === 'bytes') {
        this.#expect('[');
        memory.set(name, { size: this.#constant(), word: false });
        this.#expect(']');
        this.#expect(';');
      } else if (kind.text === 'fn') {
        const params: string[] = [];
        this.#expect('(');
        while (!this.#skip(')')) {
          params.push(this.#name());
          if (this.#next.text !== ')') this.#expect(',');
        }
        functions.push({ name, params, body: this.#statement() });
      } else throw new SourceError(kind.line, `${kind.text} begins nothing`);
    }
    return { memory, functions };
  }

  get #next(): Token {
    return this.#tokens[this.#at]!;
  }

  #take(): Token {
    return this.#tokens[this.#at++]!;
  }

  #skip(sign: string): boolean {
    const { kind, text } = this.#next;
    if (text !== sign || kind === 'text' || kind === 'end') return false;
    this.#at++;
    return true;
  }

  #expect(sign: string): void {
    if (!this.#skip(sign)) throw new SourceError(this.#next.line, `${sign} is missing before ${this.#next.text}`);
  }

  #name(): string {
    const { kind, text, line } = this.#take();
    if (kind !== 'name') throw new SourceError(line, `${text} is no name`);
    return text;
  }

  #constant(): number {
    const { line } = this.#next;
    const value = fold(this.#expression());
    if (value === undefined) throw new SourceError(line, 'this is not known when compiling');
    return value;
  }

  #statement(): Statement {
    const { line } = this.#next;
    if (this.#skip('{')) {
      const body: Statement[] = [];
      while (!this.#skip('}')) body.push(this.#statement());
      return { kind: 'block', body };
    }
    if (this.#skip('if')) {
      const test = this.#parenthesized();
      const then = this.#statement();
      return { kind: 'if', test, then, ...(this.#skip('else') ? { otherwise: this.#statement() } : {}) };
    }
    if (this.#skip('while')) return { kind: 'while', test: this.#parenthesized(), body: this.#statement() };
    const simple = this.#simple(line);
    this.#expect(';');
    return simple;
  }

  #simple(line: number): Statement {
    const nothing: Expression = { kind: 'number', value: 0 };
    if (this.#skip('return')) return { kind: 'return', value: this.#next.text === ';' ? nothing : this.#expression() };
    if (this.#skip('break')) return { kind: 'break', line };
    if (this.#skip('continue')) return { kind: 'continue', line };
    if (this.#skip('let')) {
      const name = this.#name();
      return { kind: 'let', name, value: this.#skip('=') ? this.#expression() : nothing, line };
    }
    const to = this.#expression();
    if (!this.#skip('=')) return { kind: 'do', value: to };
    if (to.kind !== 'name' && to.kind !== 'memory') throw new SourceError(line, 'nothing can be assigned to this');
    return { kind: 'assign', to, value: this.#expression() };
  }

  #parenthesized(): Expression {
    this.#expect('(');
    const inside = this.#expression();
    this.#expect(')');
    return inside;
  }

  #expression(level = 0): Expression {
    const operators = LEVELS[level];
    if (!operators) return this.#unary();
    let left = this.#expression(level + 1);
    for (;;) {
      const op = operators.find((one) => this.#skip(one));
      if (op === undefined) return left;
      left = { kind: 'binary', op, left, right: this.#expression(level + 1) };
      const value = fold(left);
      if (value !== undefined) left = { kind: 'number', value };
    }
  }

  #unary(): Expression {
    for (const op of ['-', '!', '~'] as const) {
      if (!this.#skip(op)) continue;
      const folded: Expression = { kind: 'unary', op, of: this.#unary() };
      const value = fold(folded);
      return value === undefined ? folded : { kind: 'number', value };
    }
    const { kind, text, line } = this.#next;
    if (this.#next.text === '(' && kind === 'sign') return this.#parenthesized();
    this.#at++;
    if (kind === 'number') return { kind: 'number', value: Number(text) };
    if (kind === 'text') return { kind: 'text', value: text };
    if (kind !== 'name') throw new SourceError(line, `${text} is no value`);
    if (this.#skip('(')) {
      const args: Expression[] = [];
      while (!this.#skip(')')) {
        args.push(this.#expression());
        if (this.#next.text !== ')') this.#expect(',');
      }
      return { kind: 'call', name: text, args, line };
    }
    if (WIDTHS.includes(text)) {
      this.#expect('[');
      const address = this.#expression();
      this.#expect(']');
      return { kind: 'memory', width: text as Width, address };
    }
    const constant = this.#constants.get(text);
    return constant === undefined ? { kind: 'name', name: text, line } : { kind: 'number', value: constant };
  }
}

/** The value of an expression of numbers. */
function fold(expression: Expression): number | undefined {
  if (expression.kind === 'number') return expression.value;
  if (expression.kind === 'unary') {
    const of = fold(expression.of);
    if (of === undefined) return undefined;
    return expression.op === '-' ? -of : expression.op === '~' ? ~of : of === 0 ? 1 : 0;
  }
  if (expression.kind !== 'binary') return undefined;
  const [left, right] = [fold(expression.left), fold(expression.right)];
  if (left === undefined || right === undefined) return undefined;
  switch (expression.op) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '|':
      return left | right;
    case '<<':
      return left * 2 ** right;
    default:
      return undefined;
  }
}
