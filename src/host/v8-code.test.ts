/** That machine code goes from one process to another and is what runs there, and that nothing else is taken for it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { decode } from '../x86/decode.ts';
import { disassemble } from '../x86/disassemble.ts';
import { CALLED_BACK } from './v8-callbacks.ts';
import { EXPECTED } from './v8-code-for-tests.ts';
import { V8_OF_LAYOUTS } from './v8-embedder.ts';

const elsewhere = process.platform !== 'linux' || process.arch !== 'x64' ? 'only Linux on x86-64 has it' : false;
const options = { skip: elsewhere };
/** Monitors have it, and without it nothing is optimized on demand. */
const FLAGS = ['--no-wasm-inlining'];

/** A program for a thread of a process of its own: all that it may need, and then itself. */
const program = (text: string): string => `
  import { readFileSync, writeFileSync } from 'node:fs';
  import v8 from 'node:v8';
  import { parentPort, workerData, Worker } from 'node:worker_threads';
  import { compileOptimized, serializeCode, moduleWithCode } from ${JSON.stringify(new URL('v8-code.ts', import.meta.url).href)};
  import { answers, example, instantiate } from ${JSON.stringify(new URL('v8-code-for-tests.ts', import.meta.url).href)};
  const bytes = example(1);
  const read = (name = 'code') => new Uint8Array(readFileSync(name));
  const tell = (answer) => console.log(JSON.stringify(answer));
  ${text}`;

let folder: string;

/** What it tells; no error and no warning. */
function run(text: string, flags: readonly string[] = FLAGS): unknown {
  const args = [...flags, '--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', program(text)];
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.equal(status, 0, `${signal}`);
  return JSON.parse(stdout);
}

before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'domus-v8-code-'));
  if (elsewhere) return;
  const unchanged = run(`
    const tag = v8.cachedDataVersionTag();
    const module = compileOptimized(bytes);
    const compiled = v8.cachedDataVersionTag();
    writeFileSync('code', serializeCode(bytes));
    tell([compiled, v8.cachedDataVersionTag()].every((now) => now === tag));`);
  assert.ok(unchanged, 'the flags are as before');
});

after(() => rmSync(folder, { recursive: true }));

test('the layouts are those of this V8', options, () => {
  assert.equal(process.versions.v8, V8_OF_LAYOUTS, "read V8's include/v8-wasm.h again; see docs/decisions/0019");
});

test('what V8 calls back is the machine code that stands beside it', () => {
  const source = readFileSync(new URL('v8-callbacks.ts', import.meta.url), 'utf8');
  for (const [name, code] of Object.entries(CALLED_BACK)) {
    const listing = new RegExp(`^  ${name}: \\[\n([^\\]]*(?:\\[[^\\]]*\\][^\\]]*)*)^  \\],`, 'm').exec(source)![1]!;
    const written = listing
      .trimEnd()
      .split('\n')
      .map((line) => /\/\/ ([^;]*)/.exec(line)![1]!.trim());
    const bytes = new Uint8Array(code.length + 16);
    bytes.set(code);
    const found: string[] = [];
    const starts: number[] = [];
    for (let at = 0; at < code.length; ) {
      const insn = decode(bytes, at, bytes.length);
      assert.ok(typeof insn !== 'string');
      starts.push(at);
      found.push(
        disassemble(insn, BigInt(at))
          .replace(/[A-Z]+ PTR /, '')
          .replace(',', ', '),
      );
      at += insn.length;
    }
    const done = starts[written.findIndex((text) => text.startsWith('done: '))] ?? 0;
    assert.deepEqual(
      found,
      written.map((text) => text.replace('done: ', '').replace('done', `0x${done.toString(16)}`)),
      name,
    );
  }
});

