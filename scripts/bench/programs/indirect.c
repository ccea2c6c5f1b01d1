/* Calls through a table of functions, in an order that depends on the data: a small virtual machine. */
#include "runtime.h"

typedef u32 (*operation)(u32 a, u32 b);
__attribute__((noipa)) static u32 add(u32 a, u32 b) { return a + b; }
__attribute__((noipa)) static u32 subtract(u32 a, u32 b) { return a - b; }
__attribute__((noipa)) static u32 exclusive(u32 a, u32 b) { return a ^ b; }
__attribute__((noipa)) static u32 multiply(u32 a, u32 b) { return a * (b | 1); }
__attribute__((noipa)) static u32 rotate(u32 a, u32 b) { return a << (b & 31) | a >> (-b & 31); }
__attribute__((noipa)) static u32 larger(u32 a, u32 b) { return a > b ? a : b + 1; }
__attribute__((noipa)) static u32 both(u32 a, u32 b) { return (a & b) + 1; }
__attribute__((noipa)) static u32 either(u32 a, u32 b) { return a | (b >> 3); }
static operation volatile table[8] = {add, subtract, exclusive, multiply, rotate, larger, both, either};

enum { PROGRAM = 4096 };
static u8 program[PROGRAM];

int main(int argc, char **argv) {
  u32 rounds = argc > 1 ? number(argv[1]) : 1, x = 2463534242u, a = 1;
  for (u32 i = 0; i < PROGRAM; i++) program[i] = next_random(&x) >> 13 & 7;
  for (u32 r = 0; r < rounds; r++)
    for (u32 i = 0; i < PROGRAM; i++) a = table[program[i]](a, i + r);
  print_hex(a);
  return 0;
}
