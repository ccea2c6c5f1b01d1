/**
 * System calls about the process itself, its time and its limits. Layouts: linux/utsname.h, linux/resource.h, linux/sysinfo.h,
 * linux/time.h.
 */
import { struct, u16, u32, u64 } from '../../../src/abi/struct.ts';
import { ARCH_PRCTL, CLOCK, FUTEX, RLIMIT } from '../linux.ts';
import { STACK_BYTES } from '../load.ts';
import { PROCESS_ID, type Process } from '../process.ts';
import { int, nothing, refuse, type SystemCalls } from './call.ts';

const UTSNAME_FIELD = 65;
const UTSNAME = ['Linux', 'domus', '6.1.0', '#1', 'x86_64', ''];
const RUSAGE_BYTES = 144;
const INFINITY = 2n ** 64n - 1n;
const DESCRIPTORS = 1024n;

const Sysinfo = struct('sysinfo', 112, {
  uptime: u64(0),
  totalram: u64(32),
  freeram: u64(40),
  procs: u16(80),
  mem_unit: u32(104),
});

/** No signal is ever delivered, and there is one thread: what only prepares for others has nothing to do. */
export const PROCESS_CALLS: SystemCalls = {
  exit: end,
  exit_group: end,
  // To itself, as abort does.
  tgkill: (p, _group, _thread, signal) => {
    p.exitCode = 128 + int(signal);
    return 0;
  },
  rt_sigaction: nothing,
  rt_sigprocmask: nothing,
  sigaltstack: nothing,
  set_robust_list: nothing,
  sched_yield: nothing,
  getpid: () => PROCESS_ID,
  gettid: () => PROCESS_ID,
  getppid: () => PROCESS_ID - 1,
  set_tid_address: () => PROCESS_ID,
  getuid: nothing,
  geteuid: nothing,
  getgid: nothing,
  getegid: nothing,
  futex: (_p, _word, operation) => {
    const command = operation & FUTEX.CMD_MASK;
    if (command === FUTEX.WAKE) return 0;
    // Nobody is there who could wake it.
    return command === FUTEX.WAIT || command === FUTEX.WAIT_BITSET ? refuse('EAGAIN') : refuse('ENOSYS');
  },
  arch_prctl: (p, operation, value) => {
    if (operation === ARCH_PRCTL.SET_FS) p.bases.fsBase = value;
    else if (operation === ARCH_PRCTL.SET_GS) p.bases.gsBase = value;
    else if (operation === ARCH_PRCTL.GET_FS) putWords(p, value, BigInt(p.bases.fsBase));
    else if (operation === ARCH_PRCTL.GET_GS) putWords(p, value, BigInt(p.bases.gsBase));
    else refuse('EINVAL');
    return 0;
  },
  sched_getaffinity: (p, _thread, _size, mask) => {
    putWords(p, mask, 1n);
    return 8;
  },
  uname: (p, buffer) => {
    const bytes = Buffer.alloc(UTSNAME_FIELD * UTSNAME.length);
    for (const [k, text] of UTSNAME.entries()) bytes.write(text, UTSNAME_FIELD * k);
    p.space.write(buffer, bytes);
    return 0;
  },
  sysinfo: (p, buffer) => {
    const bytes = new Uint8Array(Sysinfo.size);
    const view = new DataView(bytes.buffer);
    Sysinfo.uptime.set(view, 0, 1n);
    Sysinfo.totalram.set(view, 0, 1n << 29n);
    Sysinfo.freeram.set(view, 0, 1n << 28n);
    Sysinfo.procs.set(view, 0, 1);
    Sysinfo.mem_unit.set(view, 0, 1);
    p.space.write(buffer, bytes);
    return 0;
  },
  getrlimit: (p, resource, buffer) => putLimit(p, resource, buffer),
  prlimit64: (p, _pid, resource, _set, buffer) => (buffer === 0 ? 0 : putLimit(p, resource, buffer)),
  getrusage: (p, _who, buffer) => {
    p.space.write(buffer, new Uint8Array(RUSAGE_BYTES));
    return 0;
  },
  getrandom: (p, buffer, length) => {
    const bytes = new Uint8Array(length);
    p.randomness.read(bytes);
    p.space.write(buffer, bytes);
    return length;
  },
  time: (p, buffer) => {
    const seconds = Math.floor(Date.now() / 1000);
    if (buffer !== 0) putWords(p, buffer, BigInt(seconds));
    return seconds;
  },
  gettimeofday: (p, buffer) => {
    const now = BigInt(Date.now());
    if (buffer !== 0) putWords(p, buffer, now / 1000n, (now % 1000n) * 1000n);
    return 0;
  },
  clock_gettime: (p, clock, buffer) => {
    const now = nanoseconds(int(clock));
    putWords(p, buffer, now / 1_000_000_000n, now % 1_000_000_000n);
    return 0;
  },
  clock_getres: (p, _clock, buffer) => {
    if (buffer !== 0) putWords(p, buffer, 0n, 1n);
    return 0;
  },
};

function end(p: Process, code: number): number {
  p.exitCode = code & 0xff;
  return 0;
}

function putWords(p: Process, va: number, ...words: bigint[]): void {
  p.space.write(va, new Uint8Array(BigUint64Array.from(words).buffer));
}

function putLimit(p: Process, resource: number, buffer: number): number {
  const limit = { [RLIMIT.STACK]: BigInt(STACK_BYTES), [RLIMIT.NOFILE]: DESCRIPTORS }[resource] ?? INFINITY;
  putWords(p, buffer, limit, limit);
  return 0;
}

function nanoseconds(clock: number): bigint {
  if (clock === CLOCK.REALTIME || clock === CLOCK.REALTIME_COARSE) return BigInt(Date.now()) * 1_000_000n;
  if (clock !== CLOCK.PROCESS_CPUTIME && clock !== CLOCK.THREAD_CPUTIME) return process.hrtime.bigint();
  const { user, system } = process.threadCpuUsage();
  return BigInt(user + system) * 1000n;
}
