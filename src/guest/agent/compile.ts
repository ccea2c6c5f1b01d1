/**
 * From a program's tree to a static ELF executable for x86-64 Linux. Plain code: every value goes through rax, arguments and
 * intermediate results are on the stack. Two segments: code and texts that nobody writes, and memory that nobody executes.
 * Encodings: SDM volume 2.
 */
import { ELF, ELF_MAGIC, ElfHeader, ElfProgramHeader } from '../../abi/elf.ts';
import {
  type Expression,
  type Fn,
  type Program,
  parseProgram,
  SourceError,
  type Statement,
  type Width,
} from './syntax.ts';

const BASE = 0x400000;
const PAGE = 4096;
const HEADERS = ElfHeader.size + 3 * ElfProgramHeader.size;
const ELF_EXEC = 2;
const ELF_VERSION = 1;
const PT_GNU_STACK = 0x6474e551;
const SEGMENT = { execute: 1, write: 2, read: 4 } as const;

const bytes = (hex: string): number[] => hex.split(' ').map((byte) => Number.parseInt(byte, 16));
const little = (value: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));

/** rax = rax OP rcx. */
// biome-ignore format: a table
const BINARY: Readonly<Record<string, number[]>> = {
  '+':  bytes('48 01 c8'),
  '-':  bytes('48 29 c8'),
  '*':  bytes('48 0f af c1'),
  '/':  bytes('48 99 48 f7 f9'),          // cqo; idiv rcx
  '%':  bytes('48 99 48 f7 f9 48 89 d0'), // and mov rax, rdx
  '&':  bytes('48 21 c8'),
  '|':  bytes('48 09 c8'),
  '^':  bytes('48 31 c8'),
  '<<': bytes('48 d3 e0'),
  '>>': bytes('48 d3 f8'),
};
/** The second byte of setcc. */
const CONDITION: Readonly<Record<string, number>> = {
  '==': 0x94,
  '!=': 0x95,
  '<': 0x9c,
  '>=': 0x9d,
  '<=': 0x9e,
  '>': 0x9f,
};
// biome-ignore format: a table
const UNARY = {
  '-': bytes('48 f7 d8'),
  '~': bytes('48 f7 d0'),
  '!': bytes('48 85 c0 0f 94 c0 0f b6 c0'), // test rax, rax; sete al; movzx eax, al
} as const;
/** rax = [rax] */
const LOAD: Readonly<Record<Width, number[]>> = {
  byte: bytes('0f b6 00'),
  half: bytes('0f b7 00'),
  int: bytes('48 63 00'),
  word: bytes('48 8b 00'),
};
/** [rcx] = rax */
const STORE: Readonly<Record<Width, number[]>> = {
  byte: bytes('88 01'),
  half: bytes('66 89 01'),
  int: bytes('89 01'),
  word: bytes('48 89 01'),
};
/** Pops of a system call's arguments, the last first: r9, r8, r10, rdx, rsi, rdi, rax. */
const SYSCALL_POPS = ['41 59', '41 58', '41 5a', '5a', '5e', '5f', '58'].map(bytes);

/** An executable that begins with `main(stack)`, whose value is its exit code; `stack` is where argc is. */
export function compile(source: string): Uint8Array {
  return new Compiler(parseProgram(source)).executable();
}

class Compiler {
  readonly #program: Program;
  readonly #code: number[] = [];
  readonly #functions = new Map<string, { fn: Fn; at: number }>();
  readonly #calls: { at: number; name: string }[] = [];
  readonly #texts: { at: number; value: string }[] = [];
  readonly #memory = new Map<string, { offset: number; word: boolean }>();
  readonly #memoryUses: { at: number; offset: number }[] = [];
  #memorySize = 0;
  // Of the function under way.
  #locals = new Map<string, number>();
  #frame = 0;
  #loops: { begin: number; ends: number[] }[] = [];

  constructor(program: Program) {
    this.#program = program;
  }

