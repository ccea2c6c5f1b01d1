/**
 * Expressions of a configuration file: a walk over the syntax tree with values of its own (values.ts) and no way out. Every
 * node costs a step, every error gets the place of the innermost node that it passes.
 */
import type { SyntaxNode } from '@lezer/common';
import { builtins, type HostFacts } from './builtins.ts';
import { formatSpec } from './format.ts';
import { numberLiteral, resolveEscapes, stringParts } from './literals.ts';
import { attribute, ITEMS_MAX } from './methods.ts';
import { importModule } from './modules.ts';
import { binary, compares, indexOf, isComparison, slice, unary } from './operators.ts';
import { kids, splitAt } from './syntax.ts';
import {
  iterate,
  type Keywords,
  numeric,
  PyDict,
  PyError,
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

const CALL_DEPTH_MAX = 100;
/** So many items, or so many times so many characters, cost a step. */
const ITEM_COST = 10;
const STRING_COST = 50;
/** Expressions that make new values. */
const MAKES = new Set([
  'BinaryExpression',
  'CallExpression',
  'ArrayComprehensionExpression',
  'ComprehensionExpression',
  'FormatString',
]);

/** Names of the file, or of a function or comprehension in it. */
export class Scope {
  readonly vars: Map<string, PyValue>;
  readonly parent: Scope | undefined;
  readonly global = new Set<string>();
  constructor(parent: Scope | undefined, vars = new Map<string, PyValue>()) {
    this.parent = parent;
    this.vars = vars;
  }
}

/** How a statement ended, when not by going on to the next. */
export type Flow = 'break' | 'continue' | { readonly value: PyValue } | undefined;

export abstract class Expressions {
  readonly globals: Scope;
  readonly places = new Map<string, number>();
  readonly read = new Set<string>();
  protected readonly source: string;
  protected readonly host: HostFacts;
  readonly #builtins: Map<string, PyValue>;
  #steps: number;
  #depth = 0;

  constructor(
    source: string,
    { host, names, stepsMax }: { host: HostFacts; names?: Map<string, PyValue>; stepsMax: number },
  ) {
    this.source = source;
    this.host = host;
    this.#builtins = builtins(host);
    this.#steps = stepsMax;
    // These are there without an import, xm-xend 2.1.
    for (const name of ['os', 'sys', 're', 'string']) this.#builtins.set(name, importModule(name, host)!);
    this.globals = new Scope(undefined, names);
  }

  /** Run the statements of a function. */
  protected abstract body(nodes: readonly SyntaxNode[], scope: Scope): Flow;

  protected text(node: SyntaxNode): string {
    return this.source.slice(node.from, node.to);
  }

  protected fail(node: SyntaxNode, type: string, text: string): never {
    throw new PyError(type, text, node.from);
  }

  protected step(node: SyntaxNode): void {
    if (this.#steps-- <= 0) this.fail(node, 'Limit', 'the file takes too many steps: is this a loop without an end?');
  }

  /** Run `work`; an error that does not know its place gets this node's. */
  protected placed<T>(node: SyntaxNode, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof PyError) error.at ??= node.from;
      throw error;
    }
  }

  /** `a` or `a, b, c`. */
  protected list(nodes: readonly SyntaxNode[], scope: Scope): PyValue {
    if (nodes.length === 1) return this.value(nodes[0]!, scope);
    return new PyTuple(this.#items(nodes, scope));
  }

  #items(nodes: readonly SyntaxNode[], scope: Scope): PyValue[] {
    const items: PyValue[] = [];
    for (const part of splitAt(nodes, ',')) {
      if (part.length === 0) continue;
      if (part[0]!.name === '*') items.push(...iterate(this.value(part[1]!, scope)));
      else items.push(this.value(part[0]!, scope));
    }
    return items;
  }

  protected value(node: SyntaxNode, scope: Scope): PyValue {
    this.step(node);
    const result = this.placed(node, () => this.#evaluate(node, scope));
    if (MAKES.has(node.name)) this.charge(node, result);
    return result;
  }

  /** What is long costs more steps than one, so that a file cannot fill the memory with few. */
  protected charge(node: SyntaxNode, result: PyValue): void {
    const size =
      typeof result === 'string' ? result.length / STRING_COST : result instanceof PyList ? result.items.length : 0;
    this.#steps -= Math.floor(size / ITEM_COST);
    this.step(node);
  }

  #evaluate(node: SyntaxNode, scope: Scope): PyValue {
    switch (node.name) {
      case 'Number':
        return numberLiteral(this.text(node));
      case 'String':
      case 'FormatString':
        return this.#string(node, scope);
      case 'ContinuedString':
        return kids(node)
          .map((part) => this.#string(part, scope))
          .join('');
      case 'Boolean':
        return this.text(node) === 'True';
      case 'None':
        return null;
      case 'VariableName':
        return this.#name(node, scope);
      case 'ParenthesizedExpression':
        return this.value(kids(node)[1]!, scope);
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
      case 'UnaryExpression': {
        const [sign, operand] = kids(node);
        return unary(this.text(sign!), this.value(operand!, scope));
      }
      case 'ConditionalExpression': {
        const [yes, , test, , no] = kids(node);
        return truth(this.value(test!, scope)) ? this.value(yes!, scope) : this.value(no!, scope);
      }
      case 'LambdaExpression': {
        const all = kids(node);
        return this.makeFunction(
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
        const result = this.value(value!, scope);
        this.assign(name!, result, scope);
        return result;
      }
      default:
        return this.fail(
          node,
          'SyntaxError',
          `${JSON.stringify(this.text(node).slice(0, 30))} is not available in configuration files`,
        );
    }
  }

  #name(node: SyntaxNode, scope: Scope): PyValue {
    const name = this.text(node);
    for (let at: Scope | undefined = scope; at; at = at.parent) {
      const value = at.vars.get(name);
      if (value === undefined) continue;
      if (at === this.globals) this.read.add(name);
      return value;
    }
    this.read.add(name);
    const value = this.#builtins.get(name);
    if (value !== undefined) return value;
    return this.fail(node, 'NameError', `name '${name}' is not defined`);
  }

  #string(node: SyntaxNode, scope: Scope): string {
    const source = this.text(node);
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
    const value = this.value(all[1]!, scope);
    const conversion = all.find(({ name }) => name === 'FormatConversion');
    const spec = all.find(({ name }) => name === 'FormatSpec');
    let specText = '';
    if (spec) {
      let at = spec.from + 1;
      for (const inner of kids(spec).filter(({ name }) => name === 'FormatReplacement')) {
        specText += this.source.slice(at, inner.from) + this.#replacement(inner, scope);
        at = inner.to;
      }
      specText += this.source.slice(at, spec.to);
    }
    const label = all.some(({ name }) => name === 'FormatSelfDoc') ? `${this.text(all[1]!)}=` : '';
    const shown = conversion
      ? this.text(conversion) === '!s'
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
        const other = this.value(part[1]!, scope);
        if (!(other instanceof PyDict)) this.fail(part[0]!, 'TypeError', 'a dictionary is wanted');
        for (const [key, value] of (other as PyDict).map.values()) dict.set(key, value);
      } else dict.set(this.value(part[0]!, scope), this.value(part[2]!, scope));
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
        if (out.push(values.map((value) => this.value(value, inner))) > ITEMS_MAX) {
          throw new PyError('Limit', 'a list is too long');
        }
        return;
      }
      if (head.name === 'if') {
        if (truth(this.value(nodes[at + 1]!, inner))) round(at + 2);
        return;
      }
      const inAt = nodes.findIndex((one, i) => i > at && one.name === 'in');
      for (const item of iterate(this.value(nodes[inAt + 1]!, inner))) {
        this.assignAll(nodes.slice(at + 1, inAt), item, inner);
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
      const first = this.value(left, scope);
      return truth(first) === (op.name === 'and') ? this.value(right, scope) : first;
    }
    const operator = all
      .slice(1, -1)
      .map((one) => this.text(one))
      .join(' ');
    if (!isComparison(operator)) {
      const [a, b] = [this.value(left, scope), this.value(right, scope)];
      return this.placed(op, () => binary(operator, a, b));
    }
    // a < b <= c: the tree leans left, Python means a < b and b <= c with b evaluated once.
    const chain = this.#comparisons(node);
    let before = this.value(chain[0]!.node, scope);
    for (const { operator: how, node: next } of chain.slice(1)) {
      const after = this.value(next, scope);
      const [a, b] = [before, after];
      if (!this.placed(next, () => compares(how, a, b))) return false;
      before = after;
    }
    return true;
  }

  #comparisons(node: SyntaxNode): { operator: string; node: SyntaxNode }[] {
    if (node.name !== 'BinaryExpression') return [{ operator: '', node }];
    const all = kids(node);
    const operator = all
      .slice(1, -1)
      .map((one) => this.text(one))
      .join(' ');
    if (!isComparison(operator)) return [{ operator: '', node }];
    return [...this.#comparisons(all[0]!), { operator, node: all.at(-1)! }];
  }

  #call(node: SyntaxNode, scope: Scope): PyValue {
    const [callee, list] = kids(node);
    const target = this.value(callee!, scope);
    if (!(target instanceof PyFunction))
      return this.fail(node, 'TypeError', `'${typeName(target)}' object is not callable`);
    const args: PyValue[] = [];
    const keywords = new Map<string, PyValue>();
    const inside = kids(list!).slice(1, -1);
    if (inside.some(({ name }) => name === 'for')) {
      args.push(new PyList(this.#comprehension(inside, scope).map(([value]) => value!)));
    } else {
      for (const part of splitAt(inside, ',')) {
        const [first, second, third] = part;
        if (!first) continue;
        if (first.name === '*') args.push(...iterate(this.value(second!, scope)));
        else if (first.name === '**') {
          const dict = this.value(second!, scope);
          if (dict instanceof PyDict) for (const [key, value] of dict.map.values()) keywords.set(str(key), value);
        } else if (second?.name === 'AssignOp') keywords.set(this.text(first), this.value(third!, scope));
        else args.push(this.value(first, scope));
      }
    }
    return target.call(args, keywords as Keywords);
  }

  #member(node: SyntaxNode, scope: Scope): PyValue {
    const all = kids(node);
    const object = this.value(all[0]!, scope);
    if (all[1]!.name === '.') {
      const name = this.text(all[2]!);
      if (name.startsWith('__'))
        this.fail(all[2]!, 'AttributeError', `${name} is not available in configuration files`);
      return attribute(object, name);
    }
    const inside = all.slice(2, -1);
    if (inside.some(({ name }) => name === ':')) return this.#slice(object, inside, scope);
    const key = this.list(inside, scope);
    if (object instanceof PyDict) {
      const value = object.get(key);
      return value === undefined ? this.fail(node, 'KeyError', repr(key)) : value;
    }
    if (typeof object === 'string') return object[indexOf(key, object.length)]!;
    if (object instanceof PyList || object instanceof PyTuple) return object.items[indexOf(key, object.items.length)]!;
    return this.fail(node, 'TypeError', `'${typeName(object)}' object cannot be indexed`);
  }

  #slice(object: PyValue, inside: readonly SyntaxNode[], scope: Scope): PyValue {
    const [from, to, by] = splitAt(inside, ':').map(([one]) => {
      const value = one ? numeric(this.value(one, scope)) : undefined;
      return value === undefined ? undefined : Number(value);
    });
    return slice(object, from, to, by);
  }

  // Names.

  /** Assign to `a` or to `a, b`. */
  protected assignAll(targets: readonly SyntaxNode[], value: PyValue, scope: Scope): void {
    const names = targets.filter(({ name }) => name !== ',');
    if (names.length === 1 && targets.length === 1) {
      this.assign(names[0]!, value, scope);
      return;
    }
    const items = iterate(value);
    if (items.length !== names.length) {
      this.fail(targets[0]!, 'ValueError', `${items.length} values for ${names.length} names`);
    }
    for (const [i, name] of names.entries()) this.assign(name, items[i]!, scope);
  }

  protected assign(target: SyntaxNode, value: PyValue, scope: Scope): void {
    switch (target.name) {
      case 'VariableName':
        this.bind(target, this.text(target), value, scope);
        return;
      case 'TupleExpression':
      case 'ArrayExpression':
        this.assignAll(kids(target).slice(1, -1), value, scope);
        return;
      case 'ParenthesizedExpression':
        this.assign(kids(target)[1]!, value, scope);
        return;
      case 'MemberExpression': {
        const [object, bracket, key] = kids(target);
        if (bracket?.name !== '[') break;
        const into = this.value(object!, scope);
        const at = this.value(key!, scope);
        if (into instanceof PyDict) into.set(at, value);
        else if (into instanceof PyList) into.items[indexOf(at, into.items.length)] = value;
        else this.fail(target, 'TypeError', `'${typeName(into)}' object does not support item assignment`);
        return;
      }
    }
    this.fail(target, 'SyntaxError', `cannot assign to ${JSON.stringify(this.text(target).slice(0, 30))}`);
  }

  protected bind(node: SyntaxNode, name: string, value: PyValue, scope: Scope): void {
    if (name.startsWith('__')) this.fail(node, 'NameError', `the name ${name} is not available in configuration files`);
    const into = scope.global.has(name) ? this.globals : scope;
    into.vars.set(name, value);
    if (into === this.globals) this.places.set(name, node.from);
  }

  protected makeFunction(name: string, parameters: SyntaxNode | undefined, body: SyntaxNode, scope: Scope): PyFunction {
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
          name: this.text(row[star ? 1 : 0] ?? row[0]!),
          otherwise: defaultAt < 0 ? undefined : this.value(row[defaultAt + 1]!, scope),
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
        if (body.name !== 'Body') return this.value(body, inner);
        const flow = this.body(kids(body), inner);
        return typeof flow === 'object' ? flow.value : null;
      } finally {
        this.#depth--;
      }
    });
  }
}

const braces = (text: string): string => text.replaceAll('{{', '{').replaceAll('}}', '}');
