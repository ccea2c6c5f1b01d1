/* Copies a mebibyte word by word, and changes a word each time so that no copy is the last one. */
#include "runtime.h"

enum { WORDS = (1 << 20) / sizeof(unsigned long) };
static unsigned long from[WORDS], to[WORDS + 512];

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, x = 1;
  for (u32 i = 0; i < WORDS; i++) from[i] = next_random(&x);
  for (u32 r = 0; r < rounds; r++) {
    from[r % WORDS]++;
    volatile unsigned long *out = to + (r & 511);
    for (u32 i = 0; i < WORDS; i++) out[i] = from[i];
  }
  u32 sum = 0;
  for (u32 i = 0; i < 1024; i++) sum = sum * 31 + (u32)to[i + 511];
  print_hex(sum);
  return 0;
}
