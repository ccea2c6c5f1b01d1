/**
 * The oracle's process: runs cases on the real CPU. Started by oracle.ts and by nothing else; whatever a case does to it, it
 * does to this process only. It reads batches of cases from stdin and writes outcomes to stdout, one frame each.
 *
 * Its signal handlers are machine code (stub.ts) and are installed for the length of a batch only, since Node has its own
 * SIGSEGV handler. Other signals are blocked meanwhile: they would be delivered on the guest's stack.
 */
import { readSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import {
  CASE,
  CODE_OFFSET,
  CODE_SIZE,
  COMPLETED,
  DATA_OFFSET,
  DATA_SIZE,
  HIGH_BASE,
  INT3,
  LOW_BASE,
  OUTCOME,
  pristineData,
  recordChanges,
  SYSCALL,
  WRITABLE_SIZE,
} from './layout.ts';
import {
  assembleStub,
  CODE_ALIAS,
  CONTEXT,
  CONTEXT_GPR,
  DATA_ALIAS,
  S,
  SHARED,
  SIGNAL_STACK,
  SIGNAL_STACK_SIZE,
  STUB,
} from './stub.ts';

const libc = koffi.load('libc.so.6');
const mmap = libc.func('uint64 mmap(uint64 address, size_t length, int prot, int flags, int fd, int64 offset)');
const mprotect = libc.func('int mprotect(uint64 address, size_t length, int prot)');
const memfdCreate = libc.func('int memfd_create(str name, uint flags)');
const ftruncate = libc.func('int ftruncate(int fd, int64 length)');
const syscall4 = libc.func('long syscall(long number, uint64 a, uint64 b, uint64 c, uint64 d)');
const prctl = libc.func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');

const READ = 1;
const WRITE = 2;
const EXECUTE = 4;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_ANONYMOUS = 0x20;
const MAP_POPULATE = 0x8000;
const MAP_FIXED_NOREPLACE = 0x100000;

function map(address: number, length: number, protection: number, fd = -1, offset = 0): void {
  const flags = MAP_FIXED_NOREPLACE | MAP_POPULATE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
  const at = Number(mmap(address, length, protection, flags, fd, offset));
  if (at !== address) throw new Error(`cannot map ${length} bytes at 0x${address.toString(16)}`);
}
const bytesAt = (address: number, length: number): Uint8Array => new Uint8Array(koffi.view(BigInt(address), length));

// Guest pages: one file, seen by JavaScript at the aliases and by the guest at both bases.
const file: number = memfdCreate('domus-cpu-oracle', 0);
if (file < 0 || ftruncate(file, CODE_SIZE + DATA_SIZE) !== 0) throw new Error('cannot create the guest memory file');
map(CODE_ALIAS, CODE_SIZE, READ | WRITE, file, 0);
map(DATA_ALIAS, DATA_SIZE, READ | WRITE, file, CODE_SIZE);
for (const base of [LOW_BASE, HIGH_BASE]) {
  map(base + CODE_OFFSET, CODE_SIZE, READ | EXECUTE, file, 0);
  map(base + DATA_OFFSET, WRITABLE_SIZE, READ | WRITE, file, CODE_SIZE);
  map(base + DATA_OFFSET + WRITABLE_SIZE, DATA_SIZE - WRITABLE_SIZE, READ, file, CODE_SIZE + WRITABLE_SIZE);
}
map(STUB, 0x1000, READ | WRITE);
map(SHARED, 0x1000, READ | WRITE);
map(SIGNAL_STACK, SIGNAL_STACK_SIZE, READ | WRITE);
const stub = assembleStub();
bytesAt(STUB, 0x1000).set(stub.code);
mprotect(STUB, 0x1000, READ | EXECUTE);

const code = bytesAt(CODE_ALIAS, CODE_SIZE).fill(INT3);
const data = bytesAt(DATA_ALIAS, DATA_SIZE);
const pristine = pristineData();
data.set(pristine);
/** What `data` held when the current case began. */
const before = pristine.slice();
const writableNow = Buffer.from(data.buffer, 0, WRITABLE_SIZE);
const writableBefore = Buffer.from(before.buffer, 0, WRITABLE_SIZE);
const shared = bytesAt(SHARED, 0x1000);
const sharedView = new DataView(shared.buffer);
const run: () => void = koffi.decode(BigInt(stub.enter), koffi.proto('void run()'));

// struct kernel_sigaction { handler; flags; restorer; mask } and stack_t { sp; flags; size }, in the shared page's tail.
const ACTION = 0xc00;
const STACK = 0xd00;
const MASKS = 0xd40;
const OLD = 0xe00;
const SIGNALS = [4, 5, 7, 8, 11, 31]; // ILL TRAP BUS FPE SEGV SYS
const SA_SIGINFO = 4;
const SA_ONSTACK = 0x08000000;
const SA_RESTORER = 0x04000000;
sharedView.setBigUint64(ACTION, BigInt(stub.handler), true);
sharedView.setBigUint64(ACTION + 8, BigInt(SA_SIGINFO | SA_ONSTACK | SA_RESTORER), true);
sharedView.setBigUint64(ACTION + 16, BigInt(stub.restorer), true);
sharedView.setBigUint64(ACTION + 24, 0xffff_ffff_ffff_ffffn, true);
sharedView.setBigUint64(STACK, BigInt(SIGNAL_STACK), true);
sharedView.setBigUint64(STACK + 16, BigInt(SIGNAL_STACK_SIZE), true);
const faults = SIGNALS.reduce((mask, signal) => mask | (1n << BigInt(signal - 1)), 0n);
sharedView.setBigUint64(MASKS, ~faults & 0xffff_ffff_ffff_ffffn, true);

const SYS_rt_sigaction = 13;
const SYS_rt_sigprocmask = 14;
const SYS_sigaltstack = 131;
const PR_SET_SYSCALL_USER_DISPATCH = 59;
if (syscall4(SYS_sigaltstack, SHARED + STACK, 0, 0, 0) !== 0) throw new Error('sigaltstack failed');
// A case that reaches SYSCALL by mistake must not do anything. Kernels before 5.11 cannot promise that; they only run without.
prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, STUB, 0x1000, SHARED + S.selector);

