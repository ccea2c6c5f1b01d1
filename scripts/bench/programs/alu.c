/* Register arithmetic with multiplications, shifts and short branches; no memory. */
#include "runtime.h"

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, x = 2463534242u, sum = 0, odd = 0;
  for (u32 i = 0; i < rounds; i++) {
    next_random(&x);
    sum += x * 2654435761u ^ (sum >> 7);
    if (x & 1) odd += i;
    else sum ^= odd;
  }
  print_hex((u64)sum << 32 | odd);
  return 0;
}