  executable(): Uint8Array {
    for (const [name, { size, word }] of this.#program.memory) {
      this.#memory.set(name, { offset: this.#memorySize, word });
      this.#memorySize += Math.ceil(size / 16) * 16;
    }
    for (const fn of this.#program.functions) this.#functions.set(fn.name, { fn, at: -1 });
    this.#emit('48 89 e0 50'); // mov rax, rsp; push rax
    this.#call('main');
    this.#emit('89 c7 b8 e7 00 00 00 0f 05'); // mov edi, eax; mov eax, 231 (exit_group); syscall
    for (const fn of this.#program.functions) this.#function(fn);
    return this.#link();
  }

  #link(): Uint8Array {
    const code = this.#code;
    for (const { at, name } of this.#calls) this.#patch(at, this.#functions.get(name)!.at - (at + 4));
    const placed = new Map<string, number>();
    for (const { at, value } of this.#texts) {
      if (!placed.has(value)) {
        placed.set(value, code.length);
        code.push(...new TextEncoder().encode(value), 0);
      }
      this.#patch(at, BASE + HEADERS + placed.get(value)!);
    }
    const fileSize = HEADERS + code.length;
    const memoryBase = BASE + Math.ceil(fileSize / PAGE) * PAGE;
    for (const { at, offset } of this.#memoryUses) this.#patch(at, memoryBase + offset);
    const file = new Uint8Array(fileSize);
    writeHeaders(new DataView(file.buffer), fileSize, memoryBase, this.#memorySize);
    file.set(code, HEADERS);
    return file;
  }

  #function(fn: Fn): void {
    this.#functions.set(fn.name, { fn, at: this.#code.length });
    // The first argument was pushed first: above the return address and the saved rbp.
    this.#locals = new Map(fn.params.map((name, i) => [name, 8 + 8 * (fn.params.length - i)]));
    this.#frame = 0;
    this.#emit('55 48 89 e5 48 81 ec'); // push rbp; mov rbp, rsp; sub rsp, frame
    const frameAt = this.#word(0);
    this.#statement(fn.body);
    this.#emit('31 c0 c9 c3'); // xor eax, eax; leave; ret
    this.#patch(frameAt, this.#frame);
  }

  #statement(statement: Statement): void {
    switch (statement.kind) {
      case 'block': {
        const outer = new Map(this.#locals);
        for (const one of statement.body) this.#statement(one);
        this.#locals = outer;
        return;
      }
      case 'let':
        if (this.#locals.has(statement.name)) throw new SourceError(statement.line, `${statement.name} is there twice`);
        this.#value(statement.value);
        this.#frame += 8;
        this.#locals.set(statement.name, -this.#frame);
        this.#emit('48 89 85'); // mov [rbp + local], rax
        this.#word(-this.#frame);
        return;
      case 'assign':
        this.#assign(statement.to, statement.value);
        return;
      case 'do':
        this.#value(statement.value);
        return;
      case 'return':
        this.#value(statement.value);
        this.#emit('c9 c3');
        return;
      case 'if': {
        const otherwise = this.#jumpUnless(statement.test);
        this.#statement(statement.then);
        if (!statement.otherwise) {
          this.#land(otherwise);
          return;
        }
        const end = this.#jump();
        this.#land(otherwise);
        this.#statement(statement.otherwise);
        this.#land(end);
        return;
      }
      case 'while': {
        const loop = { begin: this.#code.length, ends: [] as number[] };
        loop.ends.push(this.#jumpUnless(statement.test));
        this.#loops.push(loop);
        this.#statement(statement.body);
        this.#loops.pop();
        this.#patch(this.#jump(), loop.begin - this.#code.length);
        for (const end of loop.ends) this.#land(end);
        return;
      }
      default: {
        const loop = this.#loops.at(-1);
        if (!loop) throw new SourceError(statement.line, `${statement.kind} outside of a loop`);
        const at = this.#jump();
        if (statement.kind === 'break') loop.ends.push(at);
        else this.#patch(at, loop.begin - this.#code.length);
      }
    }
  }

  #assign(to: Expression, value: Expression): void {
    if (to.kind === 'memory') {
      this.#value(to.address);
      this.#emit('50'); // push rax
      this.#value(value);
      this.#emit('59'); // pop rcx
      this.#code.push(...STORE[to.width]);
      return;
    }
    if (to.kind !== 'name') return;
    this.#value(value);
    const local = this.#locals.get(to.name);
    if (local !== undefined) {
      this.#emit('48 89 85');
      this.#word(local);
      return;
    }
    if (!this.#memory.get(to.name)?.word) throw new SourceError(to.line, `there is no variable ${to.name}`);
    this.#emit('48 89 04 25'); // mov [address], rax
    this.#memoryAddress(to.name);
  }

  /** rax = the value. */
  #value(expression: Expression): void {
    switch (expression.kind) {
      case 'number':
        if (expression.value === (expression.value | 0)) {
          this.#emit('48 c7 c0'); // mov rax, imm32
          this.#word(expression.value);
        } else this.#code.push(0x48, 0xb8, ...little(expression.value, 8));
        return;
      case 'text':
        this.#emit('48 c7 c0');
        this.#texts.push({ at: this.#word(0), value: expression.value });
        return;
      case 'name':
        this.#name(expression.name, expression.line);
        return;
      case 'memory':
        this.#value(expression.address);
        this.#code.push(...LOAD[expression.width]);
        return;
      case 'unary':
        this.#value(expression.of);
        this.#code.push(...UNARY[expression.op]);
        return;
      case 'binary':
        this.#binary(expression);
        return;
      case 'call':
        this.#callWith(expression.name, expression.args, expression.line);
        return;
    }
  }

  #name(name: string, line: number): void {
    const local = this.#locals.get(name);
    if (local !== undefined) {
      this.#emit('48 8b 85'); // mov rax, [rbp + local]
      this.#word(local);
      return;
    }
    const memory = this.#memory.get(name);
    if (!memory) throw new SourceError(line, `there is no ${name}`);
    this.#emit(memory.word ? '48 8b 04 25' : '48 c7 c0'); // mov rax, [address]; mov rax, address
    this.#memoryAddress(name);
  }

  #binary({ op, left, right }: Extract<Expression, { kind: 'binary' }>): void {
    if (op === '&&' || op === '||') {
      this.#value(left);
      this.#truth();
      this.#emit(op === '&&' ? '48 85 c0 0f 84' : '48 85 c0 0f 85'); // test rax, rax; jz or jnz
      const end = this.#word(0);
      this.#value(right);
      this.#truth();
      this.#land(end);
      return;
    }
    this.#value(left);
    this.#emit('50'); // push rax
    this.#value(right);
    this.#emit('48 89 c1 58'); // mov rcx, rax; pop rax
    const condition = CONDITION[op];
    if (condition === undefined) this.#code.push(...BINARY[op]!);
    else this.#code.push(0x48, 0x39, 0xc8, 0x0f, condition, 0xc0, 0x0f, 0xb6, 0xc0); // cmp; setcc al; movzx eax, al
  }

  /** rax = 1 unless it is 0. */
  #truth(): void {
    this.#emit('48 85 c0 0f 95 c0 0f b6 c0');
  }

  #callWith(name: string, args: readonly Expression[], line: number): void {
    for (const arg of args) {
      this.#value(arg);
      this.#emit('50');
    }
    if (name === 'syscall') {
      for (const pop of SYSCALL_POPS.slice(SYSCALL_POPS.length - args.length)) this.#code.push(...pop);
      this.#emit('0f 05');
      return;
    }
    if (name === 'copy') {
      if (args.length !== 3) throw new SourceError(line, 'copy takes 3 arguments');
      this.#emit('59 5e 5f f3 a4'); // pop rcx; pop rsi; pop rdi; rep movsb
      return;
    }
    const { fn } = this.#functions.get(name) ?? {};
    if (!fn) throw new SourceError(line, `there is no function ${name}`);
    if (fn.params.length !== args.length) throw new SourceError(line, `${name} takes ${fn.params.length} arguments`);
    this.#call(name);
    if (args.length === 0) return;
    this.#emit('48 81 c4'); // add rsp, imm32
    this.#word(8 * args.length);
  }

  #call(name: string): void {
    this.#emit('e8');
    this.#calls.push({ at: this.#word(0), name });
  }