function installHandlers(): void {
  syscall4(SYS_rt_sigprocmask, 2, SHARED + MASKS, SHARED + MASKS + 8, 8);
  SIGNALS.forEach((signal, i) => {
    if (syscall4(SYS_rt_sigaction, signal, SHARED + ACTION, SHARED + OLD + 32 * i, 8) !== 0)
      throw new Error('sigaction failed');
  });
}
function restoreHandlers(): void {
  SIGNALS.forEach((signal, i) => {
    syscall4(SYS_rt_sigaction, signal, SHARED + OLD + 32 * i, 0, 8);
  });
  syscall4(SYS_rt_sigprocmask, 2, SHARED + MASKS + 8, 0, 8);
}

/** An instruction fetch was refused (page-fault error code bit 4). */
const FETCH = 0x10;
const TRAP = { breakpoint: 3, pageFault: 14 } as const;
const SIGSYS = 31;

function runCase(
  cases: Uint8Array,
  caseView: DataView,
  at: number,
  outcomes: Uint8Array,
  outcomeView: DataView,
  to: number,
): void {
  shared.set(cases.subarray(at, at + 0xa0), 0);
  shared.set(cases.subarray(at + CASE.fx, at + CASE.fx + 512), S.guestFx);
  const rip = caseView.getUint32(at + CASE.rip, true);
  const codeAt = (rip - CODE_OFFSET) & 0xffff;
  const length = Math.min(caseView.getUint32(at + CASE.codeLength, true), CODE_SIZE - codeAt);
  for (let i = 0; i < length; i++) code[codeAt + i] = cases[at + CASE.code + i]!;
  for (let p = 0; p < CASE.patches; p++) {
    const patch = at + CASE.patch + p * CASE.patchSize;
    const patchAt = caseView.getUint32(patch, true);
    const bytes = cases.subarray(patch + 8, patch + 8 + caseView.getUint32(patch + 4, true));
    data.set(bytes, patchAt);
    before.set(bytes, patchAt);
  }

  run();

  const context = (index: number): number => S.context + 8 * index;
  const u64 = (index: number): bigint => sharedView.getBigUint64(context(index), true);
  for (let i = 0; i < 16; i++) outcomeView.setBigUint64(to + OUTCOME.gpr + 8 * i, u64(CONTEXT_GPR[i]!), true);
  const trap = sharedView.getUint32(context(CONTEXT.trap), true);
  const error = sharedView.getUint32(context(CONTEXT.error), true);
  let end = u64(CONTEXT.rip);
  const start = caseView.getBigUint64(at + CASE.rip, true);
  let vector = trap;
  if (sharedView.getUint32(S.signal, true) === SIGSYS) vector = SYSCALL;
  // Our own INT3 behind the code, or a branch to where there is nothing: the instruction itself completed.
  else if (trap === TRAP.breakpoint && (end <= start || end > start + BigInt(length))) {
    vector = COMPLETED;
    end--;
  } else if (trap === TRAP.pageFault && (error & FETCH) !== 0 && end !== start) vector = COMPLETED;
  outcomeView.setBigUint64(to + OUTCOME.rip, end, true);
  outcomeView.setBigUint64(to + OUTCOME.rflags, u64(CONTEXT.rflags), true);
  outcomeView.setUint32(to + OUTCOME.vector, vector, true);
  outcomeView.setUint32(to + OUTCOME.errorCode, vector < 32 ? error : 0, true);
  outcomeView.setBigUint64(to + OUTCOME.cr2, vector === TRAP.pageFault ? u64(CONTEXT.cr2) : 0n, true);
  outcomes.set(shared.subarray(S.resultFx, S.resultFx + 512), to + OUTCOME.fx);
  if (writableNow.equals(writableBefore)) {
    outcomeView.setUint32(to + OUTCOME.memoryLow, 0, true);
    outcomeView.setUint32(to + OUTCOME.memoryHigh, 0, true);
  } else {
    recordChanges(outcomes, outcomeView, to, before, data);
    data.set(pristine);
  }

  code.fill(INT3, codeAt, codeAt + length);
  for (let p = 0; p < CASE.patches; p++) {
    const patch = at + CASE.patch + p * CASE.patchSize;
    const patchAt = caseView.getUint32(patch, true);
    const bytes = pristine.subarray(patchAt, patchAt + caseView.getUint32(patch + 4, true));
    data.set(bytes, patchAt);
    before.set(bytes, patchAt);
  }
}

function readFully(target: Uint8Array): boolean {
  let done = 0;
  while (done < target.length) {
    const got = readSync(0, target, done, target.length - done, null);
    if (got === 0) return false;
    done += got;
  }
  return true;
}
function writeFully(source: Uint8Array): void {
  let done = 0;
  while (done < source.length) done += writeSync(1, source, done, source.length - done);
}

// Tell the parent that everything is in place, then serve batches until it closes the pipe.
writeFully(new Uint8Array([1]));
const header = new Uint8Array(4);
while (readFully(header)) {
  const count = new DataView(header.buffer).getUint32(0, true);
  const cases = new Uint8Array(count * CASE.size);
  if (!readFully(cases)) break;
  const outcomes = new Uint8Array(count * OUTCOME.size);
  const caseView = new DataView(cases.buffer);
  const outcomeView = new DataView(outcomes.buffer);
  installHandlers();
  for (let i = 0; i < count; i++) runCase(cases, caseView, i * CASE.size, outcomes, outcomeView, i * OUTCOME.size);
  restoreHandlers();
  writeFully(outcomes);
}
