import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { ELF_MAGIC, ElfHeader, ElfProgramHeader } from '../../abi/elf.ts';
import { compile } from './compile.ts';
import { agentProgram } from './index.ts';

const skip = process.platform === 'linux' && process.arch === 'x64' ? false : 'its programs are for Linux on x86-64';
const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-compile-'));
after(() => rmSync(dir, { recursive: true, force: true }));

let count = 0;
function run(source: string, ...args: string[]) {
  const file = path.join(dir, `program${count++}`);
  writeFileSync(file, compile(source), { mode: 0o755 });
  const { status, stdout } = spawnSync(file, args, { encoding: 'latin1' });
  return { status, stdout };
}
const value = (expression: string) => run(`fn main(stack) { return ${expression}; }`).status;
/** The same with variables, so that nothing is known when compiling. */
const computed = (op: string, left: number, right: number) =>
  run(`fn f(a, b) { return a ${op} b; } fn main(stack) { return f(${left}, ${right}); }`).status;

test('operators have the values and the ranks that C gives them', { skip }, () => {
  const cases: [string, number][] = [
    ['2 + 3 * 4', 14],
    ['(2 + 3) * 4', 20],
    ['100 / 7 % 5', 4],
    ['1 << 4 | 3', 19],
    ['7 & 3 == 3', 1],
    ['-(-5)', 5],
    ['~0 == -1', 1],
    ['!5 + !0', 1],
    ['1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2', 1],
    ['0 || 7', 1],
    ["'a' == 97", 1],
    ["'\\n'", 10],
    ['0x1F', 31],
  ];
  for (const [expression, expected] of cases) assert.equal(value(expression), expected, expression);
});

test('what is computed when running is what is computed when compiling', { skip }, () => {
  for (const op of ['+', '-', '*', '/', '%', '&', '|', '^', '<<', '>>', '<', '<=', '>', '>=', '==', '!=', '&&', '||']) {
    for (const [left, right] of [
      [200, 3],
      [3, 3],
      [2, 7],
      [0, 1],
    ] as const) {
      const truth = Number(BigInt.asUintN(8, BigInt(Number(evaluate(op, left, right)))));
      assert.equal(computed(op, left, right), truth, `${left} ${op} ${right}`);
    }
  }
});

function evaluate(op: string, a: number, b: number): number | boolean {
  const table: Record<string, () => number | boolean> = {
    '+': () => a + b,
    '-': () => a - b,
    '*': () => a * b,
    '/': () => Math.trunc(a / b),
    '%': () => a % b,
    '&': () => a & b,
    '|': () => a | b,
    '^': () => a ^ b,
    '<<': () => a << b,
    '>>': () => a >> b,
    '<': () => a < b,
    '<=': () => a <= b,
    '>': () => a > b,
    '>=': () => a >= b,
    '==': () => a === b,
    '!=': () => a !== b,
    '&&': () => a !== 0 && b !== 0,
    '||': () => a !== 0 || b !== 0,
  };
  return table[op]!();
}

test('loops, branches, recursion, locals in blocks', { skip }, () => {
  assert.equal(
    run(`
      fn fib(n) { if (n < 2) return n; else return fib(n - 1) + fib(n - 2); }
      fn main(stack) {
        let sum = 0;
        let i = 0;
        while (1) {
          i = i + 1;
          if (i == 3) continue;
          if (i > 5) break;
          { let twice = i * 2; sum = sum + twice; }
          { let twice = 0; sum = sum + twice; }
        }
        return sum + fib(10);
      }`).status,
    24 + 55,
  );
});

test('memory in all widths, the signs of each, copies, texts and the arguments of the program', { skip }, () => {
  const { status, stdout } = run(
    `
    bytes buffer[64];
    var total;
    fn length(text) { let n = 0; while (byte[text + n]) n = n + 1; return n; }
    fn say(text) { syscall(1, 1, text, length(text)); }
    fn main(stack) {
      byte[buffer] = -1; half[buffer + 2] = -1; int[buffer + 4] = -1; word[buffer + 8] = -1;
      if (byte[buffer] == 255 && half[buffer + 2] == 65535 && int[buffer + 4] == -1 && word[buffer + 8] == -1) total = total + 1;
      if (byte[buffer + 1] == 0) total = total + 2;
      word[buffer + 16] = 0x123456789a;
      if (word[buffer + 16] >> 32 == 0x12) total = total + 4;
      copy(buffer + 32, "copied\\n", 7);
      say(buffer + 32);
      say("a \\"text\\"\\n");
      say(word[stack + 16]);
      return total;
    }`,
    'argument',
  );
  assert.deepEqual([status, stdout], [7, 'copied\na "text"\nargument']);
});

test('mistakes are told with their line', () => {
  const cases: [string, RegExp][] = [
    ['fn main(s) {\n return x;\n}', /line 2: there is no x/],
    ['fn main(s) { return f(1); }', /there is no function f/],
    ['fn f(a) {}\nfn main(s) { f(); }', /line 2: f takes 1 arguments/],
    ['fn main(s) { break; }', /break outside of a loop/],
    ['fn main(s) { 1 = 2; }', /nothing can be assigned/],
    ['fn main(s) { return 1 }', /; is missing before }/],
    ['var a; var a;', /a is there twice/],
    ['bytes b[c];', /not known when compiling/],
    ['fn main(s) { return $; }', /what is/],
  ];
  for (const [source, expected] of cases) assert.throws(() => compile(source), expected, source);
});

test("the agent's executable has code that nobody writes and memory that nobody executes", () => {
  const bytes = agentProgram();
  const view = new DataView(bytes.buffer);
  assert.equal(ElfHeader.magic.get(view, 0), ELF_MAGIC);
  const flags = [0, 1, 2].map((i) => ElfProgramHeader.flags.get(view, ElfHeader.size + i * ElfProgramHeader.size));
  assert.deepEqual(flags, [5, 6, 6]);
  assert.ok(bytes.length < 32 << 10, `${bytes.length} bytes`);
  assert.deepEqual(bytes, agentProgram());
});