  #jump(): number {
    this.#emit('e9');
    return this.#word(0);
  }

  #jumpUnless(test: Expression): number {
    this.#value(test);
    this.#emit('48 85 c0 0f 84');
    return this.#word(0);
  }

  /** The jump whose displacement is at `at` leads here. */
  #land(at: number): void {
    this.#patch(at, this.#code.length - (at + 4));
  }

  #memoryAddress(name: string): void {
    this.#memoryUses.push({ at: this.#word(0), offset: this.#memory.get(name)!.offset });
  }

  #emit(hex: string): void {
    this.#code.push(...bytes(hex));
  }

  /** A 32-bit word; returns where it is. */
  #word(value: number): number {
    return this.#code.push(...little(value, 4)) - 4;
  }

  #patch(at: number, value: number): void {
    little(value, 4).forEach((byte, i) => {
      this.#code[at + i] = byte;
    });
  }
}

function writeHeaders(view: DataView, fileSize: number, memoryBase: number, memorySize: number): void {
  ElfHeader.magic.set(view, 0, ELF_MAGIC);
  ElfHeader.class.set(view, 0, ELF.class64);
  ElfHeader.data.set(view, 0, ELF.dataLsb);
  view.setUint8(6, ELF_VERSION);
  ElfHeader.type.set(view, 0, ELF_EXEC);
  ElfHeader.machine.set(view, 0, ELF.machineX86_64);
  view.setUint32(20, ELF_VERSION, true);
  ElfHeader.entry.set(view, 0, BigInt(BASE + HEADERS));
  ElfHeader.phoff.set(view, 0, BigInt(ElfHeader.size));
  view.setUint16(52, ElfHeader.size, true);
  ElfHeader.phentsize.set(view, 0, ElfProgramHeader.size);
  ElfHeader.phnum.set(view, 0, 3);
  const segments = [
    { type: ELF.PT_LOAD, flags: SEGMENT.read | SEGMENT.execute, at: BASE, filesz: fileSize, memsz: fileSize },
    { type: ELF.PT_LOAD, flags: SEGMENT.read | SEGMENT.write, at: memoryBase, filesz: 0, memsz: memorySize },
    { type: PT_GNU_STACK, flags: SEGMENT.read | SEGMENT.write, at: 0, filesz: 0, memsz: 0 },
  ];
  segments.forEach(({ type, flags, at, filesz, memsz }, i) => {
    const header = ElfHeader.size + i * ElfProgramHeader.size;
    ElfProgramHeader.type.set(view, header, type);
    ElfProgramHeader.flags.set(view, header, flags);
    ElfProgramHeader.vaddr.set(view, header, BigInt(at));
    ElfProgramHeader.paddr.set(view, header, BigInt(at));
    ElfProgramHeader.filesz.set(view, header, BigInt(filesz));
    ElfProgramHeader.memsz.set(view, header, BigInt(memsz));
    ElfProgramHeader.align.set(view, header, BigInt(PAGE));
  });
}
