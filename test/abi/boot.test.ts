/** A kernel of a few instructions boots, faults, runs user code and ends: the runtime that all other tests here rely on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Machine } from './machine.ts';
import { faulting, hypercall, inUser, print, SYSCALL, save, shareRoot, shutdown } from './runtime.ts';

test('example: a kernel boots, says hello through the hypercall page and by itself, and powers off', () => {
  const m = new Machine(
    `
    ${print('hello ')}
    mov edi, 0
    mov esi, 5
    mov rdx, words
    mov rax, HYPERCALL_PAGE
    add rax, 576
    call rax
    ${save('result')}
    ${shutdown()}
    words: .ascii "world"
  `,
  );
  m.runToEnd();
  assert.equal(m.console, 'hello world');
  assert.equal(m.s64('out_result'), 0);
});

test('selftest: an instruction that faults is noted with its address, and the kernel goes on behind it', () => {
  const m = new Machine(`
    ${faulting('here: mov rax, [8]')}
    ${shutdown()}
  `);
  m.runToEnd();
  const [trap] = m.traps();
  assert.equal(m.traps().length, 1);
  assert.equal(trap!.vector, 14);
  assert.equal(trap!.error, 0n, 'a read of what is not present, in kernel mode');
  assert.equal(trap!.cr2, 8n);
  assert.equal(trap!.rip, m.address('here'));
});

test('selftest: code runs in user mode and comes back by a system call', () => {
  const m = new Machine(`
    ${shareRoot()}
    ${save('root')}
    ${inUser('user: mov eax, 42\nmov [out_seen], rax')}
    ${shutdown()}
  `);
  m.runToEnd();
  assert.equal(m.s64('out_root'), 0);
  assert.equal(m.u64('out_seen'), 42n);
  const [trap] = m.traps();
  assert.equal(trap!.vector, SYSCALL);
  assert.equal(trap!.cs & 3n, 3n);
});

test('a crash by a bad stack is reported and does not hang', () => {
  const m = new Machine(`
    mov rsp, 0x1000
    mov rax, [8]
  `);
  const outcome = m.run();
  assert.equal(outcome.kind, 'crashed');
  assert.match(outcome.kind === 'crashed' ? outcome.report[0]! : '', /stack/);
  m.checkCanaries();
});

test('a kernel that never ends is stopped by the clock', () => {
  assert.equal(new Machine('again: jmp again').run(20).kind, 'time');
  assert.equal(new Machine(`${hypercall('sched_op', 1, 0)}`).run(20_000).kind, 'time', 'the periodic timer wakes it');
});