test('the code of another process is what runs, and nothing is compiled anew', options, () => {
  const answer = run(`
    const module = moduleWithCode(bytes, read());
    // All functions have code before any could have been optimized here.
    tell({ all: serializeCode(bytes)?.length === read().length, answers: answers(module), left: 0 in globalThis });`);
  assert.deepEqual(answer, { all: true, answers: EXPECTED, left: false });
});

test('workers take it as well', options, () => {
  const worker = program('parentPort.postMessage(answers(moduleWithCode(bytes, read())));');
  const answer = run(`
    const workers = [0, 1].map(() => new Worker(${JSON.stringify(worker)}, { eval: true }));
    const given = workers.map((worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)));
    tell(await Promise.all(given));`);
  assert.deepEqual(answer, [EXPECTED, EXPECTED]);
});

test('of a module in which nothing has been optimized there is no code', options, () => {
  const answer = run(
    `
    const module = compileOptimized(bytes);
    tell([serializeCode(bytes) === undefined, answers(module)]);`,
    [],
  );
  assert.deepEqual(answer, [true, EXPECTED]);
});

test('functions that had not been optimized are compiled when they are called', options, () => {
  // As in a monitor, without being asked to: one function is hot, and V8 optimizes it in the background.
  run(`
    const module = new WebAssembly.Module(bytes);
    const { sum } = instantiate(module);
    let code;
    while ((code = serializeCode(bytes)) === undefined) {
      for (let k = 0; k < 100; k++) sum(100_000);
      await new Promise(setImmediate);
    }
    writeFileSync('hot', code);
    tell(null);`);
  const answer = run(`
    const module = moduleWithCode(bytes, read('hot'));
    tell([read('hot').length < read().length, answers(module)]);`);
  assert.deepEqual(answer, [true, EXPECTED]);
});

test('code that is damaged, cut short or of another module is refused', options, () => {
  const answer = run(`
    const code = read();
    const taken = [];
    for (let at = 0; at < code.length; at += at < 64 ? 1 : 97) {
      const damaged = code.slice();
      damaged[at] ^= 1 << (at & 7);
      if (moduleWithCode(bytes, damaged) !== undefined) taken.push('byte ' + at);
    }
    for (const length of [0, 1, 39, 40, 41, code.length >> 1, code.length - 1]) {
      if (moduleWithCode(bytes, code.slice(0, length)) !== undefined) taken.push(length + ' bytes');
    }
    if (moduleWithCode(example(2), code) !== undefined) taken.push('of another module');
    tell({ taken, answers: answers(moduleWithCode(bytes, code)) });`);
  assert.deepEqual(answer, { taken: [], answers: EXPECTED });
});

test('code that was made under other flags of V8 is refused', options, () => {
  assert.equal(
    run('tell(moduleWithCode(bytes, read()) !== undefined);', [...FLAGS, '--wasm-tiering-budget=1000']),
    false,
  );
});

test('without node:ffi there is no code, and what there is is not taken', options, () => {
  const answer = run(
    `
    const module = compileOptimized(bytes);
    tell([serializeCode(bytes), moduleWithCode(bytes, read()), answers(module)]);`,
    [...FLAGS, '--no-experimental-ffi'],
  );
  assert.deepEqual(answer, [null, null, EXPECTED]);
});

test('a worker that is terminated while it takes code leaves a process that works and ends', options, () => {
  // More modules than a worker takes before it is told to end: V8 does not have them all already.
  const worker = program(`
    for (let k = 0; ; k++) {
      const { bytes, code } = workerData[k % workerData.length];
      if (moduleWithCode(bytes, code) === undefined) break;
      if (k === 10) parentPort.postMessage('takes code');
    }`);
  const rounds = run(`
    const made = Array.from({ length: 20 }, (_, k) => {
      const bytes = example(100 + k);
      const module = compileOptimized(bytes);
      return { bytes, code: serializeCode(bytes) };
    });
    let rounds = 0;
    for (; rounds < 8; rounds++) {
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true, workerData: made });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await worker.terminate();
    }
    tell(rounds);`);
  assert.equal(rounds, 8);
});
