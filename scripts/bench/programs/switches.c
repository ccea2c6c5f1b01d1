/* Eight processes in a ring hand a token on through pipes; each looks at 16 KiB of its own before it does. */
#include "runtime.h"

enum { RING = 8, WORDS = 4096 };
static u32 own[WORDS];

static u32 look(void) {
  u32 sum = 0;
  for (u32 i = 0; i < WORDS; i += 16) sum += ++own[i];
  return sum;
}

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, token = 0;
  int pipes[RING][2];
  for (int i = 0; i < RING; i++)
    if (SYSCALL1(pipe, pipes[i]) != 0) return 1;
  for (int i = 1; i < RING; i++) {
    if (SYSCALL0(fork) != 0) continue;
    for (u32 r = 0; r < rounds; r++) {
      SYSCALL3(read, pipes[i - 1][0], &token, 4);
      token += look();
      SYSCALL3(write, pipes[i][1], &token, 4);
    }
    quit(0);
  }
  for (u32 r = 0; r < rounds; r++) {
    token += look();
    SYSCALL3(write, pipes[0][1], &token, 4);
    SYSCALL3(read, pipes[RING - 1][0], &token, 4);
  }
  for (int i = 1; i < RING; i++) SYSCALL4(wait4, -1, 0, 0, 0);
  print_hex(token);
  return 0;
}
