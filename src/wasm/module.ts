/**
 * A WebAssembly module under construction: function types, imports, functions, one table; and `Fn`, a function's body with
 * locals and structured control flow. Leaves instantiating to `host/`: the result is bytes.
 * Format: WebAssembly core specification, "Binary Format / Modules".
 */
import { callExpr, callIndirectExpr, type E, emit, I32, localGet, type ValType } from './expr.ts';
import { Sink } from './sink.ts';

/** A place that `br` can name. */
export interface Label {
  readonly depth: number;
}

export interface FnRef {
  /** Function index; imports come first. */
  index: number;
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
}

/** A finished function: it fits every module with the same types and imports, in the same order. */
export interface FunctionCode {
  /** Locals and body, as in the code section behind the size. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Branch hints: offset of an IF in `bytes`, and whether its condition is likely to hold. Ascending. */
  readonly hints: readonly BranchHint[];
}
export interface BranchHint {
  readonly at: number;
  readonly likely: boolean;
}

export class Fn {
  readonly params: readonly ValType[];
  body = new Sink(4096);
  private readonly locals: ValType[] = [];
  private readonly free = new Map<ValType, number[]>();
  private scopes: number[][] = [[]];
  /** What is open, innermost last: for an IF, where it is and whether we are in its ELSE. */
  private readonly opened: { readonly at: number; inElse: boolean; likely: boolean | undefined }[] = [];
  /** Their offsets count in the body. */
  private hints: BranchHint[] = [];
  private depth = 0;

  constructor(params: readonly ValType[]) {
    this.params = params;
  }

  param(index: number): E {
    return localGet(this.params[index]!, index);
  }

  /** A local that lives until the enclosing scope ends; its value at birth is undefined. */
  local(type: ValType): E {
    const pool = this.free.get(type);
    const reused = pool?.pop();
    const index = reused ?? this.params.length + this.locals.push(type) - 1;
    this.scopes[this.scopes.length - 1]!.push(index);
    return localGet(type, index);
  }

  /** A local that no scope ends and that has never been another. */
  lasting(type: ValType): E {
    return localGet(type, this.params.length + this.locals.push(type) - 1);
  }

  /** Evaluate `value` now and name it. Constants and locals that are never assigned again need no name. */
  let(value: E): E {
    if (value.isConst) return value;
    const local = this.local(value.type);
    this.set(local, value);
    return local;
  }

  /** Locals made inside are free for others afterwards. */
  scope(build: () => void): void {
    this.scopes.push([]);
    build();
    for (const index of this.scopes.pop()!) {
      const type = index < this.params.length ? this.params[index]! : this.locals[index - this.params.length]!;
      const pool = this.free.get(type);
      if (pool === undefined) this.free.set(type, [index]);
      else pool.push(index);
    }
  }

  set(local: E, value: E): void {
    if (local.type !== value.type) throw new Error('assignment of another type');
    emit(value, this.body);
    this.body.byte(0x21);
    this.body.uleb(local.imm);
  }

  /** Evaluate for its effects. */
  drop(value: E): void {
    emit(value, this.body);
    this.body.byte(0x1a);
  }

  /** Call a function without result. */
  callVoid(fn: FnRef, ...args: E[]): void {
    for (const arg of args) emit(arg, this.body);
    this.body.byte(0x10);
    this.body.uleb(fn.index);
  }

