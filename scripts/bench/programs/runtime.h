/*
 * What a freestanding benchmark program needs of a C library, for x86-64 and i386: the entry, system calls, output of a
 * checksum. The programs print the same text on both, and on every machine, so that a wrong result shows.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

int main(int argc, char **argv);

#ifdef __x86_64__
/* clang-format off: number on x86-64 */
enum {
  SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_close = 3, SYS_mmap = 9, SYS_munmap = 11, SYS_ioctl = 16, SYS_sched_yield = 24,
  SYS_pipe = 22, SYS_dup2 = 33, SYS_getpid = 39, SYS_fork = 57, SYS_execve = 59, SYS_exit = 60, SYS_wait4 = 61,
  SYS_getppid = 110, SYS_mount = 165, SYS_reboot = 169, SYS_sched_setaffinity = 203, SYS_getcpu = 309, SYS_getrandom = 318, SYS_clock_gettime = 228, SYS_clock_nanosleep = 230, SYS_sched_setscheduler = 144,
};
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");

static inline long syscall6(long n, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}
#else
/* mmap is mmap2: its offset counts pages. */
enum {
  SYS_read = 3, SYS_write = 4, SYS_open = 5, SYS_close = 6, SYS_mmap = 192, SYS_munmap = 91, SYS_ioctl = 54, SYS_sched_yield = 158,
  SYS_pipe = 42, SYS_dup2 = 63, SYS_getpid = 20, SYS_fork = 2, SYS_execve = 11, SYS_exit = 1, SYS_wait4 = 114,
  SYS_getppid = 64, SYS_mount = 21, SYS_reboot = 88, SYS_sched_setaffinity = 241, SYS_getcpu = 318, SYS_getrandom = 355, SYS_clock_gettime = 265, SYS_clock_nanosleep = 267, SYS_sched_setscheduler = 156,
};
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n\tcall begin\n");

static inline long syscall6(long n, long a, long b, long c, long d, long e, long f) {
  long result;
  long most[2] = {n, f};
  __asm__ volatile("push %%ebp\n\tpush %%edi\n\tmov 4(%%eax), %%ebp\n\tmov (%%eax), %%eax\n\tint $0x80\n\tpop %%edi\n\tpop %%ebp"
                   : "=a"(result) : "a"(most), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
  return result;
}
#endif

#define SYSCALL0(n) syscall6(SYS_##n, 0, 0, 0, 0, 0, 0)
#define SYSCALL1(n, a) syscall6(SYS_##n, (long)(a), 0, 0, 0, 0, 0)
#define SYSCALL2(n, a, b) syscall6(SYS_##n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYSCALL3(n, a, b, c) syscall6(SYS_##n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYSCALL4(n, a, b, c, d) syscall6(SYS_##n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

/* The compiler may call these two by itself. */
__attribute__((used)) void *memcpy(void *to, const void *from, size_t n) {
  for (size_t i = 0; i < n; i++) ((u8 *)to)[i] = ((const u8 *)from)[i];
  return to;
}
__attribute__((used)) void *memset(void *to, int c, size_t n) {
  for (size_t i = 0; i < n; i++) ((u8 *)to)[i] = (u8)c;
  return to;
}

static __attribute__((noreturn, unused)) void quit(int status) {
  for (;;) SYSCALL1(exit, status);
}

__attribute__((used, noreturn)) void begin(long *stack) {
  quit(main((int)stack[0], (char **)(stack + 1)));
}

static __attribute__((unused)) size_t length(const char *text) {
  size_t n = 0;
  while (text[n]) n++;
  return n;
}

static __attribute__((unused)) void print(const char *text) {
  SYSCALL3(write, 1, text, length(text));
}

static __attribute__((unused)) void print_hex(u64 value) {
  char text[18];
  for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[(value >> (60 - 4 * i)) & 15];
  text[16] = '\n';
  text[17] = 0;
  print(text);
}

/* Decimal, as in argv. */
static __attribute__((unused)) u32 number(const char *text) {
  u32 value = 0;
  while (*text >= '0' && *text <= '9') value = value * 10 + (u32)(*text++ - '0');
  return value;
}

/* Anonymous memory, private, readable and writable. */
static __attribute__((unused)) void *allocate(size_t bytes) {
  return (void *)syscall6(SYS_mmap, 0, (long)bytes, 3, 0x22, -1, 0);
}

static inline u32 next_random(u32 *state) {
  u32 x = *state;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *state = x;
}
