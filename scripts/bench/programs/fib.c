/* Calls and returns: Fibonacci numbers as they are defined. */
#include "runtime.h"

/* Without the transformations that would turn the recursion into loops. */
__attribute__((noinline, noipa, optimize("no-optimize-sibling-calls"))) static u32 fib(u32 n) {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

int main(int argc, char **argv) {
  print_hex(fib(argc > 1 ? number(argv[1]) : 10));
  return 0;
}
