/**
 * Linux's numbers for x86-64, as its headers have them: asm/unistd_64.h, asm-generic/errno-base.h and errno.h, mman-common.h,
 * fcntl.h, linux/auxvec.h, asm/signal.h, bits of others where they are used.
 */

/** System calls that are performed; what has no row here answers ENOSYS. */
// biome-ignore format: a table
export const SYSTEM_CALL = {
  read: 0,           write: 1,            open: 2,                 close: 3,            stat: 4,
  fstat: 5,          lstat: 6,            lseek: 8,                mmap: 9,             mprotect: 10,
  munmap: 11,        brk: 12,             rt_sigaction: 13,        rt_sigprocmask: 14,  ioctl: 16,
  pread64: 17,       readv: 19,           writev: 20,              access: 21,          sched_yield: 24,
  mremap: 25,        madvise: 28,         dup: 32,                 dup2: 33,            getpid: 39,
  exit: 60,          uname: 63,           fcntl: 72,               getcwd: 79,          readlink: 89,
  umask: 95,         gettimeofday: 96,    getrlimit: 97,           getrusage: 98,       sysinfo: 99,
  getuid: 102,       getgid: 104,         geteuid: 107,            getegid: 108,        getppid: 110,
  sigaltstack: 131,  arch_prctl: 158,     gettid: 186,             getxattr: 191,       lgetxattr: 192,
  time: 201,         futex: 202,          sched_getaffinity: 204,  getdents64: 217,     set_tid_address: 218,
  fadvise64: 221,    clock_gettime: 228,  clock_getres: 229,       exit_group: 231,     tgkill: 234,
  openat: 257,       newfstatat: 262,     readlinkat: 267,         faccessat: 269,      set_robust_list: 273,
  dup3: 292,         prlimit64: 302,      getrandom: 318,          faccessat2: 439,
} as const;
export type SystemCallName = keyof typeof SYSTEM_CALL;

// biome-ignore format: a table
export const ERRNO = {
  EPERM: 1,    ENOENT: 2,   EIO: 5,      EBADF: 9,    EAGAIN: 11,  ENOMEM: 12,  EACCES: 13,  EFAULT: 14,  EEXIST: 17,
  ENODEV: 19,  ENOTDIR: 20, EISDIR: 21,  EINVAL: 22,  EMFILE: 24,  ENOTTY: 25,  ESPIPE: 29,  EROFS: 30,   EPIPE: 32,
  ERANGE: 34,  ENAMETOOLONG: 36,       ENOSYS: 38,  ELOOP: 40,   EOPNOTSUPP: 95,
} as const;
export type ErrnoName = keyof typeof ERRNO;

/** A system call's result that is an error; also what Node's own errors look like. */
export class CallError extends Error {
  readonly code: ErrnoName;
  constructor(code: ErrnoName) {
    super(code);
    this.code = code;
  }
}

export const PROT = { NONE: 0, READ: 1, WRITE: 2, EXEC: 4 } as const;
export const MAP = { SHARED: 1, PRIVATE: 2, FIXED: 0x10, ANONYMOUS: 0x20, FIXED_NOREPLACE: 0x100000 } as const;
export const MREMAP = { MAYMOVE: 1, FIXED: 2 } as const;
export const MADV = { DONTNEED: 4 } as const;

export const O = { ACCMODE: 3, CREAT: 0o100, DIRECTORY: 0o200000 } as const;
export const AT = { FDCWD: -100, SYMLINK_NOFOLLOW: 0x100, EMPTY_PATH: 0x1000 } as const;
export const SEEK = { SET: 0, CUR: 1, END: 2 } as const;
export const FCNTL = { DUPFD: 0, GETFD: 1, SETFD: 2, GETFL: 3, SETFL: 4, DUPFD_CLOEXEC: 1030 } as const;
/** Kinds of directory entries: linux/fs_types.h. */
export const DT = { UNKNOWN: 0, DIR: 4, REG: 8, LNK: 10 } as const;
/** Kinds of files in st_mode: linux/stat.h. */
export const S_IF = { FIFO: 0o010000, CHR: 0o020000 } as const;

export const ARCH_PRCTL = { SET_GS: 0x1001, SET_FS: 0x1002, GET_FS: 0x1003, GET_GS: 0x1004 } as const;
/** The operation in a futex call: linux/futex.h. */
export const FUTEX = { WAIT: 0, WAKE: 1, WAIT_BITSET: 9, CMD_MASK: 0x7f } as const;
export const RLIMIT = { STACK: 3, NOFILE: 7 } as const;
export const CLOCK = { REALTIME: 0, PROCESS_CPUTIME: 2, THREAD_CPUTIME: 3, REALTIME_COARSE: 5 } as const;

// biome-ignore format: a table
export const AUXV = {
  NULL: 0, PHDR: 3, PHENT: 4, PHNUM: 5, PAGESZ: 6, BASE: 7, ENTRY: 9, UID: 11, EUID: 12, GID: 13, EGID: 14, PLATFORM: 15,
  HWCAP: 16, CLKTCK: 17, SECURE: 23, RANDOM: 25, EXECFN: 31,
} as const;

export const SIGNAL = { SIGILL: 4, SIGTRAP: 5, SIGBUS: 7, SIGFPE: 8, SIGSEGV: 11 } as const;
