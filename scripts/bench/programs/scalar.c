/* Scalar double precision: the Mandelbrot set. */
#include "runtime.h"

enum { SIDE = 128, LIMIT = 256 };

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, sum = 0;
  for (u32 r = 0; r < rounds; r++)
    for (int y = 0; y < SIDE; y++)
      for (int x = 0; x < SIDE; x++) {
        double cr = -2.0 + 3.0 / SIDE * x, ci = -1.5 + 3.0 / SIDE * y, zr = 0, zi = 0;
        u32 n = 0;
        while (n < LIMIT && zr * zr + zi * zi < 4.0) {
          double next = zr * zr - zi * zi + cr;
          zi = 2.0 * zr * zi + ci;
          zr = next;
          n++;
        }
        sum = sum * 31 + n;
      }
  print_hex(sum);
  return 0;
}
