/**
 * The text of a function in a module that module.ts wrote, an instruction a line: for looking at translated code. It knows the
 * instructions that expr.ts and module.ts write.
 * WebAssembly core specification, "Binary Format" and "Text Format / Instructions".
 */
import { SIMD } from './simd.ts';

const SECTION = { imports: 2, exports: 7, code: 10 } as const;
const VALUE_TYPES: Readonly<Record<number, string>> = {
  127: 'i32',
  126: 'i64',
  125: 'f32',
  124: 'f64',
  123: 'v128',
};

const each = (prefix: string, names: string): string[] => names.split(' ').map((name) => `${prefix}.${name}`);
const COMPARE = 'eqz eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u';
const COMPARE_FLOAT = 'eq ne lt gt le ge';
const INTEGER = 'clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr';
const FLOAT = 'abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign';
/** From 0x45 on. */
const NUMERIC: readonly string[] = [
  ...each('i32', COMPARE),
  ...each('i64', COMPARE),
  ...each('f32', COMPARE_FLOAT),
  ...each('f64', COMPARE_FLOAT),
  ...each('i32', INTEGER),
  ...each('i64', INTEGER),
  ...each('f32', FLOAT),
  ...each('f64', FLOAT),
  ...each('i32', 'wrap_i64 trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u'),
  ...each('i64', 'extend_i32_s extend_i32_u trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u'),
  ...each('f32', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u demote_f64'),
  ...each('f64', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u promote_f32'),
  ...['i32.reinterpret_f32', 'i64.reinterpret_f64', 'f32.reinterpret_i32', 'f64.reinterpret_i64'],
  ...['i32.extend8_s', 'i32.extend16_s', 'i64.extend8_s', 'i64.extend16_s', 'i64.extend32_s'],
];
const FIRST_NUMERIC = 0x45;
/** From 0x28 on. */
const MEMORY: readonly string[] = [
  ...['i32.load', 'i64.load', 'f32.load', 'f64.load'],
  ...each('i32', 'load8_s load8_u load16_s load16_u'),
  ...each('i64', 'load8_s load8_u load16_s load16_u load32_s load32_u'),
  ...['i32.store', 'i64.store', 'f32.store', 'f64.store', 'i32.store8', 'i32.store16'],
  ...each('i64', 'store8 store16 store32'),
];
const FIRST_MEMORY = 0x28;

type Immediate = 'none' | 'block' | 'index' | 'function' | 'table' | 'indirect' | 'i32' | 'i64';
// biome-ignore format: a table
const CONTROL: Readonly<Record<number, readonly [name: string, immediate: Immediate]>> = {
  0: ['unreachable', 'none'],  1: ['nop', 'none'],
  2: ['block', 'block'],       3: ['loop', 'block'],      4: ['if', 'block'],  5: ['else', 'none'],  11: ['end', 'none'],
  12: ['br', 'index'],          13: ['br_if', 'index'],     14: ['br_table', 'table'],
  15: ['return', 'none'],       16: ['call', 'function'],   17: ['call_indirect', 'indirect'],
  18: ['return_call', 'function'],                            19: ['return_call_indirect', 'indirect'],
  26: ['drop', 'none'],         27: ['select', 'none'],
  32: ['local.get', 'index'],   33: ['local.set', 'index'], 34: ['local.tee', 'index'],
  65: ['i32.const', 'i32'],     66: ['i64.const', 'i64'],
};
const SATURATE = [...each('i32', 'trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u')].concat(
  each('i64', 'trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u'),
);
// biome-ignore format: a table
const ATOMIC: Readonly<Record<number, string>> = {
  16: 'i32.atomic.load',
  30: 'i32.atomic.rmw.add',        31: 'i64.atomic.rmw.add',
  52: 'i64.atomic.rmw.or',
  72: 'i32.atomic.rmw.cmpxchg',    73: 'i64.atomic.rmw.cmpxchg',
  74: 'i32.atomic.rmw8.cmpxchg_u', 75: 'i32.atomic.rmw16.cmpxchg_u',
};
const SIMD_MEMORY: Readonly<Record<number, string>> = {
  0: 'v128.load',
  11: 'v128.store',
  92: 'v128.load32_zero',
  93: 'v128.load64_zero',
};
const SIMD_NAMES = new Map<number, string>(Object.entries(SIMD).map(([name, [op]]) => [op, name]));

/** Walks over bytes of the format. */
class Reader {
  at: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.at = at;
  }
  get length(): number {
    return this.#bytes.length;
  }
  byte(): number {
    return this.#bytes[this.at++]!;
  }
  bytes(count: number): Uint8Array {
    this.at += count;
    return this.#bytes.subarray(this.at - count, this.at);
  }
  big(signed: boolean): bigint {
    let value = 0n;
    let shift = 0n;
    for (;;) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      shift += 7n;
      if ((byte & 0x80) !== 0) continue;
      return signed && (byte & 0x40) !== 0 ? value - (1n << shift) : value;
    }
  }
  uleb(): number {
    return Number(this.big(false));
  }
  name(): string {
    return String.fromCharCode(...this.bytes(this.uleb()));
  }
}

