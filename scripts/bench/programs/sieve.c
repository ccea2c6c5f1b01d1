/* The primes below a million, a byte each, again and again. */
#include "runtime.h"

enum { LIMIT = 1000000 };
static u8 composite[LIMIT];

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, found = 0;
  while (rounds-- > 0) {
    for (u32 i = 0; i < LIMIT; i++) composite[i] = 0;
    found = 0;
    for (u32 i = 2; i < LIMIT; i++) {
      if (composite[i]) continue;
      found++;
      for (u32 k = 2 * i; k < LIMIT; k += i) composite[k] = 1;
    }
  }
  print_hex(found);
  return 0;
}
