/* Packed double precision: y += a * x over 32 KiB, two numbers at a time. */
#include "runtime.h"

typedef double pair __attribute__((vector_size(16)));
enum { PAIRS = 1024 };
static pair x[PAIRS], y[PAIRS];

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, seed = 1;
  for (u32 i = 0; i < PAIRS; i++) x[i] = (pair){next_random(&seed) % 1000, i}, y[i] = (pair){i, 1};
  for (u32 r = 0; r < rounds; r++) {
    double factor = 1.0 / (1 + (r & 7));
    pair a = {factor, -factor};
    for (u32 i = 0; i < PAIRS; i++) y[i] += a * x[i];
    __asm__ volatile("" : : : "memory");
  }
  u64 sum = 0;
  for (u32 i = 0; i < PAIRS; i++) sum = sum * 31 + (u64)(int64_t)(int)y[i][0] + (u64)(int64_t)(int)y[i][1];
  print_hex(sum);
  return 0;
}