interface Sections {
  /** Names of the imported functions; the module's own follow them. */
  readonly imported: readonly string[];
  readonly exported: ReadonlyMap<string, number>;
  /** Where the function bodies are. */
  readonly bodies: readonly { readonly start: number; readonly end: number }[];
}

function readSections(module: Uint8Array): Sections {
  const reader = new Reader(module, 8);
  const imported: string[] = [];
  const exported = new Map<string, number>();
  const bodies: { start: number; end: number }[] = [];
  while (reader.at < reader.length) {
    const id = reader.byte();
    const end = reader.uleb() + reader.at;
    const count = id === 0 ? 0 : reader.uleb();
    for (let k = 0; k < count && reader.at < end; k++) {
      if (id === SECTION.imports) {
        reader.name();
        const name = reader.name();
        const kind = reader.byte();
        if (kind === 0) imported.push(name);
        // A table's type comes before its limits; limits have a maximum or not.
        if (kind === 1) reader.byte();
        const flags = kind === 0 ? 0 : reader.byte();
        reader.uleb();
        if ((flags & 1) !== 0) reader.uleb();
      } else if (id === SECTION.exports) {
        const name = reader.name();
        reader.byte();
        exported.set(name, reader.uleb());
      } else if (id === SECTION.code) {
        const size = reader.uleb();
        bodies.push({ start: reader.at, end: reader.at + size });
        reader.at += size;
      } else break;
    }
    reader.at = end;
  }
  return { imported, exported, bodies };
}

/** The lines of the function that `module` exports as `name`: its locals, then its instructions, indented by blocks. */
export function printFunction(module: Uint8Array, name: string): string[] {
  const { imported, exported, bodies } = readSections(module);
  const body = bodies[(exported.get(name) ?? -1) - imported.length];
  if (body === undefined) return [];
  const reader = new Reader(module, body.start);
  const locals: string[] = [];
  for (let runs = reader.uleb(); runs > 0; runs--) {
    const count = reader.uleb();
    locals.push(`${count} ${VALUE_TYPES[reader.byte()]}`);
  }
  const lines = [`(local ${locals.join(', ')})`];
  let depth = 0;
  while (reader.at < body.end - 1) {
    const text = instruction(reader, imported);
    if (text === undefined) {
      lines.push(';; an instruction that is not known here');
      break;
    }
    const opcode = text.split(' ', 1)[0]!;
    if (opcode === 'end' || opcode === 'else') depth--;
    lines.push('  '.repeat(Math.max(depth, 0)) + text);
    if (opcode === 'block' || opcode === 'loop' || opcode === 'if' || opcode === 'else') depth++;
  }
  return lines;
}

function instruction(reader: Reader, imported: readonly string[]): string | undefined {
  const op = reader.byte();
  const control = CONTROL[op];
  if (control !== undefined) return [control[0], ...immediates(reader, control[1], imported)].join(' ');
  const memory = MEMORY[op - FIRST_MEMORY];
  if (memory !== undefined) return memory + place(reader);
  if (op < 0xfc) return NUMERIC[op - FIRST_NUMERIC];
  const number = reader.uleb();
  if (op === 0xfc) return misc(reader, number);
  if (op === 0xfd) return vector(reader, number);
  const atomic = ATOMIC[number];
  return atomic && atomic + place(reader);
}

function immediates(reader: Reader, kind: Immediate, imported: readonly string[]): string[] {
  switch (kind) {
    case 'block': {
      const type = VALUE_TYPES[reader.byte()];
      return type === undefined ? [] : [`(result ${type})`];
    }
    case 'index':
      return [String(reader.uleb())];
    case 'function': {
      const index = reader.uleb();
      return [imported[index] === undefined ? String(index) : `$${imported[index]}`];
    }
    case 'table':
      return Array.from({ length: reader.uleb() + 1 }, () => String(reader.uleb()));
    case 'indirect': {
      const type = reader.uleb();
      reader.byte();
      return [`(type ${type})`];
    }
    case 'i32':
      return [String(reader.big(true))];
    case 'i64': {
      const value = reader.big(true);
      return [value >= -0xffffn && value <= 0xffffn ? String(value) : `0x${BigInt.asUintN(64, value).toString(16)}`];
    }
    default:
      return [];
  }
}

function misc(reader: Reader, number: number): string | undefined {
  if (number < SATURATE.length) return SATURATE[number];
  if (number === 10) reader.bytes(2);
  else if (number === 11) reader.bytes(1);
  return number === 10 ? 'memory.copy' : number === 11 ? 'memory.fill' : undefined;
}

function vector(reader: Reader, number: number): string | undefined {
  const memory = SIMD_MEMORY[number];
  if (memory !== undefined) return memory + place(reader);
  const bytes = (): string => [...reader.bytes(16)].join(' ');
  if (number === 12) return `v128.const i8x16 ${bytes()}`;
  if (number === 13) return `i8x16.shuffle ${bytes()}`;
  const name = SIMD_NAMES.get(number);
  return name !== undefined && /_lane/.test(name) ? `${name} ${reader.byte()}` : name;
}

/** The immediates of an access to memory; alignment is always the natural one. */
function place(reader: Reader): string {
  reader.uleb();
  const offset = reader.uleb();
  return offset === 0 ? '' : ` offset=${offset}`;
}
