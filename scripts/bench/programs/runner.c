/*
 * Runs the programs of the benchmark on one processor and times each from its fork to its end. On a host it is a child process,
 * in a guest the first process; commands come on standard input, a line each:
 *     INPUT-FILE PROGRAM ARGUMENT...
 * and the answer is "@ STATUS NANOSECONDS CPU-NANOSECONDS BYTES CHECKSUM", with the length and the FNV-1a hash of what the program printed.
 */
#include "runtime.h"

enum { LINE = 4096, WORDS = 64, OUT_TRUNCATE = 01 | 0100 | 01000 /* O_WRONLY, O_CREAT, O_TRUNC */ };

static char line[LINE];
static char *words[WORDS + 1];
static char *environment[] = {"PATH=/usr/bin:/bin", "HOME=/tmp", "LC_ALL=C", 0};
/* struct rusage: user and system time in seconds and microseconds, then what we leave alone. */
static long usage[64];
static u8 block[65536];
static const char *output = "/tmp/output";

static u64 now(void) {
  long time[2];
  SYSCALL2(clock_gettime, 1, time);
  return (u64)(unsigned long)time[0] * 1000000000 + (u64)(unsigned long)time[1];
}

static void print_number(u64 value) {
  /* Without 64-bit division, which i386 has in a library only. */
  static const u64 powers[] = {
      1000000000000000000, 100000000000000000, 10000000000000000, 1000000000000000, 100000000000000, 10000000000000,
      1000000000000, 100000000000, 10000000000, 1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
  char text[24];
  int n = 0;
  for (unsigned i = 0; i < sizeof powers / sizeof *powers; i++) {
    int digit = 0;
    while (value >= powers[i]) value -= powers[i], digit++;
    if (n > 0 || digit > 0 || powers[i] == 1) text[n++] = (char)('0' + digit);
  }
  text[n] = 0;
  print(text);
}

/* Without echo, lines as they come: what is not a terminal refuses, which is well. */
static void quiet_terminal(void) {
  struct { u32 input, output, control, local; u8 line, characters[19]; } mode;
  if (SYSCALL3(ioctl, 0, 0x5401, &mode) != 0) return;
  mode.local &= ~(u32)010; /* ECHO */
  mode.output &= ~(u32)1;  /* OPOST */
  SYSCALL3(ioctl, 0, 0x5402, &mode);
}

static int read_line(void) {
  int n = 0;
  while (n < LINE - 1) {
    if (SYSCALL3(read, 0, line + n, 1) != 1) return 0;
    if (line[n] == '\n') break;
    if (line[n] != '\r') n++;
  }
  line[n] = 0;
  return 1;
}

static void split(void) {
  int n = 0;
  for (char *at = line; *at && n < WORDS;) {
    while (*at == ' ') *at++ = 0;
    if (!*at) break;
    words[n++] = at;
    while (*at && *at != ' ') at++;
  }
  words[n] = 0;
}

static void child(void) {
  long in = SYSCALL2(open, words[0], 0);
  long out = SYSCALL3(open, output, OUT_TRUNCATE, 0600);
  if (in < 0 || out < 0) quit(126);
  SYSCALL2(dup2, in, 0);
  SYSCALL2(dup2, out, 1);
  SYSCALL1(close, in);
  SYSCALL1(close, out);
  SYSCALL3(execve, words[1], words + 1, environment);
  quit(127);
}

static void report(int status, u64 time, u64 cpu) {
  u64 hash = 0xcbf29ce484222325, bytes = 0;
  long file = SYSCALL2(open, output, 0), got;
  while (file >= 0 && (got = SYSCALL3(read, file, block, sizeof block)) > 0) {
    bytes += (u64)got;
    for (long i = 0; i < got; i++) hash = (hash ^ block[i]) * 0x100000001b3;
  }
  if (file >= 0) SYSCALL1(close, file);
  print("\n@ ");
  print_number((u64)status);
  print(" ");
  print_number(time);
  print(" ");
  print_number(cpu);
  print(" ");
  print_number(bytes);
  print(" ");
  print_hex(hash);
}

int main(int argc, char **argv) {
  if (argc > 1) output = argv[1];
  int first = SYSCALL0(getpid) == 1;
  /* The kernel may have had no console yet when it opened ours. */
  long console = first ? SYSCALL2(open, "/dev/console", 2) : -1;
  for (int i = 0; console >= 0 && i < 3; i++) SYSCALL2(dup2, console, i);
  u32 cpu = 0, mask[32] = {0};
  SYSCALL3(getcpu, &cpu, 0, 0);
  mask[(cpu / 32) & 31] = (u32)1 << (cpu % 32);
  SYSCALL3(sched_setaffinity, 0, sizeof mask, mask);
  if (first) {
    syscall6(SYS_mount, (long)"tmp", (long)"/tmp", (long)"tmpfs", 0, 0, 0);
    SYSCALL3(mount, "proc", "/proc", "proc");
    /* A kernel that has gathered no chance yet would let the first program wait that asks for some. */
    SYSCALL3(getrandom, block, 1, 0);
  }
  quiet_terminal();
  print("\n@ ready\n");
  while (read_line()) {
    split();
    if (!words[0] || !words[1]) continue;
    u64 start = now();
    long pid = SYSCALL0(fork);
    if (pid == 0) child();
    int status = 0;
    SYSCALL4(wait4, pid, &status, 0, usage);
    u64 time = now() - start, cpu = 0;
    for (int i = 0; i < 4; i += 2) cpu += (u64)(unsigned long)usage[i] * 1000000000 + (u64)(unsigned long)usage[i + 1] * 1000;
    report(status, time, cpu);
  }
  return 0;
}