  private store(op: number, align: number, address: E, value: E, offset: number): void {
    emit(address, this.body);
    emit(value, this.body);
    if (op > 0xff) {
      this.body.byte(op >> 8);
      this.body.uleb(op & 0xff);
    } else this.body.byte(op);
    this.body.uleb(align);
    this.body.uleb(offset);
  }
  store8 = (address: E, value: E, offset = 0): void =>
    this.store(value.type === I32 ? 0x3a : 0x3c, 0, address, value, offset);
  store16 = (address: E, value: E, offset = 0): void =>
    this.store(value.type === I32 ? 0x3b : 0x3d, 1, address, value, offset);
  /** i32.store or, from an i64, its low half. */
  store32 = (address: E, value: E, offset = 0): void =>
    this.store(value.type === I32 ? 0x36 : 0x3e, 2, address, value, offset);
  store64 = (address: E, value: E, offset = 0): void => this.store(0x37, 3, address, value, offset);
  storeF32 = (address: E, value: E, offset = 0): void => this.store(0x38, 2, address, value, offset);
  storeF64 = (address: E, value: E, offset = 0): void => this.store(0x39, 3, address, value, offset);
  store128 = (address: E, value: E, offset = 0): void => this.store(0xfd0b, 4, address, value, offset);
  memoryFill(address: E, value: E, count: E): void {
    emit(address, this.body);
    emit(value, this.body);
    emit(count, this.body);
    this.body.raw(Uint8Array.of(0xfc, 11, 0));
  }
  memoryCopy(to: E, from: E, count: E): void {
    emit(to, this.body);
    emit(from, this.body);
    emit(count, this.body);
    this.body.raw(Uint8Array.of(0xfc, 10, 0, 0));
  }

  private open(op: number): Label {
    this.opened.push({ at: op === 0x04 ? this.body.length : -1, inElse: false, likely: undefined });
    this.body.byte(op);
    this.body.byte(0x40);
    this.depth++;
    return { depth: this.depth };
  }
  private close(): void {
    this.body.byte(0x0b);
    this.depth--;
    const { at, likely } = this.opened.pop()!;
    if (likely !== undefined) this.hints.push({ at, likely });
  }
  /** This branch of the innermost IF is hardly ever taken: the compiler keeps its needs away from the other path. */
  cold(): void {
    const innermost = this.opened[this.opened.length - 1];
    if (innermost !== undefined && innermost.at >= 0) innermost.likely = innermost.inElse;
  }

  /** `br` to its label leaves it. */
  block(build: (label: Label) => void): void {
    build(this.open(0x02));
    this.close();
  }
  /** `br` to its label starts it again. */
  loop(build: (label: Label) => void): void {
    build(this.open(0x03));
    this.close();
  }
  if(condition: E, yes: () => void, no?: () => void): void {
    // Translated code knows many conditions: shift counts, for one.
    if (condition.isConst) {
      if (condition.imm !== 0) yes();
      else no?.();
      return;
    }
    emit(condition, this.body);
    this.open(0x04);
    yes();
    if (no !== undefined) {
      this.body.byte(0x05);
      this.opened[this.opened.length - 1]!.inElse = true;
      no();
    }
    this.close();
  }
  br(label: Label): void {
    this.body.byte(0x0c);
    this.body.uleb(this.depth - label.depth);
  }
  brIf(label: Label, condition: E): void {
    emit(condition, this.body);
    this.body.byte(0x0d);
    this.body.uleb(this.depth - label.depth);
  }
  brTable(index: E, labels: readonly Label[], otherwise: Label): void {
    emit(index, this.body);
    this.body.byte(0x0e);
    this.body.uleb(labels.length);
    for (const label of labels) this.body.uleb(this.depth - label.depth);
    this.body.uleb(this.depth - otherwise.depth);
  }
  /** `count` nested blocks whose ends follow one another: `bodies(i)` runs after the i-th has been left. */
  openBlocks(count: number): Label[] {
    const labels: Label[] = [];
    for (let i = 0; i < count; i++) labels.unshift(this.open(0x02));
    return labels;
  }
  closeBlock(): void {
    this.close();
  }
  ret(value?: E): void {
    if (value !== undefined) emit(value, this.body);
    this.body.byte(0x0f);
  }
  /** Tail call through table 0 of the function at `index`, whose type is `typeIndex`. */
  returnCallIndirect(typeIndex: number, index: E, ...args: E[]): void {
    for (const arg of args) emit(arg, this.body);
    emit(index, this.body);
    this.body.byte(0x13);
    this.body.uleb(typeIndex);
    this.body.byte(0);
  }
  /** Tail call of `fn`. */
  returnCall(fn: FnRef, ...args: E[]): void {
    for (const arg of args) emit(arg, this.body);
    this.body.byte(0x12);
    this.body.uleb(fn.index);
  }
  unreachable(): void {
    this.body.byte(0x00);
  }
  /** How deep in blocks the next instruction is. */
  get nesting(): number {
    return this.depth;
  }
  /** What `build` emits comes before everything so far. Only outside of blocks. */
  prepend(build: () => void): void {
    const rest = this.body;
    const hints = this.hints;
    this.body = new Sink(4096);
    this.hints = [];
    build();
    for (const { at, likely } of hints) this.hints.push({ at: at + this.body.length, likely });
    this.body.append(rest);
    rest.release();
  }

