/* Two processes pass a byte to and fro through two pipes. */
#include "runtime.h"

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1;
  int there[2], back[2];
  u8 byte = 0;
  if (SYSCALL1(pipe, there) != 0 || SYSCALL1(pipe, back) != 0) return 1;
  long pid = SYSCALL0(fork);
  if (pid == 0) {
    for (u32 i = 0; i < rounds; i++) {
      SYSCALL3(read, there[0], &byte, 1);
      byte++;
      SYSCALL3(write, back[1], &byte, 1);
    }
    quit(0);
  }
  for (u32 i = 0; i < rounds; i++) {
    SYSCALL3(write, there[1], &byte, 1);
    SYSCALL3(read, back[0], &byte, 1);
  }
  SYSCALL4(wait4, pid, 0, 0, 0);
  print_hex(byte);
  return 0;
}
