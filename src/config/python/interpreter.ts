/**
 * Runs a configuration file: its statements (expressions.ts has the rest), with no files, no processes, no network, bounded
 * steps and sizes. What is left out of Python says so when it is met (classes, with, generators). Errors carry
 * file:line:column.
 */
import type { SyntaxNode } from '@lezer/common';
import { ConfigError, type Position, positionOf } from '../config-error.ts';
import type { HostFacts } from './builtins.ts';
import { Expressions, type Flow, type Scope } from './expressions.ts';
import { attribute } from './methods.ts';
import { importModule, MODULES } from './modules.ts';
import { binary, indexOf } from './operators.ts';
import { kids, parsePython, splitAt, statementName } from './syntax.ts';
import {
  iterate,
  PyDict,
  PyError,
  PyException,
  PyFunction,
  PyList,
  PyTuple,
  type PyValue,
  str,
  truth,
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

export function runPython(text: string, options: RunOptions): RunResult {
  const parsed = parsePython(text.replaceAll('\r\n', '\n').replace(/^\ufeff/, ''));
  const { source } = parsed;
  const fail = (at: number, what: string): never => {
    const { line, column } = positionOf(source, at);
    throw new ConfigError(`${options.file}:${line}:${column}: ${what}`);
  };
  if ('what' in parsed) return fail(parsed.at, parsed.what);
  const { tree } = parsed;
  const run = new Interpreter(source, { stepsMax: STEPS_MAX, ...options });
  try {
    run.body(kids(tree), run.globals);
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

class Interpreter extends Expressions {
  body(nodes: readonly SyntaxNode[], scope: Scope): Flow {
    for (const node of nodes) {
      if (node.name === ':' || node.name === ';') continue;
      const flow = this.#statement(node, scope);
      if (flow) return flow;
    }
    return undefined;
  }

  #statement(node: SyntaxNode, scope: Scope): Flow {
    this.step(node);
    return this.placed(node, () => this.#run(node, scope));
  }

  #run(node: SyntaxNode, scope: Scope): Flow {
    const all = kids(node);
    switch (node.name) {
      case 'ExpressionStatement':
        for (const child of all) if (child.name !== ',') this.value(child, scope);
        return undefined;
      case 'AssignStatement':
        return this.#assignment(all, scope);
      case 'UpdateStatement': {
        const [target, op, ...rest] = all as [SyntaxNode, SyntaxNode, ...SyntaxNode[]];
        const operator = this.text(op).slice(0, -1);
        // List += extends in place, which other names of the list see.
        const old = this.value(target, scope);
        const more = this.list(rest, scope);
        const extends_ = old instanceof PyList && operator === '+';
        const sum = this.placed(op, () => binary(operator, old, extends_ ? new PyList(iterate(more)) : more));
        this.charge(op, sum);
        if (extends_) for (const item of iterate(more)) old.items.push(item);
        else this.assign(target, sum, scope);
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
        return { value: all.length > 1 ? this.list(all.slice(1), scope) : null };
      case 'IfStatement':
        return this.#if(all, scope);
      case 'WhileStatement':
        return this.#while(all, scope);
      case 'ForStatement':
        return this.#for(all, scope);
      case 'FunctionDefinition': {
        const name = this.text(all[1]!);
        this.bind(
          all[1]!,
          name,
          this.makeFunction(name, all.find((one) => one.name === 'ParamList')!, all.at(-1)!, scope),
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
        if (!truth(this.value(test![0]!, scope))) {
          this.fail(
            node,
            'AssertionError',
            text?.[0] ? str(this.value(text[0], scope)) : 'the assertion does not hold',
          );
        }
        return undefined;
      }
      case 'ScopeStatement':
        for (const child of all.slice(1)) if (child.name === 'VariableName') scope.global.add(this.text(child));
        return undefined;
      case 'DeleteStatement':
        for (const child of all.slice(1)) if (child.name !== ',') this.#delete(child, scope);
        return undefined;
      case 'PrintStatement':
        this.host.print(
          splitAt(all.slice(1), ',')
            .flatMap(([one]) => (one ? [str(this.value(one, scope))] : []))
            .join(' '),
        );
        return undefined;
      default:
        return this.fail(
          node,
          'SyntaxError',
          `${statementName(node, this.text(node))} is not available in configuration files`,
        );
    }
  }

  #assignment(all: readonly SyntaxNode[], scope: Scope): Flow {
    const groups = splitAt(
      all.filter(({ name }) => name !== 'TypeDef'),
      'AssignOp',
    );
    if (groups.length < 2) return undefined; // A bare annotation: `a: int`.
    const value = this.list(groups.at(-1)!, scope);
    for (const targets of groups.slice(0, -1)) this.assignAll(targets, value, scope);
    return undefined;
  }

  #delete(target: SyntaxNode, scope: Scope): void {
    if (target.name === 'VariableName') {
      if (!scope.vars.delete(this.text(target)))
        this.fail(target, 'NameError', `name '${this.text(target)}' is not defined`);
      return;
    }
    const [object, , key] = kids(target);
    const from = this.value(object!, scope);
    const at = this.value(key!, scope);
    if (from instanceof PyDict) from.delete(at);
    else if (from instanceof PyList) from.items.splice(indexOf(at, from.items.length), 1);
    else this.fail(target, 'TypeError', 'this cannot be deleted');
  }

  #if(all: readonly SyntaxNode[], scope: Scope): Flow {
    for (let i = 0; i < all.length; ) {
      if (all[i]!.name === 'else') return this.body(kids(all[i + 1]!), scope);
      if (truth(this.value(all[i + 1]!, scope))) return this.body(kids(all[i + 2]!), scope);
      i += 3;
    }
    return undefined;
  }

  #while(all: readonly SyntaxNode[], scope: Scope): Flow {
    const [, test, body] = all;
    while (truth(this.value(test!, scope))) {
      this.step(test!);
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
    for (const item of iterate(this.list(all.slice(inAt + 1, bodyAt), scope))) {
      this.step(all[0]!);
      this.assignAll(targets, item, scope);
      const flow = this.body(kids(all[bodyAt]!), scope);
      if (flow === 'break') return undefined;
      if (typeof flow === 'object') return flow;
    }
    return all[bodyAt + 1]?.name === 'else' ? this.body(kids(all[bodyAt + 2]!), scope) : undefined;
  }

  #import(all: readonly SyntaxNode[], scope: Scope): void {
    const from = all[0]!.name === 'from';
    const importAt = all.findIndex(({ name }) => name === 'import');
    const load = (nodes: readonly SyntaxNode[]) => {
      const name = nodes.map((one) => this.text(one)).join('');
      const found = importModule(name, this.host);
      if (!found)
        this.fail(
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
      const alias = asAt < 0 ? undefined : this.text(part[asAt + 1]!);
      if (!source) {
        const value = load(names);
        // `import os.path` binds os, whose attribute path is.
        if (alias) this.bind(part[0]!, alias, value, scope);
        else this.bind(part[0]!, this.text(names[0]!), importModule(this.text(names[0]!), this.host)!, scope);
      } else if (names[0]!.name === '*') {
        for (const [name, value] of source.attributes) this.bind(part[0]!, name, value, scope);
      } else {
        const name = this.text(names[0]!);
        this.bind(part[0]!, alias ?? name, attribute(source, name), scope);
      }
    }
  }

  #raise(node: SyntaxNode, all: readonly SyntaxNode[], scope: Scope): never {
    if (!all[1]) this.fail(node, 'RuntimeError', 'nothing to raise');
    let value = this.value(all[1]!, scope);
    // Python 2: raise ValueError, "text".
    if (value instanceof PyFunction) value = value.call(all[3] ? [this.value(all[3], scope)] : [], new Map());
    if (!(value instanceof PyException)) return this.fail(node, 'TypeError', 'exceptions must be exceptions');
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
        if (name) this.bind(name, this.text(name), new PyException(error.type, [error.text]), scope);
        return this.body(kids(body), scope);
      }
      throw error;
    } finally {
      if (finish) this.body(kids(finish.body), scope);
    }
  }

  #catches(test: SyntaxNode | undefined, error: PyError, scope: Scope): boolean {
    if (!test) return true;
    const value = this.value(test, scope);
    const types = value instanceof PyTuple ? value.items : [value];
    return types.some(
      (type) =>
        type instanceof PyFunction &&
        (type.name === error.type || type.name === 'Exception' || type.name === 'StandardError'),
    );
  }
}
