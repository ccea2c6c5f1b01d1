/* Maps 16 MiB, touches every page, unmaps them. */
#include "runtime.h"

enum { BYTES = 16 << 20, PAGE = 4096 };

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, sum = 0;
  for (u32 r = 0; r < rounds; r++) {
    u8 *memory = allocate(BYTES);
    for (u32 i = 0; i < BYTES; i += PAGE) memory[i] = (u8)(r + (i >> 12));
    for (u32 i = 0; i < BYTES; i += PAGE * 16) sum += memory[i];
    SYSCALL2(munmap, memory, BYTES);
  }
  print_hex(sum);
  return 0;
}