  /** The declaration of the locals. */
  private head(): Sink {
    const head = new Sink(64);
    const runs: [number, ValType][] = [];
    for (const type of this.locals) {
      const last = runs[runs.length - 1];
      if (last !== undefined && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    head.uleb(runs.length);
    for (const [count, type] of runs) {
      head.uleb(count);
      head.byte(type);
    }
    return head;
  }

  /** The function as it is to be; this is the end of the Fn. */
  finish(): FunctionCode {
    const head = this.head();
    const bytes = new Uint8Array(head.length + this.body.length + 1);
    bytes.set(head.bytes.subarray(0, head.length));
    bytes.set(this.body.bytes.subarray(0, this.body.length), head.length);
    bytes[bytes.length - 1] = 0x0b;
    const hints = this.hints.map(({ at, likely }) => ({ at: head.length + at, likely })).sort((a, b) => a.at - b.at);
    head.release();
    this.body.release();
    return { bytes, hints };
  }
}

export class ModuleBuilder {
  private readonly types: string[] = [];
  private readonly typeBytes: Uint8Array[] = [];
  private readonly imports: { name: string; ref: FnRef; type: number }[] = [];
  private readonly functions: {
    ref: FnRef;
    type: number;
    build: () => FunctionCode;
    name: string | undefined;
  }[] = [];
  private readonly exports: { name: string; ref: FnRef }[] = [];
  private memory: { minimum: number; maximum: number } | undefined;
  private table = false;

  typeIndex(params: readonly ValType[], results: readonly ValType[]): number {
    const key = `${params.join()}>${results.join()}`;
    const known = this.types.indexOf(key);
    if (known >= 0) return known;
    const sink = new Sink(16);
    sink.byte(0x60);
    sink.uleb(params.length);
    for (const type of params) sink.byte(type);
    sink.uleb(results.length);
    for (const type of results) sink.byte(type);
    this.typeBytes.push(sink.finish());
    return this.types.push(key) - 1;
  }

  /** Import "e" "m": a shared memory of 64 KiB pages. */
  importMemory(minimum: number, maximum: number): void {
    this.memory = { minimum, maximum };
  }
  /** Import "e" "t": the table of functions. */
  importTable(): void {
    this.table = true;
  }
  /** Import function "e" NAME. All imports come before the first function. */
  importFunction(name: string, params: readonly ValType[], results: readonly ValType[]): FnRef {
    const ref: FnRef = { index: this.imports.length, params, results };
    this.imports.push({ name, ref, type: this.typeIndex(params, results) });
    return ref;
  }
  /** A function; its body is built at `finish`, so that functions can call each other. `name` is for profilers. */
  function(
    params: readonly ValType[],
    results: readonly ValType[],
    build: (fn: Fn) => void,
    exportAs?: string,
    name = exportAs,
  ): FnRef {
    const ref: FnRef = { index: this.imports.length + this.functions.length, params, results };
    const finished = (): FunctionCode => {
      const fn = new Fn(params);
      build(fn);
      return fn.finish();
    };
    this.functions.push({ ref, type: this.typeIndex(params, results), build: finished, name });
    if (exportAs !== undefined) this.exports.push({ name: exportAs, ref });
    return ref;
  }

  /** A function that another module has had. */
  finished(
    params: readonly ValType[],
    results: readonly ValType[],
    code: FunctionCode,
    exportAs: string,
    name = exportAs,
  ): FnRef {
    const ref: FnRef = { index: this.imports.length + this.functions.length, params, results };
    this.functions.push({ ref, type: this.typeIndex(params, results), build: () => code, name });
    this.exports.push({ name: exportAs, ref });
    return ref;
  }

  /** The module. `made` is told the code of each function, in order. */
  finish(made?: (code: FunctionCode) => void): Uint8Array<ArrayBuffer> {
    const functions = this.functions.map(({ ref, build }) => ({ ref, code: build() }));
    const out = new Sink(4096);
    out.raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    section(out, 1, this.typeBytes.length, (s) => {
      for (const bytes of this.typeBytes) s.raw(bytes);
    });
    const imports = this.imports.length + (this.memory ? 1 : 0) + (this.table ? 1 : 0);
    section(out, 2, imports, (s) => {
      for (const { name, type } of this.imports) {
        s.name('e');
        s.name(name);
        s.byte(0);
        s.uleb(type);
      }
      if (this.memory !== undefined) {
        s.name('e');
        s.name('m');
        s.byte(2);
        s.byte(3);
        s.uleb(this.memory.minimum);
        s.uleb(this.memory.maximum);
      }
      if (this.table) {
        s.name('e');
        s.name('t');
        s.raw(Uint8Array.of(1, 0x70, 0, 0));
      }
    });
    section(out, 3, this.functions.length, (s) => {
      for (const { type } of this.functions) s.uleb(type);
    });
    section(out, 7, this.exports.length, (s) => {
      for (const { name, ref } of this.exports) {
        s.name(name);
        s.byte(0);
        s.uleb(ref.index);
      }
    });
    const hinted = functions.filter(({ code }) => code.hints.length > 0);
    if (hinted.length > 0) {
      const hints = new Sink(1024);
      hints.name('metadata.code.branch_hint');
      hints.uleb(hinted.length);
      for (const { ref, code } of hinted) {
        hints.uleb(ref.index);
        hints.uleb(code.hints.length);
        for (const { at, likely } of code.hints) {
          hints.uleb(at);
          hints.byte(1);
          hints.byte(likely ? 1 : 0);
        }
      }
      out.byte(0);
      out.uleb(hints.length);
      out.append(hints);
      hints.release();
    }
    section(out, 10, functions.length, (s) => {
      for (const { code } of functions) {
        s.uleb(code.bytes.length);
        s.raw(code.bytes);
        made?.(code);
      }
    });
    this.encodeNames(out);
    return out.finish();
  }

  /** The custom section "name", with the names of functions only. */
  private encodeNames(out: Sink): void {
    const named = this.functions.filter(({ name }) => name !== undefined);
    if (named.length === 0) return;
    const names = new Sink(256);
    names.uleb(named.length);
    for (const { name, ref } of named) {
      names.uleb(ref.index);
      names.name(name!);
    }
    const content = new Sink(256);
    content.name('name');
    content.byte(1);
    content.uleb(names.length);
    content.append(names);
    out.byte(0);
    out.uleb(content.length);
    out.append(content);
    names.release();
    content.release();
  }
}

function section(out: Sink, id: number, count: number, write: (s: Sink) => void): void {
  if (count === 0) return;
  const content = new Sink(1024);
  content.uleb(count);
  write(content);
  out.byte(id);
  out.uleb(content.length);
  out.append(content);
  content.release();
}

export const call = (fn: FnRef, ...args: E[]): E => callExpr(fn.results[0]!, fn.index, args);
export const callIndirect = (
  module: ModuleBuilder,
  params: readonly ValType[],
  result: ValType,
  index: E,
  ...args: E[]
): E => callIndirectExpr(result, module.typeIndex(params, [result]), args, index);
