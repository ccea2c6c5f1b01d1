/** A Linux program under the engine alone: its output, its exit code, what it reads, and how it ends when it must. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ELF, ELF_MAGIC, ElfHeader, ElfProgramHeader } from '../src/abi/elf.ts';
import { assemble } from '../test/abi/assembler.ts';
import { AT, MAP, PROT, SIGNAL, SYSTEM_CALL } from './user-program/linux.ts';

const SCRIPT = fileURLToPath(new URL('user-program.ts', import.meta.url));
const BASE = 0x400000n;
const HEADERS = ElfHeader.size + ElfProgramHeader.size;

const root = mkdtempSync(path.join(tmpdir(), 'user-program-'));
after(() => rmSync(root, { recursive: true }));

/** A static program of one segment that may be read, written and executed, put below the root as /NAME. */
function program(name: string, source: string): string {
  const { bytes, labels } = assemble(source, BASE + BigInt(HEADERS), SYSTEM_CALL);
  const file = new Uint8Array(HEADERS + bytes.length);
  const view = new DataView(file.buffer);
  ElfHeader.magic.set(view, 0, ELF_MAGIC);
  ElfHeader.class.set(view, 0, ELF.class64);
  ElfHeader.data.set(view, 0, ELF.dataLsb);
  ElfHeader.type.set(view, 0, ELF.ET_EXEC);
  ElfHeader.machine.set(view, 0, ELF.machineX86_64);
  ElfHeader.entry.set(view, 0, labels.get('start')!);
  ElfHeader.phoff.set(view, 0, BigInt(ElfHeader.size));
  ElfHeader.phnum.set(view, 0, 1);
  ElfProgramHeader.type.set(view, ElfHeader.size, ELF.PT_LOAD);
  ElfProgramHeader.flags.set(view, ElfHeader.size, 7);
  ElfProgramHeader.vaddr.set(view, ElfHeader.size, BASE);
  ElfProgramHeader.filesz.set(view, ElfHeader.size, BigInt(file.length));
  ElfProgramHeader.memsz.set(view, ElfHeader.size, BigInt(file.length + 0x1000));
  file.set(bytes, HEADERS);
  writeFileSync(path.join(root, name), file);
  return `/${name}`;
}

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(args: readonly string[], input = ''): Ended {
  const env = { ...process.env, DOMUS_ENGINE: '' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, '--root', root, ...args], {
    encoding: 'utf8',
    env,
    input,
  });
  return { code: status, out: stdout, err: stderr };
}

const call = (name: keyof typeof SYSTEM_CALL, ...args: (number | string)[]): string =>
  [...args.map((arg, k) => `mov ${['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'][k]}, ${arg}`), `mov eax, ${name}`, 'syscall']
    .join('\n')
    .concat('\n');

/** Writes its line when the sum of a loop, hot enough to be translated, is right. */
const GREETING = program(
  'greeting',
  `start:  mov ecx, 10000
           xor eax, eax
    turn:  add eax, ecx
           dec ecx
           jne turn
           cmp eax, 50005000
           jne wrong
           ${call('write', 1, 'text', 13)}
    wrong: ${call('exit_group', 7)}
    text:  .ascii "hello, world"
           .byte 10`,
);

test('a static program writes its line and exits with its code, in the interpreter', () => {
  const { code, out, err } = run(['--tier', '0', GREETING]);
  assert.deepEqual([code, out], [7, 'hello, world\n']);
  assert.match(err, /^exit 7, wall \d+ ms, CPU \d+ ms/);
});

test('and translated; --count tells of its loop, --statistics of the exits', () => {
  const { code, out, err } = run(['--threshold', '1', '--slice', '100', '--statistics', '--count', '3', GREETING]);
  assert.deepEqual([code, out], [7, 'hello, world\n']);
  assert.match(err, /^ +1 {2}system call write$/m);
  assert.match(err, /^ +[1-9]\d* {2}slice$/m);
  assert.match(err, /^ +[1-9]\d* {2}regions$/m);
  assert.match(err, /^ +[1-9]\d* {2}00000000004000[0-9a-f]{2} /m);
});

test('arguments are on the stack, and the file that one names is read, as is stdin; --quiet leaves stdout away', () => {
  writeFileSync(path.join(root, 'note'), 'from a file, ');
  const cat = program(
    'cat',
    `start: mov rsi, [rsp + 16]
           ${call('openat', AT.FDCWD, 'rsi', 0)}
           ${call('read', 'rax', 'buffer', 100)}
           ${call('write', 1, 'buffer', 'rax')}
           ${call('read', 0, 'buffer', 100)}
           ${call('write', 1, 'buffer', 'rax')}
           mov eax, [rsp]
           ${call('exit', 'rax')}
   buffer: .zero 100`,
  );
  const piped = run([cat, '/note'], 'from a pipe');
  assert.deepEqual([piped.code, piped.out], [2, 'from a file, from a pipe'], piped.err);
  const stdin = ['--stdin', path.join(root, 'note')];
  assert.equal(run([...stdin, cat, 'note']).out, 'from a file, from a file, ');
  assert.equal(run([...stdin, '--quiet', cat, '/note']).out, '');
});

test('--cpu-prof writes a profile of the run', () => {
  const file = path.join(root, 'profile');
  assert.equal(run(['--cpu-prof', file, GREETING]).code, 7);
  const { nodes } = JSON.parse(readFileSync(file, 'utf8')) as { nodes: { callFrame: { functionName: string } }[] };
  assert.ok(nodes.some(({ callFrame }) => callFrame.functionName === '(root)'));
});

test('a page that is mapped can be written until it is protected: then the program ends as by SIGSEGV', () => {
  const writer = program(
    'writer',
    `start: ${call('mmap', 0, 4096, PROT.READ | PROT.WRITE, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0)}
           mov rbx, rax
           mov qword [rbx + 8], 1
           ${call('mprotect', 'rbx', 4096, PROT.READ)}
           cmp qword [rbx + 8], 1
           jne wrong
           mov qword [rbx + 8], 2
    wrong: ${call('exit', 1)}`,
  );
  const { code, err } = run([writer]);
  assert.equal(code, 128 + SIGNAL.SIGSEGV);
  assert.match(err, /^access to [0-9a-f]+008 at 400[0-9a-f]{3}$/m);
});

test('what is wrong is told in one line', () => {
  writeFileSync(path.join(root, 'text'), 'no program');
  const CASES: readonly [string[], RegExp][] = [
    [[], /which program/],
    [['--slice', 'x', '/text'], /--slice takes a number/],
    [['/text'], /not an ELF file/],
    [['/nowhere'], /no such file/],
  ];
  for (const [args, message] of CASES) {
    const { code, err } = run(args);
    assert.equal(code, 1);
    assert.match(err, message);
    assert.equal(err.trim().split('\n').length, 1);
  }
});
