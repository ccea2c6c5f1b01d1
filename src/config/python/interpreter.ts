/**
 * Runs a configuration file: a walk over the syntax tree of a real Python grammar, with values of its own (values.ts) and
 * no way out: no files, no processes, no network, bounded steps and sizes. What is left out of Python says so when it is
 * met (classes, with, generators). Errors carry file:line:column.
 */
import type { SyntaxNode } from '@lezer/common';
import { parser } from '@lezer/python';
import { ConfigError, type Position, positionOf } from '../config-error.ts';
import { builtins, type HostFacts } from './builtins.ts';
import { formatSpec, percentFormat } from './format.ts';
import { numberLiteral, resolveEscapes, stringParts } from './literals.ts';
import { attribute, ITEMS_MAX, STRING_MAX } from './methods.ts';
import { importModule, MODULES } from './modules.ts';
import {
  compare,
  equal,
  iterate,
  type Keywords,
  numeric,
  PyDict,
  PyError,
  PyException,
  PyFunction,
  PyList,
  PySet,
  PyTuple,
  type PyValue,
  repr,
  str,
  truth,
  typeName,
} from './values.ts';

export interface RunOptions {
  readonly file: string;
  readonly host: HostFacts;
  /** The file's name space: what exists before it runs; its own names are added. */
  readonly names?: Map<string, PyValue>;
  readonly stepsMax?: number;
}

export interface RunResult {
  readonly globals: ReadonlyMap<string, PyValue>;
  /** Where each global was last set. */
  readonly places: ReadonlyMap<string, Position>;
  /** Names that the file itself looked at. */
  readonly read: ReadonlySet<string>;
}

const STEPS_MAX = 500_000;
const CALL_DEPTH_MAX = 100;
const NUMBER_BITS_MAX = 4096;

class Scope {
  readonly vars: Map<string, PyValue>;
  readonly parent: Scope | undefined;
  readonly global = new Set<string>();
  constructor(parent: Scope | undefined, vars = new Map<string, PyValue>()) {
    this.parent = parent;
    this.vars = vars;
  }
}

type Flow = 'break' | 'continue' | { readonly value: PyValue } | undefined;

export function runPython(text: string, options: RunOptions): RunResult {
  const source = text.replaceAll('\r\n', '\n').replace(/^\ufeff/, '');
  const fail = (at: number, what: string): never => {
    const { line, column } = positionOf(source, at);
    throw new ConfigError(`${options.file}:${line}:${column}: ${what}`);
  };
  const tree = parser.parse(source);
  let broken: number | undefined;
  tree.iterate({
    enter(node) {
      if (node.type.isError && broken === undefined) broken = node.from;
    },
  });
  if (broken !== undefined) {
    const rest = source.slice(broken).split('\n')[0]!.trim();
    fail(
      broken,
      rest ? `syntax error at ${JSON.stringify(rest.slice(0, 30))}` : 'syntax error: the line ends too early',
    );
  }
  const run = new Interpreter(source, options);
  try {
    run.body(kids(tree.topNode), run.globals);
  } catch (error) {
    if (error instanceof PyError) {
      const at = error.at ?? 0;
      const known = ['SyntaxError', 'Limit', 'Variable'].includes(error.type);
      fail(at, known || error.text === '' ? error.text || error.type : `${error.type}: ${error.text}`);
    }
    if (error instanceof RangeError) fail(0, 'the file is nested too deeply');
    throw error;
  }
  const places = new Map([...run.places].map(([name, at]) => [name, positionOf(source, at)]));
  return { globals: run.globals.vars, places, read: run.read };
}

const kids = (node: SyntaxNode): SyntaxNode[] => {
  const all: SyntaxNode[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling) if (child.name !== 'Comment') all.push(child);
  return all;
};

/** Cut children at the separators; empty pieces are dropped. */
const splitAt = (nodes: readonly SyntaxNode[], separator: string): SyntaxNode[][] => {
  const parts: SyntaxNode[][] = [[]];
  for (const node of nodes) {
    if (node.name === separator) parts.push([]);
    else parts.at(-1)!.push(node);
  }
  return parts;
};

class Interpreter {
  readonly globals: Scope;
  readonly places = new Map<string, number>();
  readonly read = new Set<string>();
  readonly #source: string;
  readonly #host: HostFacts;
  readonly #builtins: Map<string, PyValue>;
  #steps: number;
  #depth = 0;

  constructor(source: string, { host, names, stepsMax }: RunOptions) {
    this.#source = source;
    this.#host = host;
    this.#builtins = builtins(host);
    this.#steps = stepsMax ?? STEPS_MAX;
    // These are there without an import, xm-xend 2.1.
    for (const name of ['os', 'sys', 're', 'string']) this.#builtins.set(name, importModule(name, host)!);
    this.globals = new Scope(undefined, names);
  }

