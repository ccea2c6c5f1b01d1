/* Copies a mebibyte with one string instruction, again and again. */
#include "runtime.h"

enum { BYTES = 1 << 20 };
static u8 from[BYTES], to[BYTES + 64];

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, x = 1;
  for (u32 i = 0; i < BYTES; i++) from[i] = (u8)next_random(&x);
  for (u32 r = 0; r < rounds; r++) {
    void *source = from, *target = to + (r & 63);
    size_t count = BYTES;
    from[r % BYTES]++;
    __asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
  }
  u32 sum = 0;
  for (u32 i = 0; i < 65536; i++) sum = sum * 31 + to[i + 63];
  print_hex(sum);
  return 0;
}
