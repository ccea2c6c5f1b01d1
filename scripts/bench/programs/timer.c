/*
 * How late a timer is on a busy processor: runs the program that its arguments name, and beside it, ahead of it where the kernel lets us be,
 * sleeps until each millisecond. On standard error it tells by how many microseconds later than asked it was awake. Those that it
 * slept through count as well, each with its own time: it is what something would have waited that was due then.
 */
#include "runtime.h"

enum { PERIOD_NS = 1000000, SECOND_NS = 1000000000, MONOTONIC = 1, ABSOLUTE = 1, FIFO = 1, WRITE_ONLY = 1, NO_HANG = 1 };
/* One for each microsecond; the last is for all above. */
enum { MOST = 100000 };
static u32 late[MOST + 1];
static u32 wakes, worst;

struct time { long s, ns; };

/* The least number of microseconds that so many in 1000 were not later than. */
static u32 below(u32 thousandths) {
  u32 n = 0;
  for (u32 us = 0; us <= MOST; us++)
    if ((n += late[us]) >= wakes / 1000 * thousandths + wakes % 1000 * thousandths / 1000) return us;
  return MOST;
}

static void tell(const char *what, u32 value) {
  char text[12];
  int at = sizeof text - 1;
  text[at] = 0;
  do text[--at] = (char)('0' + value % 10);
  while (value /= 10);
  SYSCALL3(write, 2, what, length(what));
  SYSCALL3(write, 2, text + at, length(text + at));
}

/* Sleeps until `next`, which is in the future again afterwards. */
static void wait_until(struct time *next) {
  while (SYSCALL4(clock_nanosleep, MONOTONIC, ABSOLUTE, next, 0) != 0);
  struct time now;
  SYSCALL2(clock_gettime, MONOTONIC, &now);
  for (;;) {
    long us = (now.s - next->s) * 1000000 + (now.ns - next->ns) / 1000;
    if (us < 0) return;
    late[us > MOST ? MOST : us]++;
    wakes++;
    if (us > (long)worst) worst = (u32)us;
    next->ns += PERIOD_NS;
    if (next->ns >= SECOND_NS) next->ns -= SECOND_NS, next->s++;
  }
}

int main(int argc, char **argv) {
  static char *environment[] = {"PATH=/usr/bin:/bin", "HOME=/tmp", "LC_ALL=C", 0};
  if (argc < 2) return 1;
  /* So that no page of it is missing later. */
  for (u32 us = 0; us <= MOST; us += 256) ((volatile u32 *)late)[us] = 0;
  long pid = SYSCALL0(fork);
  if (pid == 0) {
    SYSCALL2(dup2, SYSCALL2(open, "/dev/null", WRITE_ONLY), 1);
    SYSCALL3(execve, argv[1], argv + 1, environment);
    quit(127);
  }
  int priority = 1, status = 0;
  long isFirst = SYSCALL3(sched_setscheduler, 0, FIFO, &priority) == 0;
  struct time next;
  SYSCALL2(clock_gettime, MONOTONIC, &next);
  do wait_until(&next);
  while (SYSCALL4(wait4, pid, &status, NO_HANG, 0) == 0);
  tell(isFirst ? "\nfifo " : "\nother ", wakes);
  tell(" half ", below(500));
  tell(" 99% ", below(990));
  tell(" 99.9% ", below(999));
  tell(" worst ", worst);
  SYSCALL3(write, 2, "\n", 1);
  return status == 0 ? 0 : 1;
}
