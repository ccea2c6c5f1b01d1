/* Multiplies two matrices of doubles, 128 by 128, row by column. */
#include "runtime.h"

enum { SIDE = 128 };
static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, seed = 1;
  for (int i = 0; i < SIDE; i++)
    for (int k = 0; k < SIDE; k++) a[i][k] = next_random(&seed) % 100, b[i][k] = next_random(&seed) % 100;
  for (u32 r = 0; r < rounds; r++) {
    a[r % SIDE][r / SIDE % SIDE] += 1;
    for (int i = 0; i < SIDE; i++)
      for (int k = 0; k < SIDE; k++) {
        double sum = 0;
        for (int j = 0; j < SIDE; j++) sum += a[i][j] * b[j][k];
        c[i][k] = sum;
      }
  }
  u64 sum = 0;
  for (int i = 0; i < SIDE; i++)
    for (int k = 0; k < SIDE; k++) sum = sum * 31 + (u32)(int)c[i][k];
  print_hex(sum);
  return 0;
}