  #text(node: SyntaxNode): string {
    return this.#source.slice(node.from, node.to);
  }

  #fail(node: SyntaxNode, type: string, text: string): never {
    throw new PyError(type, text, node.from);
  }

  #step(node: SyntaxNode): void {
    if (this.#steps-- <= 0) this.#fail(node, 'Limit', 'the file takes too many steps: is this a loop without an end?');
  }

  /** Run `work`; an error that does not know its place gets this node's. */
  #placed<T>(node: SyntaxNode, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof PyError) error.at ??= node.from;
      throw error;
    }
  }

  // Statements.

  body(nodes: readonly SyntaxNode[], scope: Scope): Flow {
    for (const node of nodes) {
      if (node.name === ':' || node.name === ';') continue;
      const flow = this.#statement(node, scope);
      if (flow) return flow;
    }
    return undefined;
  }

  #statement(node: SyntaxNode, scope: Scope): Flow {
    this.#step(node);
    return this.#placed(node, () => this.#run(node, scope));
  }

  #run(node: SyntaxNode, scope: Scope): Flow {
    const all = kids(node);
    switch (node.name) {
      case 'ExpressionStatement':
        for (const child of all) if (child.name !== ',') this.#value(child, scope);
        return undefined;
      case 'AssignStatement':
        return this.#assignment(all, scope);
      case 'UpdateStatement': {
        const [target, op, ...rest] = all as [SyntaxNode, SyntaxNode, ...SyntaxNode[]];
        const operator = this.#text(op).slice(0, -1);
        // List += extends in place, which other names of the list see.
        const old = this.#value(target, scope);
        const more = this.#list(rest, scope);
        if (old instanceof PyList && operator === '+') old.items.push(...iterate(more));
        else this.#assign(target, this.#binary(op, operator, old, more), scope);
        return undefined;
      }
      case 'StatementGroup':
        return this.body(all, scope);
      case 'PassStatement':
        return undefined;
      case 'BreakStatement':
        return 'break';
      case 'ContinueStatement':
        return 'continue';
      case 'ReturnStatement':
        return { value: all.length > 1 ? this.#list(all.slice(1), scope) : null };
      case 'IfStatement':
        return this.#if(all, scope);
      case 'WhileStatement':
        return this.#while(all, scope);
      case 'ForStatement':
        return this.#for(all, scope);
      case 'FunctionDefinition': {
        const name = this.#text(all[1]!);
        this.#bind(
          all[1]!,
          name,
          this.#function(name, all.find((one) => one.name === 'ParamList')!, all.at(-1)!, scope),
          scope,
        );
        return undefined;
      }
      case 'ImportStatement':
        this.#import(all, scope);
        return undefined;
      case 'RaiseStatement':
        return this.#raise(node, all, scope);
      case 'TryStatement':
        return this.#try(all, scope);
      case 'AssertStatement': {
        const [test, text] = splitAt(all.slice(1), ',');
        if (!truth(this.#value(test![0]!, scope))) {
          this.#fail(
            node,
            'AssertionError',
            text?.[0] ? str(this.#value(text[0], scope)) : 'the assertion does not hold',
          );
        }
        return undefined;
      }
      case 'ScopeStatement':
        for (const child of all.slice(1)) if (child.name === 'VariableName') scope.global.add(this.#text(child));
        return undefined;
      case 'DeleteStatement':
        for (const child of all.slice(1)) if (child.name !== ',') this.#delete(child, scope);
        return undefined;
      case 'PrintStatement':
        this.#host.print(
          splitAt(all.slice(1), ',')
            .flatMap(([one]) => (one ? [str(this.#value(one, scope))] : []))
            .join(' '),
        );
        return undefined;
      default:
        return this.#fail(
          node,
          'SyntaxError',
          `${statementName(node, this.#text(node))} is not available in configuration files`,
        );
    }
  }

  #assignment(all: readonly SyntaxNode[], scope: Scope): Flow {
    const groups = splitAt(
      all.filter(({ name }) => name !== 'TypeDef'),
      'AssignOp',
    );
    if (groups.length < 2) return undefined; // A bare annotation: `a: int`.
    const value = this.#list(groups.at(-1)!, scope);
    for (const targets of groups.slice(0, -1)) this.#assignAll(targets, value, scope);
    return undefined;
  }

  /** Assign to `a` or to `a, b`. */
  #assignAll(targets: readonly SyntaxNode[], value: PyValue, scope: Scope): void {
    const names = targets.filter(({ name }) => name !== ',');
    if (names.length === 1 && targets.length === 1) {
      this.#assign(names[0]!, value, scope);
      return;
    }
    const items = iterate(value);
    if (items.length !== names.length) {
      this.#fail(targets[0]!, 'ValueError', `${items.length} values for ${names.length} names`);
    }
    for (const [i, name] of names.entries()) this.#assign(name, items[i]!, scope);
  }

  #assign(target: SyntaxNode, value: PyValue, scope: Scope): void {
    switch (target.name) {
      case 'VariableName':
        this.#bind(target, this.#text(target), value, scope);
        return;
      case 'TupleExpression':
      case 'ArrayExpression':
        this.#assignAll(kids(target).slice(1, -1), value, scope);
        return;
      case 'ParenthesizedExpression':
        this.#assign(kids(target)[1]!, value, scope);
        return;
      case 'MemberExpression': {
        const [object, bracket, key] = kids(target);
        if (bracket?.name !== '[') break;
        const into = this.#value(object!, scope);
        const at = this.#value(key!, scope);
        if (into instanceof PyDict) into.set(at, value);
        else if (into instanceof PyList) into.items[this.#index(target, at, into.items.length)] = value;
        else this.#fail(target, 'TypeError', `'${typeName(into)}' object does not support item assignment`);
        return;
      }
    }
    this.#fail(target, 'SyntaxError', `cannot assign to ${JSON.stringify(this.#text(target).slice(0, 30))}`);
  }

  #bind(node: SyntaxNode, name: string, value: PyValue, scope: Scope): void {
    if (name.startsWith('__'))
      this.#fail(node, 'NameError', `the name ${name} is not available in configuration files`);
    const into = scope.global.has(name) ? this.globals : scope;
    into.vars.set(name, value);
    if (into === this.globals) this.places.set(name, node.from);
  }

  #delete(target: SyntaxNode, scope: Scope): void {
    if (target.name === 'VariableName') {
      if (!scope.vars.delete(this.#text(target)))
        this.#fail(target, 'NameError', `name '${this.#text(target)}' is not defined`);
      return;
    }
    const [object, , key] = kids(target);
    const from = this.#value(object!, scope);
    const at = this.#value(key!, scope);
    if (from instanceof PyDict) from.delete(at);
    else if (from instanceof PyList) from.items.splice(this.#index(target, at, from.items.length), 1);
    else this.#fail(target, 'TypeError', 'this cannot be deleted');
  }

  #if(all: readonly SyntaxNode[], scope: Scope): Flow {
    for (let i = 0; i < all.length; ) {
      if (all[i]!.name === 'else') return this.body(kids(all[i + 1]!), scope);
      if (truth(this.#value(all[i + 1]!, scope))) return this.body(kids(all[i + 2]!), scope);
      i += 3;
    }
    return undefined;
  }

  #while(all: readonly SyntaxNode[], scope: Scope): Flow {
    const [, test, body] = all;
    while (truth(this.#value(test!, scope))) {
      this.#step(test!);
      const flow = this.body(kids(body!), scope);
      if (flow === 'break') return undefined;
      if (typeof flow === 'object') return flow;
    }
    return all[3]?.name === 'else' ? this.body(kids(all[4]!), scope) : undefined;
  }

  #for(all: readonly SyntaxNode[], scope: Scope): Flow {
    const inAt = all.findIndex(({ name }) => name === 'in');
    const bodyAt = all.findIndex(({ name }) => name === 'Body');
    const targets = all.slice(1, inAt);
    for (const item of iterate(this.#list(all.slice(inAt + 1, bodyAt), scope))) {
      this.#step(all[0]!);
      this.#assignAll(targets, item, scope);
      const flow = this.body(kids(all[bodyAt]!), scope);
      if (flow === 'break') return undefined;
      if (typeof flow === 'object') return flow;
    }
    return all[bodyAt + 1]?.name === 'else' ? this.body(kids(all[bodyAt + 2]!), scope) : undefined;
  }

  #function(name: string, parameters: SyntaxNode | undefined, body: SyntaxNode, scope: Scope): PyFunction {
    const rows = splitAt(
      parameters
        ? kids(parameters).filter((one) => one.name !== '(' && one.name !== ')' && one.name !== 'TypeDef')
        : [],
      ',',
    )
      .filter((row) => row.length > 0)
      .map((row) => {
        const star = row[0]!.name === '*' || row[0]!.name === '**' ? row[0]!.name : '';
        const defaultAt = row.findIndex((one) => one.name === 'AssignOp');
        return {
          star,
          name: this.#text(row[star ? 1 : 0] ?? row[0]!),
          otherwise: defaultAt < 0 ? undefined : this.#value(row[defaultAt + 1]!, scope),
        };
      });
    return new PyFunction(name, (args, keywords) => {
      const inner = new Scope(scope);
      const left = new Map(keywords);
      const values = [...args];
      for (const row of rows) {
        if (row.star === '*') inner.vars.set(row.name, new PyTuple(values.splice(0)));
        else if (row.star === '**') {
          inner.vars.set(row.name, new PyDict(left));
          left.clear();
        } else {
          const value = values.length > 0 ? values.shift() : (left.get(row.name) ?? row.otherwise);
          left.delete(row.name);
          if (value === undefined) throw new PyError('TypeError', `${name}() needs a value for '${row.name}'`);
          inner.vars.set(row.name, value);
        }
      }
      if (values.length > 0) throw new PyError('TypeError', `${name}() was given too many arguments`);
      const [stray] = left.keys();
      if (stray !== undefined) throw new PyError('TypeError', `${name}() has no argument '${stray}'`);
      if (++this.#depth > CALL_DEPTH_MAX) throw new PyError('Limit', 'functions call each other too deeply');
      try {
        if (body.name !== 'Body') return this.#value(body, inner);
        const flow = this.body(kids(body), inner);
        return typeof flow === 'object' ? flow.value : null;
      } finally {
        this.#depth--;
      }
    });
  }

  #import(all: readonly SyntaxNode[], scope: Scope): void {
    const from = all[0]!.name === 'from';
    const importAt = all.findIndex(({ name }) => name === 'import');
    const load = (nodes: readonly SyntaxNode[]) => {
      const name = nodes.map((one) => this.#text(one)).join('');
      const found = importModule(name, this.#host);
      if (!found)
        this.#fail(
          nodes[0] ?? all[0]!,
          'ImportError',
          `module ${name} is not available in configuration files (${MODULES.join(', ')} are)`,
        );
      return found;
    };
    const source = from ? load(all.slice(1, importAt)) : undefined;
    for (const part of splitAt(
      all.slice(importAt + 1).filter(({ name }) => name !== '(' && name !== ')'),
      ',',
    )) {
      if (part.length === 0) continue;
      const asAt = part.findIndex(({ name }) => name === 'as');
      const names = asAt < 0 ? part : part.slice(0, asAt);
      const alias = asAt < 0 ? undefined : this.#text(part[asAt + 1]!);
      if (!source) {
        const value = load(names);
        // `import os.path` binds os, whose attribute path is.
        if (alias) this.#bind(part[0]!, alias, value, scope);
        else this.#bind(part[0]!, this.#text(names[0]!), importModule(this.#text(names[0]!), this.#host)!, scope);
      } else if (names[0]!.name === '*') {
        for (const [name, value] of source.attributes) this.#bind(part[0]!, name, value, scope);
      } else {
        const name = this.#text(names[0]!);
        this.#bind(part[0]!, alias ?? name, attribute(source, name), scope);
      }
    }
  }

  #raise(node: SyntaxNode, all: readonly SyntaxNode[], scope: Scope): never {
    if (!all[1]) this.#fail(node, 'RuntimeError', 'nothing to raise');
    let value = this.#value(all[1]!, scope);
    // Python 2: raise ValueError, "text".
    if (value instanceof PyFunction) value = value.call(all[3] ? [this.#value(all[3], scope)] : [], new Map());
    if (!(value instanceof PyException)) return this.#fail(node, 'TypeError', 'exceptions must be exceptions');
    throw new PyError(value.type, str(value), node.from);
  }

  #try(all: readonly SyntaxNode[], scope: Scope): Flow {
    const clauses: { head: SyntaxNode; tests: SyntaxNode[]; body: SyntaxNode }[] = [];
    for (let i = 0; i < all.length; ) {
      const bodyAt = all.findIndex((one, at) => at > i && one.name === 'Body');
      clauses.push({ head: all[i]!, tests: all.slice(i + 1, bodyAt), body: all[bodyAt]! });
      i = bodyAt + 1;
    }
    const finish = clauses.find(({ head }) => head.name === 'finally');
    try {
      const flow = this.body(kids(clauses[0]!.body), scope);
      const otherwise = clauses.find(({ head }) => head.name === 'else');
      return flow ?? (otherwise ? this.body(kids(otherwise.body), scope) : undefined);
    } catch (error) {
      if (!(error instanceof PyError) || error.type === 'Limit') throw error;
      for (const { head, tests, body } of clauses) {
        if (head.name !== 'except' || !this.#catches(tests[0], error, scope)) continue;
        const name = tests.find(({ name }, i) => i > 0 && name === 'VariableName');
        if (name) this.#bind(name, this.#text(name), new PyException(error.type, [error.text]), scope);
        return this.body(kids(body), scope);
      }
      throw error;
    } finally {
      if (finish) this.body(kids(finish.body), scope);
    }
  }

  #catches(test: SyntaxNode | undefined, error: PyError, scope: Scope): boolean {
    if (!test) return true;
    const value = this.#value(test, scope);
    const types = value instanceof PyTuple ? value.items : [value];
    return types.some(
      (type) =>
        type instanceof PyFunction &&
        (type.name === error.type || type.name === 'Exception' || type.name === 'StandardError'),
    );
  }

  // Expressions.

  /** `a` or `a, b, c`. */
  #list(nodes: readonly SyntaxNode[], scope: Scope): PyValue {
    if (nodes.length === 1) return this.#value(nodes[0]!, scope);
    return new PyTuple(this.#items(nodes, scope));
  }

  #items(nodes: readonly SyntaxNode[], scope: Scope): PyValue[] {
    const items: PyValue[] = [];
    for (const part of splitAt(nodes, ',')) {
      if (part.length === 0) continue;
      if (part[0]!.name === '*') items.push(...iterate(this.#value(part[1]!, scope)));
      else items.push(this.#value(part[0]!, scope));
    }
    return items;
  }

  #value(node: SyntaxNode, scope: Scope): PyValue {
    this.#step(node);
    return this.#placed(node, () => this.#evaluate(node, scope));
  }

  #evaluate(node: SyntaxNode, scope: Scope): PyValue {
    switch (node.name) {
      case 'Number':
        return numberLiteral(this.#text(node));
      case 'String':
      case 'FormatString':
        return this.#string(node, scope);
      case 'ContinuedString':
        return kids(node)
          .map((part) => this.#string(part, scope))
          .join('');
      case 'Boolean':
        return this.#text(node) === 'True';
      case 'None':
        return null;
      case 'VariableName':
        return this.#name(node, scope);
      case 'ParenthesizedExpression':
        return this.#value(kids(node)[1]!, scope);
      case 'TupleExpression':
        return new PyTuple(this.#items(kids(node).slice(1, -1), scope));
      case 'ArrayExpression':
        return new PyList(this.#items(kids(node).slice(1, -1), scope));
      case 'SetExpression':
        return new PySet(this.#items(kids(node).slice(1, -1), scope));
      case 'DictionaryExpression':
        return this.#dictionary(node, scope);
      case 'ArrayComprehensionExpression':
      case 'ComprehensionExpression':
        return new PyList(this.#comprehension(kids(node).slice(1, -1), scope).map(([value]) => value!));
      case 'SetComprehensionExpression':
        return new PySet(this.#comprehension(kids(node).slice(1, -1), scope).map(([value]) => value!));
      case 'DictionaryComprehensionExpression':
        return new PyDict(this.#comprehension(kids(node).slice(1, -1), scope) as [PyValue, PyValue][]);
      case 'BinaryExpression':
        return this.#binaryExpression(node, scope);
      case 'UnaryExpression':
        return this.#unary(node, scope);
      case 'ConditionalExpression': {
        const [yes, , test, , no] = kids(node);
        return truth(this.#value(test!, scope)) ? this.#value(yes!, scope) : this.#value(no!, scope);
      }
      case 'LambdaExpression': {
        const all = kids(node);
        return this.#function(
          'lambda',
          all.find((one) => one.name === 'ParamList'),
          all.at(-1)!,
          scope,
        );
      }
      case 'CallExpression':
        return this.#call(node, scope);
      case 'MemberExpression':
        return this.#member(node, scope);
      case 'NamedExpression': {
        const [name, , value] = kids(node);
        const result = this.#value(value!, scope);
        this.#assign(name!, result, scope);
        return result;
      }
      default:
        return this.#fail(
          node,
          'SyntaxError',
          `${JSON.stringify(this.#text(node).slice(0, 30))} is not available in configuration files`,
        );
    }
  }

  #name(node: SyntaxNode, scope: Scope): PyValue {
    const name = this.#text(node);
    for (let at: Scope | undefined = scope; at; at = at.parent) {
      const value = at.vars.get(name);
      if (value === undefined) continue;
      if (at === this.globals) this.read.add(name);
      return value;
    }
    this.read.add(name);
    const value = this.#builtins.get(name);
    if (value !== undefined) return value;
    return this.#fail(node, 'NameError', `name '${name}' is not defined`);
  }

  #string(node: SyntaxNode, scope: Scope): string {
    const source = this.#text(node);
    const { raw, from, to } = stringParts(source);
    const plain = (text: string) => (raw ? text : resolveEscapes(text));
    if (node.name !== 'FormatString') return plain(source.slice(from, to));
    let out = '';
    let at = from;
    for (const part of kids(node).filter(({ name }) => name === 'FormatReplacement')) {
      out += braces(plain(source.slice(at, part.from - node.from)));
      out += this.#replacement(part, scope);
      at = part.to - node.from;
    }
    return out + braces(plain(source.slice(at, to)));
  }

  /** {value!r:spec}, and {value=} as well. */
  #replacement(node: SyntaxNode, scope: Scope): string {
    const all = kids(node);
    const value = this.#value(all[1]!, scope);
    const conversion = all.find(({ name }) => name === 'FormatConversion');
    const spec = all.find(({ name }) => name === 'FormatSpec');
    let specText = '';
    if (spec) {
      let at = spec.from + 1;
      for (const inner of kids(spec).filter(({ name }) => name === 'FormatReplacement')) {
        specText += this.#source.slice(at, inner.from) + this.#replacement(inner, scope);
        at = inner.to;
      }
      specText += this.#source.slice(at, spec.to);
    }
    const label = all.some(({ name }) => name === 'FormatSelfDoc') ? `${this.#text(all[1]!)}=` : '';
    const shown = conversion
      ? this.#text(conversion) === '!s'
        ? str(value)
        : repr(value)
      : label && !specText
        ? repr(value)
        : value;
    return label + formatSpec(shown, specText);
  }

  #dictionary(node: SyntaxNode, scope: Scope): PyDict {
    const dict = new PyDict();
    for (const part of splitAt(kids(node).slice(1, -1), ',')) {
      if (part.length === 0) continue;
      if (part[0]!.name === '**') {
        const other = this.#value(part[1]!, scope);
        if (!(other instanceof PyDict)) this.#fail(part[0]!, 'TypeError', 'a dictionary is wanted');
        for (const [key, value] of (other as PyDict).map.values()) dict.set(key, value);
      } else dict.set(this.#value(part[0]!, scope), this.#value(part[2]!, scope));
    }
    return dict;
  }

  /** VALUE [: VALUE] for TARGETS in ITEMS [if TEST] [for …]. Returns the values of each round. */
  #comprehension(nodes: readonly SyntaxNode[], scope: Scope): PyValue[][] {
    const firstFor = nodes.findIndex(({ name }) => name === 'for');
    const values = nodes.slice(0, firstFor).filter(({ name }) => name !== ':');
    const inner = new Scope(scope);
    const out: PyValue[][] = [];
    const round = (at: number): void => {
      const head = nodes[at];
      if (!head) {
        if (out.push(values.map((value) => this.#value(value, inner))) > ITEMS_MAX) {
          throw new PyError('Limit', 'a list is too long');
        }
        return;
      }
      if (head.name === 'if') {
        if (truth(this.#value(nodes[at + 1]!, inner))) round(at + 2);
        return;
      }
      const inAt = nodes.findIndex((one, i) => i > at && one.name === 'in');
      for (const item of iterate(this.#value(nodes[inAt + 1]!, inner))) {
        this.#assignAll(nodes.slice(at + 1, inAt), item, inner);
        round(inAt + 2);
      }
    };
    round(firstFor);
    return out;
  }

  #binaryExpression(node: SyntaxNode, scope: Scope): PyValue {
    const all = kids(node);
    const [left, op] = all as [SyntaxNode, SyntaxNode];
    const right = all.at(-1)!;
    if (op.name === 'and' || op.name === 'or') {
      const first = this.#value(left, scope);
      return truth(first) === (op.name === 'and') ? this.#value(right, scope) : first;
    }
    const operator = all
      .slice(1, -1)
      .map((one) => this.#text(one))
      .join(' ');
    if (!isComparison(operator)) return this.#binary(op, operator, this.#value(left, scope), this.#value(right, scope));
    // a < b <= c: the tree leans left, Python means a < b and b <= c with b evaluated once.
    const chain = this.#comparisons(node);
    let before = this.#value(chain[0]!.node, scope);
    for (const { operator: how, node: next } of chain.slice(1)) {
      const after = this.#value(next, scope);
      if (!this.#compares(next, how, before, after)) return false;
      before = after;
    }
    return true;
  }

  #comparisons(node: SyntaxNode): { operator: string; node: SyntaxNode }[] {
    if (node.name !== 'BinaryExpression') return [{ operator: '', node }];
    const all = kids(node);
    const operator = all
      .slice(1, -1)
      .map((one) => this.#text(one))
      .join(' ');
    if (!isComparison(operator)) return [{ operator: '', node }];
    return [...this.#comparisons(all[0]!), { operator, node: all.at(-1)! }];
  }

  #compares(node: SyntaxNode, operator: string, a: PyValue, b: PyValue): boolean {
    switch (operator) {
      case '==':
        return equal(a, b);
      case '!=':
      case '<>':
        return !equal(a, b);
      case 'is':
        return a === b;
      case 'is not':
        return a !== b;
      case 'in':
        return this.#contains(node, b, a);
      case 'not in':
        return !this.#contains(node, b, a);
      case '<':
        return compare(a, b) < 0;
      case '<=':
        return compare(a, b) <= 0;
      case '>':
        return compare(a, b) > 0;
      default:
        return compare(a, b) >= 0;
    }
  }

  #contains(node: SyntaxNode, whole: PyValue, part: PyValue): boolean {
    if (typeof whole === 'string') {
      if (typeof part !== 'string')
        this.#fail(node, 'TypeError', `'in <string>' requires a string, not ${typeName(part)}`);
      return whole.includes(part as string);
    }
    if (whole instanceof PyDict) return whole.get(part) !== undefined;
    return iterate(whole).some((item) => equal(item, part));
  }

  #unary(node: SyntaxNode, scope: Scope): PyValue {
    const [op, operand] = kids(node);
    const value = this.#value(operand!, scope);
    if (op!.name === 'not') return !truth(value);
    const number = numeric(value);
    const sign = this.#text(op!);
    if (number === undefined) this.#fail(node, 'TypeError', `bad operand type for ${sign}: '${typeName(value)}'`);
    if (sign === '~')
      return typeof number === 'bigint' ? ~number : this.#fail(node, 'TypeError', 'bad operand type for ~');
    return sign === '-' ? -number! : number!;
  }

  #binary(node: SyntaxNode, operator: string, a: PyValue, b: PyValue): PyValue {
    if (operator === '%' && typeof a === 'string') return percentFormat(a, b);
    const [x, y] = [numeric(a), numeric(b)];
    if (x !== undefined && y !== undefined) return this.#arithmetic(node, operator, x, y);
    if (operator === '+') {
      if (typeof a === 'string' && typeof b === 'string') return this.#sized(node, a + b);
      if (a instanceof PyList && b instanceof PyList) return new PyList(this.#counted(node, [...a.items, ...b.items]));
      if (a instanceof PyTuple && b instanceof PyTuple)
        return new PyTuple(this.#counted(node, [...a.items, ...b.items]));
    }
    if (operator === '*') {
      const [many, times] = typeof x === 'bigint' ? [b, x] : [a, y];
      if (typeof times === 'bigint') {
        const n = Number(times < 0n ? 0n : times);
        if (typeof many === 'string' && n * many.length <= STRING_MAX) return many.repeat(n);
        if ((many instanceof PyList || many instanceof PyTuple) && n * many.items.length <= ITEMS_MAX) {
          const items = Array.from({ length: n }, () => many.items).flat();
          return many instanceof PyList ? new PyList(items) : new PyTuple(items);
        }
        if (typeof many === 'string' || many instanceof PyList || many instanceof PyTuple) {
          this.#fail(node, 'Limit', 'the result would be too long');
        }
      }
    }
    const hint =
      operator === '+' && (typeof a === 'string' || typeof b === 'string') ? ': write str(...) around the number' : '';
    return this.#fail(
      node,
      'TypeError',
      `unsupported operand types for ${operator}: '${typeName(a)}' and '${typeName(b)}'${hint}`,
    );
  }

  #arithmetic(node: SyntaxNode, operator: string, x: number | bigint, y: number | bigint): PyValue {
    const zero = (operator === '/' || operator === '//' || operator === '%') && (y === 0n || y === 0);
    if (zero) this.#fail(node, 'ZeroDivisionError', 'division by zero');
    if (typeof x === 'bigint' && typeof y === 'bigint') {
      switch (operator) {
        case '+':
          return x + y;
        case '-':
          return x - y;
        case '*':
          return this.#bounded(node, x * y);
        case '/':
          // The files were written for Python 2, where whole numbers divide to whole numbers; today's give a fraction
          // where there is one.
          return x % y === 0n ? x / y : Number(x) / Number(y);
        case '//':
          return floorDivide(x, y);
        case '%':
          return x - floorDivide(x, y) * y;
        case '**':
          if (y < 0n) return Number(x) ** Number(y);
          if (y > 1024n) this.#fail(node, 'Limit', 'the number would be too long');
          return this.#bounded(node, x ** y);
        case '<<':
          if (y < 0n || y > BigInt(NUMBER_BITS_MAX)) this.#fail(node, 'Limit', 'the number would be too long');
          return this.#bounded(node, x << y);
        case '>>':
          return x >> y;
        case '&':
          return x & y;
        case '|':
          return x | y;
        case '^':
          return x ^ y;
      }
    }
    const [a, b] = [Number(x), Number(y)];
    switch (operator) {
      case '+':
        return a + b;
      case '-':
        return a - b;
      case '*':
        return a * b;
      case '/':
        return a / b;
      case '//':
        return Math.floor(a / b);
      case '%':
        return a - Math.floor(a / b) * b;
      case '**':
        return a ** b;
    }
    return this.#fail(node, 'TypeError', `unsupported operand types for ${operator}`);
  }

  #bounded(node: SyntaxNode, value: bigint): bigint {
    if (BigInt.asIntN(NUMBER_BITS_MAX, value) !== value) this.#fail(node, 'Limit', 'the number is too long');
    return value;
  }

  #sized(node: SyntaxNode, value: string): string {
    if (value.length > STRING_MAX) this.#fail(node, 'Limit', 'the string is too long');
    return value;
  }

  #counted(node: SyntaxNode, items: PyValue[]): PyValue[] {
    if (items.length > ITEMS_MAX) this.#fail(node, 'Limit', 'the list is too long');
    return items;
  }

  #call(node: SyntaxNode, scope: Scope): PyValue {
    const [callee, list] = kids(node);
    const target = this.#value(callee!, scope);
    if (!(target instanceof PyFunction))
      return this.#fail(node, 'TypeError', `'${typeName(target)}' object is not callable`);
    const args: PyValue[] = [];
    const keywords = new Map<string, PyValue>();
    const inside = kids(list!).slice(1, -1);
    if (inside.some(({ name }) => name === 'for')) {
      args.push(new PyList(this.#comprehension(inside, scope).map(([value]) => value!)));
    } else {
      for (const part of splitAt(inside, ',')) {
        const [first, second, third] = part;
        if (!first) continue;
        if (first.name === '*') args.push(...iterate(this.#value(second!, scope)));
        else if (first.name === '**') {
          const dict = this.#value(second!, scope);
          if (dict instanceof PyDict) for (const [key, value] of dict.map.values()) keywords.set(str(key), value);
        } else if (second?.name === 'AssignOp') keywords.set(this.#text(first), this.#value(third!, scope));
        else args.push(this.#value(first, scope));
      }
    }
    return target.call(args, keywords as Keywords);
  }

  #member(node: SyntaxNode, scope: Scope): PyValue {
    const all = kids(node);
    const object = this.#value(all[0]!, scope);
    if (all[1]!.name === '.') {
      const name = this.#text(all[2]!);
      if (name.startsWith('__'))
        this.#fail(all[2]!, 'AttributeError', `${name} is not available in configuration files`);
      return attribute(object, name);
    }
    const inside = all.slice(2, -1);
    if (inside.some(({ name }) => name === ':')) return this.#slice(node, object, inside, scope);
    const key = this.#list(inside, scope);
    if (object instanceof PyDict) {
      const value = object.get(key);
      return value === undefined ? this.#fail(node, 'KeyError', repr(key)) : value;
    }
    if (typeof object === 'string') return object[this.#index(node, key, object.length)]!;
    if (object instanceof PyList || object instanceof PyTuple)
      return object.items[this.#index(node, key, object.items.length)]!;
    return this.#fail(node, 'TypeError', `'${typeName(object)}' object cannot be indexed`);
  }

  #index(node: SyntaxNode, key: PyValue, length: number): number {
    const number = numeric(key);
    if (typeof number !== 'bigint')
      this.#fail(node, 'TypeError', `an index must be a whole number, not ${typeName(key)}`);
    const at = Number(number) < 0 ? Number(number) + length : Number(number);
    if (at < 0 || at >= length) this.#fail(node, 'IndexError', 'index out of range');
    return at;
  }

  #slice(node: SyntaxNode, object: PyValue, inside: readonly SyntaxNode[], scope: Scope): PyValue {
    const [from, to, by] = splitAt(inside, ':').map(([one]) => {
      const value = one ? numeric(this.#value(one, scope)) : undefined;
      return value === undefined ? undefined : Number(value);
    });
    const items = typeof object === 'string' ? [...object] : iterate(object);
    const stride = by ?? 1;
    if (stride === 0) this.#fail(node, 'ValueError', 'slice step cannot be zero');
    const clamp = (at: number | undefined, otherwise: number) => {
      if (at === undefined) return otherwise;
      const place = at < 0 ? at + items.length : at;
      return stride > 0 ? Math.min(Math.max(place, 0), items.length) : Math.min(Math.max(place, -1), items.length - 1);
    };
    const picked: PyValue[] = [];
    const start = clamp(from, stride > 0 ? 0 : items.length - 1);
    const end = clamp(to, stride > 0 ? items.length : -1);
    for (let i = start; stride > 0 ? i < end : i > end; i += stride) picked.push(items[i]!);
    if (typeof object === 'string') return picked.join('');
    return object instanceof PyTuple ? new PyTuple(picked) : new PyList(picked);
  }
}

const COMPARISONS = new Set(['==', '!=', '<>', '<', '<=', '>', '>=', 'in', 'not in', 'is', 'is not']);
const isComparison = (operator: string): boolean => COMPARISONS.has(operator);

const braces = (text: string): string => text.replaceAll('{{', '{').replaceAll('}}', '}');

const floorDivide = (x: bigint, y: bigint): bigint => {
  const quotient = x / y;
  return x % y !== 0n && x < 0n !== y < 0n ? quotient - 1n : quotient;
};

function statementName(node: SyntaxNode, text: string): string {
  const word = /^@?\w*/.exec(text)?.[0];
  return node.name.endsWith('Definition') || node.name.endsWith('Statement') ? `"${word}"` : `this (${node.name})`;
}
